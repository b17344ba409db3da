"""How each change is written to the database: one module a change, listed in `WRITERS`."""

from collections.abc import Mapping
from typing import Any

from traffic_storage.adapters.record_repo.sql.changes.add_labels import AddLabelsWriter
from traffic_storage.adapters.record_repo.sql.changes.add_replica import AddReplicaWriter
from traffic_storage.adapters.record_repo.sql.changes.begin_purge import BeginPurgeWriter
from traffic_storage.adapters.record_repo.sql.changes.bind_key import BindKeyWriter
from traffic_storage.adapters.record_repo.sql.changes.commit_unit import (
    CommitUnitsWriter,
    CommitUnitWriter,
)
from traffic_storage.adapters.record_repo.sql.changes.end_load import EndLoadWriter
from traffic_storage.adapters.record_repo.sql.changes.end_purge import EndPurgeWriter
from traffic_storage.adapters.record_repo.sql.changes.enter_rules import EnterRulesWriter
from traffic_storage.adapters.record_repo.sql.changes.import_rows import ImportRowsWriter
from traffic_storage.adapters.record_repo.sql.changes.incidents import (
    CloseIncidentWriter,
    OpenIncidentWriter,
)
from traffic_storage.adapters.record_repo.sql.changes.migrating import (
    SealWriter,
    SetMigrationCursorWriter,
    UnsealWriter,
)
from traffic_storage.adapters.record_repo.sql.changes.note_pressure import (
    NotePressureWriter,
    NoteUsageAlertWriter,
)
from traffic_storage.adapters.record_repo.sql.changes.observe_replica import ObserveReplicaWriter
from traffic_storage.adapters.record_repo.sql.changes.pin_snapshot import (
    PinSnapshotWriter,
    UnpinSnapshotWriter,
)
from traffic_storage.adapters.record_repo.sql.changes.place_hold import PlaceHoldWriter
from traffic_storage.adapters.record_repo.sql.changes.quarantine import (
    BeginRemovalWriter,
    DoubtUndoneWriter,
    EnterQuarantineWriter,
    LeaveQuarantineWriter,
    NoteQuarantinedWriter,
    SetJournalCursorWriter,
    UndoAttemptWriter,
)
from traffic_storage.adapters.record_repo.sql.changes.record_plan import RecordPlanWriter
from traffic_storage.adapters.record_repo.sql.changes.record_production import (
    RecordProductionWriter,
)
from traffic_storage.adapters.record_repo.sql.changes.record_verifications import (
    RecordVerificationsWriter,
)
from traffic_storage.adapters.record_repo.sql.changes.refute_copy import RefuteCopyWriter
from traffic_storage.adapters.record_repo.sql.changes.regrant import RegrantWriter
from traffic_storage.adapters.record_repo.sql.changes.release_hold import ReleaseHoldWriter
from traffic_storage.adapters.record_repo.sql.changes.release_replica import ReleaseReplicaWriter
from traffic_storage.adapters.record_repo.sql.changes.remove_replicas import RemoveReplicasWriter
from traffic_storage.adapters.record_repo.sql.changes.restore_purged import RestorePurgedWriter
from traffic_storage.adapters.record_repo.sql.changes.stage_rules import StageRulesWriter
from traffic_storage.adapters.record_repo.sql.changes.tombstone import TombstoneWriter
from traffic_storage.adapters.record_repo.sql.changes.undelete import UndeleteWriter
from traffic_storage.adapters.record_repo.sql.changes.writer import ChangeWriter
from traffic_storage.domain.changes import Change, CommitUnit, CommitUnits, ObserveReplica
from traffic_storage.domain.copies import AddReplica, RefuteCopy, ReleaseReplica
from traffic_storage.domain.database_backup import EndLoad
from traffic_storage.domain.deletion import (
    BeginPurge,
    EndPurge,
    RemoveReplicas,
    Tombstone,
    Undelete,
)
from traffic_storage.domain.fixity import RecordVerifications
from traffic_storage.domain.holds import PlaceHold, ReleaseHold
from traffic_storage.domain.incidents import CloseIncident, OpenIncident
from traffic_storage.domain.journal import SetJournalCursor
from traffic_storage.domain.labels import AddLabels
from traffic_storage.domain.migration import SetMigrationCursor
from traffic_storage.domain.pressure import NotePressure, NoteUsageAlert
from traffic_storage.domain.production import RecordProduction
from traffic_storage.domain.purged_rows import RestorePurged
from traffic_storage.domain.quarantine import (
    BeginRemoval,
    DoubtUndone,
    EnterQuarantine,
    LeaveQuarantine,
    NoteQuarantined,
    UndoAttempt,
)
from traffic_storage.domain.rebuild import ImportRows
from traffic_storage.domain.retention_plans import RecordPlan
from traffic_storage.domain.rules_in_force import EnterRules, Regrant, StageRules
from traffic_storage.domain.seal import SealCatalogue, UnsealCatalogue
from traffic_storage.domain.snapshot import PinSnapshot, UnpinSnapshot
from traffic_storage.domain.upload_keys import BindKey

WRITERS: Mapping[type[Change], type[ChangeWriter[Any]]] = {
    CommitUnit: CommitUnitWriter,
    CommitUnits: CommitUnitsWriter,
    AddLabels: AddLabelsWriter,
    BindKey: BindKeyWriter,
    ObserveReplica: ObserveReplicaWriter,
    EnterQuarantine: EnterQuarantineWriter,
    UndoAttempt: UndoAttemptWriter,
    NoteQuarantined: NoteQuarantinedWriter,
    DoubtUndone: DoubtUndoneWriter,
    BeginRemoval: BeginRemovalWriter,
    LeaveQuarantine: LeaveQuarantineWriter,
    ImportRows: ImportRowsWriter,
    SetJournalCursor: SetJournalCursorWriter,
    AddReplica: AddReplicaWriter,
    ReleaseReplica: ReleaseReplicaWriter,
    PlaceHold: PlaceHoldWriter,
    ReleaseHold: ReleaseHoldWriter,
    Tombstone: TombstoneWriter,
    Undelete: UndeleteWriter,
    BeginPurge: BeginPurgeWriter,
    RemoveReplicas: RemoveReplicasWriter,
    EndPurge: EndPurgeWriter,
    RestorePurged: RestorePurgedWriter,
    RecordVerifications: RecordVerificationsWriter,
    RecordProduction: RecordProductionWriter,
    OpenIncident: OpenIncidentWriter,
    CloseIncident: CloseIncidentWriter,
    EnterRules: EnterRulesWriter,
    StageRules: StageRulesWriter,
    Regrant: RegrantWriter,
    NotePressure: NotePressureWriter,
    NoteUsageAlert: NoteUsageAlertWriter,
    RecordPlan: RecordPlanWriter,
    RefuteCopy: RefuteCopyWriter,
    SetMigrationCursor: SetMigrationCursorWriter,
    SealCatalogue: SealWriter,
    UnsealCatalogue: UnsealWriter,
    PinSnapshot: PinSnapshotWriter,
    UnpinSnapshot: UnpinSnapshotWriter,
    EndLoad: EndLoadWriter,
}
