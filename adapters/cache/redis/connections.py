"""Connections of redis-py (TCP, TLS, Unix socket) that report arriving bytes and close at once."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from redis._parsers import _AsyncHiredisParser
from redis.asyncio import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from traffic_storage.adapters.cache.redis.settings import RedisSettings

OnBytes: TypeAlias = Callable[[], None]


def new_connection(settings: RedisSettings, host: str, port: int) -> "Watched":
    """Return a new, unopened connection to a Redis server, without time limits or retries."""
    where: dict[str, object] = {"host": host, "port": port}
    kind: type[Watched] = _TcpConnection
    if settings.socket is not None:
        kind, where = _SocketConnection, {"path": str(settings.socket)}
    elif settings.tls:
        kind = _TlsConnection
        where["ssl_ca_certs"] = None if settings.ca_file is None else str(settings.ca_file)
    password = settings.password
    return kind(
        **where,
        db=settings.db,
        username=settings.username,
        password=password() if callable(password) else password,
        protocol=2,
        driver_info=None,
        socket_timeout=None,
        socket_connect_timeout=None,
        retry=Retry(NoBackoff(), 0),
    )


class Watched(AbstractConnection):
    """A connection that calls `on_bytes` each time bytes arrive."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - redis-py checks them
        self.on_bytes: OnBytes = lambda: None
        parser = partial(_WatchedParser, lambda: self.on_bytes())  # noqa: PLW0108 - it is replaced later
        super().__init__(parser_class=parser, **options)  # type: ignore[arg-type]

    async def open(self) -> None:
        """Connect to the Redis server and log in."""
        await self.connect()  # type: ignore[no-untyped-call]

    def abort(self) -> None:
        """Close the connection at once; bytes that are not sent yet are discarded."""
        writer, self._writer, self._reader = self._writer, None, None
        if writer is not None:
            writer.transport.abort()


class _WatchedParser(_AsyncHiredisParser):
    def __init__(self, on_bytes: OnBytes, socket_read_size: int) -> None:
        super().__init__(socket_read_size)
        self._on_bytes = on_bytes

    async def read_from_socket(self) -> bool:
        has_read: bool = await super().read_from_socket()  # type: ignore[no-untyped-call]
        self._on_bytes()
        return has_read


class _TcpConnection(Watched, Connection): ...


class _TlsConnection(Watched, SSLConnection): ...


class _SocketConnection(Watched, UnixDomainSocketConnection): ...
