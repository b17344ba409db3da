"""What is left of a purged file, as an event tells it, so that a rebuild can restore it.

No blob of a purged file exists. Its row, its destruction certificate and, of a metadata file, the
row of its violation are restored from the event of its purge in the journal beside the blobs.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from attrs import evolve, frozen

from traffic_storage.domain.canonical import Json, parse_json_object
from traffic_storage.domain.deletion import (
    Certificate,
    Deletion,
    EndPurge,
    Removal,
    erased_file,
)
from traffic_storage.domain.digests import Digests
from traffic_storage.domain.events import Event, EventKind
from traffic_storage.domain.files import (
    BlobKey,
    FileKind,
    FileState,
    Replica,
    ReplicaState,
    StoredFile,
    Tier,
)
from traffic_storage.domain.frozen_json import frozen_json
from traffic_storage.domain.identifiers import FileId, StoreId, evidence_file_id
from traffic_storage.domain.manifest import BlobManifest, manifest_of
from traffic_storage.domain.rebuild import file_from_manifest
from traffic_storage.domain.reconcile import replica_id_of
from traffic_storage.domain.times import parse_time
from traffic_storage.domain.violation import StoredViolation, ViolationState, recorded, with_paths


@frozen
class RestorePurged:
    """Record again that a file was purged, in whatever state the catalogue has it.

    Without effect if the file is purged, or if the catalogue has another file under its id (see
    `concerns`). Holds don't matter: the bytes are gone. Otherwise its row, if there is one, becomes
    `file`: purged, with replicas that are `gone`, each with its removal. Replicas in stores that
    are not registered are left out. `deletion` and `certificate` are recorded.

    `violation` is the erased row of the violation whose metadata file it is: it is inserted, naming
    the files that the catalogue has, or the existing row is erased. An image or video is entered
    into the row of its violation, if that has none.

    `event`, which tells of the purge, is recorded again: other processes drop the bytes that they
    cache, and every store gets a copy of it.
    """

    event: Event
    file: StoredFile
    deletion: Deletion
    removals: tuple[Removal, ...]
    certificate: Certificate
    violation: StoredViolation | None = None

    def concerns(self, known: StoredFile) -> bool:
        """Return whether a file of the catalogue is the one that was purged.

        It is if the purge has removed all replicas that it has. Another file may have the same id:
        one that was stored again after a backup was restored, or one of another catalogue.
        """
        removed = {one.replica_id for one in self.removals}
        return all(
            copy.replica_id in removed
            for copy in known.replicas
            if copy.state is not ReplicaState.GONE
        )

    def completed(self, violation: StoredViolation | None) -> StoredViolation | None:
        """Return the row of the file's violation with this image or video; None if it has one."""
        if violation is None:
            return None
        file_id, name = self.file.file_id, violation.violation_id
        image, video = violation.image_file_id, violation.video_file_id
        if image is None and file_id == evidence_file_id(name, FileKind.IMAGE):
            return _naming(violation, file_id, video)
        if video is None and file_id == evidence_file_id(name, FileKind.VIDEO):
            return _naming(violation, image, file_id)
        return None

    def inserted(self, known: Collection[FileId]) -> StoredViolation | None:
        """Return the row of the violation to insert; it names only files that are in `known`."""
        if self.violation is None:
            return None
        named = self.violation.image_file_id, self.violation.video_file_id
        return _naming(self.violation, *(name if name in known else None for name in named))


def event_of_purge(
    change: EndPurge, file: StoredFile, deletion: Deletion, violation: StoredViolation | None
) -> Event:
    """Return the event when a file is purged; `violation` is the one whose metadata file it is.

    Its details have what other processes need to drop the bytes that they cache, and what
    `restored_purge` needs.
    """
    details: dict[str, Json] = {
        "certificate_sha256": change.certificate.sha256,
        "stored_sha256": file.stored.sha256,
        "keys": [copy.key for copy in file.replicas],
        "certificate": change.certificate.document,
        "file": manifest_of(erased_file(file, change.at)).to_text(),
        "deletion_id": str(deletion.deletion_id),
        "purge_after": deletion.purge_after.isoformat(),
    }
    if violation is not None:
        details["timestamp"] = violation.record.timestamp.isoformat()
        details["zone_assumed"] = violation.zone_assumed
    return Event(EventKind.PURGED, change.at, file.file_id, file.violation_id, details)


def restored_purge(event: Event) -> RestorePurged:
    """Return the change that restores what an event of a purge tells of.

    Raises:
        LookupError, TypeError, ValueError, InvalidInput: a detail is missing or wrong.
    """
    details: Any = event.details
    manifest = BlobManifest.from_text(details["file"])
    certificate = Certificate(FileId(manifest.file_id), event.at, details["certificate"])
    if certificate.sha256 != details["certificate_sha256"]:
        raise ValueError("its certificate has another digest")
    attested: Any = parse_json_object(certificate.document, "certificate")
    removed = attested["replicas"]
    first, *more = map(_gone, removed)
    file = file_from_manifest(
        manifest,
        stored=Digests(manifest.stored_size_bytes, manifest.stored_sha256),
        content=Digests(manifest.size_bytes, manifest.sha256),
        replica=first,
    )
    return RestorePurged(
        event,
        erased_file(evolve(_purging(file, event.at), replicas=(first, *more)), event.at),
        Deletion(
            file.file_id,
            UUID(details["deletion_id"]),
            parse_time(attested["tombstoned_at"], "tombstoned_at"),
            parse_time(details["purge_after"], "purge_after"),
            attested["reason"],
            attested["actor"],
            attested["rule"],
            attested["override"],
            event.at,
        ),
        tuple(map(_removal, removed)),
        certificate,
        _violation(details, attested, file.file_id, event.at),
    )


def _naming(
    violation: StoredViolation, image: FileId | None, video: FileId | None
) -> StoredViolation:
    record = with_paths(violation.record, image or "", video or "")
    return evolve(violation, record=record, image_file_id=image, video_file_id=video)


def _gone(removed: Mapping[str, Any]) -> Replica:
    key = BlobKey(removed["key"])
    return Replica(StoreId(removed["store_id"]), Tier(removed["tier"]), key, ReplicaState.GONE)


def _removal(removed: Mapping[str, Any]) -> Removal:
    replica_id = replica_id_of(BlobKey(removed["key"]))
    return Removal(replica_id, parse_time(removed["removed_at"], "removed_at"), removed["answer"])


def _purging(file: StoredFile, at: datetime) -> StoredFile:
    return evolve(file, state=FileState.PURGING, state_at=at)


def _violation(
    details: Mapping[str, Any], attested: Mapping[str, Any], file_id: FileId, at: datetime
) -> StoredViolation | None:
    found = attested["violation"]
    if found is None:
        return None
    image, video = found["image_file_id"], found["video_file_id"]
    record = recorded(
        found["violation_id"],
        found["device_id"],
        found["violation_type"],
        datetime.fromisoformat(details["timestamp"]),
        (0.0, 0.0, 0.0, 0.0),
        "",
        0.0,
        image or "",
        video or "",
        frozen_json({}),
        0.0,
        frozen_json({}),
    )
    return StoredViolation(
        record=record,
        record_sha256=found["record_sha256"],
        occurred_at=parse_time(found["occurred_at"], "occurred_at"),
        zone_assumed=details["zone_assumed"],
        received_at=parse_time(found["received_at"], "received_at"),
        metadata_file_id=file_id,
        image_file_id=image,
        video_file_id=video,
        state=ViolationState.PURGED,
        state_at=at,
    )
