"""Every RecordRepo keeps the contract; PostgreSQL on a real server."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support.servers import Database, PostgresAddress
from traffic_storage.adapters.record_repo.memory import InMemoryRecordRepo
from traffic_storage.adapters.record_repo.sql.postgres import PostgresSettings, postgres_repo
from traffic_storage.adapters.record_repo.sql.sqlite import SqliteSettings, sqlite_repo
from traffic_storage.entrypoints.testing.contracts.record_repo import (
    RecordRepoContract,
    RecordRepoMachine,
)
from traffic_storage.ports.record_repo import RecordRepo

MACHINE = settings(max_examples=20, stateful_step_count=30, deadline=None)
PATIENT_SECONDS = 60.0
"""Far more than any machine needs, so that a busy one does not fail."""


def postgres_settings(database: Database) -> PostgresSettings:
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


class MemoryMachine(RecordRepoMachine):
    @staticmethod
    async def make() -> RecordRepo:
        return InMemoryRecordRepo()


MemoryMachine.TestCase.settings = MACHINE
TestMemoryMachine = MemoryMachine.TestCase


def test_sqlite_machine(tmp_path: Path) -> None:
    class Machine(RecordRepoMachine):
        made = 0

        @classmethod
        async def make(cls) -> RecordRepo:
            cls.made += 1
            repo = sqlite_repo(SqliteSettings(tmp_path / f"{cls.made}.sqlite3", PATIENT_SECONDS))
            await repo.upgrade()
            return repo

    run_state_machine_as_test(Machine, settings=MACHINE)


def test_postgres_machine(postgres: PostgresAddress) -> None:
    class Machine(RecordRepoMachine):
        @staticmethod
        async def make() -> RecordRepo:
            repo = postgres_repo(postgres_settings(postgres.create_database()))
            await repo.upgrade()
            return repo

    run_state_machine_as_test(Machine, settings=MACHINE)
