"""Responses of plain ASGI endpoints: bytes in memory, JSON, no content, or a stream."""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing, suppress
from typing import Any

import orjson
from starlette.responses import JSONResponse
from starlette.types import Receive

from traffic_storage.entrypoints.http.errors import ClientGone
from traffic_storage.entrypoints.http.request_body import AsgiRequest, Pace

Headers = Iterable[tuple[bytes, bytes]]

JSON_TYPE = b"application/json"
PIECE_BYTES = 65_536
"""`RequestContext` sends what is longer in pieces of this size, and waits for the client at each."""


async def send_whole(
    request: AsgiRequest,
    status: int,
    headers: Headers,
    content: bytes,
    content_type: bytes = JSON_TYPE,
) -> None:
    """Send a response with content that is in memory."""
    head = [
        (b"content-type", content_type),
        (b"content-length", b"%d" % len(content)),
        *headers,
    ]
    await request.send({"type": "http.response.start", "status": status, "headers": head})
    body = b"" if request.method == "HEAD" else content
    await request.send({"type": "http.response.body", "body": body})


async def send_json(request: AsgiRequest, status: int, headers: Headers, content: object) -> None:
    """Send a response with JSON content."""
    await send_whole(request, status, headers, json_bytes(content))


def json_bytes(content: object) -> bytes:
    """Encode `content` as JSON."""
    try:
        return orjson.dumps(content)
    except TypeError:
        # orjson refuses integers of more than 64 bits, which are valid JSON.
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


class JsonResponse(JSONResponse):
    """The response of a FastAPI endpoint that builds its own JSON content."""

    def render(self, content: Any) -> bytes:  # noqa: ANN401 - as Starlette declares it
        """Return the body."""
        return json_bytes(content)


async def send_head(request: AsgiRequest, status: int, headers: Headers) -> None:
    """Send a response without content."""
    await request.send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await request.send({"type": "http.response.body", "body": b""})


async def send_stream(
    request: AsgiRequest,
    status: int,
    headers: Headers,
    chunks: AsyncGenerator[bytes, None],
    pace: Pace,
) -> None:
    """Send a response with the chunks of a generator, each as soon as it is available.

    The status and headers are sent only after the first chunk is available, so an error before that
    still becomes a problem response. A later error is raised: the server then closes the
    connection, and the client detects that the content is shorter than its Content-Length. After a
    disconnect of the client no further chunk is requested from the generator.

    Raises:
        ClientGone: the client disconnected, or did not read a piece within `pace.idle_seconds`.
    """
    async with aclosing(chunks):
        chunk = await anext(chunks, None)
        head = {"type": "http.response.start", "status": status, "headers": list(headers)}
        await request.send(head)
        gone = asyncio.ensure_future(_until_gone(request.receive))
        try:
            while chunk is not None and not gone.done():
                await _send_in_time(request, chunk, pace, more=True)
                chunk = await anext(chunks, None)
        finally:
            left = gone.done()
            gone.cancel()
            with suppress(asyncio.CancelledError):
                await gone
        if left:
            raise ClientGone
        await _send_in_time(request, b"", pace, more=False)


async def _send_in_time(request: AsgiRequest, chunk: bytes, pace: Pace, *, more: bool) -> None:
    """Send a chunk. A client that reads nothing of it for `pace.idle_seconds` counts as gone."""
    message = {"type": "http.response.body", "body": chunk, "more_body": more}
    if len(chunk) > PIECE_BYTES:
        await request.send(message)  # `RequestContext` limits the time of each piece.
        return
    try:
        async with asyncio.timeout(pace.idle_seconds):
            await request.send(message)
    except TimeoutError as stalled:
        raise ClientGone from stalled


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
