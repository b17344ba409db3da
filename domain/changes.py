"""The changes that a use case can make to the catalogue (the database), as values.

`Change` is a closed union: every catalogue adapter must handle each class in it. A change has an
effect only on rows in the states that it expects, so applying it again is safe. Its effect on the
counters is computed in `usage`.
"""

from datetime import datetime
from typing import TypeAlias
from uuid import UUID, uuid5

from attrs import frozen

from traffic_storage.domain.copies import AddReplica, RefuteCopy, ReleaseReplica
from traffic_storage.domain.database_backup import EndLoad
from traffic_storage.domain.deletion import (
    BeginPurge,
    EndPurge,
    RemoveReplicas,
    Tombstone,
    Undelete,
)
from traffic_storage.domain.files import (
    OBSERVATIONS,
    ForbiddenTransition,
    Replica,
    ReplicaState,
    StoredFile,
)
from traffic_storage.domain.fixity import RecordVerifications
from traffic_storage.domain.holds import PlaceHold, ReleaseHold
from traffic_storage.domain.identifiers import AttemptId, FileId
from traffic_storage.domain.incidents import CloseIncident, Incident, IncidentKind, OpenIncident
from traffic_storage.domain.ingest import Unit
from traffic_storage.domain.jobs import NewJob
from traffic_storage.domain.journal import SetJournalCursor
from traffic_storage.domain.labels import AddLabels
from traffic_storage.domain.migration import SetMigrationCursor
from traffic_storage.domain.pressure import NotePressure, NoteUsageAlert
from traffic_storage.domain.production import RecordProduction
from traffic_storage.domain.purged_rows import RestorePurged
from traffic_storage.domain.quarantine import QuarantineChange
from traffic_storage.domain.rebuild import ImportRows
from traffic_storage.domain.retention_plans import RecordPlan
from traffic_storage.domain.rules_in_force import EnterRules, Regrant, StageRules
from traffic_storage.domain.seal import SealCatalogue, UnsealCatalogue
from traffic_storage.domain.snapshot import PinSnapshot, UnpinSnapshot
from traffic_storage.domain.upload_keys import BindKey
from traffic_storage.domain.violation import StoredViolation


@frozen
class CommitUnit:
    """Make a file, or a violation with its files, visible in one transaction.

    The transaction inserts the new rows of `unit` and deletes `attempt`, the entry in the journal
    of unfinished store operations. If `unit.completes` names a violation, its empty `image_file_id`
    or `video_file_id` and the path in its record are set too. The files in `unit.restored` gain
    replicas and are otherwise unchanged. `jobs` are written too: the work that this causes. With
    `key`, the new file becomes that of the key, or nothing is stored.
    """

    attempt: AttemptId
    unit: Unit
    jobs: tuple[NewJob, ...] = ()
    key: BindKey | None = None


@frozen
class CommitUnits:
    """Make many units visible in one transaction, as `CommitUnit` does one: all of them, or none.

    Each of `units` has new files, no id twice, and neither completes nor restores anything. The
    transaction deletes `attempt`, whose keys are those of all their files.
    """

    attempt: AttemptId
    units: tuple[Unit, ...]
    jobs: tuple[NewJob, ...] = ()

    @property
    def files(self) -> Unit:
        """The files of all units, as if they were one; it shows whether this change was applied."""
        return Unit(tuple(file for unit in self.units for file in unit.files))

    @property
    def violations(self) -> tuple[StoredViolation, ...]:
        """The violations of all units."""
        return tuple(unit.violation for unit in self.units if unit.violation)


@frozen
class ObserveReplica:
    """Record the state in which a replica (one copy of a file) was found at `at`.

    A `present` replica becomes `corrupt` or `missing`, and an incident with these `details` is
    opened; a `corrupt` or `missing` replica becomes `present`, and its incidents are closed. Any
    other combination of recorded and found state changes nothing.

    Raises:
        ForbiddenTransition: `state` is not `present`, `corrupt` or `missing`.
    """

    file_id: FileId
    replica_id: UUID
    state: ReplicaState
    at: datetime
    details: str = ""

    def __attrs_post_init__(self) -> None:
        if self.state not in OBSERVATIONS:
            raise ForbiddenTransition(f"a read can't find a replica in the state {self.state}")

    def expected_in(self, file: StoredFile | None) -> Replica | None:
        """Return the replica of `file` that this change will change; None if it has no effect."""
        for replica in file.replicas if file else ():
            if replica.replica_id == self.replica_id and replica.state in OBSERVATIONS[self.state]:
                return replica
        return None

    def incident(self, replica: Replica) -> Incident | None:
        """Return the incident to open about the replica; None if it was found present.

        The id follows from the change, so that applying it again opens no other one.
        """
        kind = _INCIDENTS.get(self.state)
        if kind is None:
            return None
        incident_id = uuid5(self.replica_id, self.at.isoformat())
        return Incident.of_replica(
            incident_id, kind, self.at, self.file_id, replica, self.details or kind.value
        )


_INCIDENTS = {
    ReplicaState.CORRUPT: IncidentKind.CORRUPT_REPLICA,
    ReplicaState.MISSING: IncidentKind.MISSING_REPLICA,
}

Change: TypeAlias = (
    CommitUnit
    | CommitUnits
    | AddLabels
    | BindKey
    | ObserveReplica
    | AddReplica
    | ReleaseReplica
    | QuarantineChange
    | ImportRows
    | SetJournalCursor
    | PlaceHold
    | ReleaseHold
    | Tombstone
    | Undelete
    | BeginPurge
    | RemoveReplicas
    | EndPurge
    | RestorePurged
    | RecordVerifications
    | RecordProduction
    | OpenIncident
    | CloseIncident
    | EnterRules
    | StageRules
    | Regrant
    | NotePressure
    | NoteUsageAlert
    | RecordPlan
    | RefuteCopy
    | SetMigrationCursor
    | SealCatalogue
    | UnsealCatalogue
    | PinSnapshot
    | UnpinSnapshot
    | EndLoad
)
