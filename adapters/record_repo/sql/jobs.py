"""The job queue in a database: each call runs a few SQL statements (`job_statements`)."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import permutations
from random import sample
from uuid import UUID

from orjson import dumps

from traffic_storage.adapters.record_repo.sql import job_statements as statements
from traffic_storage.adapters.record_repo.sql import rows
from traffic_storage.adapters.record_repo.sql.driver import Driver, Refused, Step, Write
from traffic_storage.adapters.record_repo.sql.statement import Args
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.jobs import (
    Claim,
    Done,
    Job,
    JobKind,
    NewJob,
    Priority,
    Progress,
    Renewal,
    Run,
    RunEnd,
    Schedule,
    error_of,
    is_attempt,
    pause_after,
    state_after,
)
from traffic_storage.domain.query import MAX_LIMIT, Cursor, JobsQuery, Page

_LOST = " stopped, or did not renew its lease in time"


class SqlJobs:
    """The jobs in the database of `driver`."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._written = asyncio.Event()

    async def enqueue(self, jobs: Sequence[NewJob]) -> None:
        if jobs:
            await self._driver.write(Write((insertion(jobs),), grows=True))
            self._written.set()

    def _tell_workers(self, write: Write) -> None:
        """Wake the workers of this process if a write had jobs."""
        if any(step.statement is statements.INSERT_JOB for step in write.steps):
            self._written.set()

    async def cancel_job(self, job_id: UUID) -> bool:
        row = ((job_id.bytes,),)
        for statement in (statements.CANCEL_READY, statements.CANCEL_RUNNING):
            with suppress(Refused):
                await self._driver.write(Write((Step(statement, row, 1),)))
                return True
        return False

    async def requeue_job(self, job_id: UUID) -> bool:
        # Refused: the job is neither dead nor cancelled, or a live job has its key.
        with suppress(Refused):
            await self._driver.write(Write((Step(statements.REQUEUE, ((job_id.bytes,),), 1),)))
            self._written.set()
            return True
        return False

    async def job(self, job_id: UUID) -> Job | None:
        found = await self._driver.read(statements.JOB, [(job_id.bytes,)])
        return rows.job_of(found[0]) if found else None

    async def jobs(self, query: JobsQuery) -> Page[Job]:
        statement = statements.PAGES[query.state is not None, query.kind is not None]
        found = await self._driver.read(statement, [rows.jobs_query_row(query)])
        items = tuple(map(rows.job_of, found[: query.limit]))
        if len(found) <= query.limit:
            return Page(items)
        return Page(items, Cursor(items[-1].created_at, str(items[-1].job_id)))

    async def live_jobs(
        self, kind: JobKind, after: Cursor | None = None, limit: int = MAX_LIMIT
    ) -> Page[Job]:
        row = rows.live_jobs_row(kind, after, limit)
        found = await self._driver.read(statements.LIVE_JOBS, [row])
        items = tuple(map(rows.job_of, found[:limit]))
        if len(found) <= limit:
            return Page(items)
        return Page(items, Cursor(items[-1].created_at, str(items[-1].job_id)))

    async def retarget(
        self,
        store_id: StoreId,
        kept: Collection[StoreId],
        target_id: StoreId,
        limit: int = MAX_LIMIT,
    ) -> bool:
        row = (store_id, dumps(sorted(kept)).decode(), limit)
        found = await self._driver.read(statements.WAITING_FOR_OTHERS, [row])
        if found:
            needed = rows.needs(store_id, target_id)
            changed = tuple((job_id, needed) for (job_id,) in found)
            await self._driver.write(Write((Step(statements.RETARGET, changed),)))
            self._written.set()
        return len(found) >= limit

    async def claim(self, claim: Claim) -> Sequence[Run]:
        micros = claim.lease // timedelta(microseconds=1)
        kinds = dumps(claim.kinds).decode()
        steps = (
            Step(statements.TAKE_BACK, ((_LOST,),)),
            Step(
                statements.CLAIM,
                tuple(
                    (
                        # The highest priority first: rows of a step are ordered by this.
                        f"{claim.lease_id}-{max(Priority) - priority}-{place:06}",
                        *(priority.value, kinds, needed, claim.limit),
                        *(claim.lease_id.bytes, claim.owner, micros),
                    )
                    for priority in Priority
                    for place, needed in enumerate(_needs_met_by(claim.stores))
                ),
            ),
        )
        self._written.clear()
        await self._driver.write(Write(steps))
        found = await self._driver.read(statements.CLAIMED, [(claim.lease_id.bytes,)])
        return [_run(rows.job_of(row), claim.lease_id) for row in found]

    async def renew(
        self, runs: Mapping[UUID, Progress], lease_id: UUID, lease: timedelta
    ) -> Renewal:
        micros = lease // timedelta(microseconds=1)
        renewed: tuple[Args, ...] = tuple(
            (
                *(job_id.bytes, lease_id.bytes, micros),
                *(progress.done, progress.total, progress.bytes, progress.message),
            )
            for job_id, progress in runs.items()
        )
        await self._driver.write(Write((Step(statements.RENEW, renewed),)))
        held = await self._driver.read(statements.CLAIMED, [(lease_id.bytes,)])
        found = {job.job_id: job for job in map(rows.job_of, held)}
        return Renewal(
            lost=frozenset(runs) - found.keys(),
            cancelling=frozenset(job.job_id for job in found.values() if job.cancelling),
        )

    async def write_due(self, schedules: Mapping[UUID, Schedule]) -> int:
        written = 0
        for job_id, schedule in schedules.items():
            slot = (schedule.name, schedule.every // timedelta(microseconds=1))
            with suppress(Refused):
                await self._driver.write(
                    Write(
                        (
                            Step(statements.CLAIM_SLOT, (slot,), 1),
                            insertion([schedule.job(job_id)]),
                        ),
                        grows=True,
                    )
                )
                written += 1
        return written

    async def forget_jobs(self, before: datetime, limit: int) -> None:
        row = (rows.micros(before), limit)
        await self._driver.write(Write((Step(statements.FORGET_JOBS, (row,)),)))

    async def database_time(self) -> datetime:
        ((micros,),) = await self._driver.read(statements.DATABASE_TIME, [()])
        return rows.moment(micros)

    async def wait_for_jobs(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._written.wait()


def _needs_met_by(stores: Sequence[StoreId]) -> Sequence[str]:
    """Return all sets of stores that jobs can need and that a worker with `stores` can reach.

    Their order changes with each call, so that many jobs of one store don't keep back the others.
    """
    met = [rows.needs(*needed) for count in range(3) for needed in permutations(stores, count)]
    return sample(met, len(met))


def _run(job: Job, lease_id: UUID) -> Run:
    return Run(job.job_id, lease_id, job.kind, job.arguments, job.attempts, job.max_attempts)


def insertion(jobs: Sequence[NewJob]) -> Step:
    """Return the step that inserts jobs, but for those whose id or live key exists."""
    return Step(statements.INSERT_JOB, tuple(map(rows.new_job_row, jobs)))


def ending(run: Run, end: RunEnd) -> Step:
    """Return the step that ends a run; it is refused if the lease is lost."""
    if isinstance(end, Done):
        return Step(statements.END_DONE, (rows.done_row(run, end),), 1)
    pause = pause_after(end) // timedelta(microseconds=1)
    becomes = state_after(end, run.attempt, run.max_attempts).value
    uncounted = int(not is_attempt(end))
    row = (run.job_id.bytes, run.lease_id.bytes, becomes, pause, uncounted, error_of(end))
    return Step(statements.END_JOB, (row,), 1)


def has_ended(job: Job | None, run: Run, end: RunEnd) -> bool:
    """Return whether a job is as this end of this run has left it."""
    return (
        job is not None
        and job.attempts == run.attempt - (not is_attempt(end))
        and job.state is state_after(end, run.attempt, run.max_attempts)
    )
