"""Copies: which copies of files are made, which may go, and the changes and jobs for both.

A copy is a replica beside others of the same file. It is added after its bytes were read back at
its store (`AddReplica`), and it goes only while another one is proven good (`ReleaseReplica`); the
bytes of a copy that is gone are removed by a job. A copy that is due is a job.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from uuid import UUID

from attrs import evolve, frozen

from traffic_storage.domain.events import Event
from traffic_storage.domain.files import (
    FileState,
    ForbiddenTransition,
    Replica,
    ReplicaState,
    StoredFile,
    Tier,
)
from traffic_storage.domain.identifiers import AttemptId, FileId, StoreId
from traffic_storage.domain.jobs import JobKind, NewJob, Priority
from traffic_storage.domain.placement import StorageStrategy, Thresholds

COPY = JobKind("copy")
"""The job that copies a file to another store."""
MOVE = JobKind("move")
"""The job that copies a file to another store and then lets the source go, by a further job."""
RELEASE = JobKind("release_copy")
"""The job that lets a copy go whose file is proven good in another store."""
REMOVE_BLOB = JobKind("remove_blob")
"""The job that removes the bytes of a copy that is gone."""
SPILL = JobKind("spill")
"""The job that plans which files leave a local store that is above its high-water mark."""

FIND_DUE_COPIES = JobKind("find_due_copies")
"""The job that looks for copies that are due and that no job makes."""

SPILLING = frozenset({StorageStrategy.LOCAL_THEN_CLOUD, StorageStrategy.HYBRID})
"""The strategies with which files leave a local store that is above its high-water mark."""

_REPLACED = frozenset({ReplicaState.CORRUPT, ReplicaState.MISSING})
_KEPT_STATES = frozenset({ReplicaState.PRESENT, *_REPLACED})


@frozen
class RefuteCopy:
    """Record that a new copy is not used, because its store does not hold the bytes written there.

    Its attempt passes its deadline at once, so that recovery brings its bytes to the quarantine; an
    event is recorded. Without effect if the attempt has ended.
    """

    attempt: AttemptId
    event: Event


@frozen
class AddReplica:
    """Add a verified copy to an available file, and delete `attempt`, its entry in the journal.

    With `replaces`, the corrupt or missing replica with this id becomes `gone` too. All of it
    happens in one transaction, only if the file is available at that moment and has no present
    replica in the store of the new one, and if the replaced one is still corrupt or missing. The
    incidents of the replaced one are closed, and the history of fixity counts a healed copy.

    With `remakes`, the replaced replica may also be present: its bytes are right, but the manifest
    beside them is not.

    Raises:
        ForbiddenTransition: `replica` is not present, or was not verified.
    """

    attempt: AttemptId
    file_id: FileId
    replica: Replica
    replaces: UUID | None = None
    jobs: tuple[NewJob, ...] = ()
    remakes: bool = False

    def __attrs_post_init__(self) -> None:
        if self.replica.state is not ReplicaState.PRESENT or self.replica.verified_at is None:
            raise ForbiddenTransition("a copy that is added must be present and verified")

    def is_allowed_for(self, file: StoredFile | None) -> bool:
        """Return whether the file, as it is now, can get this copy."""
        if file is None or file.state is not FileState.AVAILABLE:
            return False
        replaceable = self.replaces is None or self.replaced_in(file) is not None
        others = (one for one in file.readable if not self.remakes or one != self.replaced_in(file))
        return replaceable and all(one.store_id != self.replica.store_id for one in others)

    def replaced_in(self, file: StoredFile) -> Replica | None:
        """Return the replica of `file` that this copy replaces; None if there is no such replica."""
        named = _replica(file, self.replaces)
        states = _KEPT_STATES if self.remakes else _REPLACED
        return named if named is not None and named.state in states else None

    def is_shown_by(self, file: StoredFile | None) -> bool:
        """Return whether the row of the file proves that this copy was added."""
        return file is not None and _replica(file, self.replica.replica_id) is not None


@frozen
class ReleaseReplica:
    """Let a replica of an available file go, because another one, `kept`, is proven good.

    `kept` was read whole in its own store and verified at the time `at`, which is recorded. All of
    it happens in one transaction, only if the one that goes is not gone, and `kept` is present at
    that moment and was verified when it was written, or later, but not after `at`. So the last good
    replica of a file never goes.
    """

    file_id: FileId
    replica_id: UUID
    kept: UUID
    at: datetime
    jobs: tuple[NewJob, ...] = ()

    def released_in(self, file: StoredFile | None) -> Replica | None:
        """Return the replica of `file` that goes; None if it may not go, or is gone."""
        if file is None or file.state is not FileState.AVAILABLE or self.kept_in(file) is None:
            return None
        goes = _replica(file, self.replica_id)
        return goes if goes is not None and goes.state in _KEPT_STATES else None

    def kept_in(self, file: StoredFile) -> Replica | None:
        """Return the replica of `file` that stays; None if it is not proven good."""
        kept = _replica(file, self.kept)
        if kept is None or self.kept == self.replica_id or kept.state is not ReplicaState.PRESENT:
            return None
        return kept if kept.verified_at is not None and kept.verified_at <= self.at else None

    def is_shown_by(self, file: StoredFile | None) -> bool:
        """Return whether the row of the file proves that the replica went."""
        goes = _replica(file, self.replica_id) if file is not None else None
        return goes is not None and goes.state is ReplicaState.GONE


def lacks_copy(file: StoredFile, store_id: StoreId) -> bool:
    """Return whether a file has no present replica in a store."""
    return all(replica.store_id != store_id for replica in file.readable)


def owed_store(
    strategy: StorageStrategy, file: StoredFile, cloud: StoreId | None
) -> StoreId | None:
    """Return the store to which the strategy must copy a file, `cloud` or none.

    HYBRID owes each file a copy in the cloud; any bucket counts, so that a changed route of a
    device copies nothing twice. The other strategies owe nothing: see `leaving`.
    """
    if strategy is not StorageStrategy.HYBRID or file.state is not FileState.AVAILABLE:
        return None
    has_one = any(replica.tier is Tier.CLOUD for replica in file.readable)
    return None if has_one else cloud


def may_be_promoted(strategy: StorageStrategy, file: StoredFile) -> bool:
    """Return whether a file that is read often may get a copy on local disk.

    Only with a strategy that keeps files there, and only a file that has copies in the cloud alone.
    """
    tiers = {replica.tier for replica in file.readable}
    return strategy in SPILLING and file.state is FileState.AVAILABLE and tiers == {Tier.CLOUD}


def verified_elsewhere(file: StoredFile, replica: Replica) -> tuple[Replica, ...]:
    """Return the other present replicas of a file that were verified, in the order of the file.

    Only while there is one may `replica` go; it is read again before.
    """
    return tuple(
        other
        for other in file.readable
        if other.replica_id != replica.replica_id and other.verified_at is not None
    )


def priority_of(file: StoredFile) -> Priority:
    """Return the priority of copying a file: evidence of violations before all else."""
    return Priority.BACKGROUND if file.violation_id is None else Priority.NORMAL


def copy_job(
    job_id: UUID, file: StoredFile, source: StoreId, target: StoreId, tier: Tier = Tier.CLOUD
) -> NewJob:
    """Return the job that copies a file from `source`, or from where it is good, to `target`.

    A file has one live job for each tier, whichever store of it the job names: the same copy may be
    owed to `UNKNOWN_STORE`, or to a bucket that has another name since.
    """
    arguments = {
        "file_id": file.file_id,
        "store_id": target,
        "bytes": file.stored.size_bytes,
    }
    return NewJob(
        job_id,
        COPY,
        arguments,
        key=f"copy:{file.file_id}:{tier}",
        priority=priority_of(file),
        store_id=source,
        target_id=target,
    )


def move_job(job_id: UUID, file: StoredFile, replica: Replica, target: StoreId) -> NewJob:
    """Return the job that copies a file to `target`, after which `replica` goes.

    While a job that copies the file to the cloud is live, it is not written.
    """
    copy = copy_job(job_id, file, replica.store_id, target)
    arguments = {**copy.arguments, "replica_id": str(replica.replica_id)}
    return evolve(copy, kind=MOVE, arguments=arguments)


def release_job(job_id: UUID, file: StoredFile, replica: Replica) -> NewJob:
    """Return the job that lets a replica go, once another one was read and verified."""
    return NewJob(
        job_id,
        RELEASE,
        {
            "file_id": file.file_id,
            "replica_id": str(replica.replica_id),
            "bytes": file.stored.size_bytes,
        },
        key=f"release:{replica.replica_id}",
        priority=priority_of(file),
        store_id=replica.store_id,
    )


def removal_job(
    job_id: UUID, file_id: FileId, replica: Replica, delay: timedelta = timedelta(0)
) -> NewJob:
    """Return the job that removes the bytes of a replica that is gone, after `delay`."""
    return NewJob(
        job_id,
        REMOVE_BLOB,
        {"file_id": file_id, "store_id": replica.store_id, "key": replica.key},
        key=f"remove:{replica.key}",
        delay=delay,
        store_id=replica.store_id,
    )


@frozen
class Leaving:
    """A replica that leaves its store. It is copied to `target` before; None: it is safe elsewhere."""

    file: StoredFile
    replica: Replica
    target: StoreId | None

    def job(self, job_id: UUID) -> NewJob:
        """Return the job that begins this move."""
        if self.target is None:
            return release_job(job_id, self.file, self.replica)
        return move_job(job_id, self.file, self.replica, self.target)


def excess_bytes(
    used_bytes: int,
    leaving_bytes: int,
    limit_bytes: int,
    thresholds: Thresholds,
    *,
    is_early: bool = False,
) -> int:
    """Return how many more bytes must leave a local store; 0 if it is below its high-water mark.

    With `is_early` they leave from above the low-water mark on, because the store is soon full.

    `used_bytes` are those of our files alone, whatever else fills the disk. `leaving_bytes`, those
    of files that have begun to leave, are part of them and count as gone.
    """
    if used_bytes <= thresholds.high_water * limit_bytes and not is_early:
        return 0
    return max(0, used_bytes - leaving_bytes - int(thresholds.low_water * limit_bytes))


def leaving(
    strategy: StorageStrategy,
    files: Iterable[tuple[StoredFile, StoreId | None]],
    store_id: StoreId,
    excess: int,
    *,
    is_early: bool = False,
) -> Iterator[Leaving]:
    """Yield the replicas that leave a local store, the first ones of `files`, until `excess` leave.

    `files` are in the order in which they leave, each with the cloud store for it, or None. At most
    one replica more than needed leaves. A file leaves LOCAL_THEN_CLOUD after a copy was made in the
    cloud. With HYBRID, which makes the copies anyway, only what is verified elsewhere leaves. With
    every other strategy nothing leaves. With `is_early`, only what is verified elsewhere leaves.
    """
    for file, cloud in files:
        if excess <= 0:
            return
        found = _leaving(strategy, file, cloud, store_id)
        if found is not None and (found.target is None or not is_early):
            yield found
            excess -= file.stored.size_bytes


def archived(
    file: StoredFile, cloud: StoreId | None, store_id: StoreId, before: datetime
) -> Leaving | None:
    """Return how an old file leaves a local store for the cloud; None if it stays.

    It leaves if it is available, was received before the time `before`, and its replica there was
    not written on a later day. It is copied to the store `cloud` before, unless it is verified
    elsewhere.
    """
    replica = next((one for one in file.readable if one.store_id == store_id), None)
    if replica is None or file.state is not FileState.AVAILABLE or file.created_at >= before:
        return None
    if replica.written_on > before.date():
        return None
    if verified_elsewhere(file, replica):
        return Leaving(file, replica, None)
    return None if cloud is None else Leaving(file, replica, cloud)


def _leaving(
    strategy: StorageStrategy, file: StoredFile, cloud: StoreId | None, store_id: StoreId
) -> Leaving | None:
    replica = next((one for one in file.readable if one.store_id == store_id), None)
    if replica is None or file.state is not FileState.AVAILABLE:
        return None
    if strategy not in SPILLING:
        return None
    if verified_elsewhere(file, replica):
        return Leaving(file, replica, None)
    if strategy is StorageStrategy.LOCAL_THEN_CLOUD and cloud is not None:
        return Leaving(file, replica, cloud)
    return None


def _replica(file: StoredFile, replica_id: UUID | None) -> Replica | None:
    return next((one for one in file.replicas if one.replica_id == replica_id), None)
