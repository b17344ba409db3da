"""Cache: a shortcut that may forget at any time and never fails a request."""

from abc import abstractmethod
from datetime import timedelta
from typing import Protocol

from attrs import frozen


@frozen
class CacheHealth:
    """Whether the cache is in use; `detail` says in words what it is or what is wrong."""

    healthy: bool
    detail: str


class Cache(Protocol):
    """Bytes under text keys. No method raises for an outage: a cache that is away knows nothing.

    A call waits at most 50 ms in silence: an answer of which nothing has arrived by then counts
    as a miss, and no further call is tried until a probe in the background succeeds. While bytes
    arrive from the cache, the adapter may wait longer, but not without limit. The reader verifies
    what comes from a cache or can compute it anew: a wrong entry costs time, never correctness.
    """

    @abstractmethod
    async def get(self, key: str) -> bytes | None:
        """The bytes under `key`, or None."""

    @abstractmethod
    async def put(self, key: str, data: bytes, ttl: timedelta) -> None:
        """Keep `data` for at most `ttl`. Items that are too large are not kept."""

    @abstractmethod
    async def drop(self, key: str) -> None:
        """Forget `key`."""

    @abstractmethod
    def health(self) -> CacheHealth:
        """The present state. No I/O."""

    @abstractmethod
    async def aclose(self) -> None:
        """Free connections and tasks."""
