"""At 100,000 rows no statement passes over a large table and every page costs the same, on
either database.
"""

import asyncio
import json
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.adapters.record_repo.filling import metadata_files, metadata_replicas
from tests.support import adapter_settings
from tests.support.adapter_settings import PATIENT_SECONDS
from tests.support.servers import Database, PostgresAddress
from traffic_storage.adapters.record_repo.sql import rows, statements
from traffic_storage.adapters.record_repo.sql.driver import Driver, Write
from traffic_storage.adapters.record_repo.sql.pool import DIALECT as POSTGRES
from traffic_storage.adapters.record_repo.sql.postgres import (
    PostgresDriver,
    PostgresSettings,
    postgres_repo,
)
from traffic_storage.adapters.record_repo.sql.repo import SqlRecordRepo
from traffic_storage.adapters.record_repo.sql.rows import Row
from traffic_storage.adapters.record_repo.sql.sqlite import DIALECT as SQLITE
from traffic_storage.adapters.record_repo.sql.sqlite import (
    SqliteDriver,
    SqliteSettings,
    sqlite_repo,
)
from traffic_storage.adapters.record_repo.sql.statement import Args, Statement
from traffic_storage.domain.digests import sha256_of
from traffic_storage.domain.query import Cursor, ViolationQuery
from traffic_storage.entrypoints.testing.units import NOON
from traffic_storage.ports.record_repo import RecordRepo

# What the module's fixtures fill is filled once.
pytestmark = pytest.mark.xdist_group("plans")

ROWS = 100_000
LARGE = {"attempt", "file", "replica", "violation"}
_DIGEST = sha256_of(b"")
_AT = rows.micros(NOON)

STATEMENTS: Mapping[str, Statement] = {
    name: found for name, found in vars(statements).items() if isinstance(found, Statement)
} | {str(filters): found for filters, found in statements.PAGES.items()}

# One in a thousand is sure beyond doubt, and one in a thousand is of a rare type; both long ago.
PAGES: Sequence[ViolationQuery] = (
    ViolationQuery(),
    ViolationQuery(device_id="camera-7"),
    ViolationQuery(violation_type="speed"),
    ViolationQuery(violation_type="rare"),
    ViolationQuery(vehicle_class="car"),
    ViolationQuery(device_id="camera-7", violation_type="speed", vehicle_class="car"),
    ViolationQuery(min_confidence=0.5),
    ViolationQuery(min_confidence=0.9995),
    ViolationQuery(device_id="camera-7", min_confidence=0.5),
)
# What a band of `RARE` rows costs to count, to read and to sort.
_MOST_STEPS = 100 * statements.RARE
_MOST_BLOCKS = 800


def _violations() -> Iterator[Args]:
    for n in range(ROWS):
        rare = n % 1000 == 0
        yield (
            *(f"V{n}", f"camera-{n % 50}", "rare" if rare else "speed", "car"),
            *(0.9999 if rare else (n % 997) / 1000, _AT + n * 1_000_000),
            *(NOON.isoformat(), None, _AT, "[1,2,3,4]", 0.0, None, None, "{}", "{}"),
            *(_DIGEST, f"V{n}~metadata", None, None),
        )


def _attempts() -> Iterator[Args]:
    for n in range(ROWS):
        yield f"attempt-{n}", "test", _AT + n, "[]", False


TABLES: Mapping[str, Callable[[], Iterator[Args]]] = {
    "file": lambda: metadata_files(ROWS),
    "replica": lambda: metadata_replicas(ROWS),
    "violation": _violations,
    "attempt": _attempts,
}
_STORE: Args = ("local-1", "local", "here", True, 1)


class Noting(Driver):
    """A driver that notes what it reads."""

    def __init__(self, inner: Driver) -> None:
        self._inner = inner
        self._noted: list[tuple[Statement, Args]] = []

    async def reads_of(self, query: ViolationQuery) -> Sequence[tuple[Statement, Args]]:
        """All that a repository reads for this page when it knows nothing yet of the bands."""
        self._noted.clear()
        page = await SqlRecordRepo(self).violations(query)
        assert page.items
        return list(self._noted)

    async def read(self, statement: Statement, executions: Sequence[Args]) -> Sequence[Row]:
        self._noted += [(statement, args) for args in executions]
        return await self._inner.read(statement, executions)

    async def write(self, write: Write) -> None:
        await self._inner.write(write)

    async def upgrade(self) -> None:
        await self._inner.upgrade()

    async def version(self) -> str | None:
        return await self._inner.version()

    async def aclose(self) -> None:
        await self._inner.aclose()


def test_a_rare_band_is_rare_and_another_is_not() -> None:
    sure = sum(1 for row in _violations() if row[4] == 0.9999)
    assert sure < statements.RARE < ROWS / 2


