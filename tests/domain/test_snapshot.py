"""Snapshots: keys of objects, lines of rows, manifests, pins, what is kept, what a restore does."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from traffic_storage.domain.deletion import Certificate, Deletion
from traffic_storage.domain.digests import Digests, Sha256, sha256_of
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.files import (
    FileKind,
    FileState,
    ReplicaState,
    StoredFile,
    is_blob_key,
    replica_id_of,
)
from traffic_storage.domain.identifiers import CatalogueId, FileId
from traffic_storage.domain.snapshot import (
    Fate,
    Part,
    PartKind,
    SnapshotManifest,
    SnapshotPin,
    SnapshotSchedule,
    differences,
    fate,
    object_key,
    sampled,
    scheduled_name,
    snapshot_name,
    surplus,
)
from traffic_storage.domain.snapshot_rows import (
    event_of_deletion,
    file_in,
    file_line,
    is_kept,
    naming,
    violation_in,
    violation_line,
)
from traffic_storage.domain.violation import StoredViolation, ViolationRecord, ViolationState
from traffic_storage.entrypoints.testing.strategies import stored_files

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
DAY = timedelta(days=1)
DIGESTS = st.binary(max_size=8).map(sha256_of)


@given(st.sampled_from(FileKind), DIGESTS, DIGESTS)
def test_an_object_has_one_key(kind: FileKind, one: Sha256, other: Sha256) -> None:
    key = object_key(kind, one)
    assert is_blob_key(key)
    assert replica_id_of(key).version == 7
    assert (key == object_key(kind, other)) == (one == other)


@given(stored_files())
def test_the_line_of_a_file_is_read_back(file: StoredFile) -> None:
    available = evolve(file, state=FileState.AVAILABLE)
    assert file_in(file_line(available)) == evolve(available, replicas=())
    deleted = evolve(file, state=FileState.TOMBSTONED, state_at=NOON)
    assert file_in(file_line(deleted)) == evolve(available, replicas=(), state_at=None)


def violation(**changes: object) -> StoredViolation:
    record = ViolationRecord(
        violation_id="V1",
        device_id="cam",
        violation_type="speed",
        timestamp=datetime(2026, 3, 14, 13, tzinfo=datetime.now(UTC).astimezone().tzinfo),
        vehicle_bbox=(1.5, 2, 3, 4),
        vehicle_class="car",
        confidence=0.5,
        image_path="V1~image",
        camera_info={"lane": 1, "size": 2.5},
    )
    found = StoredViolation(
        record=record,
        record_sha256=record.sha256(),
        occurred_at=NOON,
        zone_assumed=None,
        received_at=NOON,
        metadata_file_id=FileId("V1~metadata"),
        image_file_id=FileId("V1~image"),
        state_at=NOON,
    )
    return evolve(found, **changes)  # type: ignore[arg-type]


def test_the_line_of_a_violation_is_read_back() -> None:
    assert violation_in(violation_line(violation())) == violation()
    deleted = violation(state=ViolationState.TOMBSTONED)
    assert violation_in(violation_line(deleted)) == violation(state_at=None)
    assert naming(violation(), ()).image_file_id is None
    assert naming(violation(), ()).record.image_path == ""
    assert naming(violation(), [FileId("V1~image")]) == violation()
    assert [is_kept(violation(state=state)) for state in ViolationState] == [
        state in {ViolationState.AVAILABLE, ViolationState.TOMBSTONED} for state in ViolationState
    ]


@pytest.mark.parametrize("line", [b"", b"{}", b"[]", b'{"file":{}}', b'{"record":{}}', b"\xff"])
def test_other_lines_are_refused(line: bytes) -> None:
    with pytest.raises(InvalidInput):
        file_in(line)
    with pytest.raises(InvalidInput):
        violation_in(line)


def manifest(name: str = "weekly", at: datetime = NOON) -> SnapshotManifest:
    part = Part(PartKind.FILES, sha256_of(b"part"), 4)
    damaged = (FileId("a"),)
    return SnapshotManifest(
        name, CatalogueId("c"), at, at, at, 3, 2, 100, (part,), damaged, len(damaged)
    )


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_an_altered_manifest_is_refused(place: int, difference: int) -> None:
    text = manifest().to_text()
    assert SnapshotManifest.from_text(text) == manifest()
    assert manifest().sha256.encode() in text
    altered = bytearray(text)
    altered[place % len(text)] ^= difference
    with pytest.raises(InvalidInput):
        SnapshotManifest.from_text(bytes(altered))


def test_parts_are_told_by_kind() -> None:
    assert len(manifest().parts_of(PartKind.FILES)) == 1
    assert manifest().parts_of(PartKind.EVENTS) == []


@pytest.mark.parametrize("name", ["", ".a", "-a", "a/b", "a b", "á", "a" * 101, "../a"])
def test_names_are_checked(name: str) -> None:
    assert snapshot_name("daily_backup_001") == "daily_backup_001"
    assert snapshot_name(scheduled_name(NOON)) == "scheduled-20260314T120000Z"
    with pytest.raises(InvalidInput):
        snapshot_name(name)


def test_the_newest_scheduled_snapshots_are_kept() -> None:
    scheduled = [manifest(scheduled_name(NOON - DAY * age), NOON - DAY * age) for age in range(5)]
    names = [one.name for one in scheduled]
    others = [manifest("mine", NOON - DAY * 100)]
    all_of_them = [*others, *scheduled]

    def gone(keep: int, days: int) -> list[str]:
        max_age = timedelta(days=days)
        return list(surplus(all_of_them, keep=keep, max_age=max_age, now=NOON))

    assert gone(3, 30) == [names[4], names[3]]
    assert gone(9, 2) == [names[4], names[3]]
    assert gone(9, 30) == []
    assert list(surplus(scheduled[4:], keep=1, max_age=DAY, now=NOON)) == []


def test_schedules_have_a_period() -> None:
    assert SnapshotSchedule.OFF.every is None
    assert SnapshotSchedule.WEEKLY.every == 7 * DAY


@given(stored_files())
def test_what_a_restore_does(file: StoredFile) -> None:
    line = evolve(file, replicas=(), state=FileState.AVAILABLE)
    good = evolve(
        line, replicas=tuple(evolve(one, state=ReplicaState.PRESENT) for one in file.replicas)
    )
    bad = evolve(
        line, replicas=tuple(evolve(one, state=ReplicaState.MISSING) for one in file.replicas)
    )
    purged = evolve(line, state=FileState.PURGED)
    other = evolve(good, content=Digests(1, sha256_of(b"other than this one")))
    assert fate(line, None, is_destroyed=False) is Fate.RESTORE
    assert fate(line, None, is_destroyed=True) is Fate.DESTROYED
    assert fate(line, purged, is_destroyed=False) is Fate.DESTROYED
    assert fate(line, other, is_destroyed=False) is Fate.OTHER
    assert fate(line, bad, is_destroyed=False) is Fate.COPY
    deleted = evolve(bad, state=FileState.TOMBSTONED)
    assert fate(line, deleted, is_destroyed=False) is Fate.PRESENT
    if good.replicas:
        assert fate(line, good, is_destroyed=True) is Fate.PRESENT
    assert differences(line, good) == []
    assert differences(line, other) == ["content"]


@given(st.integers(0, 50), st.integers(0, 60), st.integers())
def test_a_sample_depends_on_its_seed_alone(rows: int, size: int, seed: int) -> None:
    found = sampled(range(rows), size, seed)
    assert found == sampled(range(rows), size, seed)
    assert len({*found}) == len(found) == min(rows, size)
    assert {*found} <= {*range(rows)}
    assert len({tuple(sampled(range(50), 5, other)) for other in range(20)}) > 10


@given(stored_files())
def test_what_a_pin_covers(file: StoredFile) -> None:
    pin = SnapshotPin("weekly", "/snapshots", NOON, NOON + DAY)
    assert pin.covers(file, NOON)
    assert not pin.covers(file, NOON + DAY)
    assert evolve(pin, newest=file.created_at).covers(file, NOON)
    assert not evolve(pin, newest=file.created_at - DAY).covers(file, NOON)


@given(stored_files())
def test_nothing_is_told_of_what_is_being_erased(file: StoredFile) -> None:
    deletion = Deletion(file.file_id, UUID(int=1), NOON, NOON + DAY, "asked", "clerk")
    purging = evolve(file, state=FileState.PURGING)
    assert event_of_deletion(purging, deletion, None, None) is None
    assert event_of_deletion(file, None, None, None) is None
    certificate = Certificate(file.file_id, NOON, "{}")
    purged = evolve(file, state=FileState.PURGED)
    told = event_of_deletion(purged, deletion, certificate, None)
    assert told is not None
    assert told.file_id == file.file_id
