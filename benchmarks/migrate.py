"""Migration from a folder and SQLite to a bucket and PostgreSQL, against obstore's put with a hash.

    python -m benchmarks.migrate [--latency MS]

The files are those of violations with one video each: the videos, and as many metadata files. Two
programs by hand, as in `benchmarks.copy`, four files at once: "put" reads each file, hashes it and
puts it with obstore; "put and read back" then also gets the object and hashes it. The migration reads
and verifies the source, writes the journal, puts both files, reads both back and hashes them at the
target, commits, and compares the rows of both sides at the end. It writes four videos at once, each
with its metadata file, and reads others back meanwhile. Contenders alternate; prints megabytes a second (of the videos) and the
median of the ratios of the rounds.

The S3 server and PostgreSQL run on the same machine, and take part of its cores. With `--latency`, a
proxy holds each 64 KiB of S3 back for so many milliseconds in each direction, as a network does.
"""

import argparse
import asyncio
import os
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.copy import PARALLEL, by_hand, far, print_rounds
from tests.support.servers import PostgresServer, S3Server
from tests.support.setups import config
from traffic_storage import StorageStrategy, Upload, ViolationRecord
from traffic_storage.application.migrate_and_prove import MigrateAndProve
from traffic_storage.domain.jobs import Progress
from traffic_storage.entrypoints.container import Container, build, running

_ROUNDS = 5
_METADATA_BYTES = 500
_SIZES = ((200_000, 150), (2_000_000, 30), (16_000_000, 6))
"""The size of the videos, and how many violations are brought in a round."""

_FIRST = datetime(2026, 1, 1, tzinfo=UTC)


async def _fill(source: Container, size: int, count: int, at: datetime) -> None:
    for number in range(count):
        record = ViolationRecord(
            violation_id=f"V-{at:%d%H}-{size}-{number}",
            device_id=f"cam-{number % 5}",
            violation_type="speed",
            timestamp=at + timedelta(seconds=number),
            vehicle_bbox=[1, 2, 300, 400],
            vehicle_class="car",
            confidence=0.9,
        )
        await source.store_evidence()(record, None, Upload(os.urandom(size)), historic=True)


def _silent(_progress: Progress) -> None:
    """Show nothing."""


async def _ours(source: Container, target: Container, size: int, count: int, at: datetime) -> float:
    """Return the seconds that a migration of new violations takes."""
    await _fill(source, size, count, at)
    migrate = MigrateAndProve(source.migration_source(), target.migration_target())
    start = time.perf_counter()
    done = await migrate(at, at + timedelta(hours=1), _silent)
    seconds = time.perf_counter() - start
    if done.migrated.records != count or not done.is_complete:
        raise RuntimeError(f"{done} instead of {count} violations")
    return seconds


async def main(latency_seconds: float) -> None:
    """Measure and print."""
    with (
        tempfile.TemporaryDirectory() as place,
        S3Server() as s3,
        PostgresServer() as postgres,
        far(s3.create_bucket(), latency_seconds) as bucket,
    ):
        folder, at = Path(place), _FIRST
        old = config(folder / "old", workers=0, accept_unknown_video=True)
        new = config(
            folder / "new",
            bucket=bucket,
            database=postgres.create_database(),
            workers=0,
            parallel_uploads=2 * PARALLEL,
        )
        async with (
            running(build(old, StorageStrategy.LOCAL_ONLY)) as source,
            running(build(new, StorageStrategy.CLOUD_ONLY)) as target,
        ):
            for size, count in _SIZES:
                rounds, sizes = [], [size, _METADATA_BYTES] * count
                for _ in range(_ROUNDS):
                    at += timedelta(hours=1)
                    rounds.append(
                        (
                            await by_hand(bucket, folder, sizes, reads_back=False),
                            await by_hand(bucket, folder, sizes, reads_back=True),
                            await _ours(source, target, size, count, at),
                        )
                    )
                print_rounds("migration", size, count, rounds)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.migrate", description=__doc__)
    parser.add_argument("--latency", type=float, default=0.0, help="milliseconds (0)")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main(_arguments().latency / 1000))
