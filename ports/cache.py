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

    A call that can't be answered within the adapter's budget (50 ms at most) counts as a miss;
    after a few of them none is tried until a probe in the background succeeds. What is read from
    a cache is verified or recomputable by whoever reads it: a wrong entry costs time, never
    truth.
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
