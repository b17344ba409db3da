"""Retention in the memory of this process; the contract suite compares other adapters with it."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from attrs import evolve

from traffic_storage.adapters.record_repo.memory.deletions import InMemoryDeletions
from traffic_storage.domain.files import OCCUPYING, FileKind, FileState, StoredFile, Tier
from traffic_storage.domain.retention_plans import DueFile, RecordPlan, RetentionPlan
from traffic_storage.domain.rules_in_force import (
    EnterRules,
    Regrant,
    RetainedFile,
    RulesRevision,
    StagedRules,
    StageRules,
    event_of_rules,
    retained_file,
)
from traffic_storage.ports.retention import Position, RetentionRecords

BATCH = 1000
DUE_BATCH = 500


class InMemoryRetention(InMemoryDeletions, RetentionRecords):
    """Rules and the retention of files, which exist as long as this object."""

    def __init__(self) -> None:
        super().__init__()
        self._revisions: dict[int, RulesRevision] = {}
        self._staged: dict[UUID, StagedRules] = {}
        self._plans: dict[UUID, RetentionPlan] = {}

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

    async def due_files(self, as_of: datetime, after: Position, now: datetime) -> Sequence[DueFile]:
        due = (
            file
            for file in self._files.values()
            if file.state is FileState.AVAILABLE
            and file.keep_until <= as_of
            and (file.keep_until, file.file_id) > (after.at, after.file_id)
        )
        ordered = sorted(due, key=lambda file: (file.keep_until, file.file_id))[:DUE_BATCH]
        held = await self.held([file.file_id for file in ordered], now)
        return [
            DueFile(
                retained_file(file, self._type_of(file)),
                _copies(file, Tier.LOCAL),
                _copies(file, Tier.CLOUD),
                file.file_id in held,
            )
            for file in ordered
        ]

    async def retention_plan(self, plan_id: UUID) -> RetentionPlan | None:
        return self._plans.get(plan_id)

    async def forget_reviews(self, before: datetime) -> None:
        entered = {one.change_id for one in self._revisions.values()}
        self._plans = {name: one for name, one in self._plans.items() if one.as_of >= before}
        self._staged = {
            name: one
            for name, one in self._staged.items()
            if one.staged_at >= before or name in entered
        }

    def record_plan(self, change: RecordPlan) -> bool:
        """Apply `RecordPlan`."""
        self._plans[change.plan.plan_id] = change.plan
        return True

    def enter_rules(self, change: EnterRules) -> bool:
        """Apply `EnterRules`, but for its jobs."""
        revision = change.entered.revision
        if revision in self._revisions:
            return False
        self._revisions[revision] = change.entered
        self.record([event_of_rules(change.entered)])
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


def _copies(file: StoredFile, tier: Tier) -> int:
    return sum(copy.tier is tier and copy.state in OCCUPYING for copy in file.replicas)
