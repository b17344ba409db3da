"""Pages of violations out of 50,000 whose columns depend on each other: each page of each filter and
of each pair of filters is right, and costs little more than a page without filters.

Costs are counted, not timed: steps of SQLite's machine; blocks and rows that PostgreSQL reads.
"""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import asyncpg
import attrs
import numpy as np
import pytest
from attrs import frozen

from tests.adapters.record_repo.filling import metadata_files
from tests.support import adapter_settings
from tests.support.adapter_settings import PATIENT_SECONDS
from tests.support.servers import Database, PostgresAddress
from tests.support.violations import COLUMNS, Asked, queries, violation_rows
from traffic_storage.adapters.record_repo.sql import rows, violation_pages
from traffic_storage.adapters.record_repo.sql.driver import Driver, MomentReader, Write
from traffic_storage.adapters.record_repo.sql.pool import DIALECT as POSTGRES
from traffic_storage.adapters.record_repo.sql.pool import Connection
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
from traffic_storage.adapters.record_repo.sql.tables import (
    CONFIDENCE_BANDS,
    confidence_band,
)
from traffic_storage.domain.database_backup import DatabaseForm, Loading
from traffic_storage.domain.query import ViolationQuery
from traffic_storage.ports.record_repo import RecordRepo

ROWS = 50_000
ASKED: Sequence[Asked] = tuple(queries())
_OF_ONE_DEVICE = ViolationQuery(device_id="CAM-busy", violation_type="speed", vehicle_class="car")
TRIPLES: Sequence[ViolationQuery] = (
    _OF_ONE_DEVICE,
    attrs.evolve(_OF_ONE_DEVICE, device_id="CAM0042", min_confidence=0.8),
    attrs.evolve(_OF_ONE_DEVICE, min_confidence=0.7, max_confidence=0.701),
)

# A page without filters takes 3,200 steps; 12 blocks and 101 rows. Merging takes more for each range,
# a rare range of confidence for each of its rows (`most_rare` allows 500 of 50,000). A plan that
# passes over a tenth of the table exceeds these.
MOST_STEPS = 20_000
MOST_BLOCKS = 1_200
MOST_ROWS = 1_500


@frozen
class Cost:
    """What PostgreSQL read for a page."""

    blocks: int
    rows: int


class Recording(Driver):
    """A driver that notes what it reads."""

    def __init__(self, inner: Driver) -> None:
        self._inner = inner
        self._noted: list[tuple[Statement, Args]] = []

    async def reads_of(self, query: ViolationQuery) -> Sequence[tuple[Statement, Args]]:
        """All that a new repository reads for this page, but for the number of violations."""
        self._noted.clear()
        await SqlRecordRepo(self).violations(query)
        return self._noted[-2:] if violation_pages.has_range(query) else self._noted[-1:]

    async def read(self, statement: Statement, executions: Sequence[Args]) -> Sequence[Row]:
        self._noted += [(statement, args) for args in executions]
        return await self._inner.read(statement, executions)

    def at_one_moment(self) -> AbstractAsyncContextManager[MomentReader]:
        return self._inner.at_one_moment()

    @property
    def form(self) -> DatabaseForm:
        return self._inner.form

    async def is_blank(self) -> bool:
        return await self._inner.is_blank()

    async def load(self, chunks: AsyncIterator[bytes], loading: Loading) -> None:
        await self._inner.load(chunks, loading)

    async def write(self, write: Write) -> None:
        await self._inner.write(write)

    async def upgrade(self, *, slow: bool) -> None:
        await self._inner.upgrade(slow=slow)

    async def version(self) -> str | None:
        return await self._inner.version()

    async def aclose(self) -> None:
        await self._inner.aclose()


