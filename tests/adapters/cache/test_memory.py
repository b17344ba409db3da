"""What is peculiar to the cache in the process: what goes when there is no room."""

from datetime import UTC, datetime, timedelta

import pytest

from traffic_storage.adapters.cache.memory import InProcessCache
from traffic_storage.adapters.clock.manual import ManualClock

HOUR = timedelta(hours=1)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 3, 14, 12, 0, tzinfo=UTC))


@pytest.fixture
def cache(clock: ManualClock) -> InProcessCache:
    """Has room for three items of 1,000 bytes."""
    return InProcessCache(max_bytes=4300, max_item_bytes=2000, clock=clock)


async def known(cache: InProcessCache, *keys: str) -> set[str]:
    return {key for key in keys if await cache.get(key) is not None}


async def test_the_least_recently_used_goes_first(cache: InProcessCache) -> None:
    for key in ("a", "b", "c"):
        await cache.put(key, bytes(1000), HOUR)
    await cache.get("a")
    await cache.put("d", bytes(1000), HOUR)
    assert await known(cache, "a", "b", "c", "d") == {"a", "c", "d"}


async def test_a_large_item_pushes_several_out(cache: InProcessCache) -> None:
    for key in ("a", "b", "c"):
        await cache.put(key, bytes(1000), HOUR)
    await cache.put("d", bytes(2000), HOUR)
    assert await known(cache, "a", "b", "c", "d") == {"c", "d"}


async def test_replacing_does_not_count_twice(cache: InProcessCache) -> None:
    for _ in range(10):
        for key in ("a", "b", "c"):
            await cache.put(key, bytes(1000), HOUR)
    assert await known(cache, "a", "b", "c") == {"a", "b", "c"}


async def test_what_was_dropped_makes_room(cache: InProcessCache) -> None:
    for key in ("a", "b", "c"):
        await cache.put(key, bytes(1000), HOUR)
    await cache.drop("b")
    await cache.put("d", bytes(1000), HOUR)
    assert await known(cache, "a", "b", "c", "d") == {"a", "c", "d"}


async def test_tiny_items_are_bounded_too(cache: InProcessCache) -> None:
    keys = [f"{number}" for number in range(10_000)]
    for key in keys:
        await cache.put(key, b"", HOUR)
    assert len(await known(cache, *keys)) <= 4300 // 400


async def test_keys_count(cache: InProcessCache) -> None:
    await cache.put("k" * 5000, b"", HOUR)
    assert await known(cache, "k" * 5000) == set()


async def test_time_is_up_at_the_instant(cache: InProcessCache, clock: ManualClock) -> None:
    await cache.put("a", b"1", timedelta(seconds=10))
    clock.advance(timedelta(seconds=9.999))
    assert await cache.get("a") == b"1"
    clock.advance(timedelta(seconds=0.001))
    assert await cache.get("a") is None


async def test_looking_does_not_prolong(cache: InProcessCache, clock: ManualClock) -> None:
    await cache.put("a", b"1", timedelta(seconds=10))
    for _ in range(11):
        await cache.get("a")
        clock.advance(timedelta(seconds=1))
    assert await cache.get("a") is None
