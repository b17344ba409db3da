"""One server behind a circuit breaker."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable

from traffic_storage.adapters.cache.redis.connections import Watched, new_connection
from traffic_storage.adapters.cache.redis.messages import Unavailable, in_words
from traffic_storage.adapters.cache.redis.pipeline import Command, Pipeline, Reply
from traffic_storage.adapters.cache.redis.settings import RedisSettings

logger = logging.getLogger("traffic_storage.cache")

_CONNECT_SECONDS = 1.0
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0


class Node:
    """A server, asked while its breaker is closed: connected, and answering in time.

    The first `ask` starts the task that connects, and connects again after each failure. Only
    during its first attempt does an `ask` wait for it, within its deadline; afterwards a call to
    a server that is not connected fails at once. `on_loss` is called when a connection is lost or
    can't be made.
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

    @property
    def unavailable_reason(self) -> str:
        """Why the breaker is open; empty while it is closed, and before the first `ask`."""
        if self._pipeline is not None or not self._tried.is_set():
            return ""
        return f"{self.location} is away: {self._reason or 'it does not answer yet'}"

    async def ask(self, *commands: Command, deadline: float) -> Reply:
        """Send commands without a pause; the answer to the last.

        Raises:
            Unavailable: there is none in time (`deadline` is of the event loop's clock; while
                bytes arrive the wait goes on, see `Pipeline`). The commands may have been
                carried out.
            ResponseError: the server refuses a command.
        """
        if not self._tried.is_set():
            await self._first_try(deadline)
        if self._pipeline is None:
            raise Unavailable(self.unavailable_reason)
        return await self._pipeline.ask(commands, deadline)

    async def aclose(self) -> None:
        """Close the connection; from now on the server is unavailable."""
        self._reason = "the cache is closed"
        self._tried.set()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        self._pipeline = None

    async def _first_try(self, deadline: float) -> None:
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(), name=f"cache {self.location}")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await self._tried.wait()
        self._tried.set()

    async def _keep(self) -> None:
        """Connect, serve until the connection fails, pause, again."""
        failures = 0
        while True:
            try:
                pipeline = Pipeline(await self._connected(), self._settings.call_seconds)
                await pipeline.run(lambda: self._close_breaker(pipeline))  # noqa: B023
            except Exception as error:  # noqa: BLE001 - whatever it answered, it is tried again
                failures = 0 if self._pipeline is not None else failures + 1
                self._open_breaker(in_words(error))
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
            logger.info("cache %s is back", self.location)
        self._pipeline, self._reason = pipeline, ""
        self._tried.set()

    def _open_breaker(self, reason: str) -> None:
        if not self._reason:
            logger.warning("cache %s is away: %s", self.location, reason)
        self._pipeline, self._reason = None, reason
        self._tried.set()
        self._on_loss()


def _pause(failures: int) -> float:
    """Seconds before the next attempt: longer each time, and different in each process."""
    longest = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0 ** min(failures, 10))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
