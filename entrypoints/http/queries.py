"""Endpoints that read the catalogue, the statistics and the health of the service."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from attrs import asdict
from fastapi import Path, Query, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from traffic_storage.application.access_urls import AccessUrls
from traffic_storage.application.find import Find
from traffic_storage.application.runtime import Health, Runtime
from traffic_storage.application.statistics import Statistics
from traffic_storage.domain.errors import InvalidInput, NotFound, Unavailable
from traffic_storage.domain.files import FileState
from traffic_storage.domain.principal import Principal
from traffic_storage.domain.query import Cursor, FilesQuery, ViolationQuery
from traffic_storage.domain.times import instant
from traffic_storage.entrypoints.http.downloads import (
    FileIdPath,
    check_visible,
    hiding_deleted,
)
from traffic_storage.entrypoints.http.fields import renamed
from traffic_storage.entrypoints.http.problems import MEDIA_TYPE, problem_of
from traffic_storage.entrypoints.http.request_body import (
    AsgiRequest,
    known_principal,
    principal_of,
    reference_of,
    request_id_of,
)
from traffic_storage.entrypoints.http.responses import JsonResponse, json_bytes, send_json
from traffic_storage.entrypoints.http.schemas import (
    Checks,
    FileFilters,
    FilesPage,
    PageQuery,
    UrlQuery,
    ViolationFilters,
    ViolationIdText,
    ViolationsPage,
    read_fields,
)
from traffic_storage.entrypoints.views import (
    file_view,
    statistics_view,
    violation_view,
    violation_views,
)

DATES = {"start_time": "start_date", "end_time": "end_date"}
"""Names of the domain → names of the query."""

DEFAULT_EXPIRY_SECONDS = 3600


class ListViolations:
    """`GET /violations`: pages of violations, newest first. Plain ASGI because it is frequent."""

    def __init__(self, find: Find, zone: ZoneInfo) -> None:
        self._find = find
        self._zone = zone

    @staticmethod
    def signature(filters: Annotated[ViolationFilters, Query()]) -> ViolationsPage:  # type: ignore[empty-body]
        """Return violations, newest first and those of the same time by id.

        The Link header has the URL of the next page.
        """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = AsgiRequest(scope, receive, send)
        texts = request.query_fields()
        page = await self._find.violations(self._query(texts, request.principal))
        await send_page(request, "violations", texts, violation_views(page.items), page.next)

    def _query(self, texts: Mapping[str, str], principal: Principal) -> ViolationQuery:
        filters, problems = read_fields(ViolationFilters, texts, "query")
        checks = Checks(problems)
        start = checks.optional(filters.start_date, instant_in(self._zone, "start_date"))
        end = checks.optional(filters.end_date, instant_in(self._zone, "end_date"))
        after = checks.optional(filters.cursor, Cursor.from_text)
        with checks, renamed(DATES):
            return ViolationQuery(
                device_id=allowed_device(principal, filters.device_id),
                violation_type=filters.violation_type,
                vehicle_class=filters.vehicle_class,
                min_confidence=filters.min_confidence,
                max_confidence=filters.max_confidence,
                start_time=start,
                end_time=end,
                limit=100 if filters.limit is None else filters.limit,
                after=after,
            )


class ListFiles:
    """`GET /files`: pages of files, the latest received first. Plain ASGI like `ListViolations`."""

    def __init__(self, find: Find, zone: ZoneInfo) -> None:
        self._find = find
        self._zone = zone

    @staticmethod
    def signature(filters: Annotated[FileFilters, Query()]) -> FilesPage:  # type: ignore[empty-body]
        """Return files, the latest received first and those of the same time by id.

        The Link header has the URL of the next page. A page with 4 MiB of metadata ends there.
        """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = AsgiRequest(scope, receive, send)
        texts = request.query_fields()
        page = await self._find.files(self._query(texts, request.principal))
        await send_page(
            request, "files", texts, [file_view(file) for file in page.items], page.next
        )

    def _query(self, texts: Mapping[str, str], principal: Principal) -> FilesQuery:
        filters, problems = read_fields(FileFilters, texts, "query")
        checks = Checks(problems)
        start = checks.optional(filters.start_date, instant_in(self._zone, "start_date"))
        end = checks.optional(filters.end_date, instant_in(self._zone, "end_date"))
        after = checks.optional(filters.cursor, Cursor.from_text)
        with checks, renamed(DATES):
            return FilesQuery(
                kind=filters.kind,
                device_id=allowed_device(principal, filters.device_id),
                violation_id=filters.violation_id,
                start_time=start,
                end_time=end,
                state=filters.state or FileState.AVAILABLE,
                limit=100 if filters.limit is None else filters.limit,
                after=after,
            )


class GetViolation:
    """`GET /violations/{violation_id}`."""

    def __init__(self, find: Find) -> None:
        self._find = find

    async def get(
        self,
        request: Request,
        violation_id: Annotated[ViolationIdText, Path(examples=["V001"])],
        query: Annotated[PageQuery, Query()],
    ) -> Response:
        """Return the violation, its own files, and then the others that name it, the latest first.

        The Link header has the URL of the next page, which has only others.
        """
        principal = known_principal(request.scope)
        checks = Checks([])
        after = checks.optional(query.cursor, Cursor.from_text)
        limit = 100 if query.limit is None else query.limit
        with checks, hiding_deleted(principal):
            found = await self._find.violation_with_files(violation_id, limit=limit, after=after)
        if not principal.may_access(found.violation.record.device_id):
            raise NotFound("violation", violation_id)
        visible = [file for file in found.files if principal.may_access(file.device_id)]
        following = found.others.next.to_text() if found.others.next else None
        headers = {}
        if following is not None:
            path = f"/violations/{violation_id}?{urlencode({'limit': limit, 'cursor': following})}"
            headers["link"] = f'<{reference_of(request.scope, path)}>; rel="next"'
        return JsonResponse(
            {
                "violation": violation_view(found.violation),
                "files": [file_view(file) for file in visible],
                "next_cursor": following,
            },
            headers=headers,
        )


class DescribeFile:
    """`GET /files/{file_id}/metadata` and `/url`: describe a file, or create an access URL."""

    def __init__(self, access_urls: AccessUrls, find: Find) -> None:
        self._access_urls = access_urls
        self._find = find

    async def metadata(self, request: Request, file_id: FileIdPath) -> Response:
        """Return the file's attributes and replicas without reading its bytes."""
        principal = known_principal(request.scope)
        with hiding_deleted(principal):
            file = await self._find.file(file_id)
        check_visible(principal, file)
        return JsonResponse(file_view(file))

    async def url(
        self, request: Request, file_id: FileIdPath, query: Annotated[UrlQuery, Query()]
    ) -> Response:
        """Return an access URL. It stays valid when the file moves between stores."""
        principal = known_principal(request.scope)
        with hiding_deleted(principal):
            file = await self._find.file(file_id)
        check_visible(principal, file)
        seconds = DEFAULT_EXPIRY_SECONDS if query.expires_in is None else query.expires_in
        link = self._access_urls.url(file.file_id, seconds)
        return JsonResponse({"url": link.url, "expires_at": link.expires_at.isoformat()})


