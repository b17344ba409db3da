"""A service under four writers is killed again and again; then everything is looked up.

    python -m tests.crash.kill_loop --kills 200                    all three set-ups
    python -m tests.crash.kill_loop --kills 200 --setup hybrid

Exit status 1 when anything that was acknowledged is lost or any invariant is broken.
"""

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from attrs import Factory, define

from tests.crash.audit import look_up
from tests.support.media import video
from tests.support.servers import PostgresServer, RedisServer, S3Server
from tests.support.setups import on_bucket, on_database, on_redis
from traffic_storage import StorageConfig, StorageService, StorageStrategy

ROOT = Path(__file__).parents[2]
ATTEMPT_SECONDS = 1.0
S3_TIMEOUT_SECONDS = 4.0
PAST_DEADLINE_SECONDS = ATTEMPT_SECONDS + S3_TIMEOUT_SECONDS + 0.2
"""After so long recovery undoes an attempt: its time, and that of a request on its way."""
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
        """Lines that were told; a torn one (it never is) would be an error."""
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
        self.record = Record()

    def kill_once(self, fault: dict[str, Any] | None = None) -> None:
        """Run the writer and kill it at a random instant (or let it die at a fault point).

        One in four is killed while it starts and recovers, the others while they store.
        """
        process = self._start(fault)
        assert process.stdout is not None
        since = b'"start"' if self._chance.random() < 0.25 else b'"ready"'
        timer = None
        try:
            for line in process.stdout:
                if timer is None and fault is None and since in line:
                    timer = threading.Timer(self._chance.uniform(0.0, 0.5), process.kill)
                    timer.start()
                if line.endswith(b"\n"):
                    self.record.take(line)
            status = process.wait(timeout=60)
        finally:
            if timer:
                timer.cancel()
            process.kill()
            process.wait()
            process.stdout.close()
        if status != -9:
            raise RuntimeError(f"the writer ended by itself with {status}: {self._log()}")
        self.record.kills += 1

    def leave_something_to_undo(self) -> None:
        """Die with blobs published and nothing committed, and let the deadline pass."""
        self.kill_once({"method": "commit", "moment": "before", "call": 1})
        time.sleep(PAST_DEADLINE_SECONDS)

    async def audit(self) -> list[str]:
        """Recover, then look everything up."""
        settings = StorageConfig(**self._settings)
        await asyncio.sleep(PAST_DEADLINE_SECONDS)
        async with StorageService(settings, self._strategy) as service:
            return await look_up(service, settings, self.record.acknowledged)

    def _start(self, fault: dict[str, Any] | None) -> "subprocess.Popen[bytes]":
        path = self._folder / "order.json"
        path.write_text(
            self.record.order(
                strategy=self._strategy,
                settings=self._settings,
                video=str(self._video),
                fault=fault,
            )
        )
        log: IO[bytes] = (self._folder / "writer.log").open("wb")
        with log:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.crash.writer", str(path)],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )

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
