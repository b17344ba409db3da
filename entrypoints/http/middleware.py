"""The pure ASGI middleware of every request: id, log line, metrics, problems, concurrency, start.

The order from the outermost is `RequestContext`, `ProblemHandler`, `Authentication` (in
`security`), `ConcurrencyLimit`, `Starting`, `CompressedJson`.
"""

import asyncio
import logging
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from secrets import token_hex
from time import perf_counter

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from traffic_storage.application.log_fields import fields, logged_as
from traffic_storage.domain.errors import TrafficStorageError
from traffic_storage.entrypoints.http.errors import ClientGone, Crowded
from traffic_storage.entrypoints.http.metrics import RequestMetrics
from traffic_storage.entrypoints.http.problems import INTERNAL, MEDIA_TYPE, Problem, problem_of
from traffic_storage.entrypoints.http.request_body import (
    AsgiRequest,
    Pace,
    body_of,
    header_of,
    is_own_route,
    note_public_path,
    note_request_id,
    principal_of,
    request_id_of,
    route_of,
    route_path,
)
from traffic_storage.entrypoints.http.responses import PIECE_BYTES, send_whole
from traffic_storage.entrypoints.http.security.access import noted_access
from traffic_storage.entrypoints.http.security.authentication import ANYONE, LOCAL

logger = logging.getLogger("traffic_storage.http")

ACCESS_PREFIX = "/access/"
_PROCESS = token_hex(8)
_COUNTER = count(1)
_GIVEN_ID = re.compile(r"[A-Za-z0-9._\-]{1,64}")
_NOSNIFF = (b"x-content-type-options", b"nosniff")
_DEFAULT_HEADERS = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; sandbox"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
_COMPRESSED_BYTES = 8192
_OF_FILES = ("/files/{file_id}", ACCESS_PREFIX, "/exports/")
_ABOUT_FILES = frozenset({"/files/{file_id}/metadata"})
_LINGER_BYTES = 8 * 1024 * 1024
_LINGER_SECONDS = 3.0
_POLICY_VIOLATION = 1008


