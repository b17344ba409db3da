"""What a listing merged with the catalogue means."""

from datetime import timedelta
from uuid import UUID

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from traffic_storage.domain.digests import sha256_of
from traffic_storage.domain.files import BlobKey, FileKind, ReplicaState, blob_key
from traffic_storage.domain.identifiers import FileId
from traffic_storage.domain.reconcile import (
    MIN_AGE,
    Breaker,
    Finding,
    Listed,
    Recorded,
    Tally,
    created_at,
    judge,
    last_key,
    listed_blob,
    replica_id_of,
)
from traffic_storage.entrypoints.testing.ids import uuid7_at
from traffic_storage.entrypoints.testing.units import NOON

BEFORE = NOON - MIN_AGE
SHA256 = sha256_of(b"")
UNRECORDED = {Finding.UNRECORDED, Finding.RETURNED}

ages = st.timedeltas(-2 * MIN_AGE, 3 * MIN_AGE)


def blob(age: timedelta = 2 * MIN_AGE, modified: timedelta | None = None, size: int = 10) -> Listed:
    """A blob of this age at noon, by its key and by the store's clock."""
    key = blob_key(FileKind.IMAGE, uuid7_at(NOON - age), SHA256)
    found = listed_blob(key, size, NOON - (age if modified is None else modified))
    assert found is not None
    return found


def replica(listed: Listed, state: ReplicaState = ReplicaState.PRESENT, size: int = 10) -> Recorded:
    """The replica of a blob."""
    return Recorded(listed.replica_id, FileId("F"), listed.key, state, size)


@pytest.mark.parametrize(
    ("state", "finding"),
    [
        (ReplicaState.PRESENT, Finding.MISSING),
        (ReplicaState.CORRUPT, Finding.AGREES),
        (ReplicaState.MISSING, Finding.AGREES),
        (ReplicaState.GONE, Finding.AGREES),
    ],
)
def test_a_replica_without_a_blob(state: ReplicaState, finding: Finding) -> None:
    assert judge(None, replica(blob(), state), BEFORE) is finding


@pytest.mark.parametrize(
    ("state", "size", "finding"),
    [
        (ReplicaState.PRESENT, 10, Finding.AGREES),
        (ReplicaState.PRESENT, 11, Finding.DAMAGED),
        (ReplicaState.CORRUPT, 11, Finding.AGREES),
        (ReplicaState.MISSING, 10, Finding.REAPPEARED),
        (ReplicaState.GONE, 10, Finding.RETURNED),
    ],
)
def test_a_replica_with_a_blob(state: ReplicaState, size: int, finding: Finding) -> None:
    assert judge(blob(), replica(blob(), state, size), BEFORE) is finding


def test_a_blob_without_a_replica() -> None:
    assert judge(blob(), None, BEFORE) is Finding.UNRECORDED


@given(ages, ages, st.sampled_from([None, ReplicaState.GONE]))
def test_a_young_blob_is_never_an_orphan(
    age: timedelta, modified: timedelta, state: ReplicaState | None
) -> None:
    """A blob that was uploaded before its row is committed, by either clock, is left alone."""
    listed = blob(age, modified)
    found = judge(listed, None if state is None else replica(listed, state), BEFORE)
    is_old = created_at(listed.replica_id) < BEFORE and listed.modified_at < BEFORE
    assert (found in UNRECORDED) is is_old
    assert is_old or found is Finding.YOUNG


@given(ages, st.sampled_from(ReplicaState))
def test_a_young_replica_is_never_missing(age: timedelta, state: ReplicaState) -> None:
    listed = blob(age)
    found = judge(None, replica(listed, state), BEFORE)
    assert found is not Finding.MISSING or created_at(listed.replica_id) < BEFORE


@given(st.booleans(), st.sampled_from([None, *ReplicaState]), ages, st.integers(0, 20))
def test_each_comparison_has_one_meaning(
    is_listed: bool, state: ReplicaState | None, age: timedelta, size: int
) -> None:
    """A blob is quarantined only without a live replica; a replica is missing only if unlisted."""
    listed = blob(age, size=size)
    recorded = None if state is None else replica(listed, state)
    if not is_listed and recorded is None:
        return
    found = judge(listed if is_listed else None, recorded, BEFORE)
    if found in UNRECORDED:
        assert is_listed
        assert state in {None, ReplicaState.GONE}
    if found in {Finding.MISSING, Finding.DAMAGED}:
        assert state is ReplicaState.PRESENT
    if found is Finding.MISSING:
        assert not is_listed


def test_a_key_of_another_making_is_not_judged() -> None:
    key = blob_key(FileKind.IMAGE, uuid7_at(NOON), SHA256)
    assert listed_blob(key, 1, NOON) is not None
    wrong_day = key.replace(f"/{NOON:%Y/%m/%d}/", "/2001/01/01/")
    assert listed_blob(BlobKey(wrong_day), 1, NOON) is None
    beyond = f"image/2025/11/01/{UUID(int=2**128 - 1)}-{SHA256}"
    assert listed_blob(BlobKey(beyond), 1, NOON) is None


@given(st.sampled_from(FileKind), st.lists(ages, min_size=3, max_size=3, unique=True))
def test_keys_of_a_kind_are_in_the_order_of_replica_ids(
    kind: FileKind, moments: list[timedelta]
) -> None:
    ids = sorted(uuid7_at(NOON + moment) for moment in moments)
    keys = [blob_key(kind, one, SHA256) for one in ids]
    assert keys == sorted(keys)
    assert [replica_id_of(key) for key in keys] == ids
    assert keys[0] <= last_key(kind, ids[0]) < keys[1]


class TestBreaker:
    breaker = Breaker(max_share=0.1, max_count=5)

    @pytest.mark.parametrize(
        ("tally", "objects"),
        [
            (Tally(listed=100, recorded=100), False),
            (Tally(listed=0, recorded=5, missing=5), False),
            (Tally(listed=0, recorded=6, missing=6), True),
            (Tally(listed=40, recorded=100, missing=60), True),
            (Tally(listed=94, recorded=100, missing=6), False),
            (Tally(listed=100, recorded=100, missing=6, damaged=5), True),
            (Tally(listed=6, unrecorded=6), True),
            (Tally(listed=6, unrecorded=6, quarantined=1), False),
            (Tally(listed=1000, recorded=900, unrecorded=100), False),
            (Tally(listed=1000, recorded=899, unrecorded=101), True),
        ],
    )
    def test_it_objects_to_many_differences(self, tally: Tally, objects: bool) -> None:
        assert bool(self.breaker.objection(tally)) is objects

    def test_it_counts(self) -> None:
        tally = Tally()
        for finding in Finding:
            listed = blob()
            tally.count(listed, replica(listed), finding)
        tally.count(blob(), None, Finding.UNRECORDED)
        tally.count(None, replica(blob()), Finding.MISSING)
        tally.count(None, replica(blob(), ReplicaState.GONE), Finding.AGREES)
        assert tally == evolve(
            tally,
            listed=len(Finding) + 1,
            listed_bytes=10 * (len(Finding) + 1),
            recorded=len(Finding) + 1,
            young=1,
            unrecorded=3,
            missing=2,
            reappeared=1,
            damaged=1,
        )
