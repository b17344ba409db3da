"""Quarantine: blobs in a store that no replica in the catalogue explains, and what becomes of them.

An entry is a row; the blob stays where it is. No key is ever written twice, so nothing else comes
to lie there. A blob leaves the quarantine in one of two ways: its manifest and bytes show a file
that the catalogue lacks, and the file (or this copy of it) is recorded again; or `quarantine_days`
have passed, and the catalogue proves that the blob is not needed. A blob of which neither is true
stays, and `note` says why.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeAlias

from attrs import frozen

from traffic_storage.domain.files import BlobKey, FileState, ReplicaState, StoredFile
from traffic_storage.domain.identifiers import AttemptId, FileId, StoreId
from traffic_storage.domain.ingest import Attempt
from traffic_storage.domain.manifest import BlobManifest
from traffic_storage.domain.reconcile import MIN_AGE


class QuarantineReason(StrEnum):
    """Why a blob is in the quarantine.

    | value | meaning |
    |---|---|
    | `unrecorded` | a listing of the store has it, and no replica in the catalogue |
    | `returned` | a listing of the store has it, and its replica is recorded as deleted |
    | `undone` | an attempt that was never committed, as far as this catalogue knows, may have written it |
    """

    UNRECORDED = "unrecorded"
    RETURNED = "returned"
    UNDONE = "undone"


class QuarantineState(StrEnum):
    """Whether a blob may still be recorded again (`held`), or is being deleted (`removing`)."""

    HELD = "held"
    REMOVING = "removing"


@frozen
class Quarantined:
    """An entry of the quarantine.

    Attributes:
        seen_at: when the entry was made.
        size_bytes: the size of the blob; None while it is unknown.
        file_id: the file that its manifest names; None while that is unknown.
        note: why it was not recorded again or deleted when it was last examined.
    """

    store_id: StoreId
    key: BlobKey
    reason: QuarantineReason
    seen_at: datetime
    size_bytes: int | None = None
    file_id: FileId | None = None
    note: str = ""
    state: QuarantineState = QuarantineState.HELD


@frozen
class EnterQuarantine:
    """Enter blobs into the quarantine, but for those that have an entry or a replica.

    A replica that is recorded as gone does not count.
    """

    entries: tuple[Quarantined, ...]


@frozen
class UndoAttempt:
    """Delete the journal entry of a condemned attempt, and enter its keys into the quarantine.

    Has no effect if the journal entry does not exist or is not condemned.
    """

    attempt: AttemptId
    entries: tuple[Quarantined, ...]


@frozen
class NoteQuarantined:
    """Replace `size_bytes`, `file_id` and `note` of an entry of the quarantine, if it exists."""

    entry: Quarantined


@frozen
class BeginRemoval:
    """Set the state of an entry to `removing`, unless a replica has its key by now.

    From then on no replica with this key is recorded, so the blob may be deleted.
    """

    entry: Quarantined


@frozen
class DoubtUndone:
    """Make the held entries of a store with the reason `undone` ones with the reason `unrecorded`.

    The keys of attempts that are in the ingest journal get such entries, too, with the time `at`.
    For a catalogue that proved to be older than its store: what it calls an interrupted attempt may
    have been committed and acknowledged after the backup. Such a blob is recorded again, if its
    manifest and bytes show a file that the catalogue lacks, and is never deleted for its age.
    """

    store_id: StoreId
    at: datetime

    def entries(self, attempts: Iterable[Attempt]) -> tuple[Quarantined, ...]:
        """Return the entries of the keys of attempts in this store."""
        return tuple(
            Quarantined(store_id, key, QuarantineReason.UNRECORDED, self.at)
            for attempt in attempts
            for store_id, key in attempt.keys
            if store_id == self.store_id
        )


@frozen
class LeaveQuarantine:
    """Delete an entry whose blob does not exist (any more), or whose key a replica has."""

    entry: Quarantined


QuarantineChange: TypeAlias = (
    EnterQuarantine | UndoAttempt | NoteQuarantined | DoubtUndone | BeginRemoval | LeaveQuarantine
)


class Fate(StrEnum):
    """What is to be done with a blob in the quarantine.

    | value | meaning |
    |---|---|
    | `wait` | nothing yet |
    | `record file` | record the file that its manifest describes, with this replica |
    | `record copy` | record it as a further replica of a file that the catalogue has |
    | `keep` | nothing; a person must decide |
    | `remove` | delete it |
    """

    WAIT = "wait"
    RECORD_FILE = "record file"
    RECORD_COPY = "record copy"
    KEEP = "keep"
    REMOVE = "remove"


@frozen
class Verdict:
    """What is to be done with a blob in the quarantine, and why, in words."""

    fate: Fate
    note: str


def examine(
    entry: Quarantined,
    manifest: BlobManifest | None,
    file: StoredFile | None,
    *,
    now: datetime,
    lasts: timedelta,
) -> Verdict:
    """Return what is to be done with a blob in the quarantine.

    `manifest` is None if it is unreadable. `file` is the catalogue's row of the file that the
    manifest names, None if there is none. `lasts` is how long a blob that is not needed is kept. A
    blob is recorded again only after its bytes were compared with the manifest, and deleted only
    after the copy that makes it superfluous was read and verified.
    """
    if entry.state is QuarantineState.REMOVING:
        return Verdict(Fate.REMOVE, entry.note)
    if now - entry.seen_at < MIN_AGE:
        return Verdict(Fate.WAIT, "it was found a short time ago")
    if manifest is None or manifest.sidecar_sha256 is not None:
        return _unless_undone(
            entry, "its manifest is missing, unreadable or incomplete", now, lasts
        )
    if file is None:
        if entry.reason is QuarantineReason.UNRECORDED:
            return Verdict(Fate.RECORD_FILE, "the catalogue has no such file")
        return _in_time(entry, "no file has it", now, lasts)
    if not is_of(manifest, file):
        return _unless_undone(entry, f"{file.file_id} is another file by now", now, lasts)
    return _of_known_file(entry, file, now, lasts)


def is_of(manifest: BlobManifest, file: StoredFile) -> bool:
    """Return whether a manifest describes the content and the stored bytes of a catalogue row."""
    return (
        manifest.file_id == file.file_id
        and manifest.kind is file.kind
        and manifest.coding is file.coding
        and (manifest.size_bytes, manifest.sha256) == (file.content.size_bytes, file.content.sha256)
        and (manifest.stored_size_bytes, manifest.stored_sha256)
        == (file.stored.size_bytes, file.stored.sha256)
    )


def _of_known_file(
    entry: Quarantined, file: StoredFile, now: datetime, lasts: timedelta
) -> Verdict:
    if file.state in {FileState.PURGING, FileState.PURGED}:
        return _in_time(entry, f"{file.file_id} is {file.state}", now, lasts)
    good = [copy for copy in file.replicas if copy.state is ReplicaState.PRESENT]
    if any(copy.store_id == entry.store_id for copy in good):
        return _in_time(entry, f"{file.file_id} has another copy in this store", now, lasts)
    if entry.reason is not QuarantineReason.RETURNED:
        return Verdict(Fate.RECORD_COPY, f"{file.file_id} has no good copy in this store")
    if good:
        return _in_time(entry, f"{file.file_id} has a copy in another store", now, lasts)
    return Verdict(Fate.KEEP, f"{file.file_id} has no good copy, and this one is recorded as gone")


def _unless_undone(entry: Quarantined, why: str, now: datetime, lasts: timedelta) -> Verdict:
    if entry.reason is QuarantineReason.UNDONE:
        return _in_time(entry, why, now, lasts)
    return Verdict(Fate.KEEP, why)


def _in_time(entry: Quarantined, why: str, now: datetime, lasts: timedelta) -> Verdict:
    return Verdict(Fate.REMOVE if now - entry.seen_at >= lasts else Fate.WAIT, why)
