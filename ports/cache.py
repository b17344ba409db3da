"""Cache: optional storage of bytes. It may lose entries at any time and never fails a request."""

from abc import abstractmethod
from datetime import timedelta
from typing import Protocol

from attrs import frozen


@frozen
class CacheHealth:
    """Whether the cache is in use. `detail` describes in words the cache, or why it is not used."""

    healthy: bool
    detail: str


class Cache(Protocol):
    """Stores bytes under text keys. During an outage no method raises: every lookup is a miss.

    A call waits at most 50 ms for the first byte of an answer. If none has arrived by then, the
    call counts as a miss, and the adapter makes no further call until a probe in the background
    succeeds. While bytes arrive, the adapter may wait longer, up to a limit. Callers verify cached
    bytes or can recompute them: a wrong entry costs time, never correctness.
    """

    @abstractmethod
    async def get(self, key: str) -> bytes | None:
        """Return the bytes under `key`; None if the cache has none."""

    @abstractmethod
    async def put(self, key: str, data: bytes, ttl: timedelta) -> None:
        """Store `data` under `key` for at most `ttl`, unless it exceeds the cache's size limit."""

    @abstractmethod
    async def drop(self, key: str) -> None:
        """Remove the bytes under `key`. Succeeds if there are none."""

    @abstractmethod
    def health(self) -> CacheHealth:
        """Return whether the cache is in use now. No I/O."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close the connections to the cache and end its background tasks."""
