"""A cache in the memory of this process: limited in bytes, evicts the least recently used entry."""

from collections import OrderedDict
from datetime import timedelta

from attrs import frozen

from traffic_storage.ports.cache import Cache, CacheHealth
from traffic_storage.ports.clock import Clock

# Approximate size of an entry without its key and data: objects, table slots, links.
_ENTRY_BYTES = 400


@frozen
class _Entry:
    data: bytes
    size_bytes: int
    expires_at: float


class InProcessCache(Cache):
    """Keeps cache entries in memory, in total at most `max_bytes` (with keys and overhead).

    Data longer than `max_item_bytes` is not cached. Use a cache from one event loop only.
    """

    def __init__(self, max_bytes: int, max_item_bytes: int, clock: Clock) -> None:
        self._max_bytes = max_bytes
        self._max_item_bytes = max_item_bytes
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._size_bytes = 0

    async def get(self, key: str) -> bytes | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if self._clock.monotonic() >= entry.expires_at:
            self._forget(key)
            return None
        self._entries.move_to_end(key)
        return entry.data

    async def put(self, key: str, data: bytes, ttl: timedelta) -> None:
        self._forget(key)
        seconds = ttl.total_seconds()
        if len(data) > self._max_item_bytes or seconds <= 0:
            return
        size = len(data) + len(key.encode()) + _ENTRY_BYTES
        if size > self._max_bytes:
            return
        self._entries[key] = _Entry(data, size, self._clock.monotonic() + seconds)
        self._size_bytes += size
        while self._size_bytes > self._max_bytes:
            self._forget(next(iter(self._entries)))

    async def drop(self, key: str) -> None:
        self._forget(key)

    def health(self) -> CacheHealth:
        return CacheHealth(True, "in this process")

    async def aclose(self) -> None:
        self._entries.clear()
        self._size_bytes = 0

    def _forget(self, key: str) -> None:
        if entry := self._entries.pop(key, None):
            self._size_bytes -= entry.size_bytes
