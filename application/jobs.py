"""Jobs: lists of jobs, and what an operator does with one of them."""

from collections.abc import Mapping
from uuid import UUID

from traffic_storage.domain.canonical import Json
from traffic_storage.domain.errors import InvalidInput, NotFound, WrongState, shown
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.jobs import LIVE, Job, JobKind, JobState, NewJob, Priority
from traffic_storage.domain.query import JobsQuery, Page
from traffic_storage.ports.clock import Ids
from traffic_storage.ports.jobs import JobQueue


class Jobs:
    """Lists, cancels and retries jobs, and starts those that a person asks for.

    Errors of all methods:
        CatalogueUnavailable: the database can't be reached.
    """

    def __init__(self, *, queue: JobQueue, ids: Ids) -> None:
        self._queue = queue
        self._ids = ids

    async def jobs(self, query: JobsQuery) -> Page[Job]:
        """Return a page of jobs, the newest first."""
        return await self._queue.jobs(query)

    async def job(self, job_id: str) -> Job:
        """Return one job.

        Raises:
            InvalidInput: the id is not a UUID.
            NotFound: there is no such job; jobs that have ended are deleted after `keep_jobs_days`.
        """
        found = await self._queue.job(_uuid(job_id))
        if found is None:
            raise NotFound("job", job_id)
        return found

    async def start(
        self,
        kind: JobKind,
        arguments: Mapping[str, Json],
        *,
        store_id: StoreId | None = None,
        priority: Priority = Priority.URGENT,
    ) -> Job:
        """Write a job, and return it. A worker does it as soon as it has a free slot."""
        new = NewJob(self._ids.uuid7(), kind, arguments, priority=priority, store_id=store_id)
        await self._queue.enqueue([new])
        return await self.job(str(new.job_id))

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job, and return it.

        A job that is ready is cancelled at once. The worker of a running one is asked to stop it,
        which it does within 10 s; what the job has changed until then stays.

        Raises:
            InvalidInput: the id is not a UUID.
            NotFound: there is no such job.
            WrongState: the job has ended.
        """
        job = await self.job(job_id)
        if not await self._queue.cancel_job(job.job_id):
            now = await self.job(job_id)
            raise WrongState(f"the job {job_id} is {now.state} already, so it can't be cancelled")
        return await self.job(job_id)

    async def retry(self, job_id: str) -> Job:
        """Make a job ready again that is dead or cancelled, with all its attempts; return it.

        Raises:
            InvalidInput: the id is not a UUID.
            NotFound: there is no such job.
            WrongState: the job is neither dead nor cancelled, or another job does the same work.
        """
        job = await self.job(job_id)
        if not await self._queue.requeue_job(job.job_id):
            now = await self.job(job_id)
            if now.state in LIVE or now.state is JobState.DONE:
                raise WrongState(
                    f"the job {job_id} is {now.state}; only a dead or cancelled job can be retried"
                )
            raise WrongState(
                f"another job with the key {now.key} is ready or running, and does the same work"
            )
        return await self.job(job_id)


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise InvalidInput.of(
            "job_id", f"is not a UUID: {shown(text, 60)}", "send the job_id that a list shows"
        ) from None
