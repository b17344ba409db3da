"""What is stored together (a unit), the journal entry of one try to store it, and existing rows.

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
    """The journal entry of one try to store a file, or a violation with its files.

    The entry is written before the first blob. The process `owner` then writes blobs only under
    `keys` and only until `deadline`; after that, recovery may delete these blobs.
    """

    attempt_id: AttemptId
    owner: str
    deadline: datetime
    keys: tuple[tuple[StoreId, BlobKey], ...]


@frozen
class ClaimedIds:
    """The ids under which one file, or a violation with its files, is to be stored."""

    files: tuple[FileId, ...]
    violation: ViolationId | None = None


@frozen
class ExistingRows:
    """The rows that the catalogue already has under the ids that a caller asked for.

    An object of this class is true if there is at least one row.
    """

    files: Mapping[FileId, StoredFile] = field(factory=dict)
    violation: StoredViolation | None = None

    def __bool__(self) -> bool:
        return bool(self.files) or self.violation is not None


@frozen
class Unit:
    """The rows of a file, or of a violation with its files, which one transaction stores.

    `files` and `violation` are new rows. `completes` is the id of an existing violation to which
    `files` are added as image or video, which it must not have yet. `restored` are existing files
    that gain replicas (copies in stores); `replicas` of such a row has the new replicas only.
    """

    files: tuple[StoredFile, ...]
    violation: StoredViolation | None = None
    completes: ViolationId | None = None
    restored: tuple[StoredFile, ...] = ()

    @property
    def names(self) -> ClaimedIds:
        """The ids of the new files and of the new violation that are stored together."""
        violation = self.violation.violation_id if self.violation else None
        return ClaimedIds(tuple(file.file_id for file in self.files), violation)

    @property
    def affected_ids(self) -> ClaimedIds:
        """The ids of all files and of the violation that are inserted or gain replicas (copies).

        The id `completes` is not included.
        """
        restored = tuple(file.file_id for file in self.restored)
        return ClaimedIds(self.names.files + restored, self.names.violation)

    @property
    def replicas(self) -> Iterator[tuple[StoredFile, Replica]]:
        """All new replicas (copies of a file in a store), each with its file."""
        for file in (*self.files, *self.restored):
            for replica in file.replicas:
                yield file, replica

    def is_shown_by(self, existing: ExistingRows) -> bool:
        """Return whether the existing rows under `affected_ids` prove that these were committed.

        Each try to store uses new blob keys, so these rows were committed if the existing row of
        each file has one of their keys. Without files, they were committed if the existing
        violation has the same digest and the same time of receipt.
        """
        if files := (*self.files, *self.restored):
            return all(_shares_a_key(existing.files.get(file.file_id), file) for file in files)
        held, own = existing.violation, self.violation
        return own is None or (
            held is not None
            and (held.record_sha256, held.received_at) == (own.record_sha256, own.received_at)
        )

    def of_kind(self, kind: FileKind) -> StoredFile | None:
        """Return the new file of this kind; None if no such file is stored here."""
        return next((file for file in self.files if file.kind is kind), None)


def _shares_a_key(held: StoredFile | None, own: StoredFile) -> bool:
    if held is None:
        return False
    keys = {replica.key for replica in held.replicas}
    return any(replica.key in keys for replica in own.replicas)
