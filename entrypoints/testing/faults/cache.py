"""A cache that can be made unavailable, or made to return wrong bytes."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta

from traffic_storage.ports.cache import Cache, CacheHealth


class FailingCache(Cache):
    """Wraps the cache `inner`: it can be made unavailable, or made to return wrong bytes."""

    def __init__(self, inner: Cache) -> None:
        self.inner = inner
        self.calls: Counter[str] = Counter()
        """Number of calls per method."""
        self._obstacle = ""
        self._falsify: Callable[[bytes], bytes | None] | None = None

    def go_down(self, unavailable_reason: str = "injected outage") -> None:
        """Make the cache unavailable, with this reason in `health`.

        From now on `get` returns None, and `put` and `drop` do nothing.
        """
        self._obstacle = unavailable_reason

    def lie(self, falsify: Callable[[bytes], bytes | None]) -> None:
        """From now on apply `falsify` to the bytes that `get` returns.

        If `falsify` returns None, `get` returns None too, as for an unknown key.
        """
        self._falsify = falsify

    def come_back(self) -> None:
        """Work again: undo `go_down` and `lie`."""
        self._obstacle, self._falsify = "", None

    async def get(self, key: str) -> bytes | None:
        self.calls["get"] += 1
        if self._obstacle:
            return None
        data = await self.inner.get(key)
        return data if data is None or self._falsify is None else self._falsify(data)

    async def put(self, key: str, data: bytes, ttl: timedelta) -> None:
        self.calls["put"] += 1
        if not self._obstacle:
            await self.inner.put(key, data, ttl)

    async def drop(self, key: str) -> None:
        self.calls["drop"] += 1
        if not self._obstacle:
            await self.inner.drop(key)

    def health(self) -> CacheHealth:
        return CacheHealth(False, self._obstacle) if self._obstacle else self.inner.health()

    async def aclose(self) -> None:
        await self.inner.aclose()
