"""What is asked of the catalogue and of the service itself."""

import json
from zoneinfo import ZoneInfo

import orjson
from attrs import asdict
from starlette.datastructures import QueryParams
from starlette.types import Receive, Scope, Send

from traffic_storage.application.access_urls import AccessUrls
from traffic_storage.application.find import Find
from traffic_storage.application.runtime import Health, Runtime
from traffic_storage.application.statistics import Statistics
from traffic_storage.domain.errors import InvalidInput, Unavailable
from traffic_storage.domain.query import Cursor, ViolationQuery
from traffic_storage.entrypoints.http.fields import (
    Reader,
    instant_in,
    number,
    renamed,
    whole_number,
)
from traffic_storage.entrypoints.http.problems import MEDIA_TYPE, problem_of
from traffic_storage.entrypoints.http.request_body import AsgiRequest, request_id_of
from traffic_storage.entrypoints.http.responses import send_json, send_whole
from traffic_storage.entrypoints.views import file_view, statistics_view, violation_view

_KNOWN_FILTERS = frozenset(
    {
        "device_id",
        "violation_type",
        "vehicle_class",
        "min_confidence",
        "max_confidence",
        "start_date",
        "end_date",
        "limit",
        "cursor",
    }
)
_DATES = {"start_time": "start_date", "end_time": "end_date"}
_NONE: frozenset[str] = frozenset()
DEFAULT_EXPIRY_SECONDS = 3600


class ListViolations:
    """`GET /violations`: newest first, page by page."""

    def __init__(self, find: Find, zone: ZoneInfo) -> None:
        self._find = find
        self._instant = instant_in(zone)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        request = AsgiRequest(scope, receive, send)
        texts = request.query(_KNOWN_FILTERS)
        page = await self._find.violations(self._query(texts))
        following = page.next.to_text() if page.next else None
        content = {
            "violations": [violation_view(violation) for violation in page.items],
            "count": len(page.items),
            "next_cursor": following,
        }
        headers = []
        if following:
            query = QueryParams({**texts, "cursor": following})
            address = request.reference(f"/violations?{query}")
            headers.append((b"link", b'<%s>; rel="next"' % address))
        await send_json(request, 200, headers, content)

    def _query(self, texts: dict[str, str]) -> ViolationQuery:
        reader = Reader(texts)
        least = reader.optional("min_confidence", number)
        most = reader.optional("max_confidence", number)
        start = reader.optional("start_date", self._instant)
        end = reader.optional("end_date", self._instant)
        limit = reader.optional("limit", whole_number)
        after = reader.optional("cursor", lambda text, _: Cursor.from_text(text))
        query = ViolationQuery()
        try:
            with renamed(_DATES):
                query = ViolationQuery(
                    device_id=texts.get("device_id"),
                    violation_type=texts.get("violation_type"),
                    vehicle_class=texts.get("vehicle_class"),
                    min_confidence=least,
                    max_confidence=most,
                    start_time=start,
                    end_time=end,
                    limit=query.limit if limit is None else limit,
                    after=after,
                )
        except InvalidInput as error:
            reader.problems += error.problems
        reader.finish()
        return query


class GetViolation:
    """`GET /violations/{violation_id}`: one record and the files that name it."""

    def __init__(self, find: Find) -> None:
        self._find = find

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        request = AsgiRequest(scope, receive, send)
        wanted = request.path_value("violation_id")
        found = await self._find.violation_with_files(wanted)
        content = {
            "violation": violation_view(found.violation),
            "files": [file_view(file) for file in found.files],
        }
        await send_json(request, 200, (), content)


class GetAccessUrl:
    """`GET /files/{file_id}/url`: a link that opens the file for a while."""

    def __init__(self, access_urls: AccessUrls, find: Find) -> None:
        self._access_urls = access_urls
        self._find = find

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        request = AsgiRequest(scope, receive, send)
        texts = request.query(frozenset({"expires_in"}))
        seconds = Reader(texts)
        expires_in = seconds.optional("expires_in", number)
        seconds.finish()
        file = await self._find.file(request.path_value("file_id"))
        link = self._access_urls.url(
            file.file_id, DEFAULT_EXPIRY_SECONDS if expires_in is None else expires_in
        )
        content = {"url": link.url, "expires_at": link.expires_at.isoformat()}
        await send_json(request, 200, (), content)


class GetStatistics:
    """`GET /storage/stats`: what is stored where, and what was done since the start."""

    def __init__(self, statistics: Statistics) -> None:
        self._statistics = statistics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        request = AsgiRequest(scope, receive, send)
        request.query(_NONE)
        view = statistics_view(await self._statistics())
        await send_json(request, 200, (), view)


class GetLiveness:
    """`GET /healthz`: whether the process answers. Asks nobody else."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        await send_whole(AsgiRequest(scope, receive, send), 200, (), b'{"status":"ok"}')


class GetReadiness:
    """`GET /readyz`: whether requests can be served, and the state of each part."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer: 200 also when degraded, 503 with the same members when not ready."""
        request = AsgiRequest(scope, receive, send)
        health = await self._runtime.health()
        report = _report(health)
        if health.ready:
            await send_json(request, 200, (), report)
            return
        away = ", ".join(
            part.name for part in health.components if part.needed and not part.healthy
        )
        error = Unavailable(f"away: {away}", remedy="restore what is named")
        problem = problem_of(error, request_id_of(scope))
        content = orjson.dumps({**json.loads(problem.body), **report})
        await send_whole(request, 503, problem.headers, content, MEDIA_TYPE)


def _report(health: Health) -> dict[str, object]:
    return {
        "ready": health.ready,
        "degraded": health.degraded,
        "components": [asdict(part) for part in health.components],
    }
