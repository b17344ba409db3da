"""Cache: optional storage of bytes. It may lose entries at any time and never fails a request."""

from abc import abstractmethod
from datetime import timedelta
from typing import Protocol

from attrs import frozen


@frozen
class CacheHealth:
    """Whether the cache is in use. `detail` describes the cache or its fault."""

    healthy: bool
    detail: str


class Cache(Protocol):
    """Bytes under text keys. No method raises for an outage: every lookup is then a miss.

    A call waits at most 50 ms for the first byte of an answer. If none has arrived by then, the
    call counts as a miss, and the adapter makes no further call until a probe in the background
    succeeds. While bytes arrive, the adapter may wait longer, up to a limit. Callers verify cached
    bytes or can recompute them: a wrong entry costs time, never correctness.
    """

    @abstractmethod
    async def get(self, key: str) -> bytes | None:
        """Return the bytes under `key`, or None."""

    @abstractmethod
    async def put(self, key: str, data: bytes, ttl: timedelta) -> None:
        """Keep `data` for at most `ttl`. Items that exceed the cache's size limit are not kept."""

    @abstractmethod
    async def drop(self, key: str) -> None:
        """Remove `key`. Succeeds if the key is absent."""

    @abstractmethod
    def health(self) -> CacheHealth:
        """Return the current state. No I/O."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close connections and end tasks."""
