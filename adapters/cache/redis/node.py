"""One Redis server, and the breaker that makes calls fail at once while it is unavailable."""

import asyncio
import contextlib
import logging
import math
import random
from collections.abc import Callable
from contextvars import Context

from traffic_storage.adapters.cache.redis.connections import Watched, new_connection
from traffic_storage.adapters.cache.redis.messages import Unavailable, describe
from traffic_storage.adapters.cache.redis.pipeline import Command, Pipeline, Reply
from traffic_storage.adapters.cache.redis.settings import RedisSettings

logger = logging.getLogger("traffic_storage.cache")

_CONNECT_SECONDS = 1.0
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0


class Node:
    """A Redis server and its breaker, which makes calls fail at once while the server is down.

    The breaker is closed while the server is connected and answers in time. The first `ask` starts
    a background task that connects, and reconnects after each failure. An `ask` waits for the first
    try to connect, within its deadline; later, an `ask` of a server that is not connected fails
    at once. `on_loss` is called when the connection is lost or can't be made.
    """

    def __init__(
        self,
        settings: RedisSettings,
        host: str,
        port: int,
        on_loss: Callable[[], None] = lambda: None,
    ) -> None:
        self.host, self.port = host, port
        self.location = str(settings.socket or f"{host}:{port}")
        self._settings = settings
        self._on_loss = on_loss
        self._pipeline: Pipeline | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()
        self._reason = ""
        self._missed, self._missed_at = "", -math.inf

    @property
    def unavailable_reason(self) -> str:
        """Why calls to the server fail, or the last one did; empty if not, and before any `ask`."""
        if not self._tried.is_set():
            return ""
        if self._pipeline is not None:
            # What was missed last counts until the server sends something, if only an answer to PING.
            is_newest = self._missed_at >= self._pipeline.last_bytes_at
            return f"{self.location} is unavailable: {self._missed}" if is_newest else ""
        return f"{self.location} is unavailable: {self._reason or 'the server does not answer yet'}"

    async def ask(self, *commands: Command, deadline: float) -> Reply:
        """Send commands to the server with no other between them; return the reply to the last.

        `deadline` is a time of the event loop's clock. While bytes arrive from the server, the call
        waits beyond `deadline` (see `Pipeline`).

        Raises:
            Unavailable: the server does not reply in time. It may have executed the commands.
            ResponseError: the server refuses the last command.
        """
        if not self._tried.is_set():
            await self._first_try(deadline)
        if self._pipeline is None:
            raise Unavailable(self.unavailable_reason)
        try:
            return await self._pipeline.ask(commands, deadline)
        except Unavailable as reason:
            self._missed, self._missed_at = str(reason), asyncio.get_running_loop().time()
            raise

    async def aclose(self) -> None:
        """Close the connection; afterwards each `ask` raises Unavailable."""
        self._reason = "the cache is closed"
        self._tried.set()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        self._pipeline = None

    async def _first_try(self, deadline: float) -> None:
        if self._keeper is None:
            self._keeper = asyncio.create_task(
                self._keep(), name=f"cache {self.location}", context=Context()
            )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await self._tried.wait()
        self._tried.set()

    async def _keep(self) -> None:
        """Connect, run the pipeline until it fails, pause; repeat until the task is cancelled."""
        failures = 0
        while True:
            try:
                pipeline = Pipeline(await self._connected(), self._settings.call_seconds)
                await pipeline.run(lambda: self._close_breaker(pipeline))  # noqa: B023
            except Exception as error:  # noqa: BLE001 - the task reconnects after any error
                failures = 0 if self._pipeline is not None else failures + 1
                self._open_breaker(describe(error))
            await asyncio.sleep(_pause(failures))

    async def _connected(self) -> Watched:
        connection = new_connection(self._settings, self.host, self.port)
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await connection.open()
        except BaseException:
            connection.abort()
            raise
        return connection

    def _close_breaker(self, pipeline: Pipeline) -> None:
        if self._reason:
            logger.info("cache %s is available again", self.location)
        self._pipeline, self._reason = pipeline, ""
        self._tried.set()

    def _open_breaker(self, reason: str) -> None:
        if not self._reason:
            logger.warning("cache %s is unavailable: %s", self.location, reason)
        self._pipeline, self._reason = None, reason
        self._tried.set()
        self._on_loss()


def _pause(failures: int) -> float:
    """Return the seconds to wait before the next try to connect, after `failures` in a row."""
    longest = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0 ** min(failures, 10))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