class RequestContext:
    """Adds an id to every request and security headers to every response, logs and counts the request.

    Bodies are sent in pieces of at most 64 KiB, each when the client has taken most of the one before:
    the server keeps no large response of a request that has ended. Within the application, sending
    raises `ClientGone` if the client does not take a piece in time.

    The log line has the id, method, path, route, status, size, duration, principal and client address. It
    never contains a query or an access token.
    """

    def __init__(
        self, app: ASGIApp, *, metrics: RequestMetrics, pace: Pace, public_path: str = ""
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._pace = pace
        self._public_path = public_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and log it at its end."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = perf_counter()
        request_id = _request_id(scope)
        note_request_id(scope, request_id)
        note_public_path(scope, self._public_path)
        status, size, received = 0, 0, 0
        is_head = scope["method"] == "HEAD"

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message

        async def enveloped(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = _dressed(message.get("headers", ()), request_id)
            elif is_head:
                message = {**message, "body": b""}
            else:
                size += len(message.get("body", b""))
                if len(message.get("body", b"")) > PIECE_BYTES:
                    await _send_pieces(send, message, self._pace)
                    return
            await send(message)

        with logged_as(request_id=request_id):
            try:
                await self._app(scope, counted, enveloped)
            finally:
                seconds = perf_counter() - begun
                self._metrics.observe(scope, status, seconds, received=received, sent=size)
                if logger.isEnabledFor(logging.INFO):
                    _log(scope, request_id, status, size, seconds)


class ProblemHandler:
    """Turns every error into a problem document.

    An error after the start of the response is raised again, so that the server closes the
    connection.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on. Respond with a problem document if that raises an error."""
        if scope["type"] == "websocket":
            await self._pass_websocket(scope, receive, send)
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except ClientGone:
            logger.debug("request %s: the client disconnected", request_id_of(scope))
        except Exception as error:
            problem = problem_of(error, request_id_of(scope))
            if problem.type is INTERNAL:
                logger.exception("request %s failed", request_id_of(scope))
            elif started or problem.type.status >= 500:
                logger.warning("request %s: %s", request_id_of(scope), str(error))
            if started:
                raise
            await _answer(AsgiRequest(scope, receive, send), problem)

    async def _pass_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Close a websocket whose request is refused. Only an embedder can add websocket routes."""
        try:
            await self._app(scope, receive, send)
        except TrafficStorageError:
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})


class ConcurrencyLimit:
    """Limits the number of concurrent requests. Further requests get status 503.

    No client can take the whole: all signed links together take at most a half, one link a quarter,
    and the principal of one API key three quarters; each at least one request.
    """

    def __init__(self, app: ASGIApp, *, limit: int) -> None:
        self._app = app
        self._limit = limit
        self._running = 0
        self._shares: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on.

        Raises:
            Crowded: `limit` counted requests are in progress, or the share of links, of this link or
                of the principal.
        """
        access = noted_access(scope)
        if scope["type"] != "http" or (access is not None and not access.counted):
            await self._app(scope, receive, send)
            return
        if self._running >= self._limit:
            raise Crowded(self._limit)
        shares = dict(self._shares_of(scope))
        for share, most in shares.items():
            if self._shares[share] >= most:
                raise Crowded(most)
        self._running += 1
        self._shares.update(shares.keys())
        try:
            await self._app(scope, receive, send)
        finally:
            self._running -= 1
            for share in shares:
                self._shares[share] -= 1
                if not self._shares[share]:
                    del self._shares[share]

    def _shares_of(self, scope: Scope) -> Iterator[tuple[str, int]]:
        """Yield the shares in which a request counts, with their limits."""
        path = route_path(scope)
        if path.startswith(ACCESS_PREFIX):
            yield ACCESS_PREFIX, max(1, self._limit // 2)
            yield path, max(1, self._limit // 4)
            return
        principal = principal_of(scope)
        if principal is not None and principal is not LOCAL and principal is not ANYONE:
            yield principal.name, max(1, self._limit * 3 // 4)


class CompressedJson:
    """Compresses the JSON and the texts that the API makes (gzip), where the client accepts it.

    Routes of embedders compress as they like. Stored files and exports are sent as they are: their digests, lengths and ranges are of their bytes.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        # Level 1 makes a page of records five times smaller, at a quarter of the usual time.
        self._compressing = GZipMiddleware(app, minimum_size=_COMPRESSED_BYTES, compresslevel=1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, through the compression unless the response has bytes of files."""
        route = route_of(scope)
        is_file = route.startswith(_OF_FILES) and route not in _ABOUT_FILES
        app = self._compressing if is_own_route(scope) and not is_file else self._app
        await app(scope, receive, send)


class Starting:
    """Starts the service, if necessary, before a request whose route needs that.

    Normally the lifespan starts the service. The first requests do so if the database was
    unavailable then or the server runs no lifespan. Concurrent requests wait for the same start.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        started: Callable[[], bool],
        start: Callable[[], Awaitable[None]],
    ) -> None:
        self._app = app
        self._started = started
        self._start = start
        self._attempt: asyncio.Future[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on after the service has started."""
        access = noted_access(scope)
        is_waiting = scope["type"] == "http" and not self._started()
        if is_waiting and (access is None or access.needs_start):
            await self._ensure()
        await self._app(scope, receive, send)

    async def _ensure(self) -> None:
        if self._attempt is None or self._attempt.done():
            self._attempt = asyncio.ensure_future(self._start())
        await asyncio.shield(self._attempt)


async def _send_pieces(send: Send, message: Message, pace: Pace) -> None:
    """Send a body message in pieces.

    Raises:
        ClientGone: the client did not take a piece within `pace.idle_seconds`, or a little more.
    """
    body: bytes = message.get("body", b"")
    more_body: bool = message.get("more_body", False)
    time = asyncio.get_running_loop().time
    # To move the end of the wait costs as much as to send a piece, so it is moved rarely.
    slack = pace.idle_seconds / 16
    begun = time()
    try:
        async with asyncio.timeout_at(begun + pace.idle_seconds + slack) as wait:
            for start in range(0, max(1, len(body)), PIECE_BYTES):
                stop = start + PIECE_BYTES
                more = more_body or stop < len(body)
                await send({"type": message["type"], "body": body[start:stop], "more_body": more})
                if (now := time()) - begun > slack:
                    begun = now
                    wait.reschedule(now + pace.idle_seconds + slack)
    except TimeoutError as stalled:
        raise ClientGone from stalled


async def _answer(request: AsgiRequest, problem: Problem) -> None:
    """Send a problem document. If the body is not read yet, close the connection afterwards.

    Before that, up to 8 MiB of the rest of the body are read, for at most 3 seconds. Closing the
    connection with unread bytes would reset it, and the client could lose the response (RFC 9112,
    section 9.6).
    """
    if not _has_unread_body(request.scope):
        await send_whole(request, problem.type.status, problem.headers, problem.body, MEDIA_TYPE)
        return
    head = [
        (b"content-type", MEDIA_TYPE),
        (b"content-length", b"%d" % len(problem.body)),
        (b"connection", b"close"),
        *problem.headers,
    ]
    status = problem.type.status
    await request.send({"type": "http.response.start", "status": status, "headers": head})
    await request.send({"type": "http.response.body", "body": problem.body, "more_body": True})
    body = body_of(request.scope) or request.unlimited_body()
    await body.discard(most_bytes=_LINGER_BYTES, most_seconds=_LINGER_SECONDS)
    await request.send({"type": "http.response.body", "body": b""})


def _has_unread_body(scope: Scope) -> bool:
    body = body_of(scope)
    if body is not None and body.complete:
        return False
    if not scope.get("http_version", "1.1").startswith("1"):
        return False
    length = header_of(scope, b"content-length")
    return header_of(scope, b"transfer-encoding") is not None or length not in {None, "0"}


def _request_id(scope: Scope) -> str:
    given = header_of(scope, b"x-request-id")
    if given and _GIVEN_ID.fullmatch(given):
        return given
    # The id must be unique but need not be secret. A system call for random bytes can cost more
    # than the request.
    return f"{_PROCESS}{next(_COUNTER):016x}"


def _dressed(
    headers: "list[tuple[bytes, bytes]] | tuple[()]", request_id: str
) -> list[tuple[bytes, bytes]]:
    present = [name for name, _ in headers]
    defaults = [header for header in _DEFAULT_HEADERS if header[0] not in present]
    return [*headers, *defaults, _NOSNIFF, (b"x-request-id", request_id.encode())]


def _log(scope: Scope, request_id: str, status: int, size: int, seconds: float) -> None:
    path: str = scope["path"]
    if ACCESS_PREFIX in path:
        path = path.partition(ACCESS_PREFIX)[0] + ACCESS_PREFIX + "{token}"
    client, principal = scope.get("client"), principal_of(scope)
    values: dict[str, str | float | None] = {
        "method": scope["method"],
        "path": ascii(path[:300])[1:-1],
        "route": route_of(scope) or None,
        "status": status,
        "bytes": size,
        "ms": round(seconds * 1000, 1),
        "principal": principal.name if principal else None,
        "client": client[0] if client else None,
    }
    logger.info(
        "%s %s '%s': %s, %d bytes, %.1f ms, %s at %s",
        request_id,
        values["method"],
        values["path"],
        status or "no response",
        size,
        seconds * 1000,
        values["principal"] or "no principal",
        values["client"] or "?",
        extra=fields(**values),
    )
