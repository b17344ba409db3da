"""Tests of any adapter of the port `Cache`, which keeps data for a limited time."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from traffic_storage.ports.cache import Cache

LONG = timedelta(hours=1)
KEYS = [
    "a",
    "statistics:1",
    "sha256:" + "0f" * 32,
    "with space and\nline feed",
    "señal/Überholverbot/速度",
    "{tag}same slot",
    "k" * 1000,
]


@pytest.mark.asyncio
class CacheContract:
    """Inherit from this class, and define an async fixture `cache`.

    The cache is connected, empty, and keeps up to 8 MiB. `item_bytes` is the size of the largest
    item that it keeps. Override `pass_time` if the cache does not use the system clock.
    """

    item_bytes: ClassVar[int] = 512 * 1024
    short_ttl: ClassVar[timedelta] = timedelta(milliseconds=50)

    async def pass_time(self, by: timedelta) -> None:
        """Advance the cache's clock."""
        await asyncio.sleep(by.total_seconds())

    async def test_an_unknown_key_returns_none(self, cache: Cache) -> None:
        """get: returns None for an unknown key."""
        for key in KEYS:
            assert await cache.get(key) is None

    @pytest.mark.parametrize(
        "data", [b"", b"\x00", b"\r\n$-1\r\n", bytes(range(256)) * 40], ids=lambda d: f"{len(d)}"
    )
    async def test_get_returns_the_bytes_of_put(self, cache: Cache, data: bytes) -> None:
        """get: returns the bytes of the last put."""
        for key in KEYS:
            await cache.put(key, data, LONG)
        for key in KEYS:
            assert await cache.get(key) == data

    async def test_keys_do_not_mix(self, cache: Cache) -> None:
        """get: never returns the bytes of another key."""
        for place, key in enumerate(KEYS):
            await cache.put(key, b"%d" % place, LONG)
        for place, key in enumerate(KEYS):
            assert await cache.get(key) == b"%d" % place

    async def test_a_later_put_replaces(self, cache: Cache) -> None:
        """put: replaces the previous data of the key."""
        await cache.put("a", b"first", LONG)
        await cache.put("a", b"second", LONG)
        assert await cache.get("a") == b"second"

    async def test_drop_removes_the_key(self, cache: Cache) -> None:
        """drop: removes the key; an unknown key is not an error."""
        await cache.put("a", b"1", LONG)
        await cache.put("b", b"2", LONG)
        await cache.drop("a")
        await cache.drop("never there")
        assert await cache.get("a") is None
        assert await cache.get("b") == b"2"

    async def test_items_of_up_to_item_bytes_are_kept(self, cache: Cache) -> None:
        """put: items of more than `item_bytes` are not kept."""
        longest = b"x" * self.item_bytes
        await cache.put("a", longest, LONG)
        assert await cache.get("a") == longest
        await cache.put("b", longest + b"x", LONG)
        assert await cache.get("b") is None

    async def test_a_too_large_item_removes_the_previous_data(self, cache: Cache) -> None:
        """put: an item that is too large removes the previous data of its key."""
        await cache.put("a", b"old", LONG)
        await cache.put("a", b"x" * (self.item_bytes + 1), LONG)
        assert await cache.get("a") is None

    async def test_data_is_kept_for_at_most_its_ttl(self, cache: Cache) -> None:
        """put: keeps data for at most `ttl`."""
        await cache.put("a", b"1", self.short_ttl)
        await cache.put("b", b"2", LONG)
        await self.pass_time(self.short_ttl + timedelta(milliseconds=20))
        assert await cache.get("a") is None
        assert await cache.get("b") == b"2"

    async def test_the_ttl_of_the_last_put_counts(self, cache: Cache) -> None:
        """put: the `ttl` of the last put counts."""
        await cache.put("a", b"1", self.short_ttl)
        await cache.put("a", b"1", LONG)
        await self.pass_time(self.short_ttl + timedelta(milliseconds=20))
        assert await cache.get("a") == b"1"

    @pytest.mark.parametrize("ttl", [timedelta(0), timedelta(seconds=-1), timedelta.min])
    async def test_a_ttl_of_zero_or_less_keeps_nothing(self, cache: Cache, ttl: timedelta) -> None:
        """put: a `ttl` of zero or less keeps nothing and removes the previous data."""
        await cache.put("a", b"old", LONG)
        await cache.put("a", b"new", ttl)
        assert await cache.get("a") is None

    async def test_the_longest_ttl_is_accepted(self, cache: Cache) -> None:
        """put: accepts the longest `ttl`."""
        await cache.put("a", b"1", timedelta.max)
        assert await cache.get("a") == b"1"

    async def test_concurrent_calls_do_not_mix(self, cache: Cache) -> None:
        """get, put: concurrent calls do not mix their data."""
        items = {f"key {number}": b"%d" % number * 100 for number in range(100)}
        await asyncio.gather(*(cache.put(key, data, LONG) for key, data in items.items()))
        found = await asyncio.gather(*(cache.get(key) for key in items))
        assert found == list(items.values())

    async def test_a_cancelled_call_does_not_affect_later_ones(self, cache: Cache) -> None:
        """get: a cancelled call does not affect the results of later calls."""
        await cache.put("a", b"1" * 1000, LONG)
        await cache.put("b", b"2" * 1000, LONG)
        for turns in range(4):
            leaving = asyncio.ensure_future(cache.get("a"))
            for _ in range(turns):
                await asyncio.sleep(0)
            leaving.cancel()
            assert await cache.get("b") == b"2" * 1000

    async def test_health_of_a_connected_cache(self, cache: Cache) -> None:
        """health: `healthy` is true, and `detail` is not empty."""
        await cache.put("a", b"1", LONG)
        assert cache.health().healthy
        assert cache.health().detail

    async def test_calls_after_aclose_do_not_raise(self, cache: Cache) -> None:
        """aclose: may be called twice. Afterwards get and drop do not raise."""
        await cache.put("a", b"1", LONG)
        await cache.aclose()
        await cache.aclose()
        assert await cache.get("a") is None
        await cache.drop("a")


class CacheMachine(RuleBasedStateMachine):
    """Random sequences of calls: `get` returns the data of the last put, or None.

    Define a subclass whose `make` returns an empty cache, and run its `TestCase`. The machine calls
    `make` on its own event loop. Set `forgets = False` if the cache never evicts items.
    """

    make: ClassVar[Callable[[], Cache]]
    forgets: ClassVar[bool] = True

    keys = st.sampled_from(KEYS)

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._cache = self._runner.run(self._made())
        self._known: dict[str, bytes] = {}

    @rule(key=keys, data=st.binary(max_size=2000))
    def put(self, key: str, data: bytes) -> None:
        """Put data."""
        self._runner.run(self._cache.put(key, data, LONG))
        self._known[key] = data

    @rule(key=keys)
    def drop(self, key: str) -> None:
        """Drop a key."""
        self._runner.run(self._cache.drop(key))
        self._known.pop(key, None)

    @rule(key=keys)
    def get(self, key: str) -> None:
        """Compare the result with the data of the last put."""
        found = self._runner.run(self._cache.get(key))
        assert found == self._known.get(key) or (found is None and self.forgets)

    def teardown(self) -> None:
        """Close the cache and its loop."""
        self._runner.run(self._cache.aclose())
        self._runner.close()

    async def _made(self) -> Cache:
        return type(self).make()
