"""`ServiceJobs`: the part of `StorageService` for jobs."""

from traffic_storage.domain.jobs import JobState
from traffic_storage.domain.query import Cursor, JobsQuery, Page
from traffic_storage.entrypoints.service.arguments import check_type, word_of
from traffic_storage.entrypoints.service.parts import Parts
from traffic_storage.entrypoints.views import JobView, job_view


class ServiceJobs:
    """Lists, cancels and retries the jobs of a service."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def find(
        self, state: JobState | str | None, kind: str | None, limit: int, after: Cursor | None
    ) -> Page[JobView]:
        """Implement `StorageService.find_jobs`."""
        if after is not None:
            check_type("after", after, Cursor)
        wanted = None if state is None else word_of("state", state, JobState)
        use_cases = await self._parts.started()
        page = await use_cases.jobs().jobs(JobsQuery(wanted, kind, limit, after))
        return Page(tuple(map(job_view, page.items)), page.next)

    async def get(self, job_id: str) -> JobView:
        """Implement `StorageService.get_job`."""
        check_type("job_id", job_id, str)
        use_cases = await self._parts.started()
        return job_view(await use_cases.jobs().job(job_id))

    async def cancel(self, job_id: str) -> JobView:
        """Implement `StorageService.cancel_job`."""
        check_type("job_id", job_id, str)
        use_cases = await self._parts.started()
        return job_view(await use_cases.jobs().cancel(job_id))

    async def retry(self, job_id: str) -> JobView:
        """Implement `StorageService.retry_job`."""
        check_type("job_id", job_id, str)
        use_cases = await self._parts.started()
        return job_view(await use_cases.jobs().retry(job_id))
