"""`python -m benchmarks.export [--rows N]`: exports of violations beside PostgreSQL's COPY TO.

Fills both databases (10⁶ violations by default). Then, in turns, COPY writes the columns of an
export as they are stored, in the order of an export, to a file, and a new process exports all
violations. `copy` is PostgreSQL's time over ours; `memory` is the peak of the process over its
memory after a small export. With `--read-back`, another process reads the last file of each format
(csv, orjson, pyarrow, openpyxl) and compares each cell with the catalogue.
"""

import argparse
import asyncio
import csv
import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import TypeAlias

import asyncpg
import openpyxl
import orjson
import pyarrow.parquet as pq
from attrs import evolve, frozen

from benchmarks.pages import fill_postgres, fill_sqlite
from benchmarks.process_memory import forget_peak, memory_mb
from tests.support.adapter_settings import postgres_settings
from tests.support.servers import Database, PostgresServer
from traffic_storage.adapters.export_target.local_file import LocalFileTarget
from traffic_storage.adapters.record_repo.sql.postgres import postgres_repo
from traffic_storage.adapters.record_repo.sql.repo import SqlRecordRepo
from traffic_storage.adapters.record_repo.sql.sqlite import SqliteSettings, sqlite_repo
from traffic_storage.application.export import Export, TableRequest
from traffic_storage.domain.query import ViolationQuery
from traffic_storage.domain.tabular import (
    VIOLATION_COLUMNS,
    Batch,
    Cell,
    CellType,
    Column,
    ExportFormat,
    TableForm,
    cell_texts,
    time_in,
    time_text,
)
from traffic_storage.entrypoints.container import open_table
from traffic_storage.ports.export_target import ExportTarget, ExportTargets

Results: TypeAlias = "multiprocessing.Queue[Measured]"
_SPAWN = multiprocessing.get_context("spawn")
_SETTINGS = {"shared_buffers": "1GB", "maintenance_work_mem": "1GB", "max_wal_size": "8GB"}
_PATIENT_SECONDS = 60.0
_COLUMNS = (
    "violation_id, device_id, violation_type, occurred_at, zone_assumed, vehicle_bbox,"
    " vehicle_class, confidence, image_file_id, video_file_id, camera_info, processing_time_ms,"
    " model_versions, received_at, image_state, video_state"
)
_ORDERED = (
    f"SELECT {_COLUMNS} FROM violation WHERE state = 'available'"
    " ORDER BY occurred_at DESC, violation_id"
)


@frozen
class Measured:
    """One export: its seconds, its rows, its bytes, and the growth of the process in MB."""

    seconds: float
    rows: int
    size_bytes: int
    growth_mb: float


class _Files(ExportTargets):
    def open(self, place: str, *, overwrite: bool) -> ExportTarget:
        return LocalFileTarget(Path(place), overwrite=overwrite)


def _repo(database: Database | Path) -> SqlRecordRepo:
    if isinstance(database, Path):
        return sqlite_repo(SqliteSettings(database, _PATIENT_SECONDS, _PATIENT_SECONDS))
    return postgres_repo(postgres_settings(database))


def _export(database: Database | Path, name: str, target: Path, results: Results) -> None:
    results.put(asyncio.run(_measured(database, ExportFormat(name), target)))


async def _measured(database: Database | Path, kind: ExportFormat, target: Path) -> Measured:
    repo = _repo(database)
    export = Export(table=repo, open_table=open_table, targets=_Files())
    small = TableRequest(kind, ViolationQuery(device_id="CAM0042"))
    await export.to_place(small, f"{target}.small", overwrite=True)
    before = memory_mb(os.getpid(), "VmRSS")
    forget_peak(os.getpid())
    start = time.perf_counter()
    done = await export.to_place(TableRequest(kind), str(target), overwrite=True)
    seconds = time.perf_counter() - start
    growth = memory_mb(os.getpid(), "VmHWM") - before
    await repo.aclose()
    return Measured(seconds, done.rows, done.size_bytes, growth)


