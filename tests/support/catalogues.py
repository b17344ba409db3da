"""Catalogues for contract suites: each class provides the fixture `repo`.

Name a class first among the bases of a test class: `class TestSqlite(OnSqlite, JobsContract)`.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.adapter_settings import PATIENT_SECONDS, postgres_settings
from tests.support.process import ServerFailed
from tests.support.servers import Database, PostgresAddress
from traffic_storage.adapters.record_repo.memory import InMemoryRecordRepo
from traffic_storage.adapters.record_repo.sql.postgres import postgres_repo
from traffic_storage.adapters.record_repo.sql.sqlite import SqliteSettings, sqlite_repo
from traffic_storage.entrypoints.testing.faults.record_repo import FailingRecordRepo
from traffic_storage.ports.record_repo import RecordRepo


def make_tables(database: Database | Path) -> None:
    """Make all tables in an empty PostgreSQL database, or in a new SQLite file."""

    async def make() -> None:
        if isinstance(database, Path):
            repo = sqlite_repo(SqliteSettings(database, PATIENT_SECONDS))
        else:
            repo = postgres_repo(postgres_settings(database))
        await repo.upgrade()
        await repo.aclose()

    asyncio.run(make())


_LARGE_BYTES = 20 * 1024 * 1024
_EMPTY = f"""DO $$
DECLARE command text;
BEGIN
    IF pg_database_size(current_database()) > {_LARGE_BYTES} THEN
        RAISE EXCEPTION 'it is quicker to make another one';
    END IF;
    PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid();
    -- No trigger runs, so foreign keys do not matter.
    SET LOCAL session_replication_role = replica;
    FOR command IN
        SELECT format('DELETE FROM %s', oid::regclass) FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
            AND relname NOT IN ('alembic_version', 'catalogue', 'usage_fold')
        UNION ALL
        SELECT format('ALTER SEQUENCE %s RESTART', oid::regclass) FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'S'
    LOOP
        EXECUTE command;
    END LOOP;
    UPDATE usage_fold SET watermark = 0;
END $$"""


class CatalogueDatabases:
    """PostgreSQL databases with all tables and no row of a user, each lent to one test at a time.

    Emptying a small one takes a tenth of the time of making one.
    """

    def __init__(self, postgres: PostgresAddress, template: str) -> None:
        self._postgres = postgres
        self._template = template
        self._free: list[Database] = []

    @contextmanager
    def one(self) -> Iterator[Database]:
        """A database for the time of a block."""
        database = (
            self._free.pop() if self._free else self._postgres.create_database(self._template)
        )
        try:
            yield database
        finally:
            try:
                self._postgres.execute(_EMPTY, database.name)
                self._free.append(database)
            except ServerFailed:
                with suppress(ServerFailed):
                    self._postgres.drop_database(database.name)


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
    async def repo(
        self, no_leaks: None, tmp_path: Path, sqlite_catalogue: Path
    ) -> AsyncIterator[RecordRepo]:
        place = shutil.copy(sqlite_catalogue, tmp_path / "catalogue.sqlite3")
        repo = sqlite_repo(SqliteSettings(place, PATIENT_SECONDS))
        yield repo
        await repo.aclose()


class OnPostgres:
    """A catalogue of the test's own on the run's PostgreSQL."""

    @pytest.fixture
    async def repo(self, catalogue_database: Database, no_leaks: None) -> AsyncIterator[RecordRepo]:
        repo = postgres_repo(postgres_settings(catalogue_database))
        yield repo
        await repo.aclose()
