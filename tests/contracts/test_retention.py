"""Every catalogue keeps the contract of retention; PostgreSQL on a real server."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.adapter_settings import PATIENT_SECONDS, postgres_settings
from tests.support.servers import Database
from traffic_storage.adapters.record_repo.memory import InMemoryRecordRepo
from traffic_storage.adapters.record_repo.sql.postgres import postgres_repo
from traffic_storage.adapters.record_repo.sql.sqlite import SqliteSettings, sqlite_repo
from traffic_storage.entrypoints.testing.contracts.retention import RetentionContract
from traffic_storage.ports.record_repo import RecordRepo


class TestMemory(RetentionContract):
    @pytest.fixture
    async def repo(self, no_leaks: None) -> AsyncIterator[RecordRepo]:
        repo = InMemoryRecordRepo()
        yield repo
        await repo.aclose()


class TestSqlite(RetentionContract):
    @pytest.fixture
    async def repo(self, no_leaks: None, tmp_path: Path) -> AsyncIterator[RecordRepo]:
        repo = sqlite_repo(SqliteSettings(tmp_path / "catalogue.sqlite3", PATIENT_SECONDS))
        await repo.upgrade()
        yield repo
        await repo.aclose()


class TestPostgres(RetentionContract):
    @pytest.fixture
    async def repo(self, postgres_database: Database, no_leaks: None) -> AsyncIterator[RecordRepo]:
        repo = postgres_repo(postgres_settings(postgres_database))
        await repo.upgrade()
        yield repo
        await repo.aclose()
