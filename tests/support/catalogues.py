"""Catalogues for contract suites: each class provides the fixture `repo`.

Name a class first among the bases of a test class: `class TestSqlite(OnSqlite, JobsContract)`.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.adapter_settings import PATIENT_SECONDS, postgres_settings
from tests.support.servers import Database
from traffic_storage.adapters.record_repo.memory import InMemoryRecordRepo
from traffic_storage.adapters.record_repo.sql.postgres import postgres_repo
from traffic_storage.adapters.record_repo.sql.sqlite import SqliteSettings, sqlite_repo
from traffic_storage.entrypoints.testing.faults.record_repo import FailingRecordRepo
from traffic_storage.ports.record_repo import RecordRepo


def make_tables(database: Database) -> None:
    """Make all tables in an empty PostgreSQL database."""

    async def make() -> None:
        repo = postgres_repo(postgres_settings(database))
        await repo.upgrade()
        await repo.aclose()

    asyncio.run(make())


class InMemory:
    """The fake."""

    @pytest.fixture
    async def repo(self, no_leaks: None) -> AsyncIterator[RecordRepo]:
        repo = InMemoryRecordRepo()
        yield repo
        await repo.aclose()


class InMemoryFailing:
    """The fake behind the one that fails on request, which has to pass all calls on."""

    @pytest.fixture
    async def repo(self, no_leaks: None) -> AsyncIterator[RecordRepo]:
        repo = FailingRecordRepo(InMemoryRecordRepo())
        yield repo
        await repo.aclose()


class OnSqlite:
    """SQLite, in the file `catalogue.sqlite3` of the test's folder."""

    @pytest.fixture
    async def repo(self, no_leaks: None, tmp_path: Path) -> AsyncIterator[RecordRepo]:
        repo = sqlite_repo(SqliteSettings(tmp_path / "catalogue.sqlite3", PATIENT_SECONDS))
        await repo.upgrade()
        yield repo
        await repo.aclose()


class OnPostgres:
    """A catalogue of the test's own on the run's PostgreSQL."""

    @pytest.fixture
    async def repo(self, catalogue_database: Database, no_leaks: None) -> AsyncIterator[RecordRepo]:
        repo = postgres_repo(postgres_settings(catalogue_database))
        yield repo
        await repo.aclose()
