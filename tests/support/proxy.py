"""A TCP listener in a thread with an event loop of its own: what the fault proxies share.

A thread, so that a proxy works the same for asynchronous tests, synchronous ones and other
processes, and that its tasks are nobody's leak.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from abc import abstractmethod
from collections.abc import Coroutine
from typing import TypeVar

from tests.support.lifetime import Startable
from tests.support.ports import HOST, lease_ports

_T = TypeVar("_T")
_CALL_SECONDS = 20.0


class Proxy(Startable):
    """Listens on `host`:`port` between `start()` and `close()`; the port never changes."""

    host = HOST

    def __init__(self) -> None:
        self._lease = lease_ports(1)[0]
        self.port = self._lease.port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._listener: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def start(self) -> None:
        """Start to listen."""
        self._thread.start()
        self._call(self._listen())

    def close(self) -> None:
        """Reset all connections, stop listening, give the port back."""
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._lease.release()

    @abstractmethod
    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection; it is closed afterwards. ConnectionError ends it quietly."""

    def _call(self, work: Coroutine[object, object, _T]) -> _T:
        """Run `work` on the proxy's loop and wait for its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_CALL_SECONDS)

    async def _listen(self) -> None:
        if self._listener is None:
            self._listener = await asyncio.start_server(self._accept, HOST, self.port)

    async def _unlisten(self) -> None:
        if self._listener is not None:
            # What was just accepted becomes a connection first: a server that is closed meanwhile
            # leaves its transport open.
            for listening in self._listener.sockets:
                self._loop.remove_reader(listening.fileno())
            await self._turn()
            self._listener.close()
            self._listener = None

    async def _reset_all(self) -> None:
        for writer in self._connections.values():
            reset(writer)
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _end(self) -> None:
        await self._unlisten()
        await self._turn()  # One that was just accepted becomes a connection of ours only now.
        await self._reset_all()
        await self._turn()  # An aborted transport closes its socket a turn later.
        await self._loop.shutdown_asyncgens()

    @staticmethod
    async def _turn() -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve_and_close(reader, writer))
        self._connections[task] = writer
        task.add_done_callback(self._connections.pop)

    async def _serve_and_close(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._serve(reader, writer)
        finally:
            writer.close()


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST: the other side sees ECONNRESET, unsent bytes are lost."""
    raw = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
