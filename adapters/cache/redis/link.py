"""One connection to one server, shared by all requests and kept up in the background."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from typing import TypeAlias

from attrs import frozen
from redis.exceptions import RedisError

from traffic_storage.adapters.cache.redis.session import Away, Command, Reply, Session, Wire
from traffic_storage.adapters.cache.redis.settings import RedisSettings

__all__ = ["Address", "Away", "Command", "Link", "Reply"]

logger = logging.getLogger("traffic_storage.cache")

_CONNECT_SECONDS = 1.0
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0

Watcher: TypeAlias = Callable[[], None]


@frozen
class Address:
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Link:
    """A server, as long as it answers in time.

    The first `ask` starts the task that connects. Only while its first attempt is under way does
    an `ask` wait for a connection (within its budget); later a server that is not connected is
    away at once. `on_loss` is called when a connection is lost or could not be made.
    """

    def __init__(
        self, address: Address, settings: RedisSettings, on_loss: Watcher = lambda: None
    ) -> None:
        self.address = address
        self._settings = settings
        self._on_loss = on_loss
        self._session: Session | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()
        self._reason = ""

    @property
    def unavailable_reason(self) -> str:
        """Why it is not asked now, in words; empty while it is, and before the first `ask`."""
        if self._session is not None or not self._tried.is_set():
            return ""
        return f"{self.address} is away: {self._reason or 'it does not answer yet'}"

    async def ask(self, *commands: Command, deadline: float) -> Reply:
        """Send commands one after the other; the answer to the last.

        Raises:
            Away: there is none before `deadline` (of the event loop's clock); whether it was
                carried out is not known.
            ResponseError: the server refuses.
        """
        if not self._tried.is_set():
            await self._first_try(deadline)
        if self._session is None:
            raise Away(self.unavailable_reason)
        return await self._session.ask(commands, deadline)

    async def aclose(self) -> None:
        """End the connection; from now on the server is away."""
        self._reason = "the cache is closed"
        self._tried.set()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        self._session = None

    async def _first_try(self, deadline: float) -> None:
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(), name=f"cache {self.address}")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await self._tried.wait()
        self._tried.set()

    async def _keep(self) -> None:
        """Connect, serve until the connection fails, pause, again."""
        failures = 0
        while True:
            try:
                await self._serve()
            except Exception as error:  # noqa: BLE001 - whatever it answered, it is tried again
                failures = 0 if self._session is not None else failures + 1
                self._lost(_in_words(error))
            await asyncio.sleep(_pause(failures))

    async def _serve(self) -> None:
        session = Session(await self._connected(), self._settings.call_seconds)
        try:
            await session.run(lambda: self._found(session))
        finally:
            session.end()

    async def _connected(self) -> Wire:
        wire = Wire(
            host=self.address.host,
            port=self.address.port,
            db=self._settings.db,
            username=self._settings.username,
            password=self._settings.password,
        )
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await wire.open()
        except BaseException:
            wire.abort()
            raise
        return wire

    def _found(self, session: Session) -> None:
        if self._reason:
            logger.info("cache %s is back", self.address)
        self._session, self._reason = session, ""
        self._tried.set()

    def _lost(self, reason: str) -> None:
        if not self._reason:
            logger.warning("cache %s is away: %s", self.address, str(reason))
        self._session, self._reason = None, reason
        self._tried.set()
        self._on_loss()


def _pause(failures: int) -> float:
    """Longer each time up to a second, and never the same for two processes."""
    longest = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0 ** min(failures, 10))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - no secret


def _in_words(error: Exception) -> str:
    if isinstance(error, TimeoutError) and not str(error):
        return "it does not answer"
    if isinstance(error, Away | RedisError | OSError):
        return str(error) or type(error).__name__
    return f"it answers what can't be understood ({type(error).__name__}: {error})"
