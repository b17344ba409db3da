"""Deletion: tombstone, grace, purge; what is left of a purged file, and its certificate.

```
available ── Tombstone ─► tombstoned ── BeginPurge ─► purging ── EndPurge ─► purged
          ◄── Undelete ──             (grace ended,          (every replica
                                       not held)              removed)
```

A violation has the state of its metadata file. Its record keeps the states of its image and video.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from attrs import evolve, frozen

from traffic_storage.domain.canonical import Json, canonical_json
from traffic_storage.domain.digests import ALGORITHM, Sha256, sha256_of
from traffic_storage.domain.errors import NotFound, WrongState
from traffic_storage.domain.events import Event, EventKind
from traffic_storage.domain.files import FileState, Replica, StoredFile
from traffic_storage.domain.frozen_json import frozen_json
from traffic_storage.domain.identifiers import FileId, StoreId
from traffic_storage.domain.jobs import NewJob
from traffic_storage.domain.violation import StoredViolation, ViolationState, recorded

REGRANTED = timedelta(days=30)
"""For how long at least an undeleted file is kept."""

REGRANTED_RULE = "undelete"
"""The retention rule of a file whose retention an undelete has extended."""

MOST_FILES = 500
"""The most files that one change deletes."""


@frozen
class Deletion:
    """Why, when and by whom a file was deleted.

    Attributes:
        deletion_id: names the `Tombstone` that deleted it.
        purge_after: when the grace ends; until then the file can be undeleted.
        rule: the retention rule that the deletion follows; None if a person asked for it.
        override: whether a person deleted the file inside its retention period.
    """

    file_id: FileId
    deletion_id: UUID
    tombstoned_at: datetime
    purge_after: datetime
    reason: str
    actor: str
    rule: str | None = None
    override: bool = False
    purged_at: datetime | None = None


@frozen
class Tombstone:
    """Mark available files as deleted, with the violations whose metadata files they are.

    Files that are held at `at`, or inside their retention (without `override`), or not available
    are left out; with `whole`, nothing happens if there is one. At most 500 files.

    Attributes:
        deletion_id: a new UUID; applying a change again with the same id has no further effect.
    """

    file_ids: tuple[FileId, ...]
    deletion_id: UUID
    at: datetime
    purge_after: datetime
    reason: str
    actor: str
    rule: str | None = None
    override: bool = False
    whole: bool = True
    jobs: tuple[NewJob, ...] = ()

    def of(self, file_id: FileId) -> Deletion:
        """Return the record of the deletion of a file by this change."""
        return Deletion(
            file_id,
            self.deletion_id,
            self.at,
            self.purge_after,
            self.reason,
            self.actor,
            self.rule,
            self.override,
        )

    def may_delete(self, file: StoredFile, *, is_held: bool) -> bool:
        """Return whether this change deletes a file."""
        return (
            file.state is FileState.AVAILABLE
            and not is_held
            and (self.override or file.keep_until <= self.at)
        )


@frozen
class Undelete:
    """Make tombstoned files available again, all of them or none.

    Each is kept until `keep_until` at least, and its retention rule is `REGRANTED_RULE` if that is
    later than before. So no file is visible that would be due at once.
    """

    file_ids: tuple[FileId, ...]
    at: datetime
    keep_until: datetime
    reason: str
    actor: str

    def applied(self, file: StoredFile) -> StoredFile:
        """Return a tombstoned file as it is after this change."""
        available = file.become(FileState.AVAILABLE, at=self.at)
        if file.keep_until >= self.keep_until:
            return available
        return evolve(available, keep_until=self.keep_until, retention_rule=REGRANTED_RULE)


@frozen
class BeginPurge:
    """Begin to erase tombstoned files whose grace has ended at `at` and that are not held then.

    Others are left out, and so are those that a snapshot pins (`snapshot.SnapshotPin`).
    """

    file_ids: tuple[FileId, ...]
    at: datetime

    def may_begin(self, file: StoredFile, deletion: Deletion | None, *, is_held: bool) -> bool:
        """Return whether this change begins the purge of a file."""
        return (
            file.state is FileState.TOMBSTONED
            and not is_held
            and deletion is not None
            and deletion.purge_after <= self.at
        )


@frozen
class Removal:
    """A replica that a purge has removed: when, and what the store answered."""

    replica_id: UUID
    at: datetime
    answer: str


@frozen
class RemoveReplicas:
    """Record that replicas of a purging file were removed, each once; they are `gone` then."""

    file_id: FileId
    removals: tuple[Removal, ...]


@frozen
class Certificate:
    """The destruction certificate of a file: canonical JSON and its SHA-256."""

    file_id: FileId
    at: datetime
    document: str

    @property
    def sha256(self) -> Sha256:
        """The SHA-256 of the document in UTF-8."""
        return sha256_of(self.document.encode())


@frozen
class EndPurge:
    """Erase what identifies somebody from the rows of a purging file whose replicas are all removed.

    A violation whose metadata file it is keeps its id, device, type, times and digest.
    """

    certificate: Certificate

    @property
    def file_id(self) -> FileId:
        """The id of the file."""
        return self.certificate.file_id

    @property
    def at(self) -> datetime:
        """When the purge ended."""
        return self.certificate.at


class Deleted(NotFound):
    """The file or violation `identifier` is deleted: `state` says how far, `deletion` why and when.

    `device_id` is that of the file or violation.
    """

    def __init__(
        self,
        what: str,
        identifier: str,
        state: FileState,
        deletion: Deletion | None,
        device_id: str | None = None,
    ) -> None:
        super().__init__(what, identifier)
        self.state = state
        self.deletion = deletion
        self.device_id = device_id
        at = deletion and (deletion.purged_at or deletion.tombstoned_at)
        since = f" since {at.isoformat()}" if at else ""
        why = f": {deletion.reason}" if deletion else ""
        self.message = f"the {what} {identifier!r} is {state}{since}{why}"
        self.remedy = (
            f"it can be undeleted until {deletion.purge_after.isoformat()}"
            if deletion and state is FileState.TOMBSTONED
            else "it can't be brought back"
        )


class InsideRetention(WrongState):
    """A file was to be deleted before the end of its retention period; nothing was deleted."""

    def __init__(self, what: str, identifier: str, keep_until: datetime, rule: str) -> None:
        super().__init__(
            f"the {what} {identifier!r} must be kept until {keep_until.isoformat()} ({rule})",
            remedy="wait until then, or delete it with override and the reason for it",
        )
        self.keep_until = keep_until
        self.rule = rule


class NotDeleted(WrongState):
    """What was to be undeleted is not tombstoned: it is available, or its purge has begun."""

    def __init__(self, what: str, identifier: str, state: FileState) -> None:
        super().__init__(
            f"the {what} {identifier!r} is {state}, so it can't be undeleted",
            remedy="only what is tombstoned can be undeleted",
        )
        self.state = state


def leads(file: StoredFile, violation: StoredViolation | None) -> bool:
    """Return whether a file is the metadata file of a violation, so that both have one state."""
    return violation is not None and violation.metadata_file_id == file.file_id


def mirrored(violation: StoredViolation, file: StoredFile) -> StoredViolation:
    """Return a violation with the state of one of its files, as that is now."""
    if file.file_id == violation.metadata_file_id:
        state = ViolationState(file.state)
        violation = evolve(violation, state=state, state_at=file.state_at)
    if file.file_id == violation.image_file_id:
        violation = evolve(violation, image_state=file.state)
    if file.file_id == violation.video_file_id:
        violation = evolve(violation, video_state=file.state)
    return violation


def erased_file(file: StoredFile, at: datetime) -> StoredFile:
    """Return a purging file as it is after its purge, without what may identify somebody."""
    return evolve(
        file.become(FileState.PURGED, at=at),
        metadata=None,
        original_name=None,
        added_labels=(),
        content=evolve(file.content, segments=b""),
        stored=evolve(file.stored, segments=b""),
    )


def erased_violation(violation: StoredViolation) -> StoredViolation:
    """Return a violation without what may identify somebody."""
    record = violation.record
    return evolve(
        violation,
        record=recorded(
            record.violation_id,
            record.device_id,
            record.violation_type,
            record.timestamp,
            (0.0, 0.0, 0.0, 0.0),
            "",
            0.0,
            violation.image_file_id or "",
            violation.video_file_id or "",
            frozen_json({}),
            0.0,
            frozen_json({}),
        ),
    )


def recorded_by(
    file: StoredFile, change: RemoveReplicas, removed: Collection[UUID]
) -> Mapping[UUID, Replica]:
    """Return the replicas of a file whose removal `change` records, as they are before.

    `removed` are those whose removal is recorded already.
    """
    named = {removal.replica_id for removal in change.removals} - set(removed)
    return {copy.replica_id: copy for copy in file.replicas if copy.replica_id in named}


def remaining(file: StoredFile, removed: Collection[UUID]) -> Sequence[Replica]:
    """Return the replicas of a file whose removal is not recorded, so that their bytes may exist.

    Replicas that are `gone` are among them: the job that removes their bytes may not have run.
    """
    return [copy for copy in file.replicas if copy.replica_id not in removed]


def certificate_of(
    file: StoredFile,
    deletion: Deletion,
    removals: Mapping[UUID, Removal],
    violation: StoredViolation | None,
    at: datetime,
) -> Certificate:
    """Return the certificate of a file all of whose replicas were removed.

    It has nothing that identifies somebody. With `violation`, the file is its metadata file, and
    the certificate attests the destruction of the record too.
    """
    document: dict[str, Json] = {
        "schema": "traffic-storage/destruction-certificate/1",
        "file_id": file.file_id,
        "kind": file.kind,
        "content_type": file.content_type,
        "size_bytes": file.content.size_bytes,
        "digest_algorithm": ALGORITHM,
        "sha256": file.content.sha256,
        "device_id": file.device_id,
        "violation_id": file.violation_id,
        "created_at": file.created_at.isoformat(),
        "captured_at": _text(file.captured_at),
        "tombstoned_at": deletion.tombstoned_at.isoformat(),
        "reason": deletion.reason,
        "actor": deletion.actor,
        "rule": deletion.rule,
        "override": deletion.override,
        "purged_at": at.isoformat(),
        "replicas": [_removed(copy, removals[copy.replica_id]) for copy in file.replicas],
        "violation": None if violation is None else _of_violation(violation),
    }
    return Certificate(file.file_id, at, canonical_json(document, "certificate").decode())


def _removed(copy: Replica, removal: Removal) -> dict[str, Json]:
    return {
        "store_id": StoreId(copy.store_id),
        "tier": copy.tier,
        "key": copy.key,
        "removed_at": removal.at.isoformat(),
        "answer": removal.answer,
    }


def _of_violation(violation: StoredViolation) -> dict[str, Json]:
    record = violation.record
    return {
        "violation_id": record.violation_id,
        "device_id": record.device_id,
        "violation_type": record.violation_type,
        "occurred_at": violation.occurred_at.isoformat(),
        "received_at": violation.received_at.isoformat(),
        "record_sha256": violation.record_sha256,
        "image_file_id": violation.image_file_id,
        "video_file_id": violation.video_file_id,
    }


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def events_of_tombstone(change: Tombstone, files: Iterable[StoredFile]) -> tuple[Event, ...]:
    """Return the events when files are marked as deleted."""
    details: dict[str, Json] = {
        "deletion_id": str(change.deletion_id),
        "reason": change.reason,
        "actor": change.actor,
        "rule": change.rule,
        "override": change.override,
        "purge_after": change.purge_after.isoformat(),
    }
    return tuple(
        Event(
            EventKind.TOMBSTONED,
            change.at,
            file.file_id,
            file.violation_id,
            {**details, **_identity_of(file)},
        )
        for file in files
    )


def events_of_undelete(change: Undelete, files: Iterable[StoredFile]) -> tuple[Event, ...]:
    """Return the events when files are made available again; `files` are as they are then."""
    return tuple(
        Event(
            EventKind.UNDELETED,
            change.at,
            file.file_id,
            file.violation_id,
            {
                "reason": change.reason,
                "actor": change.actor,
                **_identity_of(file),
            },
        )
        for file in files
    )


def is_named_by(event: Event, file: StoredFile) -> bool:
    """Return whether the event of a deletion or an undelete concerns this file.

    Another file, such as one of another catalogue, may have had the same id.

    Raises:
        LookupError: the event lacks a detail.
    """
    named = event.details["sha256"], event.details["created_at"]
    return named == (file.content.sha256, file.created_at.isoformat())


def _identity_of(file: StoredFile) -> dict[str, Json]:
    """Return what tells a file from another one with its id, and its retention."""
    return {
        "sha256": file.content.sha256,
        "created_at": file.created_at.isoformat(),
        "keep_until": file.keep_until.isoformat(),
        "retention_rule": file.retention_rule,
    }
