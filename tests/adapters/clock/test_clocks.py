"""The system's clock and the manual one; ids that never go back."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import RFC_4122

import pytest

from traffic_storage.adapters.clock.manual import ManualClock
from traffic_storage.adapters.clock.system import RandomIds, SystemClock
from traffic_storage.ports.clock import Clock
from traffic_storage.testing import SeededIds

NOON = datetime(2026, 3, 14, 12, 0, tzinfo=UTC)


class BackwardClock(Clock):
    """A clock that is set back by a second each time it is read."""

    def __init__(self) -> None:
        self._now = NOON

    def now(self) -> datetime:
        self._now -= timedelta(seconds=1)
        return self._now

    def monotonic(self) -> float:
        return 0.0


def test_the_time_is_utc_and_goes_on() -> None:
    clock = SystemClock()
    before = datetime.now(UTC)
    now, then = clock.now(), clock.monotonic()
    assert now.utcoffset() == timedelta(0)
    assert before <= now <= datetime.now(UTC)
    assert clock.monotonic() >= then


def test_a_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock(NOON)
    assert (clock.now(), clock.monotonic()) == (NOON, 0.0)
    clock.advance(timedelta(minutes=1, microseconds=1))
    assert clock.now() == NOON + timedelta(minutes=1, microseconds=1)
    assert clock.monotonic() == pytest.approx(60.000001)
    with pytest.raises(ValueError, match="negative"):
        clock.advance(timedelta(microseconds=-1))


def test_ids_are_of_version_7_and_carry_the_time() -> None:
    clock = ManualClock(NOON)
    ids = RandomIds(clock)
    for _ in range(100):
        made = ids.uuid7()
        assert (made.version, made.variant) == (7, RFC_4122)
        assert made.int >> 80 == int(NOON.timestamp() * 1000)
        clock.advance(timedelta(0))


@pytest.mark.parametrize("clock", [SystemClock(), ManualClock(NOON), BackwardClock()])
def test_each_id_is_greater_than_the_one_before(clock: Clock) -> None:
    ids = RandomIds(clock)
    made = [ids.uuid7() for _ in range(10_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_a_counter_that_is_full_borrows_from_the_next_millisecond() -> None:
    ids = RandomIds(ManualClock(NOON), random_bytes=lambda count: b"\xff" * count)
    first = ids.uuid7()
    ids._counter = (1 << 42) - 1
    second, third = ids.uuid7(), ids.uuid7()
    assert first < second < third
    assert second.int >> 80 == (first.int >> 80) + 1


def test_threads_share_an_id_source() -> None:
    ids = RandomIds(SystemClock())
    with ThreadPoolExecutor(8) as threads:
        batches = threads.map(lambda _: [ids.uuid7() for _ in range(2000)], range(8))
    made = [each for batch in batches for each in batch]
    assert len(set(made)) == 16_000


def test_two_sources_never_meet() -> None:
    clock = ManualClock(NOON)
    one, other = RandomIds(clock), RandomIds(clock)
    assert not {one.uuid7() for _ in range(1000)} & {other.uuid7() for _ in range(1000)}


def test_seeded_ids_repeat() -> None:
    def made(seed: int) -> list[object]:
        ids = SeededIds(ManualClock(NOON), seed)
        return [ids.uuid7() for _ in range(10)]

    assert made(1) == made(1)
    assert not set(made(1)) & set(made(2))
