"""The connections of one server: how many there are, and which are closed because they stall."""

import asyncio
import logging
import resource
from typing import Protocol

from attrs import frozen

logger = logging.getLogger("traffic_storage.http")

_SWEEP_SECONDS = 1.0
_LOG_SECONDS = 60.0
# With fewer files than this, a share of them is for connections; the rest for databases and files.
_FILES = 8192


@frozen
class ConnectionLimits:
    """What a client may demand of a server before it has sent a whole request.

    Attributes:
        most: the maximum number of open connections. One more closes the connection that has waited
            longest for a request; if none waits, the new one is closed.
        head_bytes: the maximum size of a request head, and of the trailers.
        head_seconds: the time for a request head: from the start of the connection, or from its first
            byte on a connection that had a request before.
        stall_seconds: the time within which a client must take some of the bytes that were sent.
        ahead: the maximum number of requests that wait for the response to an earlier one. A client
            that sends more gets these responses; then the connection is closed.
    """

    most: int = 4096
    head_bytes: int = 65_536
    head_seconds: float = 10.0
    stall_seconds: float = 30.0
    ahead: int = 16


class Connection(Protocol):
    """What the registry does to a connection."""

    def drop(self) -> None:
        """Close the connection at once; bytes that were not sent are lost."""

    def check(self, now: float) -> None:
        """Close the connection if it has stalled; `now` is the time of the event loop."""


class Connections:
    """The open connections of one server, checked every second."""

    def __init__(self, limits: ConnectionLimits, loop: asyncio.AbstractEventLoop) -> None:
        self._limits = limits
        self._loop = loop
        self._open: set[Connection] = set()
        # In the order of waiting: those that had no request yet, and those that wait for another.
        self._new: dict[Connection, None] = {}
        self._idle: dict[Connection, None] = {}
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = 0
        self._told_at = -_LOG_SECONDS

    def opened(self, connection: Connection) -> None:
        """Register a connection; close another one, or this one, if there are too many."""
        self._open.add(connection)
        if len(self._open) > self._limits.most:
            waiting = self._new or self._idle
            superfluous = next(iter(waiting), connection)
            self.closed(superfluous)
            superfluous.drop()
            self._tell()
        if connection in self._open:
            self._new[connection] = None
        if self._sweep is None:
            self._sweep = self._loop.call_later(_SWEEP_SECONDS, self._check_all)

    def busy(self, connection: Connection) -> None:
        """Note that a request of the connection has begun."""
        self._new.pop(connection, None)
        self._idle.pop(connection, None)

    def idle(self, connection: Connection) -> None:
        """Note that the connection waits for its next request."""
        if connection in self._open:
            self._idle[connection] = None

    def closed(self, connection: Connection) -> None:
        """Forget a connection."""
        self._open.discard(connection)
        self.busy(connection)

    def _check_all(self) -> None:
        self._sweep = None
        now = self._loop.time()
        for connection in list(self._open):
            connection.check(now)
        if self._open:
            self._sweep = self._loop.call_later(_SWEEP_SECONDS, self._check_all)

    def _tell(self) -> None:
        self._closed += 1
        now = self._loop.time()
        if now - self._told_at < _LOG_SECONDS:
            return
        logger.warning(
            "%d connections are open, the most that this server keeps: connections that wait for a "
            "request are closed for new ones, the longest waiting first (%d closed since the last "
            "such line)",
            self._limits.most,
            self._closed,
        )
        self._told_at, self._closed = now, 0


def raise_file_limit() -> int:
    """Raise the soft limit of open files to at most 8192, as far as permitted; return the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft == resource.RLIM_INFINITY or soft >= allowed:
        return _FILES if soft == resource.RLIM_INFINITY else min(soft, _FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed
