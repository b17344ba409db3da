"""Violation patterns: shares with intervals, hours in a zone, what stands out."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from traffic_storage.domain.proportions import Share, shares_of, wilson
from traffic_storage.domain.violation import StoredViolation
from traffic_storage.domain.violation_patterns import ViolationPatterns, violation_patterns
from traffic_storage.entrypoints.testing.units import NOON, new_evidence, new_record

MADRID = ZoneInfo("Europe/Madrid")


def violation(at: datetime, **fields: Any) -> StoredViolation:
    """A violation that happened at a time."""
    stored = new_evidence(new_record(timestamp=at, **fields)).violation
    assert stored is not None
    return evolve(stored, occurred_at=at)


def test_the_wilson_interval_of_known_cases() -> None:
    # R. G. Newcombe (1998), table I: 81 of 263, 15 of 148, 0 of 20 and 1 of 29.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)
    assert wilson(0, 0) == (0.0, 1.0)


@given(st.integers(1, 10_000).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))))
def test_an_interval_holds_the_share_and_shrinks_with_the_sample(given: tuple[int, int]) -> None:
    count, of = given
    low, high = wilson(count, of)
    assert 0 <= low <= count / of + 1e-12
    assert count / of - 1e-12 <= high <= 1
    lower, higher = wilson(4 * count, 4 * of)
    assert higher - lower <= high - low + 1e-12


def test_shares_are_in_order() -> None:
    assert shares_of("abba", "abc") == (Share("a", 2, 4), Share("b", 2, 4), Share("c", 0, 4))
    assert [one.value for one in shares_of("abb")] == ["b", "a"]
    assert shares_of("") == ()
    assert Share("a", 0, 0).share == 0.0


def test_hours_and_weekdays_are_those_of_the_zone() -> None:
    # 23:30 UTC on a Sunday is Monday in Madrid.
    found = violation_patterns(
        [violation(datetime(2026, 3, 1, 23, 30, tzinfo=UTC))], {}, MADRID, NOON
    )
    assert [one.count for one in found.by_hour] == [1, *[0] * 23]
    assert [one.value for one in found.by_weekday if one.count] == ["Monday"]


def test_what_stands_out_is_told_with_its_interval() -> None:
    start = datetime(2026, 3, 2, tzinfo=UTC)
    busy = [violation(start.replace(hour=8), device_id="cam-1") for _ in range(60)]
    even = [
        violation(
            start + timedelta(hours=7 * n),
            device_id=f"cam-{n % 3}",
            violation_type="speed" if n % 5 else "lane",
        )
        for n in range(50)
    ]
    found = violation_patterns(busy + even, {"cam-1": 50, "cam-2": 60}, ZoneInfo("UTC"), NOON)
    assert (found.violations, found.sampled) == (110, 110)
    hour, day, device, kind = found.findings
    assert hour.startswith("56.4% of the violations are between 08:00 and 09:00 (47.0% to 65.3%)")
    assert "on Mondays" in day
    assert "at cam-1" in device
    assert kind.startswith("90.9% of the violations are of the type speed")
    quiet = violation_patterns(even[:2], {}, ZoneInfo("UTC"), NOON)
    assert quiet.findings == ()
    assert violation_patterns([], {}, ZoneInfo("UTC"), NOON).findings == ()


def test_of_an_even_spread_next_to_nothing_is_told() -> None:
    """200 sets of 1,000 violations without any pattern: at most one in twenty says anything."""
    chance = np.random.default_rng(13)
    said = 0
    for _ in range(200):
        groups = [
            shares_of(chance.integers(0, size, 1000).tolist(), range(size))
            for size in (24, 7, 12, 3)
        ]
        hours, *others = groups
        days, devices, kinds = (
            tuple(Share(str(one.value), one.count, one.of) for one in group) for group in others
        )
        found = ViolationPatterns(NOON, MADRID, 1000, 1000, hours, days, devices, kinds, (), {})
        said += bool(found.findings)
    assert said <= 10


def test_the_weekdays_of_a_period_are_compared_with_its_own_time() -> None:
    start = datetime(2026, 3, 2, tzinfo=UTC)
    end = start + timedelta(hours=36)
    even = [violation(start + timedelta(minutes=20 * n)) for n in range(108)]
    zone = ZoneInfo("UTC")
    assert violation_patterns(even, {}, zone, NOON, (start, end)).findings == ()
    assert any("Mondays" in one for one in violation_patterns(even, {}, zone, NOON).findings)
