"""Workers are killed and stopped again and again; then every job is looked up.

    python -m tests.crash.job_loop --kills 50                     both databases
    python -m tests.crash.job_loop --kills 50 --database sqlite
    python -m tests.crash.job_loop --restarts 10                  of the PostgreSQL server instead

Exit status 1 when a job is lost, or its effect does not match its end.
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
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from uuid import UUID

from attrs import asdict, frozen

from tests.crash import job_worker
from tests.crash.job_worker import FILE, LEASE, POISON, STORE, file_of, opened
from tests.support.servers import PostgresServer
from traffic_storage.adapters.clock.system import RandomIds, SystemClock
from traffic_storage.domain.jobs import Job, JobState, NewJob
from traffic_storage.domain.query import JobsQuery
from traffic_storage.ports.errors import CatalogueUnavailable
from traffic_storage.ports.record_repo import RecordRepo

DATABASES = ("sqlite", "postgresql")
WORKERS = 2
JOBS_A_KILL = 20
MANY = 10**6
PATIENCE_SECONDS = 120.0
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["tests.crash.job_worker"])


@frozen
class Findings:
    """What was done to the workers, and what is wrong."""

    kills: int
    done: int
    broken: list[str]


@contextmanager
def database_of(name: str, folder: Path) -> Iterator[dict[str, Any]]:
    """The address of a new catalogue."""
    if name == "sqlite":
        yield {"path": str(folder / "catalogue.sqlite3")}
        return
    with PostgresServer() as server:
        yield asdict(server.create_database())


class JobLoop:
    """Two workers on one catalogue, which are killed or stopped, and started again."""

    def __init__(self, database: dict[str, Any], folder: Path, seed: int) -> None:
        self._database = database
        self._log = folder / "workers.log"
        self._chance = random.Random(seed)
        self._workers: list[BaseProcess] = []
        self._ids = RandomIds(SystemClock())
        self.jobs: list[UUID] = []
        self.kills = 0

    async def run(self, kills: int) -> Findings:
        """Write jobs, kill or stop workers `kills` times, wait until all jobs are done."""
        async with opened(self._database) as repo:
            await repo.register(STORE)
            try:
                for _ in range(WORKERS):
                    await self._start()
                while self.kills < kills:
                    await self._write(repo, JOBS_A_KILL)
                    await asyncio.sleep(self._chance.uniform(0, 0.3))
                    await self._disturb()
                await self._all_done(repo)
            finally:
                self._end()
            return Findings(self.kills, len(self.jobs), await self._audit(repo))

    async def run_with_restarts(self, server: PostgresServer, restarts: int) -> Findings:
        """Write jobs and stop the database's server `restarts` times while the workers run."""
        async with opened(self._database) as repo:
            await repo.register(STORE)
            try:
                for _ in range(WORKERS):
                    await self._start()
                workers = list(self._workers)
                for _ in range(restarts):
                    await self._write(repo, JOBS_A_KILL)
                    await asyncio.sleep(self._chance.uniform(0, 0.3))
                    await asyncio.to_thread(server.stop, "immediate")
                    await asyncio.to_thread(server.start)
                    await _until_up(repo)
                await self._all_done(repo)
                dead = [f"a worker ended: {one.exitcode}" for one in workers if not one.is_alive()]
                return Findings(restarts, len(self.jobs), [*await self._audit(repo), *dead])
            finally:
                self._end()

    async def poison(self) -> Job:
        """Return the job, once it has ended, that kills each worker that runs it."""
        async with opened(self._database) as repo:
            await repo.register(STORE)
            job = NewJob(self._ids.uuid7(), POISON, max_attempts=2)
            await repo.enqueue([job])
            async with asyncio.timeout(PATIENCE_SECONDS):
                while (held := await repo.job(job.job_id)) and held.ended_at is None:
                    await self._start()
                    (worker,) = self._workers
                    await asyncio.to_thread(worker.join, LEASE.total_seconds())
                    worker.kill()
                    worker.join()
                    self._workers.clear()
            assert held is not None
            return held

    def _end(self) -> None:
        for worker in self._workers:
            worker.kill()
            worker.join()
        self._workers.clear()

    async def _write(self, repo: RecordRepo, count: int) -> None:
        new = [NewJob(self._ids.uuid7(), FILE, max_attempts=MANY) for _ in range(count)]
        await repo.enqueue(new)
        self.jobs += [job.job_id for job in new]

    async def _disturb(self) -> None:
        """Kill a worker, or stop it until its leases have passed; another one goes on meanwhile."""
        worker = self._workers.pop(0)
        assert worker.pid is not None
        if self._chance.random() < 0.2:
            os.kill(worker.pid, signal.SIGSTOP)
            await asyncio.sleep(1.5 * LEASE.total_seconds())
            os.kill(worker.pid, signal.SIGCONT)
            self._workers.append(worker)
        else:
            worker.kill()
            await asyncio.to_thread(worker.join)
            await self._start()
        self.kills += 1

    async def _start(self) -> None:
        reading, writing = os.pipe()
        told = Connection(writing, readable=False)
        seed = self._chance.randrange(2**32)
        worker = _PROCESSES.Process(
            target=job_worker.run,
            args=(json.dumps(self._database), seed, told, self._log),
            daemon=True,
        )
        worker.start()
        told.close()
        with os.fdopen(reading, "rb") as lines:
            await asyncio.to_thread(lines.readline)
        self._workers.append(worker)

    async def _all_done(self, repo: RecordRepo) -> None:
        ends_at = time.monotonic() + PATIENCE_SECONDS
        for job_id in self.jobs:
            while (job := await repo.job(job_id)) and job.state is not JobState.DONE:
                if time.monotonic() > ends_at:
                    raise RuntimeError(f"{job} is not done; {self._log.read_text()[-2000:]}")
                await asyncio.sleep(0.1)

    async def _audit(self, repo: RecordRepo) -> list[str]:
        broken = []
        for job_id in self.jobs:
            job, file = await repo.job(job_id), await repo.file(file_of(job_id))
            if job is None or job.state is not JobState.DONE:
                broken.append(f"{job_id} is lost: {job}")
            if file is None:
                broken.append(f"{job_id} is done without its effect")
        files = (await repo.usage()).stores
        counted = sum(row.replicas for row in files)
        if counted != len(self.jobs):
            broken.append(f"{counted} files were inserted by {len(self.jobs)} jobs")
        live = (await repo.jobs(JobsQuery(JobState.DEAD))).items
        return [*broken, *(f"{job.job_id} is dead: {job.error}" for job in live)]


