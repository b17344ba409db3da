"""A TCP proxy that can stall, reset, refuse, delay and throttle, for Redis and PostgreSQL."""

import asyncio
import contextlib
import math
from typing import cast

from tests.support.proxy import Proxy, reset


class StallProxy(Proxy):
    """Forwards bytes to `host`:`port` until it is told otherwise.

    with StallProxy(server.host, server.port) as proxy:
        client = connect(proxy.host, proxy.port)
        proxy.stall()
    """

    def __init__(self, host: str, port: int) -> None:
        super().__init__()
        self._target = (host, port)
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._pumps: set[asyncio.Task[None] | None] = set()
        self._forgotten: set[asyncio.Task[None] | None] = set()
        self._latency_seconds = 0.0
        self._bytes_per_second = math.inf

    def stall(self) -> None:
        """A black hole: accept connections and bytes, hand none on; nothing closes.

        Bytes taken in meanwhile go on at `forward()`.
        """
        self._call(self._listen())
        self._loop.call_soon_threadsafe(self._flowing.clear)
        self._call(asyncio.sleep(0))

    def forget(self) -> None:
        """Take in what the connections there are send, and hand none of it on; new ones work."""
        self._call(self._forget_all())

    async def _forget_all(self) -> None:
        self._forgotten |= self._pumps

    def forward(self) -> None:
        """Back to normal: listen, hand on, no delay, no throttle."""
        self._latency_seconds = 0.0
        self._bytes_per_second = math.inf
        self._loop.call_soon_threadsafe(self._flowing.set)
        self._call(self._listen())

    def drop(self) -> None:
        """Reset every connection there is; new ones are accepted."""
        self._call(self._reset_all())

    def refuse(self) -> None:
        """Reset every connection there is and refuse new ones, until `forward()` or `stall()`."""
        self._call(self._unlisten())
        self._call(self._reset_all())

    def delay(self, seconds: float) -> None:
        """Hold each piece of bytes back for `seconds`, in each direction."""
        self._latency_seconds = seconds

    def throttle(self, bytes_per_second: float) -> None:
        """Hand on at most so many bytes a second, in each direction of each connection."""
        self._bytes_per_second = bytes_per_second

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._flowing.wait()
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(reader, far_writer))
                pumps.create_task(self._pump(far_reader, writer))
        except* ConnectionError:
            reset(writer)
        finally:
            far_writer.close()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        own = cast("asyncio.Task[None] | None", asyncio.current_task())
        self._pumps.add(own)
        while piece := await source.read(65_536):
            if own in self._forgotten:
                continue
            await asyncio.sleep(self._latency_seconds + len(piece) / self._bytes_per_second)
            await self._flowing.wait()
            sink.write(piece)
            await sink.drain()
        await self._flowing.wait()
        with contextlib.suppress(OSError):
            sink.write_eof()
