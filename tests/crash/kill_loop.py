"""A service under four writers is killed again and again; then everything is looked up.

    python -m tests.crash.kill_loop --kills 200                    all three set-ups
    python -m tests.crash.kill_loop --kills 200 --setup hybrid

Exit status 1 when anything that was acknowledged is lost or any invariant is broken.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import IO, Any

from attrs import Factory, define

from tests.crash import writer
from tests.crash.audit import look_up
from tests.crash.later import AN_HOUR, put_forward
from tests.support.media import video
from tests.support.servers import PostgresServer, RedisServer, S3Server
from tests.support.setups import on_bucket, on_database, on_redis
from traffic_storage import StorageConfig, StorageService, StorageStrategy
from traffic_storage.entrypoints.container import build, running

MIB = 1024 * 1024
LARGE = {"segment_bytes": 9 * MIB, "evidence_bytes": 5 * MIB}
"""In many pieces, but in one request; and what goes into a bucket in parts."""
ATTEMPT_SECONDS = 3.0
S3_TIMEOUT_SECONDS = 4.0
PAUSE_SECONDS = 0.5
LONG_PAUSE_SECONDS = 2.5
"""In which a large video is stored, whatever the machine."""
ARRIVAL_SECONDS = 1.0
"""Until a server has done what it had already got of a process that was killed then."""
PATIENCE_SECONDS = 60.0
_PROCESSES = multiprocessing.get_context("forkserver")
# Importing the service takes longer than most of what is killed.
_PROCESSES.set_forkserver_preload(
    [
        "tests.crash.writer",
        *(
            f"traffic_storage.adapters.{name}"
            for name in (
                *("record_repo.sql.sqlite", "record_repo.sql.postgres"),
                *("blob_store.local_disk", "blob_store.object_store", "cache.redis"),
            )
        ),
    ]
)
SETUPS = {
    "local": StorageStrategy.LOCAL_ONLY,
    "hybrid": StorageStrategy.HYBRID,
    "cloud": StorageStrategy.CLOUD_ONLY,
}


@define
class Record:
    """What the killed processes told."""

    acknowledged: dict[str, str] = Factory(dict)
    begun: dict[int, None] = Factory(dict)
    kills: int = 0
    first: int = 0

    def take(self, *lines: bytes | str) -> None:
        """Whole lines that were told."""
        for line in lines:
            told = json.loads(line)
            if "begin" in told:
                self.begun[told["begin"]] = None
                self.first = max(self.first, told["begin"] + 1)
            elif "ack" in told:
                self.acknowledged |= told["ack"]
                self.begun.pop(told["seed"], None)

    def order(self, **rest: Any) -> str:
        """The order for the next process: what to retry, and where to go on."""
        return json.dumps({"retry": list(self.begun), "first": self.first, **rest})


@contextmanager
def settings_of(name: str, folder: Path) -> Iterator[dict[str, Any]]:
    """The settings of a set-up, with its servers running."""
    local = {
        "local_base_path": str(folder / "base"),
        "local_reserve_gb": 0.0,
        "attempt_timeout_seconds": ATTEMPT_SECONDS,
        "s3_timeout_seconds": S3_TIMEOUT_SECONDS,
        "sweep_interval_seconds": 0.3,
    }
    match name:
        case "local":
            yield local
        case "cloud":
            with S3Server() as s3:
                yield local | on_bucket(s3.create_bucket())
        case _:
            with PostgresServer() as postgres, S3Server() as s3, RedisServer() as redis:
                yield (
                    local
                    | on_bucket(s3.create_bucket())
                    | on_database(postgres.create_database())
                    | on_redis(redis.address)
                )


class KillLoop:
    """One set-up: start the writer, kill it, note what it told; at the end audit."""

    def __init__(self, name: str, settings: dict[str, Any], folder: Path, seed: int) -> None:
        self._strategy = SETUPS[name]
        self._settings = settings
        self._folder = folder
        self._chance = random.Random(seed)
        self._video = folder / "video.mp4"
        self._video.write_bytes(video(seconds=0.2))
        self._later = timedelta()
        self.record = Record()

    def kill_once(self) -> None:
        """Run the writer and kill it at a random instant.

        One in eight stores for a longer time first. Of the others, one in four is killed while it
        starts, an hour later, and recovers; the rest while they store.
        """
        since, pause_seconds = b'"ready"', self._chance.uniform(0.0, PAUSE_SECONDS)
        if self.record.kills % 8 == 0:
            pause_seconds = LONG_PAUSE_SECONDS
        elif self._chance.random() < 0.25:
            self.an_hour_passes()
            since = b'"start"'
        if not self._run_to_death(since=since, pause_seconds=pause_seconds):
            raise RuntimeError(f"it never told {since.decode()}: {self._log()}")

    def an_hour_passes(self) -> None:
        """Whatever starts from now on finds the attempts of all before it past their deadlines."""
        self._later += AN_HOUR

    async def audit(self) -> list[str]:
        """Recover, an hour later, then look everything up."""
        # A worker would copy what is owed while the audit looks.
        settings = StorageConfig(**self._settings, workers=0)
        self.an_hour_passes()
        if settings.cloud_configured:
            await asyncio.sleep(ARRIVAL_SECONDS)
        container = build(settings, self._strategy)
        put_forward(container, self._later)
        async with running(container), StorageService(container=container) as service:
            return await look_up(service, settings, self.record.acknowledged)

    def _run_to_death(
        self,
        *,
        since: bytes,
        pause_seconds: float = 0.0,
    ) -> bool:
        """Run the writer until it is dead, and take what it tells.

        It is killed some time after a line with `since`. False: neither that nor its own death
        came in a minute, so that it was killed for that.
        """
        process, told = self._start()
        timely = threading.Timer(pause_seconds, process.kill)
        overdue = threading.Event()

        def give_up() -> None:
            overdue.set()
            process.kill()

        last = threading.Timer(PATIENCE_SECONDS, give_up)
        last.start()
        try:
            for line in told:
                if since in line:
                    timely.start()
                # The last of a killed process may be torn.
                if line.endswith(b"\n"):
                    self.record.take(line)
            process.join(PATIENCE_SECONDS)
        finally:
            timely.cancel()
            last.cancel()
            process.kill()
            process.join()
            told.close()
        if process.exitcode != -signal.SIGKILL:
            raise RuntimeError(f"the writer ended by itself with {process.exitcode}: {self._log()}")
        self.record.kills += 1
        return not overdue.is_set()

    def _start(self) -> tuple[BaseProcess, IO[bytes]]:
        path = self._folder / "order.json"
        path.write_text(
            self.record.order(
                strategy=self._strategy,
                settings=self._settings,
                video=str(self._video),
                large=LARGE,
                later_seconds=self._later.total_seconds(),
            )
        )
        reading, writing = os.pipe()
        told = Connection(writing, readable=False)
        process = _PROCESSES.Process(
            target=writer.run, args=(path, told, self._folder / "writer.log"), daemon=True
        )
        process.start()
        told.close()
        return process, os.fdopen(reading, "rb")

    def _log(self) -> str:
        return (self._folder / "writer.log").read_text()[-2000:]


def run(name: str, kills: int, seed: int = 1) -> tuple[Record, list[str]]:
    """Kill a set-up's service `kills` times; what was told, and what is broken."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with settings_of(name, folder) as settings:
            loop = KillLoop(name, settings, folder, seed)
            for _ in range(kills):
                loop.kill_once()
            return loop.record, asyncio.run(loop.audit())


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--setup", choices=SETUPS, action="append")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    failed = False
    for name in given.setup or SETUPS:
        record, broken = run(name, given.kills, given.seed)
        print(
            f"{name}: {record.kills} kills, {len(record.acknowledged)} files acknowledged, "
            f"{len(broken)} broken"
        )
        for line in broken[:20]:
            print(f"  {line}")
        failed |= bool(broken)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
