"""Retention plans: how much is due, reviewed before it is deleted, and the limits of a deletion.

A plan is its cut-off and its counts, not a list of files. Applying it deletes what is due by the
cut-off, and looks at each file again.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from attrs import define, evolve, field, frozen

from traffic_storage.domain.amounts import counted
from traffic_storage.domain.errors import WrongState
from traffic_storage.domain.files import FileKind
from traffic_storage.domain.identifiers import FileId, ViolationId, evidence_file_id
from traffic_storage.domain.retention_rules import RuleSet
from traffic_storage.domain.rules_in_force import Regranted, RetainedFile, regranted

KEPT_LONGER = "the rules in force keep it longer than was recorded"
CHANGED = "it was changed or deleted meanwhile"


class DueFile(NamedTuple):
    """A file whose recorded retention has ended, its copies by tier, and whether a hold covers it."""

    retained: RetainedFile
    local_copies: int
    cloud_copies: int
    is_held: bool

    @property
    def bytes(self) -> int:
        """The stored bytes of all copies."""
        return self.retained.size_bytes * (self.local_copies + self.cloud_copies)


@frozen
class Amount:
    """A number of files, and the stored bytes of all their copies."""

    files: int = 0
    bytes: int = 0

    def with_file(self, size_bytes: int) -> "Amount":
        """Return this amount with one more file."""
        return Amount(self.files + 1, self.bytes + size_bytes)


@frozen
class PlanLine:
    """What one rule makes due of one kind of files."""

    rule: str
    kind: FileKind
    files: int
    bytes: int


@frozen
class RetentionPlan:
    """What a deletion by retention would do.

    Attributes:
        as_of: the cut-off: files that were to be kept until then, or less long, are due.
        revision: the number of the rules that the plan follows.
        lines: what would be deleted, by rule and kind.
        violations: how many violations would be deleted with their metadata files.
        local_files, cloud_files: how many of the files have a copy on these tiers.
        held: due files that a legal hold keeps.
        excluded: other due files that would stay, by the reason.
        available: the number of all available files.
    """

    plan_id: UUID
    as_of: datetime
    revision: int
    planned_by: str
    lines: tuple[PlanLine, ...] = ()
    violations: int = 0
    local_files: int = 0
    cloud_files: int = 0
    held: Amount = Amount()
    excluded: Mapping[str, Amount] = field(factory=dict)
    available: int = 0

    @property
    def files(self) -> int:
        """How many files would be deleted."""
        return sum(line.files for line in self.lines)

    @property
    def bytes(self) -> int:
        """The stored bytes of all copies of these files."""
        return sum(line.bytes for line in self.lines)


@frozen
class DeletionLimits:
    """How much one deletion by retention may take without an explicit override.

    A deletion is too large if it is larger than both: `max_share` of the available files, and
    `max_files`.
    """

    max_share: float
    max_files: int

    def most(self, available: int) -> int:
        """Return the most files that may be deleted of so many."""
        return max(int(self.max_share * available), self.max_files)

    def check(self, plan: RetentionPlan) -> None:
        """Check the size of a plan.

        Raises:
            PlanTooLarge: the plan needs the override.
        """
        if plan.files > self.most(plan.available):
            raise PlanTooLarge(plan.files, plan.available, self)


@frozen
class RecordPlan:
    """Keep a plan, so that it can be reviewed and applied by its id."""

    plan: RetentionPlan


@frozen
class RetentionReport:
    """What a deletion by retention has done.

    Attributes:
        files_deleted: files that are gone from view, each once; `local_files` and `cloud_files` had a
            copy on these tiers.
        bytes_freed: bytes of copies that were removed from the stores, also of files that were
            deleted earlier.
        bytes_pending: bytes of copies of the deleted files that are removed when the grace ends.
        held: due files that a legal hold keeps.
        skipped: other due files that stay, by the reason.
        plan_id: the plan that was applied.
    """

    plan_id: UUID
    files_deleted: int = 0
    violations_deleted: int = 0
    local_files: int = 0
    cloud_files: int = 0
    bytes_freed: int = 0
    bytes_pending: int = 0
    held: int = 0
    skipped: Mapping[str, int] = field(factory=dict)

    @classmethod
    def expected(
        cls, plan: RetentionPlan, bytes_freed: int, bytes_pending: int
    ) -> "RetentionReport":
        """Return what applying a plan would report."""
        return cls(
            plan.plan_id,
            plan.files,
            plan.violations,
            plan.local_files,
            plan.cloud_files,
            bytes_freed,
            bytes_pending,
            plan.held.files,
            {reason: amount.files for reason, amount in plan.excluded.items()},
        )


class PlanTooLarge(WrongState):
    """A deletion is larger than the limits allow; no more is deleted without an override."""

    def __init__(self, files: int, available: int, limits: DeletionLimits) -> None:
        super().__init__(
            f"{files:,} of {counted(available, 'file')} {'is' if files == 1 else 'are'} due, more than max_deletion_files "
            f"({limits.max_files:,}) and max_deletion_share ({limits.max_share:.2%})",
            remedy="review the plan; if it is right, apply it with override_limit",
        )
        self.files = files
        self.available = available


class StalePlan(WrongState):
    """The retention rules were changed since the plan was made; nothing more is deleted by it."""

    def __init__(self, plan: RetentionPlan, revision: int) -> None:
        super().__init__(
            f"the plan {plan.plan_id} follows revision {plan.revision} of the retention rules, and "
            f"revision {revision} is in force",
            remedy="make a new plan and review it",
        )


@frozen
class Sorted:
    """A batch of due files, sorted by what retention does with them.

    Attributes:
        deletable: files to delete, by the rule that decides.
        held: files that a hold covers.
        longer: files that the rules in force keep longer than was recorded, with that retention.
    """

    deletable: Mapping[str, list[DueFile]]
    held: list[DueFile]
    longer: Mapping[FileId, Regranted]

    @classmethod
    def of(cls, batch: Iterable[DueFile], rules: RuleSet, as_of: datetime) -> "Sorted":
        """Sort a batch by the rules in force, not by the recorded retention alone."""
        found = cls({}, [], {})
        deletable: dict[str, list[DueFile]] = {}
        longer: dict[FileId, Regranted] = {}
        for file in batch:
            change = regranted(file.retained, rules)
            if change is not None and change.keep_until > as_of:
                longer[file.retained.file_id] = change
            elif file.is_held:
                found.held.append(file)
            else:
                rule = rules.applicable(file.retained.facts)[0].rule_id
                deletable.setdefault(rule, []).append(file)
        return evolve(found, deletable=deletable, longer=longer)


@define
class PlanTally:
    """The counts of a plan that is being made."""

    _lines: dict[tuple[str, FileKind], Amount] = field(factory=dict, init=False)
    _violations: int = field(default=0, init=False)
    _local_files: int = field(default=0, init=False)
    _cloud_files: int = field(default=0, init=False)
    _held: Amount = field(default=Amount(), init=False)
    _longer: Amount = field(default=Amount(), init=False)

    def add(self, batch: Iterable[DueFile], found: Sorted) -> None:
        """Count a batch, which was sorted."""
        for rule, files in found.deletable.items():
            for file in files:
                key = rule, file.retained.kind
                self._lines[key] = self._lines.get(key, Amount()).with_file(file.bytes)
                self._violations += leads_violation(file.retained)
                self._local_files += file.local_copies > 0
                self._cloud_files += file.cloud_copies > 0
        for file in found.held:
            self._held = self._held.with_file(file.bytes)
        for file in batch:
            if file.retained.file_id in found.longer:
                self._longer = self._longer.with_file(file.bytes)

    def plan(self, plan: RetentionPlan, available: int) -> RetentionPlan:
        """Return a plan with these counts, and the number of all available files."""
        return evolve(
            plan,
            lines=tuple(
                PlanLine(rule, kind, amount.files, amount.bytes)
                for (rule, kind), amount in sorted(self._lines.items())
            ),
            violations=self._violations,
            local_files=self._local_files,
            cloud_files=self._cloud_files,
            held=self._held,
            excluded={KEPT_LONGER: self._longer} if self._longer.files else {},
            available=available,
        )


def leads_violation(file: RetainedFile) -> bool:
    """Return whether a file is the metadata file of its violation, which is deleted with it."""
    violation_id = file.violation_id
    return violation_id is not None and file.file_id == evidence_file_id(
        ViolationId(violation_id), FileKind.METADATA
    )
