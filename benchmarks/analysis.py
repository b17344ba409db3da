"""`python -m benchmarks.analysis`: forecasts against naive ones, and analyses of a full catalogue.

First prints the errors of forecasts of held-out days for three generated series. Then fills each
database with violations, each with a metadata file and an image (`--rows` files in all), writes the
images of the records that the sample draws (photographs of 1920 x 1080), and prints how long each
analysis takes, the quality with reading and decoding, and the processor time, which other work on
the machine changes less. `--database none` prints only the forecasts.
"""

import argparse
import asyncio
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np
from dependency_injector.providers import Object
from sqlalchemy import Table

from benchmarks import data, filled
from benchmarks.table import machine_class
from tests.support.servers import Database, PostgresServer
from tests.support.setups import config, on_database
from traffic_storage import StorageConfig, StorageStrategy
from traffic_storage.adapters.clock.manual import ManualClock
from traffic_storage.adapters.record_repo.sql import rows, tables
from traffic_storage.adapters.record_repo.sql.postgres_opening import pass_uuids_as_bytes
from traffic_storage.domain.digests import Digests, digests_of
from traffic_storage.domain.files import FileKind
from traffic_storage.domain.forecast import forecast
from traffic_storage.domain.identifiers import ViolationId, evidence_file_id
from traffic_storage.domain.manifest import manifest_of
from traffic_storage.entrypoints.container import Container, build, running
from traffic_storage.entrypoints.testing.blobs import NEVER
from traffic_storage.ports.spool import MemoryBody

_DAYS, _HELD_OUT, _NOISE, _SEEDS = 120, 14, 5.0, 20
_POOL = 50
_METADATA_BYTES = 600
_MOST_SECONDS = {"quality": 20.0, "storage": 1.0}

_COUNTERS = (
    tables.usage_device_day,
    tables.usage_day,
    tables.usage_received,
    tables.usage_device,
    tables.usage_total,
)

Batches = Iterator[tuple[Table, list[Sequence[Any]]]]


def forecasts() -> None:
    """Print the mean absolute errors on 14 held-out days, of 20 series of each kind."""
    days = np.arange(_DAYS)
    week = np.resize([30.0, 20, 10, 0, -10, -20, -30], _DAYS)
    made = {
        "trend": 100 + 1.5 * days,
        "weekly season": 100 + week,
        "step": np.where(days < 80, 100.0, 220.0),
    }
    print(
        f"mean absolute error on {_HELD_OUT} held-out days, {_SEEDS} series each, noise {_NOISE:g}:"
    )
    print(f"  {'':14} chosen  last value  last week   chosen methods")
    for name, series in made.items():
        errors, chosen = np.zeros(3), Counter[str]()
        for seed in range(_SEEDS):
            noisy = series + np.random.default_rng(seed).normal(0, _NOISE, _DAYS)
            known, held_out = noisy[:-_HELD_OUT], noisy[-_HELD_OUT:]
            found = forecast(known, _HELD_OUT)
            chosen[found.method.value] += 1
            tries = (found.values, known[-1], np.resize(known[-7:], _HELD_OUT))
            errors += [np.abs(one - held_out).mean() for one in tries]
        ours, last, repeated = errors / _SEEDS
        words = ", ".join(f"{method} {count}" for method, count in chosen.most_common())
        print(f"  {name:14} {ours:6.2f}  {last:10.2f}  {repeated:9.2f}   {words}", flush=True)


@cache
def _pool() -> Sequence[tuple[bytes, Digests]]:
    images = [data.camera_jpeg(number) for number in range(_POOL)]
    return [(image, digests_of(image)) for image in images]


def batches(store: int, count: int) -> Batches:
    """Yield the rows of violations with a metadata file and an image each, and the counters."""
    for table, batch in filled.batches([store], count):
        if table is tables.file:
            yield table, [*batch, *(_image(row) for row in batch)]
        elif table is tables.replica:
            yield table, [*batch, *(_image_replica(row) for row in batch)]
        else:
            yield table, [_with_image(row) for row in batch]
    yield from _counters(store, count)


def _changed(table: Table, row: Sequence[Any], **values: object) -> Sequence[Any]:
    names = [column.name for column in table.columns]
    return tuple({**dict(zip(names, row, strict=True)), **values}.values())


def _number(file_id: str) -> int:
    return int(file_id[1:10])


def _image_id(file_id: str) -> str:
    return evidence_file_id(ViolationId(file_id[:10]), FileKind.IMAGE)


def _image(row: Sequence[Any]) -> Sequence[Any]:
    file_id = row[0]
    _, digests = _pool()[_number(file_id) % _POOL]
    return _changed(
        tables.file,
        row,
        file_id=_image_id(file_id),
        kind=FileKind.IMAGE.value,
        content_type="image/jpeg",
        sha256=bytes.fromhex(digests.sha256),
        size_bytes=digests.size_bytes,
        width=1920,
        height=1080,
        channels=3,
    )


def _image_replica(row: Sequence[Any]) -> Sequence[Any]:
    replica_id = int.from_bytes(row[0]) | 1 << 50
    return (replica_id.to_bytes(16), _image_id(row[1]), *row[2:])


def _with_image(row: Sequence[Any]) -> Sequence[Any]:
    names = [column.name for column in tables.violation.columns]
    metadata_file_id = row[names.index("metadata_file_id")]
    return _changed(tables.violation, row, image_file_id=_image_id(metadata_file_id))


