"""Endpoints of jobs, and the answer to a request whose work becomes a job."""

from collections.abc import Iterable, Mapping
from typing import Annotated

from fastapi import Path, Query, Request
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from traffic_storage.application.jobs import Jobs
from traffic_storage.domain.jobs import Job
from traffic_storage.domain.query import Cursor, JobsQuery
from traffic_storage.entrypoints.http.queries import send_page
from traffic_storage.entrypoints.http.request_body import AsgiRequest, reference_of
from traffic_storage.entrypoints.http.responses import JsonResponse
from traffic_storage.entrypoints.http.schemas import (
    Checks,
    JobFilters,
    JobIdText,
    JobsPage,
    read_fields,
)
from traffic_storage.entrypoints.views import job_view

JobIdPath = Annotated[JobIdText, Path(examples=["0199a0c4-5d00-7000-8000-000000000000"])]


class ListJobs:
    """`GET /jobs`: pages of jobs, newest first."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    @staticmethod
    def signature(filters: Annotated[JobFilters, Query()]) -> JobsPage:  # type: ignore[empty-body]
        """Return jobs, newest first. The Link header has the URL of the next page."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = AsgiRequest(scope, receive, send)
        texts = request.query_fields()
        page = await self._jobs.jobs(_query(texts))
        await send_page(request, "jobs", texts, [job_view(job) for job in page.items], page.next)


class JobEndpoints:
    """`/jobs/{job_id}`, and what an operator does with the job."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    async def get(self, job_id: JobIdPath) -> Response:
        """Return the job. `progress` is at most 10 s old."""
        return JsonResponse(job_view(await self._jobs.job(job_id)))

    async def cancel(self, job_id: JobIdPath) -> Response:
        """Cancel the job; a running job ends within 10 s, and what it has changed stays."""
        return JsonResponse(job_view(await self._jobs.cancel(job_id)))

    async def retry(self, job_id: JobIdPath) -> Response:
        """Make a dead or cancelled job ready again, with all its attempts."""
        return JsonResponse(job_view(await self._jobs.retry(job_id)))


def prefers_async(request: Request) -> bool:
    """Return whether the client prefers a job to waiting (`Prefer: respond-async`, RFC 7240)."""
    return names_async(request.headers.getlist("prefer"))


def names_async(preferences: Iterable[str]) -> bool:
    """Return whether the values of headers `Prefer` have `respond-async`."""
    preferences = ",".join(preferences).split(",")
    return any(each.split(";")[0].strip().lower() == "respond-async" for each in preferences)


def accepted(request: Request, job: Job, *, below: str = "/jobs") -> Response:
    """Return the answer 202 to a request whose work has become this job.

    Its Location is `below`, where the client is told how far the job is, and of its result.
    """
    address = reference_of(request.scope, f"{below}/{job.job_id}")
    headers = Headers({"location": address, "preference-applied": "respond-async"})
    return JsonResponse(job_view(job), status_code=202, headers=headers)


def _query(texts: Mapping[str, str]) -> JobsQuery:
    filters, problems = read_fields(JobFilters, texts, "query")
    checks = Checks(problems)
    after = checks.optional(filters.cursor, Cursor.from_text)
    with checks:
        return JobsQuery(
            state=filters.state,
            kind=filters.kind,
            limit=100 if filters.limit is None else filters.limit,
            after=after,
        )
