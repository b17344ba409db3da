"""Which retention rules are in force, and how they change.

A change is staged first: what it would do to the stored files is counted and shown. Then the staged
change is entered, unless other rules were entered since or it is old. A job then recomputes until
when each file is kept.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from attrs import frozen

from traffic_storage.domain.amounts import counted
from traffic_storage.domain.canonical import Json, canonical_json, parse_json_object
from traffic_storage.domain.deletion import REGRANTED_RULE
from traffic_storage.domain.errors import WrongState
from traffic_storage.domain.events import Event, EventKind
from traffic_storage.domain.files import FileKind, StoredFile
from traffic_storage.domain.identifiers import DeviceId, FileId, ViolationId
from traffic_storage.domain.jobs import NewJob
from traffic_storage.domain.retention import MIGRATED_RULE
from traffic_storage.domain.retention_rules import RetentionFacts, RulesDifference, RuleSet
from traffic_storage.domain.rules_json import json_of, rule_set_in

VALID_FOR = timedelta(hours=24)
"""How long a staged change can be entered. Its counts are those of the time at which it was staged."""


@frozen
class RulesRevision:
    """The retention rules that are in force since a time; the one with the highest number counts.

    Attributes:
        change_id: the staged change that was entered; None for the first rules of a catalogue.
    """

    revision: int
    rules: RuleSet
    entered_at: datetime
    entered_by: str
    reason: str
    change_id: UUID | None = None


class RetainedFile(NamedTuple):
    """What the retention of an available file depends on, and its retention as it is recorded.

    `basis_at` is the start of its retention. A plain tuple, because a walk reads millions.
    """

    file_id: FileId
    kind: FileKind
    device_id: DeviceId | None
    violation_id: ViolationId | None
    violation_type: str | None
    created_at: datetime
    basis_at: datetime
    keep_until: datetime
    rule: str
    size_bytes: int

    @property
    def facts(self) -> RetentionFacts:
        """What the rules ask about this file."""
        return RetentionFacts(self.kind, self.device_id, self.violation_type)


class Regranted(NamedTuple):
    """A file's recorded end of retention, and the end and the rule that replace it."""

    file_id: FileId
    was: datetime
    keep_until: datetime
    rule: str


@frozen
class RulesEffect:
    """What other rules would do to the available files, as they were when they were counted.

    Attributes:
        files: how many files were looked at.
        lengthened: how many of them would be kept longer, and `shortened` less long.
        due: how many of the shortened files would be due at once, with `due_bytes` stored bytes.
        due_held: how many of the due files a legal hold keeps nevertheless.
    """

    files: int = 0
    lengthened: int = 0
    shortened: int = 0
    due: int = 0
    due_bytes: int = 0
    due_held: int = 0

    def __add__(self, other: "RulesEffect") -> "RulesEffect":
        return RulesEffect(
            self.files + other.files,
            self.lengthened + other.lengthened,
            self.shortened + other.shortened,
            self.due + other.due,
            self.due_bytes + other.due_bytes,
            self.due_held + other.due_held,
        )

    def in_words(self) -> str:
        """Return the effect as a sentence."""
        return (
            f"makes {counted(self.due, 'file')} due, {self.due_held:,} of them held; "
            f"of {counted(self.files, 'file')}, "
            f"{counted(self.shortened, 'is', 'are')} kept less long and {self.lengthened:,} longer"
        )


@frozen
class StagedRules:
    """A change of the rules that was shown and not necessarily entered.

    Attributes:
        base_revision: the number of the rules that were in force when the change was staged.
    """

    change_id: UUID
    base_revision: int
    rules: RuleSet
    effect: RulesEffect
    staged_at: datetime
    staged_by: str
    reason: str

    def check_current(self, in_force: RulesRevision, now: datetime) -> None:
        """Check that this change can be entered.

        Raises:
            StaleRules: other rules were entered since, or the change was staged too long ago.
        """
        if in_force.revision != self.base_revision:
            raise StaleRules(
                f"the change {self.change_id} was staged for revision {self.base_revision} of the "
                f"retention rules, and revision {in_force.revision} is in force"
            )
        if not timedelta(0) <= now - self.staged_at < VALID_FOR:
            raise StaleRules(
                f"the change {self.change_id} was staged at {self.staged_at.isoformat()}; its counts "
                "no longer hold"
            )


