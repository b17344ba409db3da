"""Which copies are made and which go: what never happens, in whatever state files are."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import uuid4

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from traffic_storage.domain.copies import (
    Leaving,
    ReleaseReplica,
    copy_job,
    excess_bytes,
    lacks_copy,
    leaving,
    priority_of,
    release_job,
    verified_elsewhere,
)
from traffic_storage.domain.files import FileState, Replica, ReplicaState, StoredFile, Tier
from traffic_storage.domain.identifiers import StoreId, ViolationId
from traffic_storage.domain.identity import RegisteredStore
from traffic_storage.domain.jobs import Priority
from traffic_storage.domain.placement import StorageStrategy, Thresholds
from traffic_storage.entrypoints.testing.units import NOON, new_file

LOCAL = RegisteredStore(StoreId("local"), Tier.LOCAL, "/evidence", NOON)
CLOUD = RegisteredStore(StoreId("cloud"), Tier.CLOUD, "endpoint/bucket", NOON)
OTHER = RegisteredStore(StoreId("other"), Tier.CLOUD, "endpoint/other", NOON)
SPILLS = [StorageStrategy.LOCAL_THEN_CLOUD, StorageStrategy.HYBRID]


@st.composite
def files(draw: st.DrawFn) -> StoredFile:
    """Files with any replicas, in any state."""
    places = draw(st.lists(st.sampled_from([LOCAL, CLOUD, OTHER]), min_size=1, max_size=4))
    file = new_file(*places, size_bytes=draw(st.integers(1, 500)))
    replicas = tuple(
        evolve(
            replica,
            state=draw(st.sampled_from(ReplicaState)),
            verified_at=draw(st.sampled_from([None, NOON])),
        )
        for replica in file.replicas
    )
    state = draw(st.sampled_from([FileState.AVAILABLE, *FileState]))
    return evolve(file, replicas=replicas, state=state, state_at=NOON)


def plan(strategy: StorageStrategy, found: Sequence[StoredFile], excess: int) -> Sequence[Leaving]:
    """What leaves the local store; the cloud takes all that it is given."""
    pairs = ((file, CLOUD.store_id) for file in found)
    return list(leaving(strategy, pairs, LOCAL.store_id, excess))


@given(
    st.sampled_from(StorageStrategy),
    st.lists(files(), max_size=8, unique_by=lambda file: file.file_id),
    st.integers(-10, 3000),
)
def test_only_what_is_or_becomes_safe_elsewhere_leaves(
    strategy: StorageStrategy, found: Sequence[StoredFile], excess: int
) -> None:
    moves = plan(strategy, found, excess)
    assert not moves or strategy in SPILLS
    for one in moves:
        assert one.file.state is FileState.AVAILABLE
        assert one.replica in one.file.readable
        assert one.replica.store_id == LOCAL.store_id
        safe = verified_elsewhere(one.file, one.replica)
        assert (one.target is None) is bool(safe)
        assert one.target is None or strategy is StorageStrategy.LOCAL_THEN_CLOUD


@given(st.lists(files(), max_size=12, unique_by=lambda file: file.file_id), st.integers(-10, 3000))
def test_the_first_leave_and_no_more_than_one_too_many(
    found: Sequence[StoredFile], excess: int
) -> None:
    moves = plan(StorageStrategy.LOCAL_THEN_CLOUD, found, excess)
    everything = plan(StorageStrategy.LOCAL_THEN_CLOUD, found, 10**9)
    assert moves == everything[: len(moves)]
    sizes = [one.file.stored.size_bytes for one in moves]
    assert not sizes or sum(sizes[:-1]) < excess
    assert sum(sizes) >= excess or len(moves) == len(everything)


def test_what_has_no_cloud_store_stays() -> None:
    file = new_file(LOCAL)
    pairs = [(file, None)]
    assert not list(leaving(StorageStrategy.LOCAL_THEN_CLOUD, pairs, LOCAL.store_id, 10))


SHARES = st.floats(0, 1)
AMOUNTS = st.integers(0, 10**6)


@given(AMOUNTS, AMOUNTS, st.integers(1, 10**6), SHARES, SHARES)
def test_files_leave_from_above_the_high_to_the_low_water_mark(
    used: int, going: int, limit: int, one: float, other: float
) -> None:
    thresholds = Thresholds(high_water=max(one, other), low_water=min(one, other))
    excess = excess_bytes(used, going, limit, thresholds)
    if used <= thresholds.high_water * limit:
        assert excess == 0
    else:
        left = used - going - excess
        assert excess >= 0
        assert left <= thresholds.low_water * limit + 1 or excess == 0
        assert excess == 0 or left >= thresholds.low_water * limit - 1


def test_what_has_begun_to_leave_is_not_planned_again() -> None:
    usual = Thresholds(high_water=0.85, low_water=0.75)
    assert excess_bytes(90, 0, 100, usual) == 15
    assert excess_bytes(90, 15, 100, usual) == 0
    assert excess_bytes(95, 15, 100, usual) == 5
    assert excess_bytes(85, 0, 100, usual) == 0


@given(files(), st.data())
def test_a_replica_goes_only_while_another_one_is_proven_good(
    file: StoredFile, data: st.DataObject
) -> None:
    ids = [replica.replica_id for replica in file.replicas]
    change = ReleaseReplica(
        file.file_id,
        data.draw(st.sampled_from(ids)),
        data.draw(st.sampled_from([*ids, uuid4()])),
        NOON + timedelta(minutes=data.draw(st.integers(-1, 1))),
    )
    goes = change.released_in(file)
    if goes is None:
        return
    left: list[Replica] = [one for one in file.readable if one.replica_id != goes.replica_id]
    kept = change.kept_in(file)
    assert kept in left
    assert kept is not None
    assert kept.verified_at is not None
    assert kept.verified_at <= change.at
    assert file.state is FileState.AVAILABLE
    assert goes.state is not ReplicaState.GONE


@pytest.mark.parametrize("state", ReplicaState)
def test_only_a_present_replica_is_a_copy(state: ReplicaState) -> None:
    file = new_file(CLOUD)
    file = evolve(file, replicas=(evolve(file.replicas[0], state=state),))
    assert lacks_copy(file, CLOUD.store_id) is (state is not ReplicaState.PRESENT)
    assert lacks_copy(file, OTHER.store_id)


def test_evidence_is_copied_first() -> None:
    file = new_file(LOCAL)
    evidence = evolve(file, violation_id=ViolationId("V1"))
    assert priority_of(evidence) > priority_of(file) >= min(Priority)
    for one in (file, evidence):
        copy = copy_job(uuid4(), one, LOCAL.store_id, CLOUD.store_id)
        release = release_job(uuid4(), one, one.replicas[0])
        assert copy.priority is release.priority is priority_of(one)
        assert copy.store_id == release.store_id == LOCAL.store_id
        assert len({copy.key, release.key}) == 2
