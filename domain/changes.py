"""Changes of the catalogue as values, and what each of them does to the counters.

`Change` is a closed union: a new capability adds a class here, and every adapter handles it. Each
change names the states that it expects and is safe to repeat.
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
    """Make a unit visible whole: end the attempt, claim the ids, insert all rows.

    With `unit.completes`, the violation's empty `image_file_id` / `video_file_id`, and with them
    the paths of its record, are set too; files of `unit.restored` gain replicas and change in
    nothing else.
    """

    attempt: AttemptId
    unit: Unit


@frozen
class ObserveReplica:
    """Record in which state a replica was found at `at`.

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
        """The replica as it is before this change; None where this change changes nothing."""
        for replica in file.replicas if file else ():
            if replica.replica_id == self.replica_id and replica.state in OBSERVATIONS[self.state]:
                return replica
        return None


Change: TypeAlias = CommitUnit | ObserveReplica


@frozen
class CounterChange:
    """By how much a change moves the counters."""

    usage: tuple[Usage, ...] = ()
    violations: int = 0


def counted_by_commit(unit: Unit) -> CounterChange:
    """How the commit of a unit moves the counters."""
    moved = (_moved(file, replica, None, replica.state) for file, replica in unit.replicas)
    usage = tuple(one for found in moved for one in found)
    return CounterChange(usage, 1 if unit.violation else 0)


def counted_by_transition(file: StoredFile, replica: Replica, after: ReplicaState) -> CounterChange:
    """How a replica's step to another state moves the counters."""
    return CounterChange(tuple(_moved(file, replica, replica.state, after)))


def _moved(
    file: StoredFile, replica: Replica, before: ReplicaState | None, after: ReplicaState
) -> Iterable[Usage]:
    if more := (after in OCCUPYING) - (before in OCCUPYING):
        yield Usage(replica.store_id, file.kind, more, more * file.stored.size_bytes)
