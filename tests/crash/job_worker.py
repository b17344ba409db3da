"""The process that is killed, or stopped for a while: a worker whose jobs insert a file each.

The handler journals an attempt, as whatever writes bytes does; the effect of the job is the file's
row. So a job is done if, and only if, its file exists, whenever the process dies.
"""

import asyncio
import json
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.support.adapter_settings import PATIENT_SECONDS, postgres_settings
from tests.support.servers import Database
from traffic_storage.adapters.clock.system import RandomIds, SystemClock
from traffic_storage.adapters.record_repo.sql.postgres import postgres_repo
from traffic_storage.adapters.record_repo.sql.sqlite import SqliteSettings, sqlite_repo
from traffic_storage.application.worker import Outcome, Report, Worker
from traffic_storage.domain.changes import CommitUnit
from traffic_storage.domain.files import Tier
from traffic_storage.domain.identifiers import FileId, StoreId
from traffic_storage.domain.identity import RegisteredStore
from traffic_storage.domain.ingest import Unit
from traffic_storage.domain.jobs import JobKind, Progress, Run, Schedule
from traffic_storage.entrypoints.testing.units import NOON, new_attempt, new_file
from traffic_storage.ports.record_repo import RecordRepo

FILE, POISON, TICK = JobKind("file"), JobKind("poison"), JobKind("tick")
LEASE = timedelta(seconds=1)
STORE = RegisteredStore(StoreId("local"), Tier.LOCAL, "host:/blobs", NOON)
SLOTS = 4


@asynccontextmanager
async def opened(database: dict[str, Any]) -> AsyncIterator[RecordRepo]:
    """Open the catalogue: a file of SQLite, or a database of a server."""
    if "path" in database:
        repo = sqlite_repo(SqliteSettings(Path(database["path"]), PATIENT_SECONDS))
    else:
        repo = postgres_repo(postgres_settings(Database(**database)))
    try:
        await repo.upgrade()
        yield repo
    finally:
        await repo.aclose()


def file_of(job_id: object) -> FileId:
    """The file that a job inserts."""
    return FileId(f"file-{job_id}")


async def work(repo: RecordRepo, seed: int) -> Worker:
    """Start a worker on a catalogue."""
    chance = random.Random(seed)

    async def insert_file(run: Run, report: Report) -> Outcome:
        report(Progress(0, 1))
        unit = Unit((new_file(STORE, file_id=file_of(run.job_id)),))
        attempt = new_attempt(unit)
        await repo.begin(attempt, unit.names)
        await asyncio.sleep(chance.uniform(0, 0.01))
        report(Progress(1, 1))
        return Outcome(effect=CommitUnit(attempt.attempt_id, unit))

    async def die(run: Run, report: Report) -> Outcome:
        os.kill(os.getpid(), signal.SIGKILL)
        return Outcome()

    async def tick(run: Run, report: Report) -> Outcome:
        return Outcome()

    schedule = Schedule(TICK, timedelta(seconds=1))
    worker = Worker(
        source=repo,
        ids=RandomIds(SystemClock()),
        handlers={FILE: insert_file, POISON: die, TICK: tick},
        schedules=lambda: [schedule],
        stores=lambda: (STORE.store_id,),
        slots=SLOTS,
        owner=f"worker-{os.getpid()}",
        lease=LEASE,
        pause=timedelta(seconds=2),
    )
    worker.start()
    return worker


async def main(database: dict[str, Any], seed: int) -> None:
    """Work until the process is killed."""
    async with opened(database) as repo:
        await work(repo, seed)
        os.write(1, b"ready\n")
        await asyncio.Event().wait()


def run(database: str, seed: int, told: Connection, log: Path) -> None:
    """Run in a process of its own; tell through `told` when the worker has started."""
    os.dup2(told.fileno(), 1)
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    asyncio.run(main(json.loads(database), seed))
