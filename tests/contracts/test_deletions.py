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
from traffic_storage.ports.retention import Position


class TestMemory(InMemory, DeletionsContract):
    pass


class TestSqlite(OnSqlite, DeletionsContract):
    @pytest.mark.parametrize(
        ("time", "value"),
        [
            ("hold.until", "'never'"),
            ("hold.until", "0.5"),
            ("hold.start_time", "'never'"),
            ("hold.end_time", "'never'"),
            ("file.keep_until", "'soon'"),
            ("deletion.purge_after", "'now'"),
        ],
    )
    async def test_a13_what_has_an_unreadable_time_counts_as_held(
        self, repo: RecordRepo, tmp_path: Path, time: str, value: str
    ) -> None:
        """A hold whose time is damaged covers more, never less; a file with one stays, readable."""
        table, _, column = time.partition(".")
        if table == "hold":
            await self._check_hold(repo, tmp_path, column, value)
        else:
            await self._check_file(repo, tmp_path, column, value)

    async def _check_hold(self, repo: RecordRepo, folder: Path, column: str, value: str) -> None:
        camera = DeviceId("cam-1")
        file = await a_file(repo, device_id=camera)
        hold = new_hold(HeldRange(camera, NOON + DAY, NOON + 2 * DAY), until=NOON + DAY)
        await repo.apply(PlaceHold(hold))
        by_name = new_hold(HeldFile(file.file_id), until=NOON + DAY)
        if column == "until":
            await repo.apply(PlaceHold(by_name))
        assert not await repo.held([file.file_id], DUE)
        _execute(folder, f"UPDATE hold SET {column} = {value}")
        if column != "until":
            _execute(folder, "UPDATE hold SET until = NULL")
        assert await repo.held([file.file_id], DUE) == {file.file_id}
        assert await repo.holds_on(file.file_id, DUE)
        assert not await repo.apply(new_tombstone(file, override=True))

    async def _check_file(self, repo: RecordRepo, folder: Path, column: str, value: str) -> None:
        file = await a_file(repo)
        if column == "keep_until":
            _execute(folder, f"UPDATE file SET keep_until = {value}")
            assert await repo.due_files(DUE + 9999 * DAY, Position(NOON - DAY), DUE) == []
            assert not await repo.apply(new_tombstone(file))
        else:
            assert await repo.apply(new_tombstone(file))
            _execute(folder, f"UPDATE deletion SET purge_after = {value}")
            assert not (await repo.due_for_purge(DUE + 9999 * DAY)).items
            assert not await repo.apply(BeginPurge((file.file_id,), DUE + 9999 * DAY))
            assert (await found(repo, file)).state is FileState.TOMBSTONED
        assert (await found(repo, file)).content == file.content


def _execute(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / "catalogue.sqlite3")) as connection:
        connection.execute(statement)
        connection.commit()


class TestPostgres(OnPostgres, DeletionsContract):
    pass
