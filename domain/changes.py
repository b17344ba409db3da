"""Changes of the catalogue as values, and their effect on the counters.

`Change` is a closed union. A new capability adds a class here, and every adapter must handle it.
Each change names the states that it expects and is safe to repeat.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

from attrs import frozen

from traffic_storage.domain.files import (
    OBSERVATIONS,
    OCCUPYING,
    ForbiddenTransition,
    Replica,
    ReplicaState,
    StoredFile,
)
from traffic_storage.domain.identifiers import AttemptId, FileId
from traffic_storage.domain.ingest import Unit, Usage


@frozen
class CommitUnit:
    """Make a unit visible completely: remove the attempt, claim the ids, insert all rows.

    With `unit.completes`, the empty `image_file_id` or `video_file_id` of the violation and the
    path in its record are set too. Files of `unit.restored` gain replicas and are otherwise
    unchanged.
    """

    attempt: AttemptId
    unit: Unit


@frozen
class ObserveReplica:
    """Record the state in which a replica was found at `at`.

    A `present` replica becomes `corrupt` or `missing`, and one of those `present`; every other
    replica stays as it is.

    Raises:
        ForbiddenTransition: `state` can't be observed.
    """

    file_id: FileId
    replica_id: UUID
    state: ReplicaState
    at: datetime

    def __attrs_post_init__(self) -> None:
        if self.state not in OBSERVATIONS:
            raise ForbiddenTransition(f"a replica can't be found {self.state}")

    def expected_in(self, file: StoredFile | None) -> Replica | None:
        """Return the replica before this change, or None if this change has no effect."""
        for replica in file.replicas if file else ():
            if replica.replica_id == self.replica_id and replica.state in OBSERVATIONS[self.state]:
                return replica
        return None


Change: TypeAlias = CommitUnit | ObserveReplica


@frozen
class CounterChange:
    """The differences that a change adds to the counters."""

    usage: tuple[Usage, ...] = ()
    violations: int = 0


def counted_by_commit(unit: Unit) -> CounterChange:
    """Return the counter differences of the commit of a unit."""
    moved = (_moved(file, replica, None, replica.state) for file, replica in unit.replicas)
    usage = tuple(one for found in moved for one in found)
    return CounterChange(usage, 1 if unit.violation else 0)


def counted_by_transition(file: StoredFile, replica: Replica, after: ReplicaState) -> CounterChange:
    """Return the counter differences of a replica's transition to another state."""
    return CounterChange(tuple(_moved(file, replica, replica.state, after)))


def _moved(
    file: StoredFile, replica: Replica, before: ReplicaState | None, after: ReplicaState
) -> Iterable[Usage]:
    if more := (after in OCCUPYING) - (before in OCCUPYING):
        yield Usage(replica.store_id, file.kind, more, more * file.stored.size_bytes)
