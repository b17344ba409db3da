"""Migration: what a day's digest depends on, and in what two rows differ."""

from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from traffic_storage.domain.digests import digests_of
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.files import FileState, PlacementNote, ReplicaState, StoredFile
from traffic_storage.domain.identifiers import CatalogueId
from traffic_storage.domain.identity import RegisteredStore
from traffic_storage.domain.migration import (
    DayFold,
    MigrationId,
    file_problem,
    has_good_copy,
    migrated_violation,
    reconciled_days,
    record_problem,
)
from traffic_storage.domain.multiset_digest import MultisetDigest
from traffic_storage.domain.retention import MIGRATED_RULE, RetentionPolicy, retention_at_least
from traffic_storage.domain.retention_rules import RetentionFacts
from traffic_storage.domain.rules_in_force import regranted, retained_file
from traffic_storage.domain.violation import StoredViolation, ViolationState
from traffic_storage.entrypoints.testing.contracts.record_repo import LOCAL
from traffic_storage.entrypoints.testing.units import NOON, new_evidence, new_file, new_record

DAY = timedelta(days=1)


def digest(items: list[bytes]) -> str:
    """The digest of some items."""
    found = MultisetDigest()
    for item in items:
        found.add(item)
    return found.sha256


@given(
    st.lists(st.binary(max_size=20), max_size=8).flatmap(
        lambda x: st.tuples(st.just(x), st.permutations(x))
    )
)
def test_a_digest_does_not_depend_on_the_order(both: tuple[list[bytes], list[bytes]]) -> None:
    assert digest(both[0]) == digest(both[1])


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=8), st.binary(max_size=20))
def test_a_digest_depends_on_each_item_and_how_often_it_was_added(
    items: list[bytes], other: bytes
) -> None:
    assert digest(items) != digest(items[1:])
    assert digest(items) != digest([*items, items[0]])
    if other not in items:
        assert digest(items) != digest([other, *items[1:]])


def test_the_digest_of_a_known_item_is_fixed() -> None:
    """So that another program can compute it: the SHAKE128 of the item, added to zeros."""
    import hashlib

    expected = hashlib.sha256(hashlib.shake_128(b"item").digest(2048)).hexdigest()
    assert digest([b"item"]) == expected


def evidence(
    store: RegisteredStore, at: datetime = NOON
) -> tuple[StoredViolation, list[StoredFile]]:
    """A violation with its files."""
    unit = new_evidence(new_record(timestamp=at), store)
    assert unit.violation is not None
    return unit.violation, list(unit.files)


def test_days_are_compared_in_whatever_order_they_were_folded() -> None:
    store = LOCAL
    some = [evidence(store, NOON + DAY * (n % 2)) for n in range(6)]
    source, target = DayFold(), DayFold()
    for violation, files in some:
        source.add(violation, files)
    for violation, files in reversed(some):
        moved = [
            evolve(file, placement=PlacementNote("s3", "x"), keep_until=NOON) for file in files
        ]
        target.add(violation, reversed(moved))
    days = reconciled_days(source, target)
    assert [day.day for day in days] == [NOON.date(), (NOON + DAY).date()]
    assert all(day.is_equal for day in days)
    assert [(day.source.records, day.source.files) for day in days] == [(3, 6), (3, 6)]
    assert sum(day.source.bytes for day in days) == 12 * 1000


def test_a_day_that_one_side_lacks_is_not_equal() -> None:
    source = DayFold()
    source.add(*evidence(LOCAL))
    (day,) = reconciled_days(source, DayFold())
    assert not day.is_equal
    assert (day.target.records, day.target.files, day.target.bytes) == (0, 0, 0)


def test_in_what_a_file_differs() -> None:
    file = new_file(LOCAL)
    assert file_problem(file, file) == ""
    assert file_problem(file, None) == "is missing"
    assert "tombstoned" in file_problem(file, file.become(FileState.TOMBSTONED, at=NOON))
    bad = file.replicas[0].become(ReplicaState.CORRUPT)
    assert file_problem(file, evolve(file, replicas=(bad,))) == "has no present copy"
    other = evolve(file, content=digests_of(b"other"))
    assert "digest" in file_problem(file, other)
    assert "less long" in file_problem(file, evolve(file, keep_until=file.keep_until - DAY))
    assert file_problem(file, evolve(file, keep_until=file.keep_until + DAY)) == ""
    assert has_good_copy(file, file)
    assert not has_good_copy(None, file)
    assert not has_good_copy(evolve(file, replicas=(bad,)), file)
    assert not has_good_copy(other, file)


def test_in_what_a_violation_differs() -> None:
    violation, _ = evidence(LOCAL)
    assert record_problem(violation, violation) == ""
    assert record_problem(violation, None) == "is missing"
    gone = evolve(violation, state=ViolationState.TOMBSTONED)
    assert record_problem(violation, gone) == "is tombstoned"
    assert "times" in record_problem(violation, evolve(violation, received_at=NOON + DAY))
    bare = migrated_violation(violation)
    assert bare.incomplete
    assert bare.record.image_path == ""


@pytest.mark.parametrize("days", [-400, -1, 0, 1, 400])
def test_a_migrated_file_is_never_kept_less_long(days: int) -> None:
    file = new_file(LOCAL)
    kept = evolve(file, keep_until=file.keep_until + DAY * days)
    rules = RetentionPolicy().rules
    until, rule = retention_at_least(kept, RetentionFacts(file.kind), rules)
    assert until == max(file.keep_until, kept.keep_until)
    assert rule == (MIGRATED_RULE if days > 0 else file.retention_rule)
    migrated = evolve(kept, keep_until=until, retention_rule=rule)
    # Nor when the rules are applied again.
    assert regranted(retained_file(migrated, None), rules) is None


def test_a_range_must_not_be_empty_and_needs_zones() -> None:
    source = CatalogueId("one")
    with pytest.raises(InvalidInput, match="end_date"):
        MigrationId(source, NOON, NOON)
    with pytest.raises(InvalidInput, match="start_date: has no time zone"):
        MigrationId(source, datetime(2026, 1, 1), NOON)
    assert MigrationId(source, NOON, NOON.astimezone(UTC) + DAY).source == source
