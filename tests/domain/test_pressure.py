"""Pressure: more room or a lower rate never raises it, and each level has its reason."""

from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from traffic_storage.domain.files import Tier
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.placement import StoreStatus
from traffic_storage.domain.pressure import (
    CLEARED_BELOW,
    UNPRESSED,
    NoteUsageAlert,
    Pressure,
    PressureLevel,
    PressureRules,
    RecordedPressure,
    alerts_of,
    bytes_per_day,
    change_of_alert,
    change_of_level,
    evidence_bytes,
    pressure,
    room_bytes,
)

RULES = PressureRules()
NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
LOCAL = StoreId("local")
STATUSES = st.builds(
    StoreStatus,
    store_id=st.just(StoreId("local")),
    tier=st.just(Tier.LOCAL),
    used_bytes=st.integers(0, 2000),
    limit_bytes=st.none() | st.integers(0, 2000),
    free_bytes=st.none() | st.integers(0, 2000),
    reserve_bytes=st.integers(0, 200),
    evidence_bytes=st.integers(0, 50),
)
RATES = st.floats(0, 5000)


def store(used: int, limit: int = 1000) -> StoreStatus:
    """A store with a limit, of which 2 % are kept for evidence."""
    return StoreStatus(
        StoreId("local"), Tier.LOCAL, used_bytes=used, limit_bytes=limit, evidence_bytes=20
    )


@pytest.mark.parametrize(
    ("used", "per_day", "level"),
    [
        (100, 0.0, PressureLevel.NONE),
        (100, 10.0, PressureLevel.NONE),
        (100, 100.0, PressureLevel.FORECAST),
        (100, 500.0, PressureLevel.MOVE_OUT),
        (980, 0.0, PressureLevel.EVIDENCE_ONLY),
        (1000, 0.0, PressureLevel.FULL),
        (1200, 0.0, PressureLevel.FULL),
    ],
)
def test_the_ladder(used: int, per_day: float, level: PressureLevel) -> None:
    found = pressure(store(used), per_day, RULES)
    assert found.level is level
    assert bool(found.reason) is (level is not PressureLevel.NONE)


def test_the_forecast_is_the_room_by_the_rate() -> None:
    assert pressure(store(100), 100.0, RULES).full_in == timedelta(days=9)
    assert pressure(store(100), 0.0, RULES).full_in is None


@given(STATUSES, RATES, st.integers(0, 500))
def test_more_used_space_never_lowers_it(status: StoreStatus, rate: float, more: int) -> None:
    fuller = evolve(
        status,
        used_bytes=status.used_bytes + more,
        free_bytes=None if status.free_bytes is None else max(0, status.free_bytes - more),
    )
    assert pressure(fuller, rate, RULES).level >= pressure(status, rate, RULES).level


@given(STATUSES, RATES, RATES)
def test_a_higher_rate_never_lowers_it(status: StoreStatus, rate: float, other: float) -> None:
    low, high = sorted((rate, other))
    assert pressure(status, high, RULES).level >= pressure(status, low, RULES).level


@given(STATUSES)
def test_a_store_that_takes_no_byte_is_full(status: StoreStatus) -> None:
    is_full = pressure(status, 0.0, RULES).level is PressureLevel.FULL
    assert is_full is bool(status.shortage(1))


@given(STATUSES, st.integers(1, 500))
def test_other_files_leave_the_space_for_evidence(status: StoreStatus, size: int) -> None:
    room = room_bytes(status)
    if status.for_others().takes(size) and room is not None:
        assert room - size >= status.evidence_bytes
    assert status.takes(size) or not status.for_others().takes(size)


@given(STATUSES, st.floats(0, 0.5))
def test_the_space_for_evidence_is_a_share_of_the_capacity(
    status: StoreStatus, share: float
) -> None:
    room = room_bytes(status)
    kept = evidence_bytes(status, share)
    if room is None:
        assert kept == 0
    else:
        assert 0 <= kept <= share * (status.used_bytes + room)


def test_a_rate_counts_at_least_a_day() -> None:
    assert bytes_per_day(500, timedelta(hours=1)) == 500
    assert bytes_per_day(500, timedelta(days=5)) == 100
    assert bytes_per_day(-500, timedelta(days=5)) == 0


def alert(used: float | None) -> NoteUsageAlert | None:
    """What is recorded of a store of which so many percent are used."""
    return change_of_alert(LOCAL, Pressure(PressureLevel.NONE, 1, 0.0, None, "", used), RULES, NOON)


@given(st.lists(st.floats(0, 100), max_size=30))
def test_an_alert_follows_the_usage_with_a_gap_between_raising_and_clearing(
    usages: list[float],
) -> None:
    known = UNPRESSED
    for used in usages:
        change = alert(used)
        before, known = known, known if change is None else change.noted_over(known)
        if used >= RULES.alert_percent:
            assert known.is_raised
        elif used < RULES.alert_percent - CLEARED_BELOW:
            assert not known.is_raised
        else:
            assert known == before


def test_an_unbounded_store_has_no_usage_alert() -> None:
    assert alert(None) is None
    unbounded = evolve(store(100), limit_bytes=None)
    assert pressure(unbounded, 1.0, RULES).used_percent is None
    assert pressure(store(0, 0), 0.0, RULES).used_percent == 100.0


def test_the_usage_is_of_what_the_store_can_hold() -> None:
    assert pressure(store(250), 0.0, RULES).used_percent == 25.0
    # Others fill the disk: 150 bytes are free.
    shared = evolve(store(450), free_bytes=150, reserve_bytes=100)
    assert pressure(shared, 0.0, RULES).used_percent == 90.0


@given(st.lists(st.floats(0.5, 30), max_size=30))
def test_a_forecast_ends_only_when_the_store_fills_clearly_later(days: list[float]) -> None:
    known = UNPRESSED
    for left in days:
        here = pressure(evolve(store(0), evidence_bytes=0), 1000 / left, RULES)
        change = change_of_level(LOCAL, here, RULES, NOON)
        before, known = known, change.noted_over(known)
        if here.level is not PressureLevel.NONE:
            assert known.level is here.level
        elif left > 15.5:
            assert known.level is PressureLevel.NONE
        elif left < 15.3:
            assert known.level is min(before.level, PressureLevel.FORECAST)


def test_alerts_are_told_in_words() -> None:
    assert alerts_of(UNPRESSED) == ""
    both = RecordedPressure(PressureLevel.MOVE_OUT, is_raised=True)
    assert alerts_of(both) == (
        "the store fills up (pressure: move_out); more is used than alert_usage_percent allows"
    )
