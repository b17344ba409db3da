"""Reads all live jobs of some kinds."""

from collections.abc import AsyncIterator, Iterable

from traffic_storage.domain.jobs import Job, JobKind
from traffic_storage.ports.jobs import JobQueue


async def live_jobs(queue: JobQueue, kinds: Iterable[JobKind]) -> AsyncIterator[Job]:
    """Yield each job of these kinds that is ready or running, once; a kind's oldest first."""
    for kind in kinds:
        after = None
        while True:
            page = await queue.live_jobs(kind, after)
            for job in page.items:
                yield job
            after = page.next
            if after is None:
                break
