"""Jobs in the memory of this process; the contract suite compares other adapters with them."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from uuid import UUID

from attrs import evolve

from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.jobs import (
    LIVE,
    Claim,
    Job,
    JobKind,
    JobState,
    NewJob,
    Progress,
    Renewal,
    Run,
    RunEnd,
    Schedule,
    claimed,
    ended,
    taken_back,
)
from traffic_storage.domain.query import MAX_LIMIT, Cursor, JobsQuery, Page
from traffic_storage.ports.errors import LeaseLost


class InMemoryJobs:
    """Jobs that exist as long as this object."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._jobs: dict[UUID, Job] = {}
        self._leases: dict[UUID, UUID] = {}
        self._slots: dict[str, int] = {}
        self._written = asyncio.Event()

    async def enqueue(self, jobs: Sequence[NewJob]) -> None:
        self.insert(jobs)

    def insert(self, jobs: Iterable[NewJob]) -> None:
        """Insert jobs, but for those whose id or live key exists."""
        now = self._now()
        for new in jobs:
            if new.job_id not in self._jobs and not self._is_taken(new.key):
                self._jobs[new.job_id] = new.written(now)
                self._written.set()

    async def cancel_job(self, job_id: UUID) -> bool:
        job = self._jobs.get(job_id)
        if job is None or job.state not in LIVE:
            return False
        if job.state is JobState.RUNNING:
            self._jobs[job_id] = evolve(job, cancelling=True)
        else:
            self._jobs[job_id] = evolve(job, state=JobState.CANCELLED, ended_at=self._now())
        return True

    async def requeue_job(self, job_id: UUID) -> bool:
        job = self._jobs.get(job_id)
        if job is None or job.state not in {JobState.DEAD, JobState.CANCELLED}:
            return False
        if self._is_taken(job.key):
            return False
        self._jobs[job_id] = evolve(
            job,
            state=JobState.READY,
            attempts=0,
            run_at=self._now(),
            ended_at=None,
            cancelling=False,
        )
        self._written.set()
        return True

    async def job(self, job_id: UUID) -> Job | None:
        return self._jobs.get(job_id)

    async def jobs(self, query: JobsQuery) -> Page[Job]:
        found = sorted(
            (job for job in self._jobs.values() if _is_asked(job, query)),
            key=_place,
            reverse=True,
        )
        items = tuple(found[: query.limit])
        if len(found) <= query.limit:
            return Page(items)
        return Page(items, Cursor(items[-1].created_at, str(items[-1].job_id)))

    async def live_jobs(
        self, kind: JobKind, after: Cursor | None = None, limit: int = MAX_LIMIT
    ) -> Page[Job]:
        behind = None if after is None else (after.at, UUID(after.row_id))
        live = [job for job in self._jobs.values() if job.state in LIVE and job.kind == kind]
        found = sorted((job for job in live if behind is None or _place(job) > behind), key=_place)
        items = tuple(found[:limit])
        if len(found) <= limit:
            return Page(items)
        return Page(items, Cursor(items[-1].created_at, str(items[-1].job_id)))

    def change_targets(
        self, store_id: StoreId, was: Collection[StoreId], becomes: StoreId, limit: int
    ) -> bool:
        """Give ready jobs of a store another second store; return whether there may be more."""
        found = [
            job
            for job in self._jobs.values()
            if job.state is JobState.READY and job.store_id == store_id and job.target_id in was
        ]
        for job in found[:limit]:
            self._jobs[job.job_id] = evolve(job, target_id=becomes)
            self._written.set()
        return len(found) >= limit

    async def claim(self, claim: Claim) -> Sequence[Run]:
        self._written.clear()
        now = self._now()
        for job in list(self._jobs.values()):
            if job.state is JobState.RUNNING and job.leased_until and job.leased_until < now:
                self._jobs[job.job_id] = taken_back(job, now)
        due = [
            job
            for job in self._jobs.values()
            if job.state is JobState.READY and job.run_at <= now and _may_claim(claim, job)
        ]
        due.sort(key=lambda job: (-job.priority, job.run_at, job.job_id))
        runs = []
        for job in due[: claim.limit]:
            self._jobs[job.job_id] = begun = claimed(job, claim, now)
            self._leases[job.job_id] = claim.lease_id
            runs.append(
                Run(
                    job.job_id,
                    claim.lease_id,
                    job.kind,
                    job.arguments,
                    begun.attempts,
                    job.max_attempts,
                )
            )
        return runs

    async def renew(
        self, runs: Mapping[UUID, Progress], lease_id: UUID, lease: timedelta
    ) -> Renewal:
        held = {job_id: job for job_id in runs if (job := self._held_job(job_id, lease_id))}
        for job_id, job in held.items():
            self._jobs[job_id] = evolve(
                job, leased_until=self._now() + lease, progress=runs[job_id]
            )
        return Renewal(
            lost=frozenset(runs) - held.keys(),
            cancelling=frozenset(job_id for job_id, job in held.items() if job.cancelling),
        )

    def check_held(self, run: Run) -> None:
        """Raise `LeaseLost` unless the run still has its lease."""
        if self._held_job(run.job_id, run.lease_id) is None:
            raise LeaseLost(f"the job {run.job_id} was taken from this worker, or has ended")

    def end(self, run: Run, end: RunEnd) -> None:
        """End a run that has its lease."""
        self._jobs[run.job_id] = ended(self._jobs[run.job_id], end, self._now())

    async def write_due(self, schedules: Mapping[UUID, Schedule]) -> int:
        written = 0
        for job_id, schedule in schedules.items():
            slot = schedule.slot(self._now())
            if self._slots.get(schedule.name, -1) < slot:
                self._slots[schedule.name] = slot
                self.insert([schedule.job(job_id)])
                written += 1
        return written

    async def forget_jobs(self, before: datetime, limit: int) -> None:
        old = [job for job in self._jobs.values() if job.ended_at and job.ended_at < before]
        for job in sorted(old, key=lambda job: job.ended_at or before)[:limit]:
            del self._jobs[job.job_id]

    async def database_time(self) -> datetime:
        return self._now()

    async def wait_for_jobs(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._written.wait()

    def _held_job(self, job_id: UUID, lease_id: UUID) -> Job | None:
        job = self._jobs.get(job_id)
        if job is None or job.state is not JobState.RUNNING:
            return None
        return job if self._leases.get(job_id) == lease_id else None

    def _is_taken(self, key: str | None) -> bool:
        live = (job for job in self._jobs.values() if job.state in LIVE)
        return key is not None and any(job.key == key for job in live)


def _may_claim(claim: Claim, job: Job) -> bool:
    reachable = {None, *claim.stores}
    return job.kind in claim.kinds and {job.store_id, job.target_id} <= reachable


def _place(job: Job) -> tuple[datetime, UUID]:
    return job.created_at, job.job_id


def _is_asked(job: Job, query: JobsQuery) -> bool:
    return (
        (query.state is None or job.state is query.state)
        and (query.kind is None or job.kind == query.kind)
        and (
            query.after is None
            or (job.created_at, str(job.job_id)) < (query.after.at, query.after.row_id)
        )
    )
