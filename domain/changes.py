"""Changes of the catalogue as values.

`Change` is a closed union. A new capability adds a class here, and every adapter must handle it.
Each change names the states that it expects and is safe to repeat. Its effect on the counters is
computed in `usage`.
"""

from datetime import datetime
from typing import TypeAlias
from uuid import UUID

from attrs import frozen

from traffic_storage.domain.files import (
    OBSERVATIONS,
    ForbiddenTransition,
    Replica,
    ReplicaState,
    StoredFile,
)
from traffic_storage.domain.identifiers import AttemptId, FileId
from traffic_storage.domain.ingest import Unit


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
