"""Every catalogue keeps the contract of holds and deletions; PostgreSQL on a real server."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.catalogues import InMemory, OnPostgres, OnSqlite
from traffic_storage.domain.deletion import BeginPurge
from traffic_storage.domain.files import FileState
from traffic_storage.domain.holds import HeldFile, HeldRange, PlaceHold
from traffic_storage.domain.identifiers import DeviceId
from traffic_storage.entrypoints.testing.contracts.deletions import (
    DAY,
    DUE,
    DeletionsContract,
    a_file,
    found,
    new_hold,
    new_tombstone,
)
from traffic_storage.entrypoints.testing.units import NOON
from traffic_storage.ports.record_repo import RecordRepo


class TestMemory(InMemory, DeletionsContract):
    pass


class TestSqlite(OnSqlite, DeletionsContract):
    @pytest.mark.parametrize("column", ["until", "start_time", "end_time"])
    async def test_an_unreadable_hold_holds(
        self, repo: RecordRepo, tmp_path: Path, column: str
    ) -> None:
        """A13: a hold whose time is damaged covers more, never less, and can be listed."""
        camera = DeviceId("cam-1")
        file = await a_file(repo, device_id=camera)
        hold = new_hold(HeldRange(camera, NOON + DAY, NOON + 2 * DAY), until=NOON + DAY)
        await repo.apply(PlaceHold(hold))
        by_name = new_hold(HeldFile(file.file_id), until=NOON + DAY)
        if column == "until":
            await repo.apply(PlaceHold(by_name))
        assert not await repo.held([file.file_id], DUE)
        _execute(tmp_path, f"UPDATE hold SET {column} = 'never'")
        if column != "until":
            _execute(tmp_path, "UPDATE hold SET until = NULL")
        assert await repo.held([file.file_id], DUE) == {file.file_id}
        assert await repo.holds_on(file.file_id, DUE)
        assert not await repo.apply(new_tombstone(file, override=True))

    async def test_an_unreadable_date_keeps(self, repo: RecordRepo, tmp_path: Path) -> None:
        """A13: a file whose retention has no readable end is not due, and can be read."""
        file = await a_file(repo)
        _execute(tmp_path, "UPDATE file SET keep_until = 'soon'")
        assert not await repo.apply(new_tombstone(file))
        assert (await found(repo, file)).content == file.content
        _execute(
            tmp_path,
            "INSERT INTO deletion SELECT file_id, zeroblob(16), 0, 'now', NULL, 0, '', '', '' FROM file",
        )
        _execute(tmp_path, "UPDATE file SET state = 'tombstoned'")
        assert not await repo.apply(BeginPurge((file.file_id,), DUE))
        assert (await found(repo, file)).state is FileState.TOMBSTONED


def _execute(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / "catalogue.sqlite3")) as connection:
        connection.execute(statement)
        connection.commit()


class TestPostgres(OnPostgres, DeletionsContract):
    pass
