"""`python -m benchmarks.jobs`: jobs a second, with and without many jobs that wait.

A worker does jobs that do nothing. First they are all that there is; then as many again are done
while `--waiting` jobs wait: half of them need a store that this worker can't reach, half are due in
an hour. On both databases, PostgreSQL with fsync. Prints the rates and the ratio of the second to
the first.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from benchmarks.table import machine_class
from tests.support.adapter_settings import PATIENT_SECONDS, postgres_settings
from tests.support.servers import PostgresServer
from traffic_storage.adapters.record_repo.sql.postgres import postgres_repo
from traffic_storage.adapters.record_repo.sql.sqlite import SqliteSettings, sqlite_repo
from traffic_storage.application.worker import Outcome, Report, Worker
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.jobs import JobKind, NewJob, Run
from traffic_storage.entrypoints.testing.ids import uuid7_at
from traffic_storage.entrypoints.testing.units import NOON
from traffic_storage.ports.clock import Ids
from traffic_storage.ports.record_repo import RecordRepo

_KIND = JobKind("nothing")
_ELSEWHERE = StoreId("of-another-host")
_BATCH = 1000
_SLOTS = 16


class _Ids(Ids):
    def uuid7(self) -> UUID:
        return uuid7_at(NOON)


async def nothing(_run: Run, _report: Report) -> Outcome:
    """Do a job of the benchmark."""
    return Outcome()


def waiting(count: int) -> Iterator[NewJob]:
    """Jobs that can't be done now."""
    for number in range(count):
        if number % 2:
            yield NewJob(uuid7_at(NOON), _KIND, store_id=_ELSEWHERE)
        else:
            yield NewJob(uuid7_at(NOON), _KIND, delay=timedelta(hours=1))


async def enqueue(repo: RecordRepo, jobs: Sequence[NewJob]) -> None:
    """Write jobs in batches."""
    for begin in range(0, len(jobs), _BATCH):
        await repo.enqueue(jobs[begin : begin + _BATCH])


async def rate(repo: RecordRepo, count: int) -> float:
    """Return how many jobs a second a worker does."""
    await enqueue(repo, [NewJob(uuid7_at(NOON), _KIND) for _ in range(count)])
    worker = Worker(
        source=repo,
        ids=_Ids(),
        handlers={_KIND: nothing},
        schedules=tuple,
        stores=tuple,
        slots=_SLOTS,
        owner="benchmark",
    )
    begin = time.perf_counter()
    await worker.drain()
    seconds = time.perf_counter() - begin
    await worker.aclose()
    return count / seconds


@asynccontextmanager
async def on_sqlite(folder: Path) -> AsyncIterator[RecordRepo]:
    """A new catalogue in a file."""
    repo = sqlite_repo(SqliteSettings(folder / "catalogue.sqlite3", PATIENT_SECONDS))
    await repo.upgrade()
    yield repo
    await repo.aclose()


@asynccontextmanager
async def on_postgres(_folder: Path) -> AsyncIterator[RecordRepo]:
    """A new catalogue on a server of its own."""
    with PostgresServer() as server:
        repo = postgres_repo(postgres_settings(server.create_database()))
        await repo.upgrade()
        yield repo
        await repo.aclose()


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.jobs", description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--waiting", type=int, default=100_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        for name, opened in (("SQLite", on_sqlite), ("PostgreSQL", on_postgres)):
            async with opened(Path(place)) as repo:
                alone = await rate(repo, arguments.jobs)
                await enqueue(repo, list(waiting(arguments.waiting)))
                behind = await rate(repo, arguments.jobs)
            print(
                f"{name}: {alone:,.0f} jobs/s; {behind:,.0f} jobs/s while {arguments.waiting:,} "
                f"wait, {behind / alone:.2f} of it",
                flush=True,
            )
        print(machine_class(Path(place)))


if __name__ == "__main__":
    asyncio.run(main())
