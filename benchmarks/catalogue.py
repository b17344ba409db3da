"""`python -m benchmarks.catalogue [--rows N]`: the cost of the catalogue's rows on both databases.

Inserts N violations (10⁶ by default), each with its metadata file in two stores. Prints the bytes
per row with indexes, and the plan and the time of a page of files for every set of filters. Deletes
the databases at the end.
"""

import argparse
import asyncio
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy.engine.interfaces import Dialect

from benchmarks import data
from benchmarks.filled import batches
from tests.support.adapter_settings import PATIENT_SECONDS, postgres_settings
from tests.support.servers import PostgresServer
from traffic_storage.adapters.record_repo.sql import file_pages
from traffic_storage.adapters.record_repo.sql.pool import DIALECT as POSTGRES
from traffic_storage.adapters.record_repo.sql.postgres import postgres_repo
from traffic_storage.adapters.record_repo.sql.postgres_opening import PLANNER, pass_uuids_as_bytes
from traffic_storage.adapters.record_repo.sql.repo import SqlRecordRepo
from traffic_storage.adapters.record_repo.sql.sqlite import DIALECT as SQLITE
from traffic_storage.adapters.record_repo.sql.sqlite import SqliteSettings, sqlite_repo
from traffic_storage.adapters.record_repo.sql.statement import Args, Value
from traffic_storage.domain.files import FileKind, FileState, Tier
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.identity import RegisteredStore
from traffic_storage.domain.query import FilesQuery
from traffic_storage.entrypoints.testing.units import NOON
from traffic_storage.ports.record_repo import RecordRepo

_TABLES = ("file", "replica", "violation")
_ROUNDS = 30
_POSTGRES_SIZES = """
    SELECT relname, pg_table_size(oid), pg_indexes_size(oid) FROM pg_class
    WHERE relkind = 'r' AND relname = ANY($1)
"""
_POSTGRES_INDEXES = """
    SELECT tablename || '.' || indexname, pg_relation_size(indexname::regclass) FROM pg_indexes
    WHERE tablename = ANY($1) ORDER BY 1
"""
_SQLITE_SIZES = """
    SELECT m.tbl_name, m.name, sum(s.pgsize) FROM dbstat s JOIN sqlite_schema m ON m.name = s.name
    WHERE m.tbl_name IN ('file', 'replica', 'violation') GROUP BY 1, 2 ORDER BY 1, 2
"""


