"""Every RecordRepo keeps the contract; PostgreSQL on a real server."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.servers import Database
from traffic_storage.adapters.record_repo.memory import InMemoryRecordRepo
from traffic_storage.adapters.record_repo.sql.postgres import PostgresSettings, postgres_repo
from traffic_storage.adapters.record_repo.sql.sqlite import SqliteSettings, sqlite_repo
from traffic_storage.entrypoints.testing.contracts.record_repo import RecordRepoContract
from traffic_storage.ports.record_repo import RecordRepo

PATIENT_SECONDS = 60.0
"""Far more than any machine needs, so that a busy one does not fail."""


def postgres_settings(database: Database, **others: object) -> PostgresSettings:
    return PostgresSettings(
        host=database.host,
        port=database.port,
        database=database.name,
        user=database.user,
        password=database.password,
        timeout_seconds=PATIENT_SECONDS,
    )


class TestMemory(RecordRepoContract):
    @pytest.fixture
    async def repo(self, no_leaks: None) -> AsyncIterator[RecordRepo]:
        repo = InMemoryRecordRepo()
        yield repo
        await repo.aclose()


class TestSqlite(RecordRepoContract):
    @pytest.fixture
    async def repo(self, no_leaks: None, tmp_path: Path) -> AsyncIterator[RecordRepo]:
        repo = sqlite_repo(SqliteSettings(tmp_path / "new" / "catalogue.sqlite3", PATIENT_SECONDS))
        await repo.upgrade()
        yield repo
        await repo.aclose()


class TestPostgres(RecordRepoContract):
    @pytest.fixture
    async def repo(self, postgres_database: Database, no_leaks: None) -> AsyncIterator[RecordRepo]:
        repo = postgres_repo(postgres_settings(postgres_database))
        await repo.upgrade()
        yield repo
        await repo.aclose()
