"""No statement passes over a large table, on either database.

PostgreSQL plans by what it knows of its tables, here 100,000 rows each; SQLite by the schema alone, as
long as nobody has told it to `ANALYZE`, so that its tables are empty.
"""

import asyncio
import json
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from tests.adapters.record_repo.filling import metadata_files, metadata_replicas
from tests.support import adapter_settings
from tests.support.adapter_settings import PATIENT_SECONDS
from tests.support.servers import Database, PostgresAddress
from tests.support.violations import violation_rows
from traffic_storage.adapters.record_repo.sql import (
    copy_statements,
    deletion_statements,
    event_statements,
    file_pages,
    fixity_statements,
    hold_statements,
    incident_statements,
    job_statements,
    label_statements,
    reconciliation_statements,
    retention_statements,
    rows,
    sample_statements,
    statements,
    violation_pages,
)
from traffic_storage.adapters.record_repo.sql.pool import DIALECT as POSTGRES
from traffic_storage.adapters.record_repo.sql.postgres import (
    PostgresDriver,
    PostgresSettings,
    postgres_repo,
)
from traffic_storage.adapters.record_repo.sql.postgres_opening import pass_uuids_as_bytes
from traffic_storage.adapters.record_repo.sql.sqlite import DIALECT as SQLITE
from traffic_storage.adapters.record_repo.sql.sqlite import (
    SqliteSettings,
    sqlite_repo,
)
from traffic_storage.adapters.record_repo.sql.statement import Args, Statement
from traffic_storage.domain.digests import sha256_of
from traffic_storage.domain.query import Cursor, FilesQuery, ViolationQuery
from traffic_storage.entrypoints.testing.ids import uuid7_at
from traffic_storage.entrypoints.testing.units import NOON
from traffic_storage.ports.record_repo import RecordRepo

ROWS = 100_000
FEW = 20_000
LARGE = {
    "attempt",
    "certificate",
    "deletion",
    "event",
    "file",
    "hold",
    "incident",
    "job",
    # The table of jobs, as statements name it that read it twice.
    "due",
    "mine",
    "quarantine",
    "removal",
    "replica",
    "usage_day",
    "usage_delta",
    "usage_device_day",
    "violation",
}
_DIGEST = sha256_of(b"")
_AT = rows.micros(NOON)

SIGHTINGS = ViolationQuery(
    device_id="cam_001", start_time=NOON, end_time=NOON + timedelta(microseconds=1)
)
BY_RETENTION = {"DUE": "file_keep_until_idx", "RETAINED": "file_kind_time_idx"}
"""Statements that read a batch of files, and the index that has them in order."""

STATEMENTS: dict[str, Statement] = {
    name: found for name, found in vars(statements).items() if isinstance(found, Statement)
} | {
    f"{name} {key}": statement
    for name in ("IN_ORDER", "MERGED", "RARE")
    for key, statement in vars(violation_pages)[name].items()
}
for _module in (
    deletion_statements,
    event_statements,
    fixity_statements,
    hold_statements,
    incident_statements,
    job_statements,
    label_statements,
    reconciliation_statements,
    retention_statements,
    sample_statements,
):
    STATEMENTS |= {
        f"{_module.__name__.rpartition('.')[2]} {name}": found
        for name, found in vars(_module).items()
        if isinstance(found, Statement)
    }
STATEMENTS |= {f"holds, active {active}": found for active, found in hold_statements.PAGES.items()}
STATEMENTS |= {f"incidents {filters}": one for filters, one in incident_statements.PAGES.items()}
STATEMENTS["OLDEST_IN"] = copy_statements.OLDEST_IN
STATEMENTS |= {f"jobs {filters}": statement for filters, statement in job_statements.PAGES.items()}
STATEMENTS |= {f"files {filters}": statement for filters, statement in file_pages._PAGES.items()}


def _attempts() -> Iterator[Args]:
    for n in range(ROWS):
        yield f"attempt-{n}", "test", _AT + n, "[]", False


def _deletions() -> Iterator[Args]:
    for n in range(ROWS):
        yield (f"V{n}~metadata", uuid7_at(NOON).bytes, _AT, _AT + n, None, False, "", "", None)


def _removals() -> Iterator[Args]:
    for n in range(ROWS):
        yield uuid7_at(NOON).bytes, f"V{n}~metadata", _AT, "deleted"


def _certificates() -> Iterator[Args]:
    for n in range(ROWS):
        yield f"V{n}~metadata", _AT, bytes(32), "{}"


def _events() -> Iterator[Args]:
    for n in range(ROWS):
        yield n + 1, _AT, "stored", f"V{n}~metadata", None, "{}"