@frozen
class StageRules:
    """Keep a staged change of the rules. Its rules do not apply to any file yet."""

    staged: StagedRules


@frozen
class EnterRules:
    """Put rules in force, unless there are rules with this number; `jobs` recompute the files."""

    entered: RulesRevision
    jobs: tuple[NewJob, ...] = ()


def event_of_rules(entered: RulesRevision) -> Event:
    """Return the event when rules are put in force; `rules_of` reads it."""
    details: dict[str, Json] = {
        "revision": entered.revision,
        "rules": dict(json_of(entered.rules)),
        "entered_by": entered.entered_by,
        "reason": entered.reason,
        "change_id": None if entered.change_id is None else str(entered.change_id),
    }
    return Event(EventKind.RULES_ENTERED, entered.entered_at, details=details)


def rules_of(event: Event) -> RulesRevision:
    """Return the rules that an event tells of.

    Raises:
        LookupError, TypeError, ValueError, InvalidInput: a detail is missing or wrong.
    """
    details: Mapping[str, Any] = event.details
    change_id = details["change_id"]
    return RulesRevision(
        details["revision"],
        rule_set_in(parse_json_object(canonical_json(details["rules"]), "rules")),
        event.at,
        details["entered_by"],
        details["reason"],
        None if change_id is None else UUID(change_id),
    )


@frozen
class Regrant:
    """Record until when files are kept. A file that is not as `was` says, or not available, stays.

    `jobs` continue the work.
    """

    files: tuple[Regranted, ...]
    jobs: tuple[NewJob, ...] = ()


class StaleRules(WrongState):
    """A staged change of the retention rules can't be entered any more; nothing was changed."""

    def __init__(self, message: str) -> None:
        super().__init__(message, remedy="stage the change again, and look at its new difference")


def retained_file(file: StoredFile, violation_type: str | None) -> RetainedFile:
    """Return what the retention of a file depends on."""
    return RetainedFile(
        file.file_id,
        file.kind,
        file.device_id,
        file.violation_id,
        violation_type,
        file.created_at,
        file.retention_basis.at,
        file.keep_until,
        file.retention_rule,
        file.stored.size_bytes,
    )


GRANTED: Mapping[str, str] = {
    REGRANTED_RULE: "an undelete granted this time",
    MIGRATED_RULE: "the service from which it was migrated keeps it as long",
}
"""Retention rules that are no rules in force, and why a file that has one is kept."""


def regranted(file: RetainedFile, rules: RuleSet) -> Regranted | None:
    """Return the retention of a file under these rules; None if it is the recorded one."""
    longest = rules.applicable(file.facts)[0]
    until = file.basis_at + longest.period
    if file.rule in GRANTED and until <= file.keep_until:
        # Rules lengthen what was granted and never shorten it.
        return None
    if (until, longest.rule_id) == (file.keep_until, file.rule):
        return None
    return Regranted(file.file_id, file.keep_until, until, longest.rule_id)


def effect_on(
    files: Iterable[RetainedFile], rules: RuleSet, now: datetime
) -> tuple[RulesEffect, list[FileId]]:
    """Return what these rules would do to files, holds apart, and the files that would be due."""
    looked_at = lengthened = shortened = due_bytes = 0
    due: list[FileId] = []
    for file in files:
        looked_at += 1
        change = regranted(file, rules)
        if change is None or change.keep_until == file.keep_until:
            continue
        lengthened += change.keep_until > file.keep_until
        shortened += change.keep_until < file.keep_until
        if change.keep_until <= now < file.keep_until:
            due.append(file.file_id)
            due_bytes += file.size_bytes
    return RulesEffect(looked_at, lengthened, shortened, len(due), due_bytes), due


def difference(staged: StagedRules, in_force: RulesRevision) -> RulesDifference:
    """Return in what the staged rules differ from those in force."""
    return RulesDifference.between(in_force.rules, staged.rules)
