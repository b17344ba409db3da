"""Units of storing: the attempt, the rows to commit, and the rows that exist already.

A unit is one file, or a violation with its files. All of it becomes visible, or nothing.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime

from attrs import field, frozen

from traffic_storage.domain.files import BlobKey, FileKind, Replica, StoredFile
from traffic_storage.domain.identifiers import AttemptId, FileId, StoreId, ViolationId
from traffic_storage.domain.violation import StoredViolation


@frozen
class Attempt:
    """The undo journal of one attempt to store: the keys that it may write, and until when.

    The attempt is written before any byte is published. After its `deadline` no process publishes
    under its keys, and recovery may undo it.
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
    """The rows that the catalogue already has under some ids."""

    files: Mapping[FileId, StoredFile] = field(factory=dict)
    violation: StoredViolation | None = None

    def __bool__(self) -> bool:
        return bool(self.files) or self.violation is not None


@frozen
class Unit:
    """Complete rows, ready to become visible at once.

    `violation` is a new row; `completes` names an existing violation to which `files` are added
    (its `image_file_id` or `video_file_id`, which must be empty until now). `restored` are files
    that are there already, each with nothing but the new replicas that it gains.
    """

    files: tuple[StoredFile, ...]
    violation: StoredViolation | None = None
    completes: ViolationId | None = None
    restored: tuple[StoredFile, ...] = ()

    @property
    def names(self) -> ClaimedIds:
        """The ids that it claims."""
        violation = self.violation.violation_id if self.violation else None
        return ClaimedIds(tuple(file.file_id for file in self.files), violation)

    @property
    def affected_ids(self) -> ClaimedIds:
        """The ids whose rows differ once it is committed."""
        restored = tuple(file.file_id for file in self.restored)
        return ClaimedIds(self.names.files + restored, self.names.violation)

    @property
    def replicas(self) -> Iterator[tuple[StoredFile, Replica]]:
        """All replicas that it adds, each with its file."""
        for file in (*self.files, *self.restored):
            for replica in file.replicas:
                yield file, replica

    def is_shown_by(self, existing: ExistingRows) -> bool:
        """Whether the rows under its affected ids are those of this unit.

        A key belongs to one attempt, so one common key per file is proof. A unit without files is
        identified by the digest and the time of receipt of its violation.
        """
        if files := (*self.files, *self.restored):
            return all(_has_a_key_of(existing.files.get(file.file_id), file) for file in files)
        held, own = existing.violation, self.violation
        return own is None or (
            held is not None
            and (held.record_sha256, held.received_at) == (own.record_sha256, own.received_at)
        )

    def of_kind(self, kind: FileKind) -> StoredFile | None:
        """Its file of this kind, or None."""
        return next((file for file in self.files if file.kind is kind), None)


@frozen
class Usage:
    """Files and bytes (as stored) of one kind that occupy one store."""

    store_id: StoreId
    kind: FileKind
    files: int
    bytes: int


@frozen
class CatalogueUsage:
    """The maintained counters: what every store holds, and how many violations are recorded.

    A replica occupies its store while it is `present` or `corrupt`.
    """

    stores: tuple[Usage, ...]
    violations: int


def _has_a_key_of(held: StoredFile | None, own: StoredFile) -> bool:
    if held is None:
        return False
    keys = {replica.key for replica in held.replicas}
    return any(replica.key in keys for replica in own.replicas)