class Expected:
    """The pages, from all rows in memory."""

    def __init__(self) -> None:
        order = sorted(violation_rows(ROWS), key=lambda row: (-row[_TIME], row[_ID]))
        self._columns = {
            name: np.array([row[COLUMNS.index(name)] for row in order])
            for name in (*_EQUAL, "violation_id", "confidence", "occurred_at")
        }

    def page(self, query: ViolationQuery) -> Sequence[str]:
        """The ids of a page."""
        ids: Sequence[str] = self._columns["violation_id"][self._meets(query)].tolist()
        return ids[: query.limit]

    def _meets(self, query: ViolationQuery) -> Any:
        at, confidence = self._columns["occurred_at"], self._columns["confidence"]
        meets = np.ones(ROWS, dtype=bool)
        for name in _EQUAL:
            if (value := getattr(query, name)) is not None:
                meets &= self._columns[name] == value
        if query.min_confidence is not None:
            meets &= confidence >= query.min_confidence
        if query.max_confidence is not None:
            meets &= confidence <= query.max_confidence
        if query.start_time is not None:
            meets &= at >= rows.micros(query.start_time)
        if query.end_time is not None:
            meets &= at < rows.micros(query.end_time)
        if query.after is not None:
            last = rows.micros(query.after.at)
            follows = self._columns["violation_id"] > query.after.row_id
            meets &= (at < last) | ((at == last) & follows)
        return meets


_ID, _TIME = COLUMNS.index("violation_id"), COLUMNS.index("occurred_at")
_EQUAL = ("device_id", "violation_type", "vehicle_class")


@pytest.fixture(scope="module")
def expected() -> Expected:
    return Expected()