def main() -> None:
    """Fill both databases and print the costs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_sqlite(Path(folder) / "catalogue.sqlite3", rows))
    server = PostgresServer()
    try:
        server.start()
        asyncio.run(_postgres(server, rows))
    finally:
        server.close()


async def _sqlite(path: Path, rows: int) -> None:
    repo = sqlite_repo(SqliteSettings(path, PATIENT_SECONDS))
    stores = await _prepared(repo)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        for table, batch in batches(stores, rows):
            marks = ", ".join("?" * len(table.columns))
            connection.executemany(f"INSERT INTO {table.name} VALUES ({marks})", batch)
            connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        print(f"\nSQLite {sqlite3.sqlite_version}, {rows:,} violations")
        try:
            _print_sizes(connection.execute(_SQLITE_SIZES).fetchall(), rows)
        except sqlite3.OperationalError:
            (pages,), (page,) = (
                connection.execute(f"PRAGMA {name}").fetchone()
                for name in ("page_count", "page_size")
            )
            size = pages * page / rows
            print(f"  {size:.0f} bytes a violation with its file and two replicas, all together")
        plans = {}
        for query in _queries(rows):
            text, args = _text(query, SQLITE)
            steps = connection.execute(f"EXPLAIN QUERY PLAN {text}", args)
            plans[query] = [step[3] for step in steps]
    await _print_pages(repo, plans)
    await repo.aclose()


async def _postgres(server: PostgresServer, rows: int) -> None:
    database = server.create_database()
    repo = postgres_repo(postgres_settings(database))
    stores = await _prepared(repo)
    connection = await asyncpg.connect(database.dsn)
    await pass_uuids_as_bytes(connection)
    for table, batch in batches(stores, rows):
        names = [column.name for column in table.columns]
        await connection.copy_records_to_table(table.name, records=batch, columns=names)
    await connection.execute("VACUUM ANALYZE", timeout=3600)
    print(
        f"\n{(await connection.fetchval('SELECT version()')).split(' on ')[0]}, {rows:,} violations"
    )
    sizes = await connection.fetch(_POSTGRES_SIZES, _TABLES)
    indexes = await connection.fetch(_POSTGRES_INDEXES, _TABLES)
    own = [(name, f"{name} (table)", size) for name, size, _ in sizes]
    _print_sizes(
        own + [(name.split(".")[0], name.split(".")[1], size) for name, size in indexes], rows
    )
    for name, value in PLANNER.items():
        await connection.execute(f"SET {name} = {value}")
    plans = {}
    for query in _queries(rows):
        text, args = _text(query, POSTGRES)
        await connection.execute(f"PREPARE page AS {text}")
        steps = await connection.fetch(f"EXPLAIN EXECUTE page({', '.join(map(_literal, args))})")
        await connection.execute("DEALLOCATE page")
        plans[query] = [step[0].strip() for step in steps if " on " in step[0]]
    await connection.close()
    await _print_pages(repo, plans)
    await repo.aclose()


async def _prepared(repo: RecordRepo) -> Sequence[int]:
    """Make the tables and register two stores; return their numbers."""
    await repo.upgrade()
    for tier, location in ((Tier.LOCAL, "/evidence"), (Tier.CLOUD, "endpoint/bucket")):
        await repo.register(RegisteredStore(StoreId(f"{tier}-{_STORE}"), tier, location, NOON))
    return 1, 2


_STORE = "0197a3f4-ea00-7114-a498-5e2260ab06e8"


def _print_sizes(found: Iterable[tuple[str, str, int]], rows: int) -> None:
    total: dict[str, int] = {}
    for table, name, size in found:
        total[table] = total.get(table, 0) + size
        print(f"  {name:40} {size / rows:8.1f} bytes a violation")
    for table, size in sorted(total.items()):
        print(f"  {table + ' with indexes':40} {size / rows:8.1f}")
    both = total["file"] + total["replica"]
    print(f"  {'a file with two replicas and indexes':40} {both / rows:8.1f}")


def _queries(rows: int) -> Iterator[FilesQuery]:
    """Yield a query for every set of filters, from the newest file and from the middle."""
    middle = data.moment(rows // 2)
    given: Mapping[str, Sequence[Any]] = {
        "kind": (None, FileKind.METADATA, FileKind.VIDEO),
        "device_id": (None, data.device(7)),
        "violation_id": (None, data.violation_id(rows // 3)),
        "state": (FileState.AVAILABLE, FileState.TOMBSTONED),
        "end_time": (None, middle),
        "start_time": (None, middle - timedelta(days=1)),
    }
    for values in product(*given.values()):
        yield FilesQuery(**dict(zip(given, values, strict=True)))


def _text(query: FilesQuery, dialect: Dialect) -> tuple[str, Args]:
    statement, (args,) = file_pages.page(query)
    text = statement.text(dialect)
    return text.sql, text.arrange(args)


def _literal(value: Value) -> str:
    if value is None:
        return "NULL"
    return f"'{value}'" if isinstance(value, str) else str(value)


async def _print_pages(repo: SqlRecordRepo, plans: Mapping[FilesQuery, Sequence[str]]) -> None:
    """Measure a page of each query, in turns, and print it with its plan."""
    times: dict[FilesQuery, list[float]] = {query: [] for query in plans}
    for _ in range(_ROUNDS + 1):
        for query, own in times.items():
            start = time.perf_counter()
            await repo.files(query)
            own.append((time.perf_counter() - start) * 1000)
    # The first round fills caches and prepares statements; the first query is the plain page.
    measured = {query: sorted(own[1:]) for query, own in times.items()}
    plain = statistics.median(next(iter(measured.values())))
    for query, own in measured.items():
        filters = {name: str(value) for name, value in _filters(query).items()}
        median = statistics.median(own)
        print(
            f"  median {median:6.2f} ms ({median / plain:4.1f} x plain page), worst"
            f" {own[-1]:6.2f}: {len((await repo.files(query)).items):3} {query.state} {filters}"
        )
        for step in plans[query]:
            print(f"              {step}")
    worst = max(own[-1] for own in measured.values())
    slowest = max(map(statistics.median, measured.values()))
    print(
        f"  {len(measured)} queries, {_ROUNDS} times each: plain page {plain:.2f} ms; slowest median"
        f" {slowest / plain:.1f} x, worst single execution {worst / plain:.1f} x"
    )


def _filters(query: FilesQuery) -> Mapping[str, object]:
    names = ("kind", "device_id", "violation_id", "start_time", "end_time")
    given = {name: getattr(query, name) for name in names}
    return {name: value for name, value in given.items() if value is not None}


if __name__ == "__main__":
    main()
