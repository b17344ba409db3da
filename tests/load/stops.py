"""A server is stopped again and again under a service that stores, reads, and runs all jobs.

    python -m tests.load.stops --stops 50                      PostgreSQL, S3 and Redis, one by one
    python -m tests.load.stops --stops 50 --server redis

A stop kills the server, ends it, or lets it hang for a while. After each the service must store again
without a restart; at the end its jobs must run, and all that was acknowledged must be there. Exit
status 1 if not.
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

from attrs import field, frozen

from tests.crash.kill_loop import KillLoop, Record
from tests.crash.points.place import query
from tests.support.servers import PostgresServer, RedisServer, S3Server, ServerFailed
from tests.support.setups import on_bucket, on_database, on_redis

SERVERS = ("postgres", "s3", "redis")
LARGE = {"segment_bytes": 1024 * 1024, "evidence_bytes": 512 * 1024}
PAUSE_SECONDS = 0.1
BETWEEN_SECONDS = 4.0
AWAY_SECONDS = 2.0
PATIENCE_SECONDS = 60.0
LOOK_SECONDS = 2.0
_SESSIONS = """
    SELECT pid, state, wait_event_type, wait_event, now() - state_change, left(query, 100)
    FROM pg_stat_activity WHERE backend_type = 'client backend'
"""
# A job that met a server that was away is tried again after a minute.
PATIENCE_OF_JOBS_SECONDS = 120.0


class StoresNothing(RuntimeError):
    """The service has stored nothing for too long."""


class Server(Protocol):
    """What can be stopped and comes back with the same data."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...
    def stall(self) -> None: ...
    def resume(self) -> None: ...
    def log_tail(self) -> str: ...


@frozen
class Report:
    """What was seen: the seconds until the service stored again after each stop, and the breaks."""

    record: Record
    waits: list[float] = field(factory=list)
    jobs: int = 0
    broken: list[str] = field(factory=list)


@contextmanager
def busy_service(
    seed: int, pause_seconds: float
) -> Iterator[tuple[KillLoop, Mapping[str, Server]]]:
    """The loop of a service with all jobs, on servers of its own, and these."""
    with (
        tempfile.TemporaryDirectory() as place,
        PostgresServer() as postgres,
        S3Server() as s3,
        RedisServer() as redis,
    ):
        settings = {
            "local_base_path": str(Path(place) / "base"),
            "local_reserve_gb": 0.0,
            "attempt_timeout_seconds": 30.0,
            "s3_timeout_seconds": 5.0,
            "sweep_interval_seconds": 0.5,
            "db_timeout_seconds": 10.0,
            **on_bucket(s3.create_bucket()),
            **on_database(postgres.create_database()),
            **on_redis(redis.address),
        }
        loop = KillLoop(
            "hybrid",
            settings,
            Path(place),
            seed,
            jobs=True,
            pause_seconds=pause_seconds,
            large=LARGE,
        )
        yield loop, {"postgres": postgres, "s3": s3, "redis": redis}


def stop_once(server: Server, chance: random.Random) -> None:
    """Stop a server for a random time, in a random way."""
    way = chance.choice(("kill", "stop", "stall"))
    # A server that does not end in time is killed.
    with suppress(ServerFailed):
        getattr(server, way)()
    time.sleep(chance.uniform(0.0, AWAY_SECONDS))
    if way == "stall":
        server.resume()
    else:
        server.start()


def run(
    names: Sequence[str],
    stops: int,
    seed: int = 1,
    show: Callable[[int], None] = lambda _: None,
    between_seconds: float = BETWEEN_SECONDS,
) -> Report:
    """Stop servers under load, in turn, `stops` times each; at most so long after each other."""
    chance = random.Random(seed)
    with busy_service(seed, PAUSE_SECONDS) as (loop, servers):
        report = Report(loop.record)
        with loop.running() as process:
            try:
                stores_again(loop.record)
                for _ in range(stops):
                    for name in names:
                        time.sleep(chance.uniform(0.0, between_seconds))
                        stop_once(servers[name], chance)
                        report.waits.append(stores_again(loop.record))
                        show(len(report.waits))
            except StoresNothing as error:
                raise RuntimeError(explained(error, loop, process, servers)) from error
            if not _works_again(loop.settings):
                report.broken.append("no job was done after the last stop")
            if not process.is_alive():
                report.broken.append(f"the service has ended: {loop.log()}")
        report.broken.extend(asyncio.run(loop.audit()))
        ((jobs,),) = asyncio.run(
            query(loop.settings, "SELECT count(*) FROM job WHERE state = 'done'")
        )
    return Report(report.record, report.waits, jobs, report.broken)


def stores_again(record: Record) -> float:
    """Wait until something more is acknowledged; the seconds."""
    begun, acks = time.monotonic(), record.acks
    while record.acks == acks:
        if time.monotonic() - begun > PATIENCE_SECONDS:
            raise StoresNothing(
                f"nothing was stored for {PATIENCE_SECONDS:.0f} s: {record.failed}; the last "
                f"failure: {record.last_failure}"
            )
        time.sleep(0.01)
    return time.monotonic() - begun


def explained(
    error: StoresNothing, loop: KillLoop, process: BaseProcess, servers: Mapping[str, Server]
) -> str:
    """The error, with where the service waits, and what PostgreSQL does; or with what has ended it."""
    if not process.is_alive() or process.pid is None:
        return f"{error}; the service has ended with {process.exitcode}: {loop.log(20_000)}"
    for number in (signal.SIGUSR2, signal.SIGUSR1):
        os.kill(process.pid, number)
        time.sleep(LOOK_SECONDS)
    try:
        sessions = [str(row) for row in asyncio.run(_sessions(loop.settings))]
    except Exception as failure:  # noqa: BLE001 - whatever it is, it is a part of the answer
        sessions = [repr(failure)]
    logs = [f"{name}: {server.log_tail()}" for name, server in servers.items()]
    return "\n".join([str(error), loop.log(20_000), *sessions, *logs])


async def _sessions(settings: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    return await asyncio.wait_for(query(settings, _SESSIONS), LOOK_SECONDS)


def _works_again(settings: Mapping[str, Any]) -> bool:
    """Wait until a job has ended that began after now."""
    begun = time.monotonic()
    now = "SELECT count(*) FROM job WHERE state = 'done'"
    ((before,),) = asyncio.run(query(settings, now))
    while time.monotonic() - begun < PATIENCE_OF_JOBS_SECONDS:
        ((done,),) = asyncio.run(query(settings, now))
        if done > before:
            return True
        time.sleep(0.1)
    return False


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stops", type=int, default=50)
    parser.add_argument("--server", choices=SERVERS, action="append")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    failed = False
    for name in given.server or SERVERS:
        begun = time.monotonic()

        def show(stops: int, name: str = name) -> None:
            print(f"\r{name}: {stops} stops", end="", file=sys.stderr, flush=True)

        report = run([name], given.stops, given.seed, show)
        record, waits = report.record, sorted(report.waits)
        print(
            f"\r{name}: {given.stops} stops, {len(record.acknowledged)} files acknowledged, "
            f"{len(record.deleted)} deletions, {report.jobs} jobs done, "
            f"{len(report.broken)} broken, {time.monotonic() - begun:.0f} s; stored again after "
            f"{waits[len(waits) // 2]:.2f} s (median), {waits[-1]:.2f} s (longest)"
        )
        if record.failed:
            print(f"  what a round ended with: {dict(record.failed)}")
        for line in report.broken[:20]:
            print(f"  {line}")
        failed |= bool(report.broken)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
