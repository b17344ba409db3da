"""`python -m benchmarks.metrics`: what a scrape of `/metrics` costs over a full catalogue.

Fills both databases (`--rows`) with violations and their metadata files, or takes the filled ones
that an earlier run has kept, and writes `--jobs` copies that wait. At a time when all files are due
for deletion and verification, scrapes read the catalogue anew, or take what was read before. Prints
the median and the longest time in milliseconds.
"""

import argparse
import asyncio
import os
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from statistics import median
from uuid import uuid4

import httpx
from dependency_injector.providers import Object

from benchmarks import data
from benchmarks.retention import filled
from benchmarks.table import machine_class
from tests.support.setups import config
from traffic_storage import StorageConfig, StorageStrategy
from traffic_storage.adapters.clock.manual import ManualClock
from traffic_storage.domain.copies import COPY
from traffic_storage.domain.jobs import NewJob
from traffic_storage.entrypoints.container import build, running
from traffic_storage.entrypoints.http import create_storage_app

_YEAR = timedelta(days=400)
_BATCH = 1000
_NOT, _LONG = timedelta(0), timedelta(days=1)
_KEPT = (
    ("all read anew", (_NOT, _NOT)),
    ("all but the coverage", (_NOT, _LONG)),
    ("nothing read", (_LONG, _LONG)),
)


async def scrapes(
    settings: StorageConfig, rows: int, jobs: int, count: int, kept: tuple[timedelta, timedelta]
) -> list[float]:
    """Return the milliseconds of each scrape; `kept`: for how long figures, and the coverage, are."""
    container = build(settings, StorageStrategy.LOCAL_ONLY)
    container.clock.override(Object(ManualClock(data.moment(rows) + _YEAR)))
    container.measure.add_kwargs(kept=kept[0], coverage_kept=kept[1])
    async with running(container):
        for _ in range(0, jobs, _BATCH):
            new = [NewJob(uuid4(), COPY, {"file_id": "a"}) for _ in range(_BATCH)]
            await container._record_repo().enqueue(new)  # noqa: SLF001 - in bulk
        transport = httpx.ASGITransport(create_storage_app(container=container))
        took = []
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            for _ in range(count + 1):
                begin = time.perf_counter()
                (await client.get("/metrics")).raise_for_status()
                took.append(1000 * (time.perf_counter() - begin))
    return took[1:]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.metrics", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--scrapes", type=int, default=20)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), action="append")
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path(tempfile.gettempdir()) / f"traffic-storage-benchmarks-{os.getuid()}",
        help="where full catalogues are kept",
    )
    given = parser.parse_args()
    given.cache.mkdir(mode=0o711, parents=True, exist_ok=True)
    for database in given.database or ("sqlite", "postgresql"):
        with filled(database, given.cache, given.rows) as (base, address):
            print(f"{database}, {given.rows:,} files, {given.jobs:,} jobs:", flush=True)
            settings = config(base, workers=0, **address)
            jobs = given.jobs
            for name, kept in _KEPT:
                took = asyncio.run(scrapes(settings, given.rows, jobs, given.scrapes, kept))
                print(f"  {name:22} {median(took):6.1f} ms, at most {max(took):6.1f} ms")
                jobs = 0
    print(machine_class(given.cache))


if __name__ == "__main__":
    main()
