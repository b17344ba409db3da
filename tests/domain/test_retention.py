"""Retention: from when it counts, and that no file is born expired because of a dead clock."""

from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from traffic_storage.domain.files import FileKind, RetentionClock
from traffic_storage.domain.retention import (
    CaptureBounds,
    RetentionPeriods,
    RetentionPolicy,
    capture_doubt,
    retention_basis,
)
from traffic_storage.domain.retention_rules import RetentionFacts, RuleSet
from traffic_storage.entrypoints.testing import strategies as kit
from traffic_storage.entrypoints.testing.units import new_file

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)
DAY = timedelta(days=1)
BOUNDS = CaptureBounds()
MICROSECOND = timedelta(microseconds=1)


@pytest.mark.parametrize(("kind", "days"), [("image", 90), ("video", 30), ("metadata", 365)])
def test_a_file_is_kept_from_its_capture_by_its_kind(kind: str, days: int) -> None:
    captured = NOW - 3 * DAY
    retention = RetentionPolicy().retention(RetentionFacts(FileKind(kind)), captured, NOW)
    assert retention.keep_until == captured + days * DAY
    assert retention.rule == f"default-{kind}"
    assert retention.basis.clock is RetentionClock.CAPTURED


def test_without_a_capture_time_it_is_kept_from_receipt() -> None:
    retention = RetentionPolicy().retention(RetentionFacts(FileKind.IMAGE), None, NOW)
    assert retention.keep_until == NOW + 90 * DAY
    assert retention.basis.clock is RetentionClock.RECEIVED
    assert retention.basis.reason == "no capture time was given"


def test_periods_are_a_setting() -> None:
    week = timedelta(days=7)
    policy = RetentionPolicy(
        RuleSet(RetentionPeriods(image=week, video=2 * week, metadata=3 * week).rules)
    )
    kept = [policy.retention(RetentionFacts(kind), None, NOW).keep_until - NOW for kind in FileKind]
    assert kept == [week, 2 * week, 3 * week]


@pytest.mark.parametrize("year", [1970, 1980, 2000])
@pytest.mark.parametrize("historic", [False, True])
def test_a_clock_that_lost_its_power_counts_for_nothing(year: int, historic: bool) -> None:
    captured = datetime(year, 1, 1, 0, 1, tzinfo=UTC)
    basis = retention_basis(captured, NOW, BOUNDS, historic=historic)
    assert (basis.clock, basis.at) == (RetentionClock.RECEIVED, NOW)
    assert "earliest_capture" in basis.reason


@pytest.mark.parametrize(
    ("captured", "clock"),
    [
        (BOUNDS.earliest - MICROSECOND, RetentionClock.RECEIVED),
        (BOUNDS.earliest, RetentionClock.CAPTURED),
    ],
)
def test_the_earliest_capture_is_plausible_itself(captured: datetime, clock: str) -> None:
    assert retention_basis(captured, BOUNDS.earliest + DAY, BOUNDS).clock == clock


@pytest.mark.parametrize(
    ("backdating", "historic", "clock"),
    [
        (30 * DAY, False, RetentionClock.CAPTURED),
        (30 * DAY + MICROSECOND, False, RetentionClock.RECEIVED),
        (30 * DAY + MICROSECOND, True, RetentionClock.CAPTURED),
        (-DAY, False, RetentionClock.CAPTURED),
    ],
)
def test_how_far_back_a_capture_may_lie(
    backdating: timedelta, historic: bool, clock: RetentionClock
) -> None:
    basis = retention_basis(NOW - backdating, NOW, BOUNDS, historic=historic)
    assert basis.clock is clock
    assert basis.at == (NOW if clock is RetentionClock.RECEIVED else NOW - backdating)


def test_the_reason_names_the_lengths_and_the_setting() -> None:
    basis = retention_basis(NOW - 40 * DAY, NOW, BOUNDS)
    assert basis.reason == (
        "the capture time lies 40 days before receipt, more than 30 days (max_backdating), "
        "and the file is not stated to be historic"
    )


@given(
    kit.retention_policies(),
    kit.retention_facts(),
    st.none() | kit.instants(),
    kit.instants(),
    st.booleans(),
)
def test_what_does_not_count_from_capture_is_never_born_expired(
    policy: RetentionPolicy,
    facts: RetentionFacts,
    captured: datetime | None,
    received: datetime,
    historic: bool,
) -> None:
    retention = policy.retention(facts, captured, received, historic=historic)
    basis, bounds = retention.basis, policy.bounds
    assert retention.keep_until == basis.at + policy.rules.applicable(facts)[0].period
    if basis.clock is RetentionClock.RECEIVED:
        assert basis.at == received
        assert retention.keep_until > received
        return
    assert captured is not None
    assert basis.at == captured
    assert captured >= bounds.earliest
    assert historic or received - captured <= bounds.max_backdating


@given(st.none() | kit.instants(), kit.instants(), kit.capture_bounds())
def test_to_state_that_a_file_is_historic_never_ends_its_use_of_the_capture_time(
    captured: datetime | None, received: datetime, bounds: CaptureBounds
) -> None:
    usual = retention_basis(captured, received, bounds)
    stated = retention_basis(captured, received, bounds, historic=True)
    if usual.clock is RetentionClock.CAPTURED:
        assert stated == usual


def test_only_a_capture_time_that_was_given_is_doubted() -> None:
    file = new_file(at=NOW)
    assert capture_doubt(file) == ""
    dead = datetime(1970, 1, 1, tzinfo=UTC)
    basis = retention_basis(dead, NOW, BOUNDS)
    assert capture_doubt(evolve(file, captured_at=dead, retention_basis=basis)) == basis.reason
    good = retention_basis(NOW, NOW, BOUNDS)
    assert capture_doubt(evolve(file, captured_at=NOW, retention_basis=good)) == ""
