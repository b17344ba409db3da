"""Just enough HTTP/1.1 to pass messages through unchanged and to change answers on purpose."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from http import HTTPStatus

import attrs
from attrs import frozen

_PIECE = 65_536


@frozen
class Head:
    """A message up to its body: the bytes as they came, and what they say."""

    raw: bytes
    first: Sequence[str]
    """The three words of the first line; the last may hold spaces."""
    headers: Sequence[tuple[str, str]]

    @property
    def method(self) -> str:
        """Of a request."""
        return self.first[0]

    @property
    def target(self) -> str:
        """Of a request."""
        return self.first[1]

    @property
    def status(self) -> int:
        """Of an answer."""
        return int(self.first[1])

    def header(self, name: str) -> str | None:
        """The value of a header, by its name in lower case."""
        return next((value for known, value in self.headers if known.lower() == name), None)

    @property
    def is_chunked(self) -> bool:
        return (self.header("transfer-encoding") or "").lower() == "chunked"

    @property
    def length(self) -> int | None:
        """The announced length of the body in bytes."""
        announced = self.header("content-length")
        return None if announced is None else int(announced)


@frozen
class Answer:
    """A whole answer. `headers` are the real server's; the length is told by `length`."""

    status: int
    reason: str
    headers: Sequence[tuple[str, str]]
    body: bytes
    length: int | None = None
    """Content-Length to announce, when it is not the length of `body` (an answer to HEAD)."""

    def with_body(self, body: bytes) -> "Answer":
        """The same answer with another body and the length that goes with it."""
        return attrs.evolve(self, body=body)

    def encode(self, *, with_body: bool = True) -> bytes:
        """The bytes of the answer, by default with its body."""
        length = len(self.body) if self.length is None else self.length
        lines = [f"HTTP/1.1 {self.status} {self.reason}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        lines += [f"content-length: {length}", "", ""]
        return "\r\n".join(lines).encode("latin-1") + (self.body if with_body else b"")


async def read_head(reader: asyncio.StreamReader) -> Head | None:
    """The next message's head; None when the other side closes between messages."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    first, *lines = raw.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return Head(raw, first.split(" ", 2), [(name, value.strip()) for name, _, value in pairs])


async def copy_body(
    request: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Pass a request's body on, piece by piece."""
    await _copy(_pieces(request, reader), writer)


async def read_body(request: Head, reader: asyncio.StreamReader) -> bytes:
    """A request's body as it is on the wire."""
    return b"".join([piece async for piece in _pieces(request, reader)])


async def copy_answer_body(
    request: Head, answer: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Pass an answer's body on, piece by piece."""
    if _has_body(request, answer):
        await _copy(_pieces(answer, reader), writer)
    await writer.drain()


async def read_answer(request: Head, answer: Head, reader: asyncio.StreamReader) -> Answer:
    """A whole answer with its body decoded."""
    body = b""
    if _has_body(request, answer):
        body = b"".join([piece async for piece in _pieces(answer, reader, decoded=True)])
    framing = {"content-length", "transfer-encoding"}
    return Answer(
        answer.status,
        HTTPStatus(answer.status).phrase,
        [(name, value) for name, value in answer.headers if name.lower() not in framing],
        body,
        answer.length if request.method == "HEAD" else None,
    )


def _has_body(request: Head, answer: Head) -> bool:
    return request.method != "HEAD" and answer.status not in {204, 304}


async def _copy(pieces: AsyncIterator[bytes], writer: asyncio.StreamWriter) -> None:
    async for piece in pieces:
        writer.write(piece)
        await writer.drain()


async def _pieces(
    head: Head, reader: asyncio.StreamReader, *, decoded: bool = False
) -> AsyncIterator[bytes]:
    if head.is_chunked:
        async for piece in _chunks(reader, decoded=decoded):
            yield piece
        return
    left = head.length or 0
    while left:
        piece = await reader.read(min(left, _PIECE))
        if not piece:
            raise asyncio.IncompleteReadError(piece, left)
        left -= len(piece)
        yield piece


async def _chunks(reader: asyncio.StreamReader, *, decoded: bool) -> AsyncIterator[bytes]:
    """The chunks of a body, with their framing or decoded; trailers count as framing."""
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0], 16)
        if size == 0:
            break
        chunk = await reader.readexactly(size + 2)
        yield chunk[:-2] if decoded else line + chunk
    trailer = line
    while line != b"\r\n":
        line = await reader.readuntil(b"\r\n")
        trailer += line
    if not decoded:
        yield trailer
