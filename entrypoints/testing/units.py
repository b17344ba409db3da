"""Units for tests: a unit is a file, or a violation with its files, that is stored together.

All have ids of their own, and are small.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from uuid import uuid4
from zoneinfo import ZoneInfo

from attrs import evolve

from traffic_storage.domain.changes import CommitUnit
from traffic_storage.domain.digests import digests_of
from traffic_storage.domain.files import (
    Coding,
    FileKind,
    MediaInfo,
    PlacementNote,
    Replica,
    ReplicaState,
    StoredFile,
    blob_key,
)
from traffic_storage.domain.identifiers import AttemptId, FileId, ViolationId, evidence_file_id
from traffic_storage.domain.identity import RegisteredStore
from traffic_storage.domain.ingest import Attempt, Unit
from traffic_storage.domain.retention import RetentionPolicy
from traffic_storage.domain.retention_rules import RetentionFacts
from traffic_storage.domain.times import instant
from traffic_storage.domain.violation import StoredViolation, ViolationRecord, with_paths
from traffic_storage.entrypoints.testing.ids import uuid7_at
from traffic_storage.ports.record_repo import RecordRepo

NOON = datetime(2025, 11, 1, 12, 0, tzinfo=UTC)
"""The default time of receipt and of a record's timestamp."""

_UTC_ZONE = ZoneInfo("UTC")

LATER = NOON + timedelta(minutes=10)
"""The default deadline until which a file or a violation must be stored."""


def new_file(
    *stores: RegisteredStore,
    file_id: str | None = None,
    kind: FileKind = FileKind.IMAGE,
    violation_id: str | None = None,
    size_bytes: int = 1000,
    at: datetime = NOON,
) -> StoredFile:
    """Return a file with unique content and keys, and a replica in each of `stores`.

    All replicas are present.
    """
    content = digests_of(uuid4().bytes.ljust(size_bytes, b"."))
    copies = (
        Replica(
            store.store_id,
            store.tier,
            blob_key(kind, uuid7_at(at), content.sha256),
            ReplicaState.PRESENT,
        )
        for store in stores
    )
    retention = RetentionPolicy().retention(RetentionFacts(kind), None, at)
    return StoredFile(
        file_id=FileId(file_id or f"file-{uuid4()}"),
        kind=kind,
        content_type="application/octet-stream",
        content=content,
        stored=content,
        coding=Coding.IDENTITY,
        created_at=at,
        captured_at=None,
        device_id=None,
        violation_id=None if violation_id is None else ViolationId(violation_id),
        media=MediaInfo(),
        placement=PlacementNote("local", "for a test"),
        metadata=None,
        replicas=tuple(copies),
        keep_until=retention.keep_until,
        retention_rule=retention.rule,
        retention_basis=retention.basis,
    )


def new_record(violation_id: str | None = None, **fields: object) -> ViolationRecord:
    """Return a violation record; `fields` override the default values."""
    usual: dict[str, object] = {
        "violation_id": violation_id or f"V-{uuid4()}",
        "device_id": "camera-1",
        "violation_type": "speed",
        "timestamp": NOON,
        "vehicle_bbox": (10, 20, 300, 400),
        "vehicle_class": "car",
        "confidence": 0.9,
    }
    return ViolationRecord(**(usual | fields))  # type: ignore[arg-type]


def new_evidence(
    record: ViolationRecord,
    *stores: RegisteredStore,
    kinds: Iterable[FileKind] = (FileKind.IMAGE,),
    at: datetime = NOON,
) -> Unit:
    """Return a violation, its metadata file and its files of `kinds`, to be stored together."""
    name = ViolationId(record.violation_id)
    files = {kind: new_evidence_file(name, kind, *stores) for kind in (FileKind.METADATA, *kinds)}
    image, video = files.get(FileKind.IMAGE), files.get(FileKind.VIDEO)
    moment = instant(record.timestamp, _UTC_ZONE)
    return Unit(
        tuple(files.values()),
        StoredViolation(
            record=with_paths(
                record, image.file_id if image else "", video.file_id if video else ""
            ),
            record_sha256=record.sha256(),
            occurred_at=moment.at,
            zone_assumed=moment.zone_assumed,
            received_at=at,
            metadata_file_id=files[FileKind.METADATA].file_id,
            image_file_id=image.file_id if image else None,
            video_file_id=video.file_id if video else None,
        ),
    )


def new_evidence_file(
    violation_id: ViolationId, kind: FileKind, *stores: RegisteredStore
) -> StoredFile:
    """Return the file of one kind that belongs to a violation."""
    name = evidence_file_id(violation_id, kind)
    return new_file(*stores, file_id=name, kind=kind, violation_id=violation_id)


def new_restoration(file: StoredFile, *stores: RegisteredStore) -> Unit:
    """Return a unit (what is stored together) that adds replicas in `stores` to a stored file."""
    copies = (
        evolve(copy, key=blob_key(file.kind, copy.replica_id, file.stored.sha256))
        for copy in new_file(*stores).replicas
    )
    return Unit((), restored=(evolve(file, replicas=tuple(copies)),))


def new_attempt(unit: Unit, deadline: datetime = LATER) -> Attempt:
    """Return the record of one try to store `unit`, a file or a violation with its files."""
    keys = tuple((copy.store_id, copy.key) for _, copy in unit.replicas)
    return Attempt(AttemptId(str(uuid4())), "test", deadline, keys)


async def store(repo: RecordRepo, unit: Unit) -> Unit:
    """Store `unit`, a file or a violation with its files, in the catalogue, and return it."""
    attempt = new_attempt(unit)
    await repo.begin(attempt, unit.names)
    await repo.apply(CommitUnit(attempt.attempt_id, unit))
    return unit