class Service:
    """Endpoints of the state of the service: statistics, liveness and readiness."""

    def __init__(self, statistics: Statistics, runtime: Runtime) -> None:
        self._statistics = statistics
        self._runtime = runtime

    async def statistics(self) -> Response:
        """Return storage statistics. `operation_stats` counts since the start of this process."""
        return JsonResponse(statistics_view(await self._statistics()))

    async def liveness(self) -> Response:
        """Return 200 without checking any other component of the service."""
        return JsonResponse({"status": "ok"})

    async def readiness(self, request: Request) -> Response:
        """Return whether the service is ready, with status 200 also if it works with restrictions.

        A response to a request without a credential has only `ready`.
        """
        health = await self._runtime.health()
        report = _report(health, shown=principal_of(request.scope) is not None)
        if health.ready:
            return JsonResponse(report)
        away = ", ".join(
            part.name for part in health.components if part.needed and not part.healthy
        )
        detail = f"unavailable: {away}" if "components" in report else "the service is not ready"
        error = Unavailable(detail, remedy="restore the unavailable components, or try again later")
        problem = problem_of(error, request_id_of(request.scope))
        content = json_bytes({**json.loads(problem.body), **report})
        response = Response(content, 503, media_type=MEDIA_TYPE.decode())
        response.raw_headers += problem.headers
        return response


def allowed_device(principal: Principal, device_id: str | None) -> str | None:
    """Return the device to which a query of this principal is restricted, or None for all devices.

    Raises:
        InvalidInput: the principal is bound to devices and the query names none of them. A
            principal that is bound to exactly one device may leave `device_id` out.
    """
    asked = device_id if device_id is not None else principal.only_device
    if principal.may_access(asked) or not principal.devices:
        return asked
    bound = ", ".join(principal.devices)
    raise InvalidInput.of(
        "device_id",
        f"this key is bound to the devices {bound}",
        "send a device_id that the key is bound to",
    )


def instant_in(zone: ZoneInfo, field: str) -> Callable[[datetime], datetime]:
    """Return a function that converts a time to an instant; naive times are in `zone`."""
    return lambda time: instant(time, zone, field).at


async def send_page(
    request: AsgiRequest,
    name: str,
    texts: Mapping[str, str],
    views: Sequence[object],
    cursor: Cursor | None,
) -> None:
    """Send a page of the collection `name`, with a Link header if there is a next page."""
    following = cursor.to_text() if cursor else None
    content = {name: views, "count": len(views), "next_cursor": following}
    headers = []
    if following is not None:
        address = request.reference(f"/{name}?{urlencode({**texts, 'cursor': following})}")
        headers.append((b"link", b'<%s>; rel="next"' % address))
    await send_json(request, 200, headers, content)


def _report(health: Health, *, shown: bool) -> dict[str, Any]:
    if not shown:
        return {"ready": health.ready}
    return {
        "ready": health.ready,
        "degraded": health.degraded,
        "components": [asdict(part) for part in health.components],
    }
