"""A small HTTP/1.1 client on bare sockets, so fast that it does not limit the measurement."""

import asyncio
import socket
from collections.abc import AsyncIterable

from attrs import define, field, frozen

_HEAD_BYTES = 16 * 1024
_PIECE_BYTES = 256 * 1024


@frozen
class Answer:
    """Status and body of one response."""

    status: int
    body: bytes


@define
class Connection:
    """One persistent connection; one request at a time."""

    port: int
    _socket: socket.socket = field(init=False, factory=socket.socket)
    _buffer: bytearray = field(init=False, factory=lambda: bytearray(_PIECE_BYTES))

    async def open(self) -> None:
        """Connect."""
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(self._socket, ("127.0.0.1", self.port))

    async def request(self, request: bytes) -> Answer:
        """Send a complete request; return the whole response."""
        await self.send(request)
        status, length, body = await self._head()
        while len(body) < length:
            body += await self._piece()
        return Answer(status, bytes(body))

    async def stream(self, head: bytes, body: AsyncIterable[bytes]) -> Answer:
        """Send a request piece by piece; return the whole response."""
        await self.send(head)
        async for piece in body:
            await self.send(piece)
        return await self.request(b"")

    async def drain(self, request: bytes) -> tuple[int, int]:
        """Send a request and discard the body of the response; return its status and length."""
        await self.send(request)
        status, length, body = await self._head()
        got = len(body)
        while got < length:
            got += len(await self._piece())
        return status, got

    async def send(self, data: bytes) -> None:
        """Send bytes."""
        await asyncio.get_running_loop().sock_sendall(self._socket, data)

    def close(self) -> None:
        """Disconnect."""
        self._socket.close()

    async def _head(self) -> tuple[int, int, bytearray]:
        """Return the status, the length of the body, and the part of the body received so far."""
        data = bytearray()
        while (end := data.find(b"\r\n\r\n")) < 0:
            if len(data) > _HEAD_BYTES:
                raise ConnectionError("the response has no end of its headers")
            data += await self._piece()
        lines = bytes(data[:end]).split(b"\r\n")
        lengths = [line for line in lines if line.lower().startswith(b"content-length:")]
        if not lengths:
            raise ConnectionError(f"the response has no Content-Length: {bytes(data[:end])!r}")
        del data[: end + 4]
        return int(lines[0].split()[1]), int(lengths[0].split(b":")[1]), data

    async def _piece(self) -> memoryview:
        loop = asyncio.get_running_loop()
        count = await loop.sock_recv_into(self._socket, self._buffer)
        if not count:
            raise ConnectionError("the server closed the connection")
        return memoryview(self._buffer)[:count]


def get(path: str) -> bytes:
    """Return a GET request."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def form(path: str, file_id: str, content: bytes) -> bytes:
    """Return a POST request with an MP4 in a form, as curl sends it."""
    before, after = form_around(file_id)
    return post(path, len(before) + len(content) + len(after)) + before + content + after


def post(path: str, length: int) -> bytes:
    """Return the head of a POST request with a form of `length` bytes."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n"
        f"Content-Type: multipart/form-data; boundary={_BOUNDARY}\r\n\r\n"
    ).encode()


def form_around(file_id: str) -> tuple[bytes, bytes]:
    """Return the bytes of a form before and after the content of its file."""
    before = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file_id"\r\n\r\n{file_id}\r\n'
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n'
        "Content-Type: video/mp4\r\n\r\n"
    )
    return before.encode(), f"\r\n--{_BOUNDARY}--\r\n".encode()


_BOUNDARY = "------------------------d74496d66958873e"