def _holds() -> Iterator[Args]:
    """Nine of ten are released; a third each on a file, a violation, and a device and time."""
    for n in range(FEW):
        released = (_AT + n, "ana", "closed") if n % 10 else (None, None, None)
        on = [(f"V{n}~metadata", None, None), (None, f"V{n}", None), (None, None, f"cam-{n}")][
            n % 3
        ]
        spans = (_AT, _AT + n) if n % 3 == 2 else (None, None)
        yield (
            *(n.to_bytes(16, "big"), _AT + n, None, released[0], *spans, False, *on),
            *(None, None, "C-1", "trial", "judge", *released[1:]),
        )


def _deltas() -> Iterator[Args]:
    """Changes of counters that are in the totals already."""
    for n in range(FEW):
        yield n + 1, 20_000 + n % 90, n % 3, "image", f"camera-{n % 50}", 1, 1000, False


def _incidents() -> Iterator[Args]:
    for n in range(ROWS):
        closed_at = _AT if n % 10 else None
        names = bytes(16), "corrupt_replica", f"file-{n}", "local-1"
        yield n.to_bytes(16, "big"), _AT + n, closed_at, *names, "flipped", "ana", "restored"


def _jobs() -> Iterator[Args]:
    """Jobs that wait for a store of another host, running ones, and ended ones."""
    for n in range(ROWS):
        state = ("ready", "ready", "running", "done", "dead")[n % 5]
        lease = _AT if state == "running" else None
        ended = _AT + n if state in {"done", "dead"} else None
        key = f"key-{n}" if n % 2 else None
        yield (
            *(uuid4().bytes, _AT + n, _AT + n, lease, ended),
            *(0, None, 0, 1, 0, 8, False, uuid4().bytes if lease else None),
            *(f"kind-{n % 7}", state, key, "disk", None, "", "", "{}", None),
        )


TABLES: Mapping[str, Callable[[], Iterator[Args]]] = {
    "file": lambda: metadata_files(ROWS),
    "replica": lambda: metadata_replicas(ROWS),
    "violation": lambda: violation_rows(ROWS),
    "attempt": _attempts,
    "deletion": _deletions,
    "removal": _removals,
    "certificate": _certificates,
    "event": _events,
    "hold": _holds,
    "incident": _incidents,
    "job": _jobs,
    "usage_delta": _deltas,
}
_FOLDED = f"UPDATE usage_fold SET watermark = {FEW}"
_STORE: Args = ("local-1", "local", "here", _AT, None, None, None, None, 1, 0, False)


