"""`python -m benchmarks.pages`: the cost of a page of violations for each combination of filters.

Fills both databases (`--rows`) with violations whose columns correlate with each other and with the
time. Then reads pages with every filter and every pair of filters, from the newest violation and
from the middle of the time range. A line of the table has the slowest query of its combination, and
the 99th percentile of all executions of the combination.
"""

import argparse
import asyncio
import shutil
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from itertools import groupby, islice
from pathlib import Path
from statistics import median

import asyncpg
from attrs import frozen

from tests.support.adapter_settings import postgres_settings
from tests.support.servers import Database, PostgresServer
from tests.support.violations import COLUMNS, Asked, queries, violation_rows
from traffic_storage.adapters.record_repo.sql import violation_pages
from traffic_storage.adapters.record_repo.sql.postgres import postgres_repo
from traffic_storage.adapters.record_repo.sql.repo import SqlRecordRepo
from traffic_storage.adapters.record_repo.sql.sqlite import SqliteSettings, sqlite_repo
from traffic_storage.domain.query import ViolationQuery

_BATCH = 50_000
_PATIENT_SECONDS = 60.0
_HARD = {"shared_buffers": "1GB", "maintenance_work_mem": "1GB", "max_wal_size": "8GB"}
_NO_FILTER = violation_pages.Equalities()


@frozen
class Measured:
    """The cost of a query."""

    asked: Asked
    plan: str
    seconds: Sequence[float]

    @property
    def median(self) -> float:
        """The median in seconds."""
        return median(self.seconds)


def p99(found: Sequence[Measured]) -> float:
    """Return the 99th percentile of all executions of these queries, in seconds."""
    seconds = sorted(one for measured in found for one in measured.seconds)
    return seconds[int(0.99 * (len(seconds) - 1) + 0.5)]


