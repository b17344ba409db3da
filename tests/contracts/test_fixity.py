"""Every catalogue keeps the contract of verifications and incidents; PostgreSQL on a real server."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.adapter_settings import PATIENT_SECONDS, postgres_settings
from tests.support.servers import Database
from traffic_storage.adapters.record_repo.memory import InMemoryRecordRepo
from traffic_storage.adapters.record_repo.sql.postgres import postgres_repo
from traffic_storage.adapters.record_repo.sql.sqlite import SqliteSettings, sqlite_repo
from traffic_storage.entrypoints.testing.contracts.fixity import FixityContract
from traffic_storage.entrypoints.testing.faults.record_repo import FailingRecordRepo
from traffic_storage.ports.record_repo import RecordRepo


class TestMemory(FixityContract):
    @pytest.fixture
    async def repo(self, no_leaks: None) -> AsyncIterator[RecordRepo]:
        repo = InMemoryRecordRepo()
        yield repo
        await repo.aclose()


class TestFailing(FixityContract):
    @pytest.fixture
    async def repo(self, no_leaks: None) -> AsyncIterator[RecordRepo]:
        repo = FailingRecordRepo(InMemoryRecordRepo())
        yield repo
        await repo.aclose()


class TestSqlite(FixityContract):
    @pytest.fixture
    async def repo(self, no_leaks: None, tmp_path: Path) -> AsyncIterator[RecordRepo]:
        repo = sqlite_repo(SqliteSettings(tmp_path / "catalogue.sqlite3", PATIENT_SECONDS))
        await repo.upgrade()
        yield repo
        await repo.aclose()


class TestPostgres(FixityContract):
    @pytest.fixture
    async def repo(self, postgres_database: Database, no_leaks: None) -> AsyncIterator[RecordRepo]:
        repo = postgres_repo(postgres_settings(postgres_database))
        await repo.upgrade()
        yield repo
        await repo.aclose()
