"""Where Redis is, and how much it may cost."""

from attrs import field, frozen


@frozen
class RedisSettings:
    """The settings of `RedisCache`.

    Attributes:
        timeout_seconds: what a request may spend on the cache: half of it for a look-up, half
            for the store that follows a miss.
        max_item_bytes: longer data is not kept.
        prefix: goes before every key, so that others may share the server.
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

    @property
    def call_seconds(self) -> float:
        """How long one call waits at most."""
        return self.timeout_seconds / 2
