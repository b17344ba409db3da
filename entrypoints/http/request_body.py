"""Access to requests in plain ASGI: headers, query, and the body with limits of size and time."""

import asyncio
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from difflib import get_close_matches
from typing import Self
from urllib.parse import parse_qsl

from attrs import frozen
from starlette.types import Message, Receive, Scope, Send

from traffic_storage.domain.errors import FieldProblem, InvalidInput
from traffic_storage.domain.principal import Principal
from traffic_storage.entrypoints.http.errors import (
    BadRequest,
    BodyTooLarge,
    ClientGone,
    NotAdmitted,
    SlowBody,
    UnsupportedRequest,
)

_PRINCIPAL = "traffic_storage.principal"
_REQUEST_ID = "traffic_storage.request_id"
_PUBLIC_PATH = "traffic_storage.public_path"
_ROUTE = "traffic_storage.route"
_IS_OWN = "traffic_storage.is_own_route"
_BODY = "traffic_storage.body"


@frozen
class Pace:
    """The minimum speed of a client.

    Attributes:
        idle_seconds: the maximum wait for the next bytes, in both directions. The rate of an upload
            is checked only after this time of waiting.
        min_rate: the minimum average rate of an upload, in bytes per second of waiting for the
            client; the processing time of the service does not count.
    """

    idle_seconds: float = 30.0
    min_rate: float = 1024.0


class AsgiRequest:
    """An ASGI HTTP request with the values that the middleware stored in its scope."""

    __slots__ = ("receive", "scope", "send")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send

    @property
    def method(self) -> str:
        """The method, in upper case."""
        return str(self.scope["method"])

    @property
    def principal(self) -> Principal:
        """The principal of the request.

        Raises:
            NotAdmitted: the request has none; this happens only on public routes.
        """
        return known_principal(self.scope)

    def path_value(self, name: str) -> str:
        """Return the decoded value of a path parameter of the route."""
        return str(self.scope["path_params"][name])

    def header(self, name: bytes) -> str | None:
        """Return the value of a header; see `header_of`."""
        return header_of(self.scope, name)

    def headers(self, name: bytes) -> list[str]:
        """Return the values of a header that may come more than once. `name` is in lower case."""
        return [value.decode("latin-1") for key, value in self.scope["headers"] if key == name]

    def reference(self, path: str) -> bytes:
        """Return the URL path of `path`; see `reference_of`."""
        return reference_of(self.scope, path).encode()

    def query(self, known: Collection[str]) -> dict[str, str]:
        """Return the fields of the query; see `query_of`."""
        return query_of(self.scope, known)

    def query_fields(self) -> dict[str, str]:
        """Return the fields of the query, unknown ones too, which what reads them must refuse.

        Raises:
            InvalidInput: a field comes more than once.
            BadRequest: the query is not UTF-8, or has more than 100 fields.
        """
        return query_of(self.scope, None)

    def body(self, *, limit_bytes: int, pace: Pace, field: str) -> "IncomingBody":
        """Return the body, which can be read once.

        Raises:
            BodyTooLarge: the Content-Length exceeds `limit_bytes`; no byte was read.
            UnsupportedRequest: the body has a content coding.
        """
        body = IncomingBody(self.receive, limit_bytes=limit_bytes, pace=pace, field=field)
        self.scope[_BODY] = body
        coding = self.header(b"content-encoding")
        if coding is not None and coding.strip().lower() != "identity":
            raise UnsupportedRequest.of(
                "Content-Encoding",
                f"must be absent or identity, not {coding!a:.60}",
                "send the bytes without a coding",
            )
        announced = self.header(b"content-length")
        if announced is not None and announced.isdecimal():
            body.check(int(announced))
        return body

    async def until_gone(self) -> None:
        """Wait until the client is gone, once the body was read.

        Raises:
            ClientGone: the client closed the connection.
        """
        while (await self.receive())["type"] != "http.disconnect":
            pass
        raise ClientGone

    def unlimited_body(self) -> "IncomingBody":
        """Return the body without a limit of its size, for a caller that discards it."""
        return IncomingBody(self.receive, limit_bytes=2**63, pace=Pace(), field="body")


class IncomingBody:
    """An iterator over the chunks of a request body, with limits of size and time.

    Raises (during iteration):
        BodyTooLarge: more than `limit_bytes` arrived.
        SlowBody: no byte arrived for `pace.idle_seconds`, or the rate is below `pace.min_rate`.
        ClientGone: the client closed the connection before the end of the body.
    """

    def __init__(self, receive: Receive, *, limit_bytes: int, pace: Pace, field: str) -> None:
        self._receive = receive
        self._limit_bytes = limit_bytes
        self._pace = pace
        self._field = field
        self._clock = asyncio.get_running_loop().time
        self._came = 0
        self._waited = 0.0
        self.complete = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self.complete:
            chunk = await self._next()
            if chunk:
                return chunk
        raise StopAsyncIteration

    def check(self, size_bytes: int) -> None:
        """Compare a size with the limit.

        Raises:
            BodyTooLarge: the size exceeds the limit.
        """
        if size_bytes > self._limit_bytes:
            raise BodyTooLarge.of(
                self._field,
                f"the request body has at least {size_bytes} bytes",
                f"send at most {self._limit_bytes} bytes in total, or raise the settings "
                "max_image_bytes and max_video_bytes",
            )

    async def discard(self, *, most_bytes: int, most_seconds: float) -> None:
        """Read and drop the rest of the body, up to the limits of bytes and seconds.

        A disconnect of the client ends the reading without an error.
        """
        with suppress(TimeoutError, ClientGone):
            async with asyncio.timeout(most_seconds):
                while not self.complete and most_bytes > 0:
                    most_bytes -= len(self._taken(await self._receive()))

    async def _next(self) -> bytes:
        before = self._clock()
        try:
            async with asyncio.timeout(self._pace.idle_seconds):
                message = await self._receive()
        except TimeoutError as error:
            raise SlowBody(
                f"no byte of the body arrived for {self._pace.idle_seconds:g} seconds"
            ) from error
        self._waited += self._clock() - before
        chunk = self._taken(message)
        self.check(self._came)
        if not self.complete and self._waited > self._pace.idle_seconds:
            self._check_rate()
        return chunk

    def _taken(self, message: Message) -> bytes:
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk: bytes = message.get("body", b"")
        self._came += len(chunk)
        self.complete = not message.get("more_body", False)
        return chunk

    def _check_rate(self) -> None:
        rate = self._came / self._waited
        if rate < self._pace.min_rate:
            raise SlowBody(
                f"the body arrives at {rate:.0f} bytes per second; "
                f"the minimum is {self._pace.min_rate:g}"
            )


