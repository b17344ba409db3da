"""Reconcile: what the listing of a store, merged with the catalogue's replicas of it, means.

Both sequences are ordered by replica id. A run reads the catalogue, lists the store, and looks each
finding up in the catalogue again before it acts. Nothing is deleted: an unrecorded blob is entered
in the quarantine (`domain.quarantine`) and stays where it is; a replica without a blob is recorded
as missing after the store was asked for it once more.
"""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from uuid import UUID

from attrs import define, frozen

from traffic_storage.domain.digests import Sha256
from traffic_storage.domain.files import BlobKey, FileKind, ReplicaState, blob_key
from traffic_storage.domain.identifiers import FileId

MIN_AGE = timedelta(hours=24)
"""A blob that is younger is never unrecorded: the commit of its row may still be under way."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ID_IN_KEY = slice(-101, -65)
_DIGEST_IN_KEY = slice(-64, None)
_LAST_DIGEST = Sha256("f" * 64)


@frozen
class Listed:
    """A blob in the listing of a store. `modified_at` is by the clock of the store."""

    key: BlobKey
    replica_id: UUID
    size_bytes: int
    modified_at: datetime


@frozen
class Recorded:
    """A replica (one copy of a file in a store), as the catalogue records it."""

    replica_id: UUID
    file_id: FileId
    key: BlobKey
    state: ReplicaState
    size_bytes: int


@frozen
class RecordedPage:
    """Replicas of one store in a range of replica ids, in order.

    `last` is the end of the range: where the next page begins. It is None if the range is the last.
    """

    items: tuple[Recorded, ...]
    last: UUID | None


class Finding(StrEnum):
    """What a blob in a listing, or a recorded replica, or both under one key, mean.

    | value | meaning |
    |---|---|
    | `agrees` | listing and catalogue agree |
    | `young` | not judged yet, because it was written a short time ago |
    | `unrecorded` | a blob without a replica in the catalogue |
    | `returned` | a blob whose replica is recorded as deleted |
    | `missing` | a present replica without a blob |
    | `reappeared` | a blob whose replica is recorded as missing |
    | `damaged` | a blob with another size than its present replica |
    """

    AGREES = "agrees"
    YOUNG = "young"
    UNRECORDED = "unrecorded"
    RETURNED = "returned"
    MISSING = "missing"
    REAPPEARED = "reappeared"
    DAMAGED = "damaged"


def listed_blob(key: BlobKey, size_bytes: int, modified_at: datetime) -> Listed | None:
    """Return a blob in a listing; None if this product never creates such a key.

    The day in the key of a blob follows from its replica id.
    """
    replica_id = replica_id_of(key)
    kind = FileKind(key.partition("/")[0])
    try:
        expected = blob_key(kind, replica_id, Sha256(key[_DIGEST_IN_KEY]))
    except OverflowError:
        return None
    return Listed(key, replica_id, size_bytes, modified_at) if expected == key else None


def replica_id_of(key: BlobKey) -> UUID:
    """Return the id of the replica whose blob has this key."""
    return UUID(key[_ID_IN_KEY])


def last_key(kind: FileKind, replica_id: UUID) -> BlobKey:
    """Return the greatest key that a blob of a replica and kind can have."""
    return blob_key(kind, replica_id, _LAST_DIGEST)


def created_at(replica_id: UUID) -> datetime:
    """Return the time in the id of a replica, a UUIDv7: when its key was created."""
    return _EPOCH + timedelta(milliseconds=replica_id.int >> 80)


def judge(listed: Listed | None, recorded: Recorded | None, before: datetime) -> Finding:
    """Return what a blob in a listing and the replica with its key mean; at least one is given.

    Only what was created before `before` is judged: by the replica id, and, for a blob that no
    present replica explains, by the store's clock too. So a blob whose row is not committed yet is
    never a finding, and neither is one with a time in the future.
    """
    if listed is None:
        return _unlisted(recorded, before)
    if recorded is None or recorded.state is ReplicaState.GONE:
        if max(created_at(listed.replica_id), listed.modified_at) >= before:
            return Finding.YOUNG
        return Finding.UNRECORDED if recorded is None else Finding.RETURNED
    if recorded.state is ReplicaState.MISSING:
        return Finding.REAPPEARED
    if recorded.state is ReplicaState.PRESENT and recorded.size_bytes != listed.size_bytes:
        return Finding.DAMAGED
    return Finding.AGREES


def _unlisted(recorded: Recorded | None, before: datetime) -> Finding:
    if recorded is None or recorded.state is not ReplicaState.PRESENT:
        return Finding.AGREES
    if created_at(recorded.replica_id) >= before:
        return Finding.YOUNG
    return Finding.MISSING


@define
class Tally:
    """How much a run has compared, and what it has found.

    Attributes:
        listed, listed_bytes: blobs in the listing.
        recorded: replicas that the catalogue records as present in the store.
        foreign: keys in the listing that this product never creates; they are left alone.
        unrecorded: blobs without a replica, or whose replica is recorded as deleted.
        quarantined: those of `unrecorded` that were in the quarantine before the run.
    """

    listed: int = 0
    listed_bytes: int = 0
    recorded: int = 0
    foreign: int = 0
    young: int = 0
    unrecorded: int = 0
    quarantined: int = 0
    missing: int = 0
    reappeared: int = 0
    damaged: int = 0

    def count(self, listed: Listed | None, recorded: Recorded | None, finding: Finding) -> None:
        """Add one comparison."""
        if listed is not None:
            self.listed += 1
            self.listed_bytes += listed.size_bytes
        if recorded is not None and recorded.state is ReplicaState.PRESENT:
            self.recorded += 1
        match finding:
            case Finding.YOUNG:
                self.young += 1
            case Finding.UNRECORDED | Finding.RETURNED:
                self.unrecorded += 1
            case Finding.MISSING:
                self.missing += 1
            case Finding.REAPPEARED:
                self.reappeared += 1
            case Finding.DAMAGED:
                self.damaged += 1
            case Finding.AGREES:
                pass


@frozen
class Breaker:
    """How many differences between a store and the catalogue a run accepts before it aborts.

    A number of differences is too large if it is greater than `max_count`, and greater than
    `max_share` of what was compared.
    """

    max_share: float
    max_count: int

    def objection(self, tally: Tally) -> str:
        """Return why a run must change nothing; empty if it may act on its findings."""
        new = tally.unrecorded - tally.quarantined
        if self._is_too_large(new, tally.listed):
            return (
                f"{new} of {tally.listed} blobs in the store are not in the catalogue: it may be "
                "older than the store, or empty"
            )
        lost = tally.missing + tally.damaged
        if self._is_too_large(lost, tally.recorded):
            return (
                f"{lost} of {tally.recorded} recorded blobs are not in the listing of the store, or "
                "have another size: the listing may be incomplete, or the store may be the wrong one"
            )
        return ""

    def _is_too_large(self, found: int, compared: int) -> bool:
        return found > self.max_count and found > self.max_share * compared
