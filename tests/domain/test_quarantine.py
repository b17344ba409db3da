"""What becomes of a blob that no replica explains."""

from datetime import timedelta

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from traffic_storage.domain.digests import sha256_of
from traffic_storage.domain.files import (
    FileState,
    Replica,
    ReplicaState,
    StoredFile,
    Tier,
    blob_key,
)
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.manifest import manifest_of
from traffic_storage.domain.quarantine import (
    Fate,
    Quarantined,
    QuarantineReason,
    QuarantineState,
    Verdict,
    examine,
)
from traffic_storage.domain.reconcile import MIN_AGE
from traffic_storage.entrypoints.testing.contracts.record_repo import CLOUD, LOCAL
from traffic_storage.entrypoints.testing.ids import uuid7_at
from traffic_storage.entrypoints.testing.units import NOON, new_file

LASTS = timedelta(days=30)
LATE = NOON + LASTS
FILE = new_file(LOCAL)
MANIFEST = manifest_of(FILE)
UNRECORDED, RETURNED, UNDONE = QuarantineReason
GONE = evolve(FILE, replicas=(evolve(FILE.replicas[0], state=ReplicaState.GONE),))
ELSEWHERE = evolve(
    FILE,
    replicas=(
        Replica(
            CLOUD.store_id,
            Tier.CLOUD,
            blob_key(FILE.kind, uuid7_at(NOON), FILE.stored.sha256),
            ReplicaState.PRESENT,
        ),
    ),
)
DAMAGED = evolve(FILE, replicas=(evolve(FILE.replicas[0], state=ReplicaState.CORRUPT),))
OTHER = evolve(new_file(LOCAL), file_id=FILE.file_id)


def entry(reason: QuarantineReason = UNRECORDED) -> Quarantined:
    """An entry that was made at noon."""
    key = blob_key(FILE.kind, uuid7_at(NOON), FILE.stored.sha256)
    return Quarantined(LOCAL.store_id, key, reason, NOON)


def fate(
    reason: QuarantineReason, file: StoredFile | None, after: timedelta, *, readable: bool = True
) -> Fate:
    """What is to be done with it."""
    return examine(
        entry(reason), MANIFEST if readable else None, file, now=NOON + after, lasts=LASTS
    ).fate


@given(st.timedeltas(-LASTS, MIN_AGE - timedelta.resolution), st.sampled_from(QuarantineReason))
def test_at_first_nothing_is_done(after: timedelta, reason: QuarantineReason) -> None:
    for file in (None, FILE, ELSEWHERE, OTHER):
        assert fate(reason, file, after) is Fate.WAIT


@pytest.mark.parametrize(
    ("reason", "file", "early", "late"),
    [
        # The catalogue lost the file.
        (UNRECORDED, None, Fate.RECORD_FILE, Fate.RECORD_FILE),
        # The file was never acknowledged, or was destroyed.
        (UNDONE, None, Fate.WAIT, Fate.REMOVE),
        (RETURNED, None, Fate.WAIT, Fate.REMOVE),
        # It has a good copy here.
        *((reason, FILE, Fate.WAIT, Fate.REMOVE) for reason in QuarantineReason),
        # It has none here.
        (UNRECORDED, ELSEWHERE, Fate.RECORD_COPY, Fate.RECORD_COPY),
        (UNDONE, ELSEWHERE, Fate.RECORD_COPY, Fate.RECORD_COPY),
        (RETURNED, ELSEWHERE, Fate.WAIT, Fate.REMOVE),
        (UNRECORDED, DAMAGED, Fate.RECORD_COPY, Fate.RECORD_COPY),
        (RETURNED, DAMAGED, Fate.KEEP, Fate.KEEP),
        (RETURNED, GONE, Fate.KEEP, Fate.KEEP),
        # Another file has the id.
        (UNRECORDED, OTHER, Fate.KEEP, Fate.KEEP),
        (RETURNED, OTHER, Fate.KEEP, Fate.KEEP),
        (UNDONE, OTHER, Fate.WAIT, Fate.REMOVE),
        *(
            (reason, evolve(FILE, state=state), Fate.WAIT, Fate.REMOVE)
            for reason in QuarantineReason
            for state in (FileState.PURGING, FileState.PURGED)
        ),
        (UNRECORDED, evolve(ELSEWHERE, state=FileState.TOMBSTONED), *[Fate.RECORD_COPY] * 2),
    ],
)
def test_what_is_done_later(
    reason: QuarantineReason, file: StoredFile | None, early: Fate, late: Fate
) -> None:
    assert fate(reason, file, MIN_AGE) is early
    assert fate(reason, file, LASTS) is late


@pytest.mark.parametrize(
    ("reason", "late"), [(UNRECORDED, Fate.KEEP), (RETURNED, Fate.KEEP), (UNDONE, Fate.REMOVE)]
)
def test_what_cannot_be_identified(reason: QuarantineReason, late: Fate) -> None:
    assert fate(reason, None, LASTS, readable=False) is late
    summary = evolve(MANIFEST, sidecar_sha256=sha256_of(b""))
    assert examine(entry(reason), summary, None, now=LATE, lasts=LASTS).fate is late


def test_a_removal_that_was_begun_is_completed() -> None:
    begun = evolve(entry(), state=QuarantineState.REMOVING, note="why")
    assert examine(begun, None, None, now=NOON, lasts=LASTS) == Verdict(Fate.REMOVE, "why")


@given(
    st.sampled_from(QuarantineReason),
    st.sampled_from([None, FILE, ELSEWHERE, DAMAGED, GONE, OTHER]),
    st.timedeltas(timedelta(0), 2 * LASTS),
    st.booleans(),
)
def test_a_blob_that_may_be_the_last_copy_of_a_recorded_file_is_never_removed(
    reason: QuarantineReason, file: StoredFile | None, after: timedelta, readable: bool
) -> None:
    found = fate(reason, file, after, readable=readable)
    if found is Fate.REMOVE:
        assert after >= LASTS
        assert reason is not UNRECORDED or file is FILE
        assert not (readable and file in (DAMAGED, GONE))


def test_a_store_of_another_id_is_another_store() -> None:
    there = evolve(entry(), store_id=StoreId("local-2"))
    found = examine(there, MANIFEST, FILE, now=LATE, lasts=LASTS)
    assert found.fate is Fate.RECORD_COPY
