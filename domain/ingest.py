"""Units: the attempt, the rows to commit, and the rows that exist already.

A unit is one file, or a violation with its files. It becomes visible completely or not at all.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime

from attrs import field, frozen

from traffic_storage.domain.files import BlobKey, FileKind, Replica, StoredFile
from traffic_storage.domain.identifiers import AttemptId, FileId, StoreId, ViolationId
from traffic_storage.domain.violation import StoredViolation


@frozen
class Attempt:
    """The journal entry of one attempt to store a unit: the keys that it may write, and a deadline.

    The entry is written before any byte is published. After its `deadline` no process publishes
    under its keys, and recovery may undo it. `owner` names the process.
    """

    attempt_id: AttemptId
    owner: str
    deadline: datetime
    keys: tuple[tuple[StoreId, BlobKey], ...]


@frozen
class ClaimedIds:
    """The ids that a unit claims."""

    files: tuple[FileId, ...]
    violation: ViolationId | None = None


@frozen
class ExistingRows:
    """The rows that the catalogue already has under claimed ids."""

    files: Mapping[FileId, StoredFile] = field(factory=dict)
    violation: StoredViolation | None = None

    def __bool__(self) -> bool:
        return bool(self.files) or self.violation is not None


@frozen
class Unit:
    """Complete rows, ready to become visible in one transaction.

    `files` and `violation` are new rows. `completes` is the id of an existing violation to which
    `files` are added as image or video, which it must not have yet. `restored` are existing files
    that gain replicas; each row contains only the new replicas.
    """

    files: tuple[StoredFile, ...]
    violation: StoredViolation | None = None
    completes: ViolationId | None = None
    restored: tuple[StoredFile, ...] = ()

    @property
    def names(self) -> ClaimedIds:
        """The ids that the unit claims."""
        violation = self.violation.violation_id if self.violation else None
        return ClaimedIds(tuple(file.file_id for file in self.files), violation)

    @property
    def affected_ids(self) -> ClaimedIds:
        """The ids of all rows that the commit inserts or changes, except `completes`."""
        restored = tuple(file.file_id for file in self.restored)
        return ClaimedIds(self.names.files + restored, self.names.violation)

    @property
    def replicas(self) -> Iterator[tuple[StoredFile, Replica]]:
        """All replicas that the unit adds, each with its file."""
        for file in (*self.files, *self.restored):
            for replica in file.replicas:
                yield file, replica

    def is_shown_by(self, existing: ExistingRows) -> bool:
        """Return whether the rows under `affected_ids` are the rows of this unit.

        A key belongs to one attempt, so one common key per file proves it. A unit without files is
        identified by the digest and the time of receipt of its violation.
        """
        if files := (*self.files, *self.restored):
            return all(_shares_a_key(existing.files.get(file.file_id), file) for file in files)
        held, own = existing.violation, self.violation
        return own is None or (
            held is not None
            and (held.record_sha256, held.received_at) == (own.record_sha256, own.received_at)
        )

    def of_kind(self, kind: FileKind) -> StoredFile | None:
        """Return the new file of this kind, or None."""
        return next((file for file in self.files if file.kind is kind), None)


def _shares_a_key(held: StoredFile | None, own: StoredFile) -> bool:
    if held is None:
        return False
    keys = {replica.key for replica in held.replicas}
    return any(replica.key in keys for replica in own.replicas)
