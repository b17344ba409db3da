"""A service under four writers is killed again and again; then everything is looked up.

    python -m tests.crash.kill_loop --kills 200                    all three set-ups
    python -m tests.crash.kill_loop --kills 200 --setup hybrid
    python -m tests.crash.kill_loop --kills 300 --jobs             with all jobs running

With `--jobs`, files are also held, deleted, brought back, deleted by retention and purged, copied
and moved, verified and compared meanwhile, hours passing (`tests.crash.lifecycle`).

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
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import IO, Any

from attrs import Factory, define

from tests.crash import writer
from tests.crash.audit import gather, look_up, remains
from tests.crash.later import AN_HOUR, LaterClock, put_forward
from tests.crash.lifecycle import WHY, settings_of_jobs
from tests.crash.points.place import query, resume, rewind
from tests.support.media import video
from tests.support.servers import PostgresServer, RedisServer, S3Server
from tests.support.setups import on_bucket, on_database, on_redis
from traffic_storage import StorageConfig, StorageService, StorageStrategy
from traffic_storage.domain.errors import WrongState
from traffic_storage.entrypoints.container import Container, build, running

MIB = 1024 * 1024
LARGE = {"segment_bytes": 9 * MIB, "evidence_bytes": 5 * MIB}
"""In many pieces, but in one request; and what goes into a bucket in parts."""
ATTEMPT_SECONDS = 3.0
S3_TIMEOUT_SECONDS = 4.0
PAUSE_SECONDS = 0.5
PAUSE_WITH_JOBS_SECONDS = 3.0
LONG_PAUSE_SECONDS = 2.5
LONG_PAUSE_WITH_JOBS_SECONDS = 8.0
"""In which a large video is stored, or a round of jobs is done, whatever the machine."""
FIRST_LARGE = b'{"video-2"'
"""In the acknowledgement of the first large item."""
WRITER_PAUSE_WITH_JOBS_SECONDS = 0.05
SLOTS = 8
GRACE = timedelta(days=2)
"""After which whatever was deleted is purged."""
STALE = "make a new plan"
"""What the job of a plan ends with that was made before other rules were entered."""
KILLED = "did not renew its lease"
"""What a job ends with that was running at each of too many kills."""
_HELD_BUT_DELETED = (
    "SELECT file.file_id FROM file JOIN hold ON hold.file_id = file.file_id "
    "WHERE file.state = 'tombstoned' AND hold.released_at IS NULL"
)
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
    deletable: set[str] = Factory(set)
    deleted: set[str] = Factory(set)
    wrong: list[str] = Factory(list)
    failed: Counter[str] = Factory(Counter)
    last_failure: str = ""
    begun: dict[int, None] = Factory(dict)
    kills: int = 0
    first: int = 0
    rounds: int = 0
    acks: int = 0
    later_seconds: float = 0.0

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
                self.acks += 1
            else:
                self._take_round(told)

    def _take_round(self, told: dict[str, Any]) -> None:
        """What `tests.crash.lifecycle` tells."""
        self.deletable |= {*told.get("may", ())}
        self.deletable -= {*told.get("kept", ())}
        self.deleted |= {*told.get("deleted", ())}
        self.rounds = max(self.rounds, told.get("round", -1) + 1)
        self.later_seconds = max(self.later_seconds, told.get("later", 0.0))
        if "wrong" in told:
            self.wrong.append(told["wrong"])
        if "failed" in told:
            self.last_failure = told["failed"]
            self.failed[self.last_failure.partition(":")[0]] += 1

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
    """One set-up: start the writer, kill it, note what it told; at the end audit.

    With `jobs`, all jobs run meanwhile. `pause_seconds` is how long a writer waits after an item,
    `large` the bytes of the large videos.
    """

    def __init__(
        self,
        name: str,
        settings: dict[str, Any],
        folder: Path,
        seed: int,
        *,
        jobs: bool = False,
        pause_seconds: float = 0.0,
        large: Mapping[str, int] = LARGE,
    ) -> None:
        self._strategy = SETUPS[name]
        has_copies = self._strategy is StorageStrategy.HYBRID
        self._settings = settings | (settings_of_jobs(copies=has_copies) if jobs else {})
        self._folder = folder
        self._chance = random.Random(seed)
        self._jobs = jobs
        self._pause_seconds = pause_seconds
        self._large = large
        self._video = folder / "video.mp4"
        self._video.write_bytes(video(seconds=0.2))
        self.record = Record()

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the service."""
        return self._settings

    def kill_once(self) -> None:
        """Run the writer and kill it at a random instant.

        The first time, it is killed after a large video was stored; then one in eight stores for a
        longer time. Of the others, one in four is killed while it starts, an hour later, and
        recovers; the rest while they store: some after the first acknowledgement, so that a slow
        machine makes progress too.
        """
        most = PAUSE_WITH_JOBS_SECONDS if self._jobs else PAUSE_SECONDS
        since, pause_seconds = b'"ready"', self._chance.uniform(0.0, most)
        if self.record.kills == 0:
            since = FIRST_LARGE
        elif self.record.kills % 8 == 0:
            pause_seconds = LONG_PAUSE_WITH_JOBS_SECONDS if self._jobs else LONG_PAUSE_SECONDS
        elif self._chance.random() < 0.25:
            self.an_hour_passes()
            since = b'"start"'
        elif self._chance.random() < 0.7:
            since = b'"ack"'
        if not self._run_to_death(since=since, pause_seconds=pause_seconds):
            raise RuntimeError(f"it never told {since.decode()}: {self.log()}")
        if self._jobs:
            # The next process goes on with the jobs of this one at once.
            asyncio.run(rewind(self._settings))

    @contextmanager
    def running(self) -> Iterator[BaseProcess]:
        """Run the writer until the block ends, and take what it tells meanwhile; then kill it."""
        process, told = self._start()
        taking = threading.Thread(target=self._take, args=(told,), daemon=True)
        taking.start()
        try:
            yield process
        finally:
            process.kill()
            process.join()
            taking.join()
            told.close()

    def an_hour_passes(self) -> None:
        """Whatever starts from now on finds the attempts of all before it past their deadlines."""
        self.record.later_seconds += AN_HOUR.total_seconds()

    async def audit(self) -> list[str]:
        """Recover, an hour later, and end all jobs; then look everything up."""
        # A worker would copy what is owed while the audit looks.
        settings = StorageConfig(**self._settings | {"workers": 0})
        self.an_hour_passes()
        if settings.cloud_configured:
            await asyncio.sleep(ARRIVAL_SECONDS)
        container = build(settings, self._strategy)
        put_forward(container, timedelta(seconds=self.record.later_seconds))
        record = self.record
        async with running(container), StorageService(container=container) as service:
            broken = await self._end_jobs(container, service) if self._jobs else []
            broken += await look_up(service, settings, record.acknowledged, record.deletable)
        evidence = await gather(settings)
        visible = {row["file_id"] for row in evidence.rows["file"] if row["state"] == "available"}
        broken += [f"deleted, but visible: {name}" for name in sorted(record.deleted & visible)]
        broken = [one for one in broken if STALE not in one and KILLED not in one]
        return [*record.wrong, *broken, *(remains(evidence) if self._jobs else [])]

    async def _end_jobs(self, container: Container, service: StorageService) -> list[str]:
        """Do all jobs, also those whose workers were killed too often; what does not end."""
        await container.runtime().sweep()
        dead = (await service.find_jobs("dead", limit=1000)).items
        broken = [
            f"a job is dead: {job['kind']}: {job['error']}"
            for job in dead
            if KILLED not in job["error"]
        ]
        for job in dead:
            if STALE not in job["error"]:
                # Of a schedule, the next job may be there already.
                with suppress(WrongState):
                    await service.retry_job(job["job_id"])
        await resume(self._settings, container, slots=SLOTS)
        # The writer did not come to it: a held file that was deleted before waits for a decision.
        for (name,) in await query(self._settings, _HELD_BUT_DELETED):
            await service.undelete_file(name, WHY)
        # A copy of what can still be brought back waits until that is purged.
        clock = container.clock()
        assert isinstance(clock, LaterClock)
        clock.pass_time(GRACE)
        await container.purge().due()
        return broken + await resume(self._settings, container, slots=SLOTS)

    def _take(self, told: IO[bytes]) -> None:
        for line in told:
            # The last of a killed process may be torn.
            if line.endswith(b"\n"):
                self.record.take(line)

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
                if since in line and timely.ident is None:
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
            raise RuntimeError(f"the writer ended by itself with {process.exitcode}: {self.log()}")
        self.record.kills += 1
        return not overdue.is_set()

    def _start(self) -> tuple[BaseProcess, IO[bytes]]:
        path = self._folder / "order.json"
        path.write_text(
            self.record.order(
                strategy=self._strategy,
                settings=self._settings,
                video=str(self._video),
                large=self._large,
                later_seconds=self.record.later_seconds,
                rounds=self.record.rounds if self._jobs else None,
                pause_seconds=self._pause_seconds,
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

    def log(self, characters: int = 2000) -> str:
        """The end of what the last process has logged."""
        return (self._folder / "writer.log").read_text()[-characters:]


def run(
    name: str,
    kills: int,
    seed: int = 1,
    *,
    jobs: bool = False,
    show: Callable[[int], None] = lambda _: None,
) -> tuple[Record, list[str]]:
    """Kill a set-up's service `kills` times; what was told, and what is broken."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with settings_of(name, folder) as settings:
            pause_seconds = WRITER_PAUSE_WITH_JOBS_SECONDS if jobs else 0.0
            loop = KillLoop(name, settings, folder, seed, jobs=jobs, pause_seconds=pause_seconds)
            for number in range(kills):
                loop.kill_once()
                show(number + 1)
            return loop.record, asyncio.run(loop.audit())


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--setup", choices=SETUPS, action="append")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", action="store_true", help="with all jobs running")
    given = parser.parse_args()
    failed = False
    for name in given.setup or SETUPS:
        begun = time.monotonic()

        def show(kills: int, name: str = name) -> None:
            print(f"\r{name}: {kills} kills", end="", file=sys.stderr, flush=True)

        record, broken = run(name, given.kills, given.seed, jobs=given.jobs, show=show)
        print(
            f"\r{name}: {record.kills} kills, {len(record.acknowledged)} files acknowledged, "
            f"{len(record.deleted)} deletions, {record.rounds} rounds of jobs, "
            f"{len(broken)} broken, {time.monotonic() - begun:.0f} s"
        )
        if record.failed:
            print(f"  what a round ended with: {dict(record.failed)}")
        for line in broken[:20]:
            print(f"  {line}")
        failed |= bool(broken)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
