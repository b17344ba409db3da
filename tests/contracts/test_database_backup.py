"""Every kind of database is copied and loaded as the contract says."""

import shutil
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.adapter_settings import PATIENT_SECONDS, postgres_settings
from tests.support.catalogues import InMemory, OnPostgres, OnSqlite
from tests.support.servers import PostgresAddress
from traffic_storage.adapters.record_repo.memory import InMemoryRecordRepo
from traffic_storage.adapters.record_repo.sql.postgres import postgres_repo
from traffic_storage.adapters.record_repo.sql.sqlite import SqliteSettings, sqlite_repo
from traffic_storage.domain.ingest import Unit
from traffic_storage.entrypoints.testing.contracts.database_backup import (
    LOADING,
    DatabaseBackupContract,
    copy_of,
    in_pieces,
)
from traffic_storage.entrypoints.testing.contracts.record_repo import local
from traffic_storage.entrypoints.testing.units import new_file, store
from traffic_storage.ports.errors import CatalogueUnavailable
from traffic_storage.ports.record_repo import RecordRepo


class TestMemory(InMemory, DatabaseBackupContract):
    @pytest.fixture
    async def other(self) -> RecordRepo:
        return InMemoryRecordRepo()


class TestSqlite(OnSqlite, DatabaseBackupContract):
    @pytest.fixture
    async def other(
        self, no_leaks: None, tmp_path: Path, sqlite_catalogue: Path
    ) -> AsyncIterator[RecordRepo]:
        place = shutil.copy(sqlite_catalogue, tmp_path / "other.sqlite3")
        repo = sqlite_repo(SqliteSettings(place, PATIENT_SECONDS))
        yield repo
        await repo.aclose()

    async def test_a_copy_is_a_file_without_what_was_erased(
        self, repo: RecordRepo, tmp_path: Path
    ) -> None:
        """The bytes are an SQLite file; rows that were deleted are not in its unused pages."""
        await store(repo, Unit((new_file(await local(repo)),)))
        with sqlite3.connect(tmp_path / "catalogue.sqlite3") as connection:
            for number in range(200):
                row = f"INSERT INTO job_slot VALUES ('erased-{number}-{'x' * 400}', 1)"
                connection.execute(row)
            connection.execute("DELETE FROM job_slot")
        connection.close()
        data = b"".join(await copy_of(repo))
        assert b"erased-" not in data
        (tmp_path / "copy").write_bytes(data)
        connection = sqlite3.connect(tmp_path / "copy")
        assert connection.execute("SELECT count(*) FROM file").fetchone() == (1,)
        connection.close()

    async def test_a_copy_is_loaded_where_nothing_is(
        self, repo: RecordRepo, tmp_path: Path
    ) -> None:
        """A file that does not exist is made, and is a catalogue like any other."""
        file = new_file(await local(repo))
        await store(repo, Unit((file,)))
        data = b"".join(await copy_of(repo))
        new = sqlite_repo(SqliteSettings(tmp_path / "new" / "catalogue.sqlite3"))
        assert await new.is_blank()
        await new.load_database(in_pieces(data, 1 << 20), LOADING)
        assert await new.file(file.file_id) == file
        await store(new, Unit((new_file(await local(new)),)))
        assert await new.pending() == []
        await new.aclose()

    async def test_a_catalogue_in_use_is_not_replaced(
        self, repo: RecordRepo, other: RecordRepo, tmp_path: Path
    ) -> None:
        """A process that has the file open keeps the copy from being loaded."""
        data = b"".join(await copy_of(repo))
        third = sqlite_repo(SqliteSettings(tmp_path / "other.sqlite3"))
        await third.ping()
        with pytest.raises(CatalogueUnavailable, match="in use by another process"):
            await other.load_database(in_pieces(data, 1 << 20), LOADING)
        await third.aclose()
        await other.load_database(in_pieces(data, 1 << 20), LOADING)


class TestPostgres(OnPostgres, DatabaseBackupContract):
    @pytest.fixture
    async def other(self, postgres: PostgresAddress, no_leaks: None) -> AsyncIterator[RecordRepo]:
        database = postgres.create_database()
        repo = postgres_repo(postgres_settings(database))
        assert await repo.is_blank(), "there are no tables yet"
        await repo.upgrade()
        yield repo
        await repo.aclose()
        postgres.drop_database(database.name)