@pytest.fixture(scope="module")
def sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty catalogue."""
    path = tmp_path_factory.mktemp("empty") / "catalogue.sqlite3"
    asyncio.run(_upgrade(sqlite_repo(SqliteSettings(path))))
    with closing(sqlite3.connect(path)) as connection:
        analyzed = "SELECT name FROM sqlite_master WHERE name LIKE 'sqlite_stat%'"
        assert not connection.execute(analyzed).fetchall()
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
    await pass_uuids_as_bytes(connection)
    await connection.copy_records_to_table("store", records=[_STORE])
    for table, made in TABLES.items():
        await connection.copy_records_to_table(table, records=made())
    await connection.execute(_FOLDED)
    await connection.execute("ANALYZE")
    await connection.close()


def _fill_sqlite(connection: sqlite3.Connection) -> None:
    """Fill the large tables that pages, comparisons and totals read."""
    made = {
        "store": [_STORE],
        "file": metadata_files(FEW),
        "replica": metadata_replicas(FEW),
        "violation": violation_rows(FEW),
        "usage_delta": _deltas(),
    }
    for table, found in made.items():
        first, *more = found
        marks = ", ".join("?" for _ in first)
        connection.executemany(f"INSERT INTO {table} VALUES ({marks})", [first, *more])
    connection.execute(_FOLDED)
    connection.commit()


class TestSqlite:
    def test_no_statement_scans_a_large_table(self, sqlite_file: Path) -> None:
        with closing(sqlite3.connect(sqlite_file)) as connection:
            connection.create_function(statements.IS_UNWRITABLE, 0, lambda: False)
            for name, statement in STATEMENTS.items():
                sql = statement.text(SQLITE).sql
                arguments = (None,) * sql.count("?")
                plan = connection.execute(f"EXPLAIN QUERY PLAN {sql}", arguments).fetchall()
                steps = [str(step[3]) for step in plan]
                assert not [step for step in steps if _scanned(step) in LARGE], (name, steps)

    def test_the_oldest_replicas_are_read_in_order_along_an_index(self, sqlite_file: Path) -> None:
        """Otherwise a page would read and sort all replicas of the store."""
        with closing(sqlite3.connect(sqlite_file)) as connection:
            sql = copy_statements.OLDEST_IN.text(SQLITE).sql
            arguments = (None,) * sql.count("?")
            plan = connection.execute(f"EXPLAIN QUERY PLAN {sql}", arguments).fetchall()
            steps = [str(step[3]) for step in plan]
        index = "SEARCH mine USING INDEX replica_age_idx (store=? AND replica_id>?)"
        assert index in steps, steps

    def test_duplicates_are_one_range_of_an_index(self, sqlite_file: Path) -> None:
        """The violations of a device at one time, which `Sightings` asks for."""
        with closing(sqlite3.connect(sqlite_file)) as connection:
            sql = violation_pages.page(SIGHTINGS)[0].text(SQLITE).sql
            plan = connection.execute(f"EXPLAIN QUERY PLAN {sql}", (None,) * sql.count("?"))
            steps = [str(step[3]) for step in plan.fetchall()]
        bounds = "(device_id=? AND occurred_at>? AND occurred_at<?)"
        assert steps == [f"SEARCH violation USING INDEX violation_device_time_idx {bounds}"]

    def test_files_are_read_by_their_retention_along_an_index(self, sqlite_file: Path) -> None:
        """Otherwise a batch of a plan, or of a walk after other rules, would sort all files."""
        with closing(sqlite3.connect(sqlite_file)) as connection:
            for name, index in BY_RETENTION.items():
                sql = getattr(retention_statements, name).text(SQLITE).sql
                plan = connection.execute(
                    f"EXPLAIN QUERY PLAN {sql}", (None,) * sql.count("?")
                ).fetchall()
                steps = [str(step[3]) for step in plan]
                assert [
                    one for one in steps if one.startswith(f"SEARCH file USING INDEX {index} (")
                ]
                # Only the batch is sorted again, after the violations were looked up.
                assert len([one for one in steps if "TEMP B-TREE" in one]) <= 1, steps

    def test_a22_pages_scans_and_totals_cost_the_same_at_any_depth(
        self, sqlite_file: Path, tmp_path: Path
    ) -> None:
        """In steps of the database's machine, so that no other load matters."""
        deep = FEW * 9 // 10
        with closing(sqlite3.connect(shutil.copy(sqlite_file, tmp_path))) as connection:
            _fill_sqlite(connection)

            def cost(statement: Statement, args: Args) -> tuple[int, int]:
                """The steps of a statement, and the number of its rows."""
                steps = 0

                def count() -> int:
                    nonlocal steps
                    steps += 1
                    return 0

                text = statement.text(SQLITE)
                connection.set_progress_handler(count, 10)
                found = connection.execute(text.sql, text.arrange(args)).fetchall()
                connection.set_progress_handler(None, 0)
                return steps, len(found)

            def nth(columns: str, table: str, order: str) -> Any:
                query = f"SELECT {columns} FROM {table} ORDER BY {order} LIMIT 1 OFFSET {deep}"
                return connection.execute(query).fetchone()

            at, name = nth("occurred_at, violation_id", "violation", "occurred_at DESC")
            behind = Cursor(rows.moment(at), name)
            of_violations = [violation_pages.page(ViolationQuery(after=a)) for a in (None, behind)]
            at, name = nth("created_at, file_id", "file", "created_at DESC")
            of_files = [
                (statement, args)
                for after in (None, Cursor(rows.moment(at), name))
                for statement, (args,) in [file_pages.page(FilesQuery(after=after))]
            ]
            ids = bytes(16), nth("replica_id", "replica", "replica_id")[0]
            ends = [(reconciliation_statements.RANGE_END, (one, 1000, 999)) for one in ids]
            orphans = []
            for statement, args in ends:
                (last,) = connection.execute(
                    (text := statement.text(SQLITE)).sql, text.arrange(args)
                ).fetchone()
                orphans.append((reconciliation_statements.RECORDED, (args[0], last, "local-1")))
            for first, later in (of_violations, of_files, ends, orphans):
                (begin, count), (end, same) = cost(*first), cost(*later)
                assert count == same > 0
                assert end < 1.5 * begin + 20, later
                assert begin < FEW / 2
            totals, _ = cost(statements.USAGE, ())
            assert totals < 100


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

    async def test_the_oldest_replicas_are_read_in_order_along_an_index(
        self, postgres_settings: PostgresSettings
    ) -> None:
        sql = copy_statements.OLDEST_IN.text(POSTGRES).sql
        plan = await self._plan(postgres_settings, sql, ["NULL"] * 3)
        (limited,) = [node for node in _nodes(plan) if node["Node Type"] == "Limit"]
        inside = [node.get("Index Name") or node["Node Type"] for node in _nodes(limited)]
        assert "replica_age_idx" in inside, plan
        assert "Sort" not in inside, plan

    async def test_duplicates_are_one_range_of_an_index(
        self, postgres_settings: PostgresSettings
    ) -> None:
        sql = violation_pages.page(SIGHTINGS)[0].text(POSTGRES).sql
        count = max(map(int, re.findall(r"\$(\d+)", sql)))
        plan = await self._plan(postgres_settings, sql, ["NULL"] * count)
        (scan,) = [node for node in _nodes(plan) if node.get("Relation Name") == "violation"]
        assert scan["Index Name"] == "violation_device_time_idx", plan
        assert "occurred_at" in scan["Index Cond"], plan
        assert "Sort" not in [node["Node Type"] for node in _nodes(plan)], plan

    async def test_every_page_of_files_is_read_in_order_along_an_index(
        self, postgres_settings: PostgresSettings
    ) -> None:
        """Otherwise a page would read and sort all files that match."""
        for filters, statement in file_pages._PAGES.items():
            sql = statement.text(POSTGRES).sql
            count = max(map(int, re.findall(r"\$(\d+)", sql)))
            plan = await self._plan(postgres_settings, sql, ["NULL"] * count)
            scans = [node for node in _nodes(plan) if node.get("Relation Name") == "file"]
            assert len(scans) == (1 if filters.kind or filters.violation else 3), filters
            for scan in scans:
                assert scan["Node Type"] == "Index Scan", (filters, plan)
                assert scan["Scan Direction"] == "Backward", (filters, plan)
                if filters.violation:
                    assert scan["Index Name"] == "file_violation_id_idx", (filters, plan)

    async def test_files_are_read_by_their_retention_along_an_index(
        self, postgres_settings: PostgresSettings
    ) -> None:
        """Otherwise a batch of a plan, or of a walk after other rules, would sort all files."""
        for name, index in BY_RETENTION.items():
            sql = getattr(retention_statements, name).text(POSTGRES).sql
            count = max(map(int, re.findall(r"\$(\d+)", sql)))
            plan = await self._plan(postgres_settings, sql, ["NULL"] * count)
            (scan,) = [node for node in _nodes(plan) if node.get("Relation Name") == "file"]
            assert (scan["Node Type"], scan["Index Name"]) == ("Index Scan", index), plan
            assert not _sorts_above(plan, scan), plan

    async def test_due_copies_are_read_in_order_along_an_index(
        self, postgres_settings: PostgresSettings
    ) -> None:
        """Otherwise a page of copies that were never verified would sort all of them."""
        for statement in (fixity_statements.NEVER_VERIFIED, fixity_statements.VERIFIED_BEFORE):
            sql = statement.text(POSTGRES).sql
            count = max(map(int, re.findall(r"\$(\d+)", sql)))
            plan = await self._plan(postgres_settings, sql, ["NULL"] * count)
            (scan,) = [node for node in _nodes(plan) if node.get("Relation Name") == "replica"]
            assert scan["Index Name"] == "replica_verified_at_idx", plan
            assert not _sorts_above(plan, scan), plan

    async def _plan(
        self, settings: PostgresSettings, sql: str, given: Sequence[str]
    ) -> Mapping[str, Any]:
        """The plan on a connection as the driver makes them."""
        driver = PostgresDriver(settings)
        deadline = asyncio.get_running_loop().time() + PATIENT_SECONDS
        arguments = f"({', '.join(given)})" if given else ""
        async with driver._readers.lease(deadline) as connection:
            await connection.execute(f"PREPARE looked_at AS {sql}", timeout=PATIENT_SECONDS)
            explain = f"EXPLAIN (FORMAT JSON) EXECUTE looked_at{arguments}"
            found = await connection.fetch(explain, timeout=PATIENT_SECONDS)
        await driver.aclose()
        plan: Mapping[str, Any] = json.loads(found[0][0])[0]["Plan"]
        return plan


def _scanned(step: str) -> str:
    found = re.match(r"SCAN (\w+)", step)
    return found[1] if found else ""


def _sorts_above(plan: Mapping[str, Any], scan: Mapping[str, Any]) -> bool:
    """Whether rows of a scan are sorted before a limit."""
    limits = [node for node in _nodes(plan) if node["Node Type"] == "Limit"]
    innermost = [node for node in limits if any(below is scan for below in _nodes(node))][-1]
    return any("Sort" in node["Node Type"] for node in _nodes(innermost))


def _nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)
