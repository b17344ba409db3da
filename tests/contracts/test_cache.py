"""Every Cache keeps the contract; Redis on real servers."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support.adapter_settings import PATIENT_SECONDS, redis_settings
from tests.support.servers import RedisAddress
from traffic_storage.adapters.cache.memory import InProcessCache
from traffic_storage.adapters.cache.redis import RedisCache
from traffic_storage.adapters.clock.manual import ManualClock
from traffic_storage.entrypoints.testing.contracts.cache import (
    KEYS,
    LONG,
    CacheContract,
    CacheMachine,
)
from traffic_storage.entrypoints.testing.faults.cache import FailingCache
from traffic_storage.ports.cache import Cache, CacheHealth

START = datetime(2026, 3, 14, 12, 0, tzinfo=UTC)
MACHINE = settings(max_examples=15, stateful_step_count=30, deadline=None)


def redis_at(address: RedisAddress, *, cluster: bool = False) -> RedisCache:
    """A patient cache, so that a busy machine does not turn hits into misses."""
    return RedisCache(redis_settings(address, cluster=cluster, timeout_seconds=PATIENT_SECONDS))


class TestInProcess(CacheContract):
    @pytest.fixture
    async def clock(self) -> ManualClock:
        return ManualClock(START)

    @pytest.fixture
    async def cache(self, no_leaks: None, clock: ManualClock) -> AsyncIterator[InProcessCache]:
        self._clock = clock
        cache = InProcessCache(64 * 1024 * 1024, self.item_bytes, clock)
        yield cache
        await cache.aclose()

    async def pass_time(self, by: timedelta) -> None:
        self._clock.advance(by)


class TestValkey(CacheContract):
    @pytest.fixture
    async def cache(
        self, redis_database: RedisAddress, no_leaks: None
    ) -> AsyncIterator[RedisCache]:
        cache = redis_at(redis_database)
        yield cache
        await cache.aclose()


class TestRedis(CacheContract):
    @pytest.fixture
    async def cache(
        self, redis6_database: RedisAddress, no_leaks: None
    ) -> AsyncIterator[RedisCache]:
        cache = redis_at(redis6_database)
        yield cache
        await cache.aclose()


class TestValkeyCluster(CacheContract):
    @pytest.fixture
    async def cache(self, redis_cluster: RedisAddress, no_leaks: None) -> AsyncIterator[RedisCache]:
        cache = redis_at(redis_cluster, cluster=True)
        yield cache
        await cache.aclose()


class TestFailing(CacheContract):
    """The decorator changes nothing until it is told to."""

    @pytest.fixture
    async def cache(self, no_leaks: None) -> AsyncIterator[FailingCache]:
        self._clock = ManualClock(START)
        cache = FailingCache(InProcessCache(64 * 1024 * 1024, self.item_bytes, self._clock))
        yield cache
        await cache.aclose()

    async def pass_time(self, by: timedelta) -> None:
        self._clock.advance(by)

    async def test_one_that_is_away_knows_and_keeps_nothing(self, cache: FailingCache) -> None:
        await cache.put("a", b"1", LONG)
        cache.go_down("gone")
        assert await cache.get("a") is None
        await cache.put("b", b"2", LONG)
        await cache.drop("a")
        assert cache.health() == CacheHealth(False, "gone")
        cache.come_back()
        assert await cache.get("a") == b"1"
        assert await cache.get("b") is None
        assert cache.calls == {"get": 3, "put": 2, "drop": 1}

    async def test_one_that_lies(self, cache: FailingCache) -> None:
        await cache.put("a", b"1", LONG)
        cache.lie(lambda data: data + b"!")
        assert await cache.get("a") == b"1!"
        assert await cache.get("b") is None
        cache.come_back()
        assert await cache.get("a") == b"1"


class InProcessMachine(CacheMachine):
    forgets = False

    @staticmethod
    def make() -> Cache:
        return InProcessCache(64 * 1024 * 1024, 512 * 1024, ManualClock(START))


class SmallMachine(CacheMachine):
    """One that has no room for all that is put."""

    @staticmethod
    def make() -> Cache:
        return InProcessCache(4000, 1500, ManualClock(START))


InProcessMachine.TestCase.settings = MACHINE
SmallMachine.TestCase.settings = MACHINE
TestInProcessMachine = InProcessMachine.TestCase
TestSmallMachine = SmallMachine.TestCase


def test_valkey_machine(redis_server: RedisAddress) -> None:
    class Machine(CacheMachine):
        forgets = False

        @staticmethod
        def make() -> Cache:
            return redis_at(redis_server.new_database())

    run_state_machine_as_test(Machine, settings=MACHINE)


def test_valkey_cluster_machine(redis_cluster: RedisAddress) -> None:
    class Machine(CacheMachine):
        forgets = False

        def __init__(self) -> None:
            super().__init__()
            for key in KEYS:
                self.drop(key)

        @staticmethod
        def make() -> Cache:
            return redis_at(redis_cluster, cluster=True)

    run_state_machine_as_test(Machine, settings=MACHINE)
