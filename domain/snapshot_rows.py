"""The rows of a snapshot as JSON lines, and as the events that tell of what was decided later.

A line has no replicas. Deletions, purges, holds and retention rules are events, in notes of the
journal's format, so that a restore applies them as a rebuild does (`domain.journal`).
"""

import base64
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

import orjson
from attrs import evolve

from traffic_storage.domain.canonical import canonical_json, parse_json
from traffic_storage.domain.deletion import (
    Certificate,
    Deletion,
    EndPurge,
    Tombstone,
    events_of_tombstone,
)
from traffic_storage.domain.digests import Digests, Sha256
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.events import Event
from traffic_storage.domain.files import FileState, Replica, ReplicaState, StoredFile, Tier
from traffic_storage.domain.holds import Hold, events_of_hold
from traffic_storage.domain.identifiers import FileId, StoreId
from traffic_storage.domain.manifest import BlobManifest, manifest_of
from traffic_storage.domain.purged_rows import event_of_purge
from traffic_storage.domain.rebuild import file_from_manifest
from traffic_storage.domain.snapshot import object_key, unreadable
from traffic_storage.domain.times import parse_time
from traffic_storage.domain.violation import (
    StoredViolation,
    ViolationRecord,
    ViolationState,
    with_paths,
)

_FORMER = StoreId("former")


def has_bytes(file: StoredFile) -> bool:
    """Return whether a snapshot has the bytes and the line of a file.

    Of a purged one there is an event, and what is being erased is left out.
    """
    return file.state in _HELD_STATES


_HELD_STATES = frozenset({FileState.AVAILABLE, FileState.TOMBSTONED})


def file_line(file: StoredFile) -> bytes:
    """Return the line of an available or tombstoned file, without its replicas.

    A tombstoned one is described as it was when it was available; its deletion is an event.
    """
    is_available = file.state is FileState.AVAILABLE
    members = {
        "file": orjson.Fragment(manifest_of(file).to_text()),
        "state_at": _text(file.state_at) if is_available else None,
        "segments": base64.b64encode(file.content.segments).decode(),
        "stored_segments": base64.b64encode(file.stored.segments).decode(),
    }
    return orjson.dumps(members)


def file_in(line: bytes) -> StoredFile:
    """Return the file that a line describes, as an available file without replicas.

    Raises:
        InvalidInput: the line is not one that `file_line` has returned.
    """
    try:
        members = orjson.loads(line)
        manifest = BlobManifest.from_text(orjson.dumps(members["file"]).decode())
        content, stored = members["segments"], members["stored_segments"]
        file = file_from_manifest(
            manifest,
            stored=_digests(manifest.stored_size_bytes, manifest.stored_sha256, stored),
            content=_digests(manifest.size_bytes, manifest.sha256, content),
            replica=_nowhere(manifest),
        )
        return evolve(file, replicas=(), state_at=_time(members["state_at"], "state_at"))
    except InvalidInput:
        raise
    except (LookupError, TypeError, ValueError) as error:
        raise unreadable("the line of a file", error) from error


def violation_line(violation: StoredViolation) -> bytes:
    """Return the line of an available or tombstoned violation."""
    is_available = violation.state is ViolationState.AVAILABLE
    record = violation.record
    return canonical_json(
        {
            "record": {**record.as_given(), "timestamp": record.timestamp.isoformat()},
            "record_sha256": violation.record_sha256,
            "occurred_at": violation.occurred_at.isoformat(),
            "zone_assumed": violation.zone_assumed,
            "received_at": violation.received_at.isoformat(),
            "metadata_file_id": violation.metadata_file_id,
            "image_file_id": violation.image_file_id,
            "video_file_id": violation.video_file_id,
            "state_at": _text(violation.state_at) if is_available else None,
        },
        "violation_record",
    )


def violation_in(line: bytes) -> StoredViolation:
    """Return the violation that a line describes, as an available one.

    Raises:
        InvalidInput: the line is not one that `violation_line` has returned.
    """
    try:
        members: Any = parse_json(line, "snapshot")
        given = members["record"]
        given["timestamp"] = datetime.fromisoformat(given["timestamp"])
        image, video = members["image_file_id"], members["video_file_id"]
        return StoredViolation(
            record=with_paths(ViolationRecord(**given), image or "", video or ""),
            record_sha256=members["record_sha256"],
            occurred_at=parse_time(members["occurred_at"], "occurred_at"),
            zone_assumed=members["zone_assumed"],
            received_at=parse_time(members["received_at"], "received_at"),
            metadata_file_id=FileId(members["metadata_file_id"]),
            image_file_id=image,
            video_file_id=video,
            state_at=_time(members["state_at"], "state_at"),
        )
    except (LookupError, TypeError, ValueError) as error:
        raise unreadable("the line of a violation", error) from error


def is_kept(violation: StoredViolation) -> bool:
    """Return whether a snapshot has the line of a violation; a purged one is told by an event."""
    return violation.state in {ViolationState.AVAILABLE, ViolationState.TOMBSTONED}


def naming(violation: StoredViolation, known: Collection[FileId]) -> StoredViolation:
    """Return a violation that names only those of its image and video that are in `known`."""
    image, video = (
        name if name in known else None
        for name in (violation.image_file_id, violation.video_file_id)
    )
    record = with_paths(violation.record, image or "", video or "")
    return evolve(violation, record=record, image_file_id=image, video_file_id=video)


def event_of_deletion(
    file: StoredFile,
    deletion: Deletion | None,
    certificate: Certificate | None,
    violation: StoredViolation | None,
) -> Event | None:
    """Return the event that tells how a file was deleted; None if there is nothing to tell.

    `violation` is the one whose metadata file it is. Nothing is told of a file that is available,
    or is being erased.
    """
    if deletion is None:
        return None
    if file.state is FileState.TOMBSTONED:
        return events_of_tombstone(_tombstone(deletion), [file])[0]
    if file.state is not FileState.PURGED or certificate is None:
        return None
    purging = evolve(file, state=FileState.PURGING)
    return event_of_purge(EndPurge(certificate), purging, deletion, violation)


def events_of_holds(holds: Iterable[Hold]) -> Sequence[Event]:
    """Return the events that tell of holds, those that were released too."""
    return [event for hold in holds for event in events_of_hold(hold)]


def _tombstone(deletion: Deletion) -> Tombstone:
    return Tombstone(
        (deletion.file_id,),
        deletion.deletion_id,
        deletion.tombstoned_at,
        deletion.purge_after,
        deletion.reason,
        deletion.actor,
        deletion.rule,
        override=deletion.override,
    )


def _digests(size_bytes: int, sha256: Sha256, segments: str) -> Digests:
    return Digests(size_bytes, sha256, base64.b64decode(segments, validate=True))


def _nowhere(manifest: BlobManifest) -> Replica:
    """Return a replica in place of those that a line does not have."""
    key = object_key(manifest.kind, manifest.stored_sha256)
    return Replica(_FORMER, Tier.LOCAL, key, ReplicaState.GONE)


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def _time(text: str | None, name: str) -> datetime | None:
    return None if text is None else parse_time(text, name)
