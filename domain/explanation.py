"""Explanations: why a file is kept, until when, by which rule and clock, and what would change it."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from attrs import frozen

from traffic_storage.domain.deletion import REGRANTED, Deletion
from traffic_storage.domain.files import FileState, RetentionClock, StoredFile
from traffic_storage.domain.holds import Hold
from traffic_storage.domain.retention import Retention, retention_from
from traffic_storage.domain.retention_rules import RetentionFacts, RetentionRule
from traffic_storage.domain.rules_in_force import GRANTED, RulesRevision
from traffic_storage.domain.snapshot import SnapshotPin
from traffic_storage.domain.violation import StoredViolation

_WITH_BYTES = frozenset({FileState.AVAILABLE, FileState.TOMBSTONED})


@frozen
class Explanation:
    """What determines how long a file is kept, as it is at `at`.

    Attributes:
        in_force: the retention rules.
        violation: the violation that the file names; None if it names none, or there is none yet.
        holds: the legal holds that cover the file now.
        deletion: why the file was deleted; None if it was not.
        pins: the snapshots that have the file, so that its bytes are not erased.
    """

    file: StoredFile
    in_force: RulesRevision
    violation: StoredViolation | None
    holds: tuple[Hold, ...]
    deletion: Deletion | None
    at: datetime
    pins: tuple[SnapshotPin, ...] = ()

    @property
    def facts(self) -> RetentionFacts:
        """What the rules ask about the file."""
        known = self.violation.record.violation_type if self.violation else None
        return RetentionFacts(self.file.kind, self.file.device_id, known)

    @property
    def applicable(self) -> tuple[RetentionRule, ...]:
        """The rules in force that apply to the file; the first one decides."""
        return self.in_force.rules.applicable(self.facts)

    @property
    def by_rules(self) -> Retention:
        """The retention that the rules in force give."""
        return retention_from(self.file.retention_basis, self.facts, self.in_force.rules)

    @property
    def is_due(self) -> bool:
        """Whether the next deletion by retention would delete the file."""
        return (
            self.file.state is FileState.AVAILABLE
            and not self.holds
            and max(self.file.keep_until, self._granted_until) <= self.at
        )

    @property
    def why(self) -> tuple[str, ...]:
        """Why the file is kept, or was deleted, in sentences."""
        return tuple(self._why())

    @property
    def would_change(self) -> tuple[str, ...]:
        """What would make the file be kept longer or less long, in sentences."""
        return tuple(self._would_change())

    @property
    def _granted_until(self) -> datetime:
        """Until when the rules in force keep the file, if that is not recorded yet."""
        return self.by_rules.keep_until

    def _why(self) -> Iterator[str]:
        if self.deletion is not None:
            yield from _why_deleted(self.file, self.deletion)
        for hold in self.holds:
            until = f"until {hold.until.isoformat()}" if hold.until else "until it is released"
            yield f"a legal hold keeps it {until}: {hold.case_reference} ({hold.reason})"
        for pin in self.pins if self.file.state in _WITH_BYTES else ():
            yield (
                f"the snapshot {pin.name} at {pin.location} pins it: its bytes are not erased before "
                f"{pin.until.isoformat()}, unless the snapshot is deleted"
            )
        yield self._why_until()
        basis = self.file.retention_basis
        clock = "its capture" if basis.clock is RetentionClock.CAPTURED else "its receipt"
        yield f"its retention starts at {clock}, {basis.at.isoformat()}, because {basis.reason}"

    def _why_until(self) -> str:
        until = self.file.keep_until.isoformat()
        if self.file.state is not FileState.AVAILABLE:
            return f"its recorded retention is until {until} by {self.file.retention_rule}"
        if granted := GRANTED.get(self.file.retention_rule):
            return f"it must be kept until {until}, because {granted}"
        rule = self.in_force.rules.rule(self.file.retention_rule)
        if rule is None:
            return (
                f"it must be kept until {until} by the rule {self.file.retention_rule}, which is no "
                "longer in force"
            )
        others = len(self.applicable) - 1
        is_longest = others and rule == self.applicable[0]
        longest = f", the longest of {others + 1} rules that apply" if is_longest else ""
        return f"it must be kept until {until} by the rule {rule.in_words()}{longest}"

    def _would_change(self) -> Iterator[str]:
        if self.file.state is FileState.TOMBSTONED and self.deletion is not None:
            yield (
                f"an undelete before {self.deletion.purge_after.isoformat()} keeps it for "
                f"{REGRANTED.days} days at least"
            )
        if self.file.state is not FileState.AVAILABLE:
            return
        if self.holds:
            yield "a release of every hold ends what the holds keep"
        by_rules = self.by_rules
        is_recorded = (by_rules.keep_until, by_rules.rule) == (
            self.file.keep_until,
            self.file.retention_rule,
        )
        if not is_recorded and self.file.retention_rule not in GRANTED:
            yield (
                f"the rules in force (revision {self.in_force.revision}) keep it until "
                f"{by_rules.keep_until.isoformat()} by {by_rules.rule}, which a job records"
            )
        yield from self._by_violation()
        recorded = self.file.keep_until - self.file.retention_basis.at
        yield (
            f"a rule of more than {max(self.applicable[0].days, recorded.days)} days that applies to "
            "it keeps it longer; a change of the rules is staged first"
        )
        if not self.holds:
            verb = "deletes it" if self.is_due else "deletes it then"
            yield f"the next deletion by retention {verb}"
            if self.file.keep_until > self.at:
                yield "a person may delete it before, with override and a reason"

    def _by_violation(self) -> Iterator[str]:
        if self.violation is not None or self.file.violation_id is None:
            return
        for rule in self.in_force.rules.rules:
            if rule.violation_type is None or rule.days <= self.applicable[0].days:
                continue
            facts = RetentionFacts(self.file.kind, self.file.device_id, rule.violation_type)
            if rule in self.in_force.rules.applicable(facts):
                until = self.file.retention_basis.at + timedelta(days=rule.days)
                yield (
                    f"the violation {self.file.violation_id} is not stored; if its type is "
                    f"{rule.violation_type}, the rule {rule.rule_id} keeps it until "
                    f"{until.isoformat()}"
                )


def _why_deleted(file: StoredFile, deletion: Deletion) -> Iterator[str]:
    by = f" by the rule {deletion.rule}" if deletion.rule else ""
    inside = ", inside its retention" if deletion.override else ""
    yield (
        f"it was deleted at {deletion.tombstoned_at.isoformat()} by {deletion.actor}{by}{inside}: "
        f"{deletion.reason}"
    )
    if deletion.purged_at is not None:
        yield f"its bytes were erased at {deletion.purged_at.isoformat()}"
    elif file.state is FileState.TOMBSTONED:
        yield f"its bytes are erased after {deletion.purge_after.isoformat()}, unless it is held"
