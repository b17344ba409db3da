"""Endpoints of verifications and incidents, and their routes."""

from collections.abc import Mapping
from typing import Annotated, Any

from attrs import frozen
from fastapi import Body, Path, Query, Request
from pydantic import Field
from pydantic import WithJsonSchema as Schema
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from typing_extensions import TypedDict

from traffic_storage.application.find import Find
from traffic_storage.application.review_incidents import ReviewIncidents
from traffic_storage.application.verify_replicas import VerifyReplicas
from traffic_storage.domain.errors import InvalidInput, NotFound, Unavailable, WrongState
from traffic_storage.domain.identifiers import known_file_id
from traffic_storage.domain.incidents import MAX_RESOLUTION, IncidentsQuery
from traffic_storage.domain.principal import Scope as Right
from traffic_storage.domain.query import Cursor
from traffic_storage.entrypoints.fixity_views import (
    FixityView,
    IncidentView,
    ReplicasView,
    fixity_view,
    incident_view,
    replicas_view,
)
from traffic_storage.entrypoints.http.downloads import FileIdPath, check_visible
from traffic_storage.entrypoints.http.errors import BadRequest
from traffic_storage.entrypoints.http.queries import send_page
from traffic_storage.entrypoints.http.request_body import AsgiRequest, known_principal
from traffic_storage.entrypoints.http.responses import JsonResponse
from traffic_storage.entrypoints.http.routing import AsgiRoute, StorageRoute
from traffic_storage.entrypoints.http.schemas import (
    Checks,
    Flag,
    KnownFileId,
    PageQuery,
    read_fields,
)
from traffic_storage.entrypoints.http.security.access import Access
from traffic_storage.entrypoints.views import JobView, job_view

_MAINTENANCE = Access(Right.MAINTENANCE)
_READ = Access(Right.EVIDENCE_READ)
_QUERYING = (BadRequest, InvalidInput, Unavailable)

IncidentIdPath = Annotated[
    Annotated[str, Schema({"type": "string", "format": "uuid"})],
    Path(examples=["0199a0c4-5d00-7000-8000-000000000000"]),
]
ResolutionText = Annotated[
    str,
    Body(
        embed=True,
        description="why the incident is closed",
        max_length=MAX_RESOLUTION,
        examples=["the disk was replaced; the file was restored from the backup of 1 November"],
    ),
]


class IncidentFilters(PageQuery):
    """The filters of incidents. An incident must match all of them."""

    open: Flag = Field(
        None, description="1: open incidents; 0: closed ones; default: both", examples=["1"]
    )
    file_id: KnownFileId | None = Field(None, examples=["V001~image"])


class IncidentsPage(TypedDict):
    """A page of incidents, newest first. `next_cursor` is null on the last page."""

    incidents: list[IncidentView]
    count: int
    next_cursor: str | None


class StartedView(TypedDict):
    """The jobs that were started."""

    jobs: list[JobView]


class ListIncidents:
    """`GET /incidents`: pages of incidents, newest first."""

    def __init__(self, incidents: ReviewIncidents) -> None:
        self._incidents = incidents

    @staticmethod
    def signature(filters: Annotated[IncidentFilters, Query()]) -> IncidentsPage:  # type: ignore[empty-body]
        """Return incidents, newest first. The Link header has the URL of the next page."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = AsgiRequest(scope, receive, send)
        texts = request.query_fields()
        page = await self._incidents.find(_query(texts))
        views = [incident_view(incident) for incident in page.items]
        await send_page(request, "incidents", texts, views, page.next)


@frozen
class FixityEndpoints:
    """`/fixity`, `/incidents/{incident_id}` and `/files/{file_id}/replicas`."""

    verify: VerifyReplicas
    incidents: ReviewIncidents
    find: Find

    async def get(self) -> Response:
        """Return how current the verification of all copies is, and the history of 30 days."""
        coverage = await self.verify.coverage()
        return JsonResponse(fixity_view(coverage, await self.verify.history()))

    async def start(self) -> Response:
        """Start to verify all copies: one job for each store. A store that is being verified has no
        second job.
        """
        jobs = await self.verify.start()
        return JsonResponse({"jobs": [job_view(job) for job in jobs]}, status_code=202)

    async def incident(self, incident_id: IncidentIdPath) -> Response:
        """Return the incident."""
        return JsonResponse(incident_view(await self.incidents.get(incident_id)))

    async def close(
        self, request: Request, incident_id: IncidentIdPath, resolution: ResolutionText
    ) -> Response:
        """Close an incident that is open. The name of the caller's key is recorded."""
        by = known_principal(request.scope).name
        closed = await self.incidents.close(incident_id, resolution, by=by)
        return JsonResponse(incident_view(closed))

    async def replicas(self, request: Request, file_id: FileIdPath) -> Response:
        """Return the copies of the file, with their states and times of verification."""
        file = await self.find.file(file_id)
        check_visible(known_principal(request.scope), file)
        return JsonResponse(replicas_view(file))


def fixity_routes(endpoints: FixityEndpoints) -> list[StorageRoute]:
    """Return the routes of verifications and incidents."""
    link = {"description": "the next page, if there is one", "schema": {"type": "string"}}
    return [
        _route("/fixity", endpoints.get, "get_fixity", "Get coverage and history", FixityView),
        _route(
            "/fixity",
            endpoints.start,
            "start_verification",
            "Verify all copies of files",
            StartedView,
            method="POST",
            status_code=202,
        ),
        AsgiRoute(
            "/incidents",
            ListIncidents(endpoints.incidents),
            method="GET",
            name="list_incidents",
            summary="List incidents, newest first",
            tags=["fixity"],
            access=_MAINTENANCE,
            errors=_QUERYING,
            response_description="a page",
            responses={200: {"headers": {"Link": link}}},
        ),
        _route(
            "/incidents/{incident_id}",
            endpoints.incident,
            "get_incident",
            "Get an incident",
            IncidentView,
            errors=(*_QUERYING, NotFound),
        ),
        _route(
            "/incidents/{incident_id}/close",
            endpoints.close,
            "close_incident",
            "Close an incident",
            IncidentView,
            method="POST",
            errors=(*_QUERYING, NotFound, WrongState),
        ),
        _route(
            "/files/{file_id}/replicas",
            endpoints.replicas,
            "get_replicas",
            "Get the copies of a file",
            ReplicasView,
            access=_READ,
            errors=(*_QUERYING, NotFound),
        ),
    ]


def _route(
    path: str,
    endpoint: Any,  # noqa: ANN401 - FastAPI reads its signature
    name: str,
    summary: str,
    view: Any,  # noqa: ANN401 - a TypedDict class
    *,
    method: str = "GET",
    access: Access = _MAINTENANCE,
    **described: Any,  # noqa: ANN401 - arguments of StorageRoute
) -> StorageRoute:
    described.setdefault("errors", _QUERYING)
    return StorageRoute(
        path,
        endpoint,
        method=method,
        access=access,
        name=name,
        summary=summary,
        tags=["fixity"],
        response_model=view,
        response_description="done" if method == "POST" else "found",
        **described,
    )


def _query(texts: Mapping[str, str]) -> IncidentsQuery:
    filters, problems = read_fields(IncidentFilters, texts, "query")
    checks = Checks(problems)
    after = checks.optional(filters.cursor, Cursor.from_text)
    file_id = checks.optional(filters.file_id, known_file_id)
    with checks:
        return IncidentsQuery(
            is_open=filters.open,
            file_id=file_id,
            limit=100 if filters.limit is None else filters.limit,
            after=after,
        )
