"""The settings of the Redis cache: address, login, limits."""

from collections.abc import Callable
from pathlib import Path

from attrs import field, frozen


@frozen
class RedisSettings:
    """The settings of `RedisCache`.

    Attributes:
        username: an ACL user; None means the user `default`.
        password: a function is called for each new connection.
        socket: path of a Unix socket; if set, `host`, `port` and `tls` are ignored.
        tls: connect with TLS and verify the server's certificate and host name.
        ca_file: PEM file of the trusted certificate authorities; None trusts those of the system.
        timeout_seconds: longest wait of a request for replies: half for a look-up, half for
            the `put` that follows a miss.
        max_item_bytes: data longer than this is not cached.
        prefix: text at the start of every key, so that applications can share a server.
    """

    host: str
    port: int = 6379
    db: int = 0
    cluster: bool = False
    username: str | None = None
    password: str | Callable[[], str | None] | None = field(default=None, repr=False)
    timeout_seconds: float = 0.05
    max_item_bytes: int = 512 * 1024
    prefix: str = "traffic-storage:"
    socket: Path | None = None
    tls: bool = False
    ca_file: Path | None = None

    @property
    def call_seconds(self) -> float:
        """The longest wait of one call to Redis for the first byte of the reply, in seconds."""
        return self.timeout_seconds / 2

    @property
    def location(self) -> str:
        """The address of the Redis server, for messages: `host:port` or the path of a socket."""
        return str(self.socket) if self.socket else f"{self.host}:{self.port}"
