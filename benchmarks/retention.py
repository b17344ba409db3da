"""`python -m benchmarks.retention`: a plan of retention over a full catalogue, and its application.

Fills both databases (`--rows`) with violations and their metadata files, or takes the filled ones
that an earlier run has kept. At a time when all files are due, a process plans; at a time when
`--apply` of them are due, it plans and applies. Prints files a second, and how far the resident
memory of the process grew at most over what it was before.
"""

import argparse
import asyncio
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from attrs import frozen
from dependency_injector.providers import Object

from benchmarks import data
from benchmarks.filled import postgres_filled, sqlite_filled
from benchmarks.process_memory import forget_peak, memory_mb
from benchmarks.table import machine_class
from tests.support.setups import config, on_database
from traffic_storage import StorageConfig, StorageStrategy
from traffic_storage.adapters.clock.manual import ManualClock
from traffic_storage.entrypoints.container import build, running

_YEAR = timedelta(days=365)
_MOST_GROWTH_MB = 64
Settings = dict[str, Any]
_SPAWN = multiprocessing.get_context("spawn")


@frozen
class Measured:
    """What a process did with so many files, in which time, and how its memory grew at most."""

    work: str
    files: int
    seconds: float
    growth_mb: float

    def line(self) -> str:
        """Return the line of the report."""
        rate = self.files / self.seconds
        return (
            f"  {self.work:7} {self.files:9,} files in {self.seconds:6.1f} s, {rate:8,.0f} files/s,"
            f" {self.growth_mb:5.1f} MB more memory"
        )


async def work_on(settings: StorageConfig, now: datetime, *, apply: bool) -> Measured:
    """Plan at a time, and apply the plan if asked for; return what the last of these cost."""
    container = build(settings, StorageStrategy.LOCAL_ONLY)
    container.clock.override(Object(ManualClock(now)))
    async with running(container):
        retain = container.retain()
        forget_peak(os.getpid())
        idle, begin = memory_mb(os.getpid(), "VmRSS"), time.perf_counter()
        plan = await retain.plan(by="benchmark")
        files = plan.files
        if apply:
            begin = time.perf_counter()
            found = await retain.apply(plan.plan_id, by="benchmark", override_limit=True)
            if found.files_deleted != plan.files:
                raise RuntimeError(f"{found} is not what was planned: {plan}")
        seconds = time.perf_counter() - begin
        growth = memory_mb(os.getpid(), "VmHWM") - idle
    return Measured("applied" if apply else "planned", files, seconds, growth)


def _work(pipe: Connection, base: Path, database: Settings, now: datetime, apply: bool) -> None:
    settings = config(base, workers=0, **database)
    pipe.send(asyncio.run(work_on(settings, now, apply=apply)))


def in_a_process(base: Path, database: Settings, now: datetime, *, apply: bool) -> Measured:
    """Measure in a process of its own, whose memory nothing else has used."""
    ours, theirs = _SPAWN.Pipe(duplex=False)
    process = _SPAWN.Process(target=_work, args=(theirs, base, database, now, apply))
    process.start()
    theirs.close()
    try:
        measured: Measured = ours.recv()
    except EOFError:
        raise RuntimeError("the process that was measured failed; see above") from None
    finally:
        process.join()
    return measured


@contextmanager
def filled(database: str, cache: Path, rows: int) -> Iterator[tuple[Path, Settings]]:
    """Provide a copy of a full catalogue: the local folder and the settings of the database."""
    with tempfile.TemporaryDirectory(prefix="retention-", dir=cache) as place:
        base = Path(place) / "base"
        if database == "sqlite":
            shutil.copytree(sqlite_filled(cache, rows), base)
            yield base, {}
        else:
            with postgres_filled(cache, rows) as address:
                yield base, on_database(address)


def main() -> int:
    """Measure and print; return 1 if the memory of a process grew too much."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.retention", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--apply", type=int, default=100_000)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), action="append")
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path(tempfile.gettempdir()) / f"traffic-storage-benchmarks-{os.getuid()}",
        help="where full catalogues are kept",
    )
    arguments = parser.parse_args()
    arguments.cache.mkdir(mode=0o711, parents=True, exist_ok=True)
    worst = 0.0
    for database in arguments.database or ("sqlite", "postgresql"):
        with filled(database, arguments.cache, arguments.rows) as (base, address):
            print(f"{database}, {arguments.rows:,} files:", flush=True)
            for last, apply in ((arguments.rows, False), (arguments.apply, True)):
                now = data.moment(last) + _YEAR
                measured = in_a_process(base, address, now, apply=apply)
                print(measured.line(), flush=True)
                worst = max(worst, measured.growth_mb)
    print(machine_class(arguments.cache))
    return int(worst > _MOST_GROWTH_MB)


if __name__ == "__main__":
    sys.exit(main())