def _in_own_process(database: Database | Path, name: str, target: Path) -> Measured:
    results = _SPAWN.Queue()
    process = _SPAWN.Process(target=_export, args=(database, name, target, results))
    process.start()
    measured: Measured = results.get()
    process.join()
    return measured


def _compared(database: Database | Path, name: str, target: Path) -> int:
    with _SPAWN.Pool(1) as pool:
        return pool.apply(_compare, (database, name, target))


def _compare(database: Database | Path, name: str, target: Path) -> int:
    """Return how many rows of a file are as the catalogue has them; fail at one that is not."""
    return asyncio.run(_compare_rows(database, ExportFormat(name), target))


async def _compare_rows(database: Database | Path, kind: ExportFormat, target: Path) -> int:
    repo = _repo(database)
    read = _rows_of(kind, target)
    query, count, following = ViolationQuery(), 0, True
    while following:
        page = await repo.table_page(query, VIOLATION_COLUMNS, 2000)
        for expected in _expected(kind, page):
            count += 1
            if (found := next(read)) != expected:
                raise ValueError(f"row {count} is {found}, not {expected}")
        following = page.next is not None
        query = evolve(query, after=page.next)
    if next(read, None) is not None:
        raise ValueError(f"there are more than {count} rows")
    await repo.aclose()
    return count


def _rows_of(kind: ExportFormat, target: Path) -> Iterator[tuple[object, ...]]:
    match kind:
        case ExportFormat.CSV:
            with target.open(newline="", encoding="utf-8") as file:
                reader = csv.reader(file)
                next(reader)
                yield from map(tuple, reader)
        case ExportFormat.NDJSON | ExportFormat.GEOJSON:
            with target.open("rb") as file:
                for line in file:
                    if line.startswith(b'{"type":"FeatureCollection"') or line == b"]}\n":
                        continue
                    value = orjson.loads(line.rstrip(b",\n"))
                    yield tuple(value.get("properties", value).values())
        case ExportFormat.PARQUET:
            for batch in pq.ParquetFile(target).iter_batches(2000):
                yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
        case ExportFormat.XLSX:
            with target.open("rb") as file:
                sheet = openpyxl.load_workbook(file, read_only=True).worksheets[0]
                for row in sheet.iter_rows(min_row=2, values_only=True):
                    yield tuple(map(_to_the_millisecond, row))


def _expected(kind: ExportFormat, page: Batch) -> Iterator[tuple[object, ...]]:
    columns = zip(VIOLATION_COLUMNS, page.columns, strict=True)
    return zip(*(_values(kind, column, cells) for column, cells in columns), strict=True)


def _values(kind: ExportFormat, column: Column, cells: Sequence[Cell]) -> Sequence[object]:
    at, form = time_in(TableForm().zone), TableForm()
    match kind, column.type:
        case ExportFormat.CSV, _:
            return [text or "" for text in cell_texts(column, cells, form)]
        case ExportFormat.PARQUET, CellType.TIME:
            return [None if cell is None else at(int(cell)) for cell in cells]
        case ExportFormat.NDJSON | ExportFormat.GEOJSON, CellType.TIME:
            return [None if cell is None else time_text(at(int(cell))) for cell in cells]
        case ExportFormat.NDJSON | ExportFormat.GEOJSON, CellType.JSON:
            return [None if cell is None else orjson.loads(str(cell)) for cell in cells]
        case ExportFormat.XLSX, CellType.TIME:
            return [cell and _to_the_millisecond(at(int(cell)).astimezone(UTC)) for cell in cells]
        case ExportFormat.XLSX, CellType.NUMBER:
            # A file of xlsxwriter has 16 significant digits of a number.
            return [None if cell is None else float(f"{cell:.16G}") for cell in cells]
        case ExportFormat.XLSX, _:
            return [None if cell == "" else cell for cell in cells]
        case _:
            return cells