def _counters(store: int, count: int) -> Batches:
    """Yield the rows of the counters, as folding makes them."""
    items: Counter[tuple[int, str, int, str]] = Counter()
    sizes: Counter[tuple[int, str, int, str]] = Counter()
    for number in range(count):
        day = rows.day_number(data.moment(number).date())
        device = data.device(number)
        image = _pool()[number % _POOL][1].size_bytes
        items[day, device, 0, "violation"] += 1
        for kind, size in (("image", image), ("metadata", _METADATA_BYTES)):
            for of_store in (0, store):
                items[day, device, of_store, kind] += 1
                sizes[day, device, of_store, kind] += size
    for table in _COUNTERS:
        names = [column.name for column in table.columns if column.name not in {"items", "bytes"}]
        own_items: Counter[tuple[Any, ...]] = Counter()
        own_sizes: Counter[tuple[Any, ...]] = Counter()
        for place, count_there in items.items():
            known = dict(zip(("day", "device", "store", "kind"), place, strict=True))
            key = tuple(known[name] for name in names)
            own_items[key] += count_there
            own_sizes[key] += sizes[place]
        yield table, [(*key, own_items[key], own_sizes[key]) for key in own_items]


@contextmanager
def sqlite_full(folder: Path, count: int) -> Iterator[StorageConfig]:
    """Provide a service whose SQLite catalogue is full."""
    settings = config(folder, workers=0)
    asyncio.run(filled.make_tables(settings))
    with closing(sqlite3.connect(settings.sqlite_file)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        (number,) = connection.execute("SELECT number FROM store").fetchone()
        for table, batch in batches(number, count):
            marks = ", ".join("?" * len(table.columns))
            connection.executemany(f"INSERT INTO {table.name} VALUES ({marks})", batch)
        connection.commit()
    yield settings


@contextmanager
def postgres_full(folder: Path, count: int) -> Iterator[StorageConfig]:
    """Provide a service whose PostgreSQL catalogue is full."""
    server = PostgresServer()
    try:
        server.start()
        name = server.create_database().name
        database = server.address.database(name)
        settings = config(folder, workers=0, **on_database(database))
        asyncio.run(filled.make_tables(settings))
        asyncio.run(_copy_in(database, count))
        server.address.execute("VACUUM ANALYZE", name)
        yield settings
    finally:
        server.close()


async def _copy_in(database: Database, count: int) -> None:
    connection = await asyncpg.connect(database.dsn)
    await pass_uuids_as_bytes(connection)
    try:
        number = await connection.fetchval("SELECT number FROM store")
        for table, batch in batches(number, count):
            names = [column.name for column in table.columns]
            await connection.copy_records_to_table(table.name, records=batch, columns=names)
    finally:
        await connection.close()


async def _write_images(container: Container, sample: int) -> int:
    """Write the images that the sample draws; return their number."""
    repo = container._record_repo()  # noqa: SLF001 - the sample is drawn as the analysis draws it
    drawn = await repo.sample_violations(sample, 0)
    files = await repo.files_by_id([one.image_file_id for one in drawn if one.image_file_id])
    by_digest = {digests.sha256: (image, digests) for image, digests in _pool()}
    store = container.local_store()
    for file in files.values():
        body = MemoryBody(*by_digest[file.content.sha256])
        await store.put(file.replicas[0].key, body, manifest_of(file), deadline=NEVER)
    return len(files)


async def _timed(name: str, analysis: Callable[[], Awaitable[Any]]) -> tuple[Any, bool]:
    start, cpu = time.perf_counter(), time.process_time()
    found = await analysis()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    print(f"  {name:10} {seconds:7.2f} s, {cpu:6.2f} s of processor time", end="")
    return found, seconds <= _MOST_SECONDS.get(name, 20.0)


async def analyses(settings: StorageConfig, count: int, sample: int) -> bool:
    """Print how long each analysis takes; return whether none takes longer than it may."""
    container = build(settings, StorageStrategy.LOCAL_ONLY)
    now = data.moment(count) + timedelta(hours=1)
    container.clock.override(Object(ManualClock(now)))
    async with running(container):
        images = await _write_images(container, sample)
        patterns, quick = await _timed("storage", container.analyse_storage())
        print(f"   {patterns.files:,} files, {patterns.sampled:,} sampled")
        found, in_time = await _timed("violations", container.analyse_violations())
        print(f"   {found.violations:,} violations, {found.sampled:,} sampled")
        analyse = container.analyse_quality()
        quality, soon = await _timed("quality", lambda: analyse(sample_size=sample))
        print(f"   {quality.sampled:,} records, {images:,} images, {quality.unread} unread")
    return quick and in_time and soon


def main() -> int:
    """Measure and print; return 1 if an analysis takes longer than it may."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.analysis", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="number of files")
    parser.add_argument("--sample", type=int, default=1000)
    parser.add_argument("--database", choices=("sqlite", "postgresql", "none"), action="append")
    parser.add_argument("--folder", type=Path, help="where catalogues are made")
    arguments = parser.parse_args()
    forecasts()
    full = {"sqlite": sqlite_full, "postgresql": postgres_full}
    in_time = True
    for name in arguments.database or tuple(full):
        if name == "none":
            continue
        with tempfile.TemporaryDirectory(prefix="analysis-", dir=arguments.folder) as folder:
            count = arguments.rows // 2
            with full[name](Path(folder), count) as settings:
                print(f"{name}, {arguments.rows:,} files:", flush=True)
                in_time &= asyncio.run(analyses(settings, count, arguments.sample))
    print(machine_class(arguments.folder or Path(tempfile.gettempdir())))
    return int(not in_time)


if __name__ == "__main__":
    sys.exit(main())
