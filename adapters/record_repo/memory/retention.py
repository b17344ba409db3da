"""Retention in the memory of this process; the contract suite compares other adapters with it."""

from collections.abc import Sequence
from uuid import UUID

from attrs import evolve

from traffic_storage.domain.files import FileKind, FileState, StoredFile
from traffic_storage.domain.identifiers import FileId, ViolationId
from traffic_storage.domain.rules_in_force import (
    EnterRules,
    Regrant,
    RetainedFile,
    RulesRevision,
    StagedRules,
    StageRules,
    retained_file,
)
from traffic_storage.domain.violation import StoredViolation
from traffic_storage.ports.retention import Position, RetentionRecords

BATCH = 1000


class InMemoryRetention(RetentionRecords):
    """Rules and the retention of files, which exist as long as this object."""

    _files: dict[FileId, StoredFile]
    _violations: dict[ViolationId, StoredViolation]

    def __init__(self) -> None:
        self._revisions: dict[int, RulesRevision] = {}
        self._staged: dict[UUID, StagedRules] = {}

    async def rules_in_force(self) -> RulesRevision | None:
        return self._revisions[max(self._revisions)] if self._revisions else None

    async def staged_rules(self, change_id: UUID) -> StagedRules | None:
        return self._staged.get(change_id)

    async def retained_files(self, kind: FileKind, after: Position) -> Sequence[RetainedFile]:
        behind = (
            file
            for file in self._files.values()
            if file.state is FileState.AVAILABLE
            and file.kind is kind
            and (file.created_at, file.file_id) > (after.at, after.file_id)
        )
        ordered = sorted(behind, key=lambda file: (file.created_at, file.file_id))
        return [retained_file(file, self._type_of(file)) for file in ordered[:BATCH]]

    def enter_rules(self, change: EnterRules) -> bool:
        """Apply `EnterRules`, but for its jobs."""
        revision = change.entered.revision
        if revision in self._revisions:
            return False
        self._revisions[revision] = change.entered
        return True

    def stage_rules(self, change: StageRules) -> bool:
        """Apply `StageRules`."""
        self._staged[change.staged.change_id] = change.staged
        return True

    def regrant(self, change: Regrant) -> bool:
        """Apply `Regrant`, but for its jobs."""
        for one in change.files:
            file = self._files.get(one.file_id)
            if file and file.state is FileState.AVAILABLE and file.keep_until == one.was:
                self._files[one.file_id] = evolve(
                    file, keep_until=one.keep_until, retention_rule=one.rule
                )
        return bool(change.files or change.jobs)

    def _type_of(self, file: StoredFile) -> str | None:
        found = self._violations.get(file.violation_id) if file.violation_id else None
        return found.record.violation_type if found else None
