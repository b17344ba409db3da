"""Uvicorn in the test's own event loop, and raw connections to it."""

import asyncio
import contextlib
import fcntl
import logging
import socket
import sys
import termios
from types import TracebackType
from typing import Self

import uvicorn
from attrs import define
from starlette.types import ASGIApp

from traffic_storage.entrypoints.http.connections import ConnectionLimits
from traffic_storage.entrypoints.http.protocol import StorageProtocol

HOST = "127.0.0.1"
_POLL_SECONDS = 0.01
_PATIENCE = 3_000


@define
class Reply:
    """An answer as it came over the wire; `whole` says whether all announced bytes came."""

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool


class LiveServer:
    """A server on a free port of 127.0.0.1, as `serve` runs it; leaves signal handlers alone."""

    def __init__(
        self, app: ASGIApp, limits: ConnectionLimits = StorageProtocol.limits, keep_alive: int = 5
    ) -> None:
        config = uvicorn.Config(
            app,
            http=StorageProtocol.limited(limits),
            ws="none",
            log_config=None,
            access_log=False,
            lifespan="on",
            timeout_keep_alive=keep_alive,
        )
        self._server = uvicorn.Server(config)
        # With its protocol named, or asyncio would not switch delays of small packets off.
        self._socket = socket.socket(proto=socket.IPPROTO_TCP)
        self._socket.bind((HOST, 0))
        self.port: int = self._socket.getsockname()[1]
        self._task: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://{HOST}:{self.port}"

    async def __aenter__(self) -> Self:
        # A server that cuts a connection says so; here it is what the tests are about.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        self._task = asyncio.create_task(self._server._serve([self._socket]))
        for _ in range(_PATIENCE):
            if self._server.started:
                return self
            assert not self._task.done(), "the server ended while it started"
            await asyncio.sleep(_POLL_SECONDS)
        raise AssertionError("the server did not start")

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._task is not None
        self._server.should_exit = True
        await self._task
        self._socket.close()

    async def quiet(self) -> None:
        """Wait until no connection is open, seen from the server."""
        for _ in range(_PATIENCE):
            if not self._server.server_state.connections:
                return
            await asyncio.sleep(_POLL_SECONDS)
        raise AssertionError("connections stay open")

    def queues(self) -> list[tuple[int, int]]:
        """For each connection, the bytes in the server's and in the system's queue to the client."""
        transports = [one.transport for one in self._server.server_state.connections]
        return [(one.get_write_buffer_size(), _queued(one)) for one in transports]

    async def connect(self) -> "Connection":
        """A raw connection."""
        reader, writer = await asyncio.open_connection(HOST, self.port)
        return Connection(reader, writer, f"{HOST}:{self.port}")


def _queued(transport: asyncio.Transport) -> int:
    number = transport.get_extra_info("socket").fileno()
    return int.from_bytes(fcntl.ioctl(number, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


@define
class Connection:
    """Bytes to the server and back, without a client's good manners."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    host: str

    def head(self, method: str, path: str, **headers: str) -> bytes:
        """A request head; header names are written with `_` for `-`."""
        lines = [f"{method} {path} HTTP/1.1"]
        given = {"Host": self.host, **{k.replace("_", "-"): v for k, v in headers.items()}}
        lines += [f"{name}: {value}" for name, value in given.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    async def send(self, data: bytes) -> None:
        """Send bytes and wait until the server's buffers have room again."""
        self.writer.write(data)
        await self.writer.drain()

    async def reply(self) -> Reply:
        """Read an answer with a Content-Length."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines if line)
        }
        length = int(headers.get("content-length", "0"))
        try:
            body, whole = await self.reader.readexactly(length), True
        except asyncio.IncompleteReadError as error:
            body, whole = error.partial, False
        return Reply(int(status_line.split()[1]), headers, body, whole)

    async def is_closed(self) -> bool:
        """Wait for the server to close the connection."""
        try:
            return await self.reader.read(1) == b""
        except ConnectionError:
            return True

    async def close(self) -> None:
        """Close the connection."""
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    def abort(self) -> None:
        """Drop the connection with a reset."""
        self.writer.transport.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