def header_of(scope: Scope, name: bytes) -> str | None:
    """Return the value of a header, or None without it. `name` is in lower case.

    The values of a repeated header are joined with commas (RFC 9110, section 5.3).
    """
    values = [value for key, value in scope["headers"] if key == name]
    return b", ".join(values).decode("latin-1") if values else None


def query_of(scope: Scope, known: Collection[str] | None) -> dict[str, str]:
    """Return the fields of a request's query; if `known` is None, any name is accepted.

    Raises:
        InvalidInput: a field is unknown or comes more than once; the error lists all such fields.
        BadRequest: the query is not UTF-8, or has more than 100 fields.
    """
    text = scope.get("query_string", b"").decode("latin-1")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError as error:
        raise BadRequest.of(
            "query", "can't be read", "send at most 100 fields of percent-encoded UTF-8"
        ) from error
    counts = Counter(name for name, _ in pairs)
    problems = [
        unknown_field(name, "query", sorted(known))
        for name in counts
        if known is not None and name not in known
    ] + [
        FieldProblem(name[:100], "comes more than once", "send it once")
        for name, count in counts.items()
        if count > 1 and (known is None or name in known)
    ]
    if problems:
        raise InvalidInput(problems)
    return dict(pairs)


def unknown_field(name: str, where: str, known: Sequence[str]) -> FieldProblem:
    """Return the problem of an unknown field; `where` is `query`, `form`, `record` or `request`."""
    return FieldProblem(name[:100], f"is not a field of this {where}", near_name(name, known))


def route_path(scope: Scope) -> str:
    """Return the path relative to the root path, as the router matches it."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    below = path[len(root) :] if root and path.startswith(root) else path
    return below if below.startswith("/") else path


def note_principal(scope: Scope, principal: Principal) -> None:
    """Store the principal (who makes the request) in the ASGI scope of the request."""
    scope[_PRINCIPAL] = principal


def principal_of(scope: Scope) -> Principal | None:
    """Return the principal of the request, or None if it has no valid credential."""
    principal = scope.get(_PRINCIPAL)
    return principal if isinstance(principal, Principal) else None


def known_principal(scope: Scope) -> Principal:
    """Return the principal of a request to a route that requires one.

    Raises:
        NotAdmitted: the request has no principal.
    """
    principal = principal_of(scope)
    if principal is None:
        raise NotAdmitted("the request has no principal", remedy="send a credential")
    return principal


def reference_of(scope: Scope, path: str) -> str:
    """Return the URL path of a route's `path` as clients see it.

    It is below the path of `public_url` if that has one (a proxy may remove it from requests), else
    below the root path at which the application is mounted.
    """
    return f"{scope.get(_PUBLIC_PATH) or scope.get('root_path', '')}{path}"


def note_public_path(scope: Scope, path: str) -> None:
    """Store the path of `public_url`, without a final slash, in the request's ASGI scope."""
    scope[_PUBLIC_PATH] = path


def note_request_id(scope: Scope, request_id: str) -> None:
    """Store the request id, which the log and the response contain, in the request's ASGI scope."""
    scope[_REQUEST_ID] = request_id


def request_id_of(scope: Scope) -> str:
    """Return the request id, or an empty text if none was stored."""
    return str(scope.get(_REQUEST_ID, ""))


def note_route(scope: Scope, template: str, *, is_own: bool = False) -> None:
    """Store the path template of the selected route in the ASGI scope of the request.

    `is_own` is true for a route of this service, false for one that an embedder added.
    """
    scope[_ROUTE] = template
    scope[_IS_OWN] = is_own


def route_of(scope: Scope) -> str:
    """Return the path template of the route of the request, or an empty text if it has none."""
    return str(scope.get(_ROUTE, ""))


def is_own_route(scope: Scope) -> bool:
    """Return whether the route of the request is one of this service."""
    return scope.get(_IS_OWN) is True


def body_of(scope: Scope) -> IncomingBody | None:
    """Return the body of the request, or None if no endpoint has called `AsgiRequest.body`."""
    body = scope.get(_BODY)
    return body if isinstance(body, IncomingBody) else None


def near_name(name: str, known: Sequence[str]) -> str:
    """Return the remedy for an unknown name: the most similar known name, or all known names."""
    near = get_close_matches(name[:100], known, n=1)
    if near:
        return f"did you mean {near[0]}?"
    return f"use one of {', '.join(known)}" if known else "leave it out"