@pytest.fixture(scope="module")
def sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A full catalogue."""
    path = tmp_path_factory.mktemp("filled") / "catalogue.sqlite3"
    asyncio.run(_upgrade(sqlite_repo(SqliteSettings(path))))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("BEGIN")
        for table, made in _tables():
            filled = list(made)
            marks = ", ".join("?" for _ in filled[0])
            connection.executemany(f"INSERT INTO {table} VALUES ({marks})", filled)
        connection.execute("INSERT INTO usage_total VALUES (0, 'violation', ?, 0)", (ROWS,))
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


def _tables() -> Iterable[tuple[str, Iterator[Args]]]:
    return (("file", metadata_files(1)), ("violation", violation_rows(ROWS)))


async def _upgrade(repo: RecordRepo) -> None:
    await repo.upgrade()
    await repo.aclose()


async def _fill(database: Database) -> None:
    connection = await asyncpg.connect(database.dsn)
    for table, made in _tables():
        await connection.copy_records_to_table(table, records=made)
    await connection.execute(f"INSERT INTO usage_total VALUES (0, 'violation', {ROWS}, 0)")
    await connection.execute("VACUUM ANALYZE violation")
    await connection.close()


def test_a_higher_confidence_is_in_no_lower_band() -> None:
    bands = [confidence_band(number / 1000) for number in range(1001)]
    assert bands == sorted(bands)
    assert (bands[0], bands[-1]) == (0, CONFIDENCE_BANDS - 1)


def test_the_queries_take_every_kind_of_plan() -> None:
    used = {violation_pages.page(asked.query)[0] for asked in ASKED}
    assert used & set(violation_pages.MERGED.values())
    assert used >= {
        violation_pages.IN_ORDER[given, False]
        for given in violation_pages.IN_TIME
        if given.count < 3
    }


class TestSqlite:
    async def test_every_page_is_right(self, sqlite_file: Path, expected: Expected) -> None:
        repo = sqlite_repo(SqliteSettings(sqlite_file, timeout_seconds=PATIENT_SECONDS))
        async with aclosing(repo):
            await _check_pages(repo, expected)

    async def test_every_page_costs_little_more_than_a_plain_one(self, sqlite_file: Path) -> None:
        settings = SqliteSettings(sqlite_file, timeout_seconds=PATIENT_SECONDS)
        async with aclosing(Recording(SqliteDriver(settings))) as driver:
            with closing(sqlite3.connect(sqlite_file)) as connection:
                for asked in ASKED:
                    reads = await driver.reads_of(asked.query)
                    steps = sum(_steps(connection, *read) for read in reads)
                    assert steps < MOST_STEPS, asked


class TestPostgres:
    async def test_every_page_is_right(
        self, postgres_settings: PostgresSettings, expected: Expected
    ) -> None:
        async with aclosing(postgres_repo(postgres_settings)) as repo:
            await _check_pages(repo, expected)

    async def test_every_page_costs_little_more_than_a_plain_one(
        self, postgres_settings: PostgresSettings
    ) -> None:
        async with (
            aclosing(Recording(PostgresDriver(postgres_settings))) as driver,
            _connection(postgres_settings) as connection,
        ):
            for asked in ASKED:
                costs = [
                    await _cost(connection, statement, args)
                    for statement, args in await driver.reads_of(asked.query)
                ]
                assert sum(cost.blocks for cost in costs) < MOST_BLOCKS, asked
                assert sum(cost.rows for cost in costs) < MOST_ROWS, asked

    @pytest.mark.parametrize("is_filled", [False, True])
    async def test_each_statement_uses_its_index(
        self, postgres: PostgresAddress, postgres_settings: PostgresSettings, *, is_filled: bool
    ) -> None:
        """Also one that was planned when the table was empty."""
        with postgres.temporary_database() as database:
            empty = adapter_settings.postgres_settings(database)
            await _upgrade(postgres_repo(empty))
            async with _connection(postgres_settings if is_filled else empty) as connection:
                for index, statement in _index_and_statement():
                    assert await _indexes(connection, statement) == {index}


def _index_and_statement() -> Iterable[tuple[str, Statement]]:
    for (given, _), statement in violation_pages.IN_ORDER.items():
        # Of three columns PostgreSQL takes those two that it thinks the better.
        if given.count == 3:
            continue
        yield violation_pages.IN_TIME[given], statement
    for (given, _), statement in violation_pages.MERGED.items():
        yield violation_pages.BY_BAND[given], statement
    for statement in (violation_pages.RANGE_SIZE, *violation_pages.RARE.values()):
        yield "violation_confidence_idx", statement


async def _check_pages(repo: SqlRecordRepo, expected: Expected) -> None:
    for query in (*(asked.query for asked in ASKED), *TRIPLES):
        page = await repo.violations(query)
        assert [found.violation_id for found in page.items] == expected.page(query), query
        if page.next is not None:
            following = attrs.evolve(query, after=page.next, limit=3)
            found = await repo.violations(following)
            assert [one.violation_id for one in found.items] == expected.page(following), query


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


@asynccontextmanager
async def _connection(settings: PostgresSettings) -> AsyncIterator[Connection]:
    """A connection as the driver makes them."""
    async with aclosing(PostgresDriver(settings)) as driver:
        deadline = asyncio.get_running_loop().time() + PATIENT_SECONDS
        async with driver._readers.lease(deadline) as connection:
            yield connection


async def _cost(connection: Connection, statement: Statement, args: Args) -> Cost:
    plan = await _plan(connection, statement, args, "ANALYZE, TIMING OFF, ")
    read = sum(
        (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        for node in _nodes(plan)
        if "Index Name" in node
    )
    return Cost(int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]), int(read))


async def _indexes(connection: Connection, statement: Statement) -> set[str]:
    """The indexes of a plan, but for the one by which rows are looked up; no table is scanned."""
    nodes = [*_nodes(await _plan(connection, statement, (None,) * len(statement.names)))]
    assert not [node for node in nodes if node["Node Type"] == "Seq Scan"]
    return {node["Index Name"] for node in nodes if "Index Name" in node} - {"violation_pkey"}


async def _plan(
    connection: Connection, statement: Statement, args: Args, how: str = ""
) -> Mapping[str, Any]:
    text = statement.text(POSTGRES)
    given = ", ".join(_literal(value) for value in text.arrange(args))
    await connection.execute(f"PREPARE looked_at AS {text.sql}", timeout=PATIENT_SECONDS)
    explain = f"EXPLAIN ({how}FORMAT JSON) EXECUTE looked_at({given})"
    found = await connection.fetch(explain, timeout=PATIENT_SECONDS)
    await connection.execute("DEALLOCATE looked_at", timeout=PATIENT_SECONDS)
    plan: Mapping[str, Any] = json.loads(found[0][0])[0]["Plan"]
    return plan


def _nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)


def _literal(value: object) -> str:
    return "NULL" if value is None else f"'{value}'" if isinstance(value, str) else str(value)
