"""Every catalogue keeps the contract of jobs; PostgreSQL on a real server."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from tests.support.catalogues import OnPostgres, OnSqlite
from tests.support.servers import Database
from traffic_storage.adapters.clock.manual import ManualClock
from traffic_storage.adapters.record_repo.memory import InMemoryRecordRepo
from traffic_storage.entrypoints.testing.contracts.jobs import JobsContract, Later
from traffic_storage.entrypoints.testing.units import NOON
from traffic_storage.ports.record_repo import RecordRepo

# Time can't be moved in a database; its rows are moved into the past.
_REWIND = """
    UPDATE job SET created_at = created_at - {0}, run_at = run_at - {0},
        leased_until = leased_until - {0}, ended_at = ended_at - {0};
"""
_REWIND_SLOTS = "UPDATE job_slot SET slot = slot - {0} / 3600000000"


def rewinding(delta: timedelta) -> str:
    """Return the SQL that moves all times of jobs into the past."""
    micros = delta // timedelta(microseconds=1)
    return f"{_REWIND}; {_REWIND_SLOTS}".format(micros)


class TestMemory(JobsContract):
    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock(NOON)

    @pytest.fixture
    async def repo(self, no_leaks: None, clock: ManualClock) -> AsyncIterator[RecordRepo]:
        repo = InMemoryRecordRepo(now=clock.now)
        yield repo
        await repo.aclose()

    @pytest.fixture
    async def later(self, clock: ManualClock) -> Later:
        async def later(delta: timedelta) -> None:
            clock.advance(delta)

        return later


class TestSqlite(OnSqlite, JobsContract):
    @pytest.fixture
    async def later(self, repo: RecordRepo, tmp_path: Path) -> Later:
        async def later(delta: timedelta) -> None:
            with closing(sqlite3.connect(tmp_path / "catalogue.sqlite3")) as connection:
                connection.executescript(rewinding(delta))

        return later


class TestPostgres(OnPostgres, JobsContract):
    @pytest.fixture
    async def later(self, repo: RecordRepo, catalogue_database: Database) -> Later:
        async def later(delta: timedelta) -> None:
            connection = await asyncpg.connect(catalogue_database.dsn)
            try:
                await connection.execute(rewinding(delta))
            finally:
                await connection.close()

        return later
