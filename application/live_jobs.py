"""Reads the live jobs of some kinds, whose states may change while they are read."""

from collections.abc import AsyncIterator, Iterable
from uuid import UUID

from attrs import evolve

from traffic_storage.domain.jobs import Job, JobKind, JobState
from traffic_storage.domain.query import MAX_LIMIT, JobsQuery
from traffic_storage.ports.jobs import JobQueue

# A job that changes its state between two of these reads is found by another one.
_STATES = (JobState.RUNNING, JobState.READY, JobState.RUNNING)


async def live_jobs(queue: JobQueue, kinds: Iterable[JobKind]) -> AsyncIterator[Job]:
    """Yield each job of these kinds that is ready or running, once."""
    for kind in kinds:
        known: set[UUID] = set()
        for state in _STATES:
            async for job in _jobs(queue, kind, state):
                if job.job_id not in known:
                    known.add(job.job_id)
                    yield job


async def _jobs(queue: JobQueue, kind: JobKind, state: JobState) -> AsyncIterator[Job]:
    query = JobsQuery(state, kind, MAX_LIMIT)
    while True:
        page = await queue.jobs(query)
        for job in page.items:
            yield job
        if page.next is None:
            return
        query = evolve(query, after=page.next)