@pytest.fixture(scope="module")
def sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A full catalogue."""
    path = tmp_path_factory.mktemp("filled") / "catalogue.sqlite3"
    asyncio.run(_upgrade(sqlite_repo(SqliteSettings(path))))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("BEGIN")
        connection.execute("INSERT INTO store VALUES (?, ?, ?, ?, ?)", _STORE)
        for table, made in TABLES.items():
            marks = ", ".join("?" for _ in next(made()))
            connection.executemany(f"INSERT INTO {table} VALUES ({marks})", made())
        connection.execute("COMMIT")
    return path


@pytest.fixture(scope="module")
def postgres_settings(postgres: PostgresAddress) -> Iterator[PostgresSettings]:
    """A full catalogue."""
    with postgres.temporary_database() as database:
        settings = adapter_settings.postgres_settings(database)
        asyncio.run(_upgrade(postgres_repo(settings)))
        asyncio.run(_fill(database))
        yield settings


async def _upgrade(repo: RecordRepo) -> None:
    await repo.upgrade()
    await repo.aclose()


async def _fill(database: Database) -> None:
    connection = await asyncpg.connect(database.dsn)
    await connection.copy_records_to_table("store", records=[_STORE])
    for table, made in TABLES.items():
        await connection.copy_records_to_table(table, records=made())
    await connection.execute("ANALYZE")
    await connection.close()


class TestSqlite:
    def test_no_statement_scans_a_large_table(self, sqlite_file: Path) -> None:
        with closing(sqlite3.connect(sqlite_file)) as connection:
            for name, statement in STATEMENTS.items():
                sql = statement.text(SQLITE).sql
                arguments = (None,) * sql.count("?")
                plan = connection.execute(f"EXPLAIN QUERY PLAN {sql}", arguments).fetchall()
                steps = [str(step[3]) for step in plan]
                assert not [step for step in steps if _scanned(step) in LARGE], (name, steps)

    async def test_every_page_costs_the_same(self, sqlite_file: Path) -> None:
        """Following `next` … at the same cost for every page."""
        async with aclosing(
            Noting(SqliteDriver(SqliteSettings(sqlite_file, PATIENT_SECONDS)))
        ) as driver:
            with closing(sqlite3.connect(sqlite_file)) as connection:
                for query in PAGES:
                    first, deep = [
                        sum(_steps(connection, *read) for read in await driver.reads_of(page))
                        for page in _first_and_deep(query)
                    ]
                    assert deep < 1.5 * first + 1_000, query
                    assert first < _MOST_STEPS, query


class TestPostgres:
    async def test_no_statement_scans_a_large_table(
        self, postgres_settings: PostgresSettings
    ) -> None:
        for name, statement in STATEMENTS.items():
            sql = statement.text(POSTGRES).sql
            count = max(map(int, re.findall(r"\$(\d+)", sql)), default=0)
            plan = await self._plan(postgres_settings, sql, ["NULL"] * count)
            scanned = {n["Relation Name"] for n in _nodes(plan) if n["Node Type"] == "Seq Scan"}
            assert not scanned & LARGE, (name, plan)

    async def test_every_page_costs_the_same(self, postgres_settings: PostgresSettings) -> None:
        """Following `next` … at the same cost for every page."""
        async with aclosing(Noting(PostgresDriver(postgres_settings))) as driver:
            for query in PAGES:
                first, deep = [
                    sum(
                        [
                            await self._blocks(postgres_settings, *read)
                            for read in await driver.reads_of(page)
                        ]
                    )
                    for page in _first_and_deep(query)
                ]
                assert deep < 1.5 * first + 50, query
                assert first < _MOST_BLOCKS, query

    async def _blocks(self, settings: PostgresSettings, statement: Statement, args: Args) -> int:
        """How many blocks PostgreSQL touches for one execution."""
        text = statement.text(POSTGRES)
        given = [_literal(value) for value in text.arrange(args)]
        plan = await self._plan(settings, text.sql, given, "ANALYZE, TIMING OFF, ")
        return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])

    async def _plan(
        self, settings: PostgresSettings, sql: str, given: Sequence[str], how: str = ""
    ) -> Mapping[str, Any]:
        """The plan on a connection as the driver makes them."""
        driver = PostgresDriver(settings)
        deadline = asyncio.get_running_loop().time() + PATIENT_SECONDS
        arguments = f"({', '.join(given)})" if given else ""
        async with driver._readers.lease(deadline) as connection:
            await connection.execute(f"PREPARE looked_at AS {sql}", timeout=PATIENT_SECONDS)
            explain = f"EXPLAIN ({how}FORMAT JSON) EXECUTE looked_at{arguments}"
            found = await connection.fetch(explain, timeout=PATIENT_SECONDS)
        await driver.aclose()
        plan: Mapping[str, Any] = json.loads(found[0][0])[0]["Plan"]
        return plan


def _scanned(step: str) -> str:
    found = re.match(r"SCAN (\w+)", step)
    return found[1] if found else ""


def _nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)


def _first_and_deep(query: ViolationQuery) -> Sequence[ViolationQuery]:
    middle = Cursor(NOON + timedelta(seconds=ROWS / 2), "V")
    return query, ViolationQuery(
        device_id=query.device_id,
        violation_type=query.violation_type,
        vehicle_class=query.vehicle_class,
        min_confidence=query.min_confidence,
        after=middle,
    )


def _steps(connection: sqlite3.Connection, statement: Statement, args: Args) -> int:
    """How many steps SQLite's machine takes for one execution."""
    text = statement.text(SQLITE)
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 10
        return 0

    connection.set_progress_handler(count, 10)
    connection.execute(text.sql, text.arrange(args)).fetchall()
    connection.set_progress_handler(None, 0)
    return steps


def _literal(value: object) -> str:
    return "NULL" if value is None else f"'{value}'" if isinstance(value, str) else str(value)