def _to_the_millisecond(cell: object) -> object:
    if not isinstance(cell, datetime):
        return cell
    rounded = cell.replace(tzinfo=None) + timedelta(microseconds=500)
    return rounded.replace(microsecond=rounded.microsecond // 1000 * 1000)


async def _copy(database: Database, sql: str, target: Path) -> float:
    connection = await asyncpg.connect(database.dsn)
    try:
        start = time.perf_counter()
        with target.open("wb") as file:
            await connection.copy_from_query(sql, output=file, format="csv", header=True)
            os.fsync(file.fileno())
        return time.perf_counter() - start
    finally:
        await connection.close()


def _say(database: str, name: str, all_measured: list[Measured], copies: list[float]) -> None:
    seconds = median(one.seconds for one in all_measured)
    last = all_measured[-1]
    ratio = f"{median(copies) / seconds:5.2f}" if copies else "    -"
    print(
        f"{database:11} {name:8} {seconds:7.2f} s {last.rows / seconds:10,.0f} rows/s"
        f" {last.size_bytes / 1e6:7.1f} MB   copy {ratio}"
        f"   memory +{max(one.growth_mb for one in all_measured):.0f} MB",
        flush=True,
    )


def _postgres(folder: Path, rows: int, rounds: int, formats: list[str], *, read_back: bool) -> None:
    with PostgresServer(folder, durable=False, settings=_SETTINGS) as server:
        database = server.create_database()
        asyncio.run(_fill(database, rows))
        target = folder / "target"
        measured: dict[str, list[Measured]] = {name: [] for name in formats}
        copies: list[float] = []
        whole: list[float] = []
        for _ in range(rounds):
            copies.append(asyncio.run(_copy(database, _ORDERED, target)))
            whole.append(asyncio.run(_copy(database, "SELECT * FROM violation", target)))
            for name, own in measured.items():
                own.append(_in_own_process(database, name, folder / f"target.{name}"))
        print(f"COPY of the same columns as stored, in order: {median(copies):.2f} s")
        print(f"COPY of the table: {median(whole):.2f} s")
        for name, own in measured.items():
            _say("PostgreSQL", name, own, copies)
            if read_back:
                count = _compared(database, name, folder / f"target.{name}")
                print(f"PostgreSQL  {name:8} {count:,} rows read back equal", flush=True)


async def _fill(database: Database, rows: int) -> None:
    repo = _repo(database)
    await repo.upgrade()
    await fill_postgres(database, rows)
    await repo.aclose()


def _sqlite(folder: Path, rows: int, rounds: int, formats: list[str], *, read_back: bool) -> None:
    path = folder / "catalogue.sqlite3"

    async def make() -> None:
        repo = _repo(path)
        await repo.upgrade()
        await repo.aclose()

    asyncio.run(make())
    fill_sqlite(path, rows)
    for name in formats:
        target = folder / f"target.{name}"
        own = [_in_own_process(path, name, target) for _ in range(rounds)]
        _say("SQLite", name, own, [])
        if read_back:
            print(f"SQLite      {name:8} {_compared(path, name, target):,} rows read back equal")


@contextmanager
def _folder(parent: str | None) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="export-", dir=parent))
    # If this process is root, the server runs as another user.
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def main() -> None:
    """Fill the databases, measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.export", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="violations (1,000,000)")
    parser.add_argument("--rounds", type=int, default=3, help="exports of each format (3)")
    parser.add_argument(
        "--formats", nargs="+", choices=[*ExportFormat], default=["csv", "ndjson", "parquet"]
    )
    parser.add_argument(
        "--databases", nargs="+", choices=["postgresql", "sqlite"], default=["postgresql", "sqlite"]
    )
    parser.add_argument(
        "--read-back",
        action="store_true",
        help="read each format, and compare it with the catalogue",
    )
    parser.add_argument("--folder", help="where to write (default: the temporary folder)")
    given = parser.parse_args()
    for name, run in (("postgresql", _postgres), ("sqlite", _sqlite)):
        if name in given.databases:
            with _folder(given.folder) as folder:
                run(folder, given.rows, given.rounds, given.formats, read_back=given.read_back)


if __name__ == "__main__":
    main()