async def _until_up(repo: RecordRepo) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                await repo.ping()
            except CatalogueUnavailable:
                await asyncio.sleep(0.05)
            else:
                return


def run_with_restarts(restarts: int, seed: int = 1) -> Findings:
    """Stop the database's server `restarts` times under two workers."""
    with tempfile.TemporaryDirectory() as place, PostgresServer() as server:
        loop = JobLoop(asdict(server.create_database()), Path(place), seed)
        return asyncio.run(loop.run_with_restarts(server, restarts))


def run(name: str, kills: int, seed: int = 1) -> Findings:
    """Disturb the workers of a database `kills` times."""
    with tempfile.TemporaryDirectory() as place, database_of(name, Path(place)) as database:
        return asyncio.run(JobLoop(database, Path(place), seed).run(kills))


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--restarts", type=int, default=0)
    parser.add_argument("--database", choices=DATABASES, action="append")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    failed = False
    for name in ["restarts"] if given.restarts else given.database or DATABASES:
        if given.restarts:
            found = run_with_restarts(given.restarts, given.seed)
        else:
            found = run(name, given.kills, given.seed)
        print(f"{name}: {found.kills} times, {found.done} jobs, {len(found.broken)} broken")
        for line in found.broken[:20]:
            print(f"  {line}")
        failed |= bool(found.broken)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