def fill_sqlite(path: Path, count: int) -> None:
    """Fill a catalogue in SQLite; the files that its violations name do not exist."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        indexes = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'violation'"
            " AND sql IS NOT NULL"
        ).fetchall()
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}")
        marks = ", ".join("?" * len(COLUMNS))
        connection.executemany(f"INSERT INTO violation VALUES ({marks})", violation_rows(count))
        for _, sql in indexes:
            connection.execute(sql)
        connection.execute("INSERT INTO usage_total VALUES (0, 'violation', ?, 0)", (count,))
        connection.commit()


async def fill_postgres(database: Database, count: int) -> None:
    """Fill a catalogue in PostgreSQL; the files that its violations name do not exist."""
    connection = await asyncpg.connect(database.dsn, command_timeout=None)
    indexes = await connection.fetch(
        "SELECT indexname, indexdef FROM pg_indexes"
        " WHERE tablename = 'violation' AND indexname <> 'violation_pkey'"
    )
    keys = await connection.fetch(
        "SELECT conname FROM pg_constraint WHERE conrelid = 'violation'::regclass AND contype = 'f'"
    )
    for (name,) in keys:
        await connection.execute(f"ALTER TABLE violation DROP CONSTRAINT {name}")
    for name, _ in indexes:
        await connection.execute(f"DROP INDEX {name}")
    source = violation_rows(count)
    while batch := list(islice(source, _BATCH)):
        await connection.copy_records_to_table("violation", records=batch, columns=COLUMNS)
    for _, sql in indexes:
        await connection.execute(sql)
    await connection.execute(f"INSERT INTO usage_total VALUES (0, 'violation', {count}, 0)")
    await connection.execute("VACUUM ANALYZE")
    await connection.close()


async def measure(repo: SqlRecordRepo, rounds: int) -> Sequence[Measured]:
    """Measure every query, in turns."""
    asked = list(queries())
    taken: list[list[float]] = [[] for _ in asked]
    for _ in range(rounds + 1):
        for query, own in zip(asked, taken, strict=True):
            start = time.perf_counter()
            await repo.violations(query.query)
            own.append(time.perf_counter() - start)
    # The first round fills caches and prepares statements.
    return [
        Measured(query, await _plan(repo, query.query), own[1:])
        for query, own in zip(asked, taken, strict=True)
    ]


async def _plan(repo: SqlRecordRepo, query: ViolationQuery) -> str:
    """Describe the plan by which a page is read."""
    statement, args = violation_pages.page(query, is_rare=await repo.is_rare(query))
    if statement in violation_pages.RARE.values():
        return "sort of a rare range"
    if statement in violation_pages.MERGED.values():
        bands = len(args) - len(violation_pages.IN_ORDER[_NO_FILTER, False].names)
        return f"merge of {bands} ranges at most"
    return "one range"


def report(name: str, found: Sequence[Measured], *, everything: bool) -> None:
    """Print each combination of filters: its slowest query, and the p99 of all its queries.

    With `everything`, print each query.
    """
    plain = found[0].median
    print(f"\n{name}: the plain page takes {1000 * plain:.2f} ms")
    print(f"{'filters':23} {'median':>7} {'p99':>7} {'ratio':>6} {'p99':>6}  plan: values")
    worst = 0.0
    for _, group in groupby(found, key=lambda one: one.asked.filters):
        combination = list(group)
        worst = max(worst, p99(combination))
        slowest = max(combination, key=lambda one: one.median)
        for one in combination if everything else [slowest]:
            high = p99([one] if everything else combination)
            print(
                f"{one.asked.filters:23} {1000 * one.median:7.2f} {1000 * high:7.2f}"
                f" {one.median / plain:6.1f} {high / plain:6.1f}"
                f"  {one.plan}: {one.asked.values}"
            )
    print(f"The highest p99 of a combination is {worst / plain:.1f} times the plain page.")


@asynccontextmanager
async def in_sqlite(folder: Path, count: int) -> AsyncIterator[SqlRecordRepo]:
    """Provide a filled catalogue in a file."""
    path = folder / "catalogue.sqlite3"
    repo = sqlite_repo(SqliteSettings(path, timeout_seconds=_PATIENT_SECONDS))
    await repo.upgrade()
    await asyncio.to_thread(fill_sqlite, path, count)
    print(f"SQLite: {path.stat().st_size / count:.0f} bytes a violation, with indexes")
    yield repo
    await repo.aclose()


@asynccontextmanager
async def in_postgres(folder: Path, count: int) -> AsyncIterator[SqlRecordRepo]:
    """Provide a filled catalogue on its own server, with the connections of one reader."""
    with PostgresServer(folder, durable=False, settings=_HARD) as server:
        database = server.create_database()
        repo = postgres_repo(postgres_settings(database))
        await repo.upgrade()
        await fill_postgres(database, count)
        sizes = server.address.execute(
            "SELECT relname, pg_relation_size(oid) FROM pg_class"
            " WHERE relname LIKE 'violation%'"
            " AND relkind IN ('r', 'i') ORDER BY 1",
            database.name,
        )
        total = 0
        for line in sizes.splitlines():
            relation, size = line.split("|")
            total += int(size)
            print(f"PostgreSQL: {relation:33} {int(size) / count:6.1f} bytes a violation")
        print(f"PostgreSQL: {total / count:.0f} bytes a violation, with indexes")
        yield repo
        await repo.aclose()


_PLACES = {"sqlite": in_sqlite, "postgresql": in_postgres}


async def _run(arguments: argparse.Namespace) -> None:
    folder = Path(tempfile.mkdtemp(prefix="pages-", dir=arguments.folder))
    # If this process is root, the server runs as another user.
    folder.chmod(0o711)  # noqa: ASYNC240
    try:
        for name in arguments.databases:
            async with _PLACES[name](folder, arguments.rows) as repo:
                found = await measure(repo, arguments.rounds)
            report(name, found, everything=arguments.all)
    finally:
        if arguments.keep:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder)


def main() -> None:
    """Fill the databases, measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="violations (1,000,000)")
    parser.add_argument("--rounds", type=int, default=20, help="executions of each query (20)")
    parser.add_argument(
        "--databases", nargs="+", choices=_PLACES, default=list(_PLACES), help="both by default"
    )
    parser.add_argument("--folder", help="where to write (default: the temporary folder)")
    parser.add_argument("--keep", action="store_true", help="keep the SQLite file")
    parser.add_argument("--all", action="store_true", help="print every query")
    asyncio.run(_run(parser.parse_args()))


if __name__ == "__main__":
    main()
