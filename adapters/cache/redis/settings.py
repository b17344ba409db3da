"""The address of Redis, and how long a request may wait for it."""

from pathlib import Path

from attrs import field, frozen


@frozen
class RedisSettings:
    """The settings of `RedisCache`.

    Attributes:
        username: an ACL user; None means the user `default`.
        socket: path of a Unix socket; if set, `host`, `port` and `tls` are ignored.
        tls: connect with TLS and verify the server's certificate and host name.
        ca_file: PEM file of the trusted certificate authorities; None trusts those of the system.
        timeout_seconds: longest wait of a request for replies: half for a look-up, half for
            the `put` that follows a miss.
        max_item_bytes: longer data is not kept.
        prefix: precedes every key, so that applications can share a server.
    """

    host: str
    port: int = 6379
    db: int = 0
    cluster: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    timeout_seconds: float = 0.05
    max_item_bytes: int = 512 * 1024
    prefix: str = "traffic-storage:"
    socket: Path | None = None
    tls: bool = False
    ca_file: Path | None = None

    @property
    def call_seconds(self) -> float:
        """Longest wait of one call for the first byte of its reply."""
        return self.timeout_seconds / 2

    @property
    def location(self) -> str:
        """The server's address, for messages."""
        return str(self.socket) if self.socket else f"{self.host}:{self.port}"
