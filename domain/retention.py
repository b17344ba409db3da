"""Retention: when the retention period of a file starts, how long it is, and when it ends."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial

from attrs import evolve, frozen

from traffic_storage.domain.files import FileKind, RetentionBasis, RetentionClock, StoredFile
from traffic_storage.domain.retention_rules import (
    RetentionFacts,
    RetentionRule,
    RuleSet,
    default_rule_id,
)
from traffic_storage.domain.times import in_words

USUAL_REASONS: Mapping[RetentionClock, str] = {
    RetentionClock.CAPTURED: "the capture time is plausible",
    RetentionClock.RECEIVED: "no capture time was given",
}
"""Why the retention of nearly all files starts at the capture time, or at receipt."""


MIGRATED_RULE = "migration"
"""The retention rule of a file that the service from which it was migrated keeps longer."""


_GIVEN_LATER = "the capture time was given after the file was stored, and shortens no retention"


@frozen
class RetentionPeriods:
    """How long files of each kind are kept at least: the default rules, which are settings."""

    image: timedelta = timedelta(days=90)
    video: timedelta = timedelta(days=30)
    metadata: timedelta = timedelta(days=365)

    def of(self, kind: FileKind) -> timedelta:
        """Return how long files of this kind are kept."""
        return {
            FileKind.IMAGE: self.image,
            FileKind.VIDEO: self.video,
            FileKind.METADATA: self.metadata,
        }[kind]

    @property
    def rules(self) -> tuple[RetentionRule, ...]:
        """The default rules: one for each kind of files."""
        return tuple(
            RetentionRule(default_rule_id(kind), self.of(kind).days, kind) for kind in FileKind
        )


@frozen
class CaptureBounds:
    """The limits within which a capture time of a file is plausible.

    Attributes:
        earliest: the earliest plausible capture time. A camera whose clock lost its power gives an
            earlier one, because the clock starts again at 1970-01-01, 1980-01-06 or 2000-01-01.
        max_backdating: how long before receipt a plausible capture time can be, unless the caller
            states that the file is historic.
    """

    earliest: datetime = datetime(2000, 1, 2, tzinfo=UTC)
    max_backdating: timedelta = timedelta(days=30)


@frozen
class Retention:
    """The retention of one file.

    Attributes:
        keep_until: the end of the retention period, UTC.
        rule: the id of the retention rule that gives the length of the period.
        basis: the start of the period, and the reason.
    """

    keep_until: datetime
    rule: str
    basis: RetentionBasis


DEFAULT_RULES = RuleSet(RetentionPeriods().rules)


@frozen
class RetentionPolicy:
    """The retention rules and the limits of plausible capture times."""

    rules: RuleSet = DEFAULT_RULES
    bounds: CaptureBounds = CaptureBounds()

    def retention(
        self,
        facts: RetentionFacts,
        captured_at: datetime | None,
        received_at: datetime,
        *,
        historic: bool = False,
    ) -> Retention:
        """Return the retention of a file: its end, the rule that decides, its start.

        `historic` is whether the caller states that an old capture time is correct.
        """
        basis = retention_basis(captured_at, received_at, self.bounds, historic=historic)
        return retention_from(basis, facts, self.rules)


def retention_from(basis: RetentionBasis, facts: RetentionFacts, rules: RuleSet) -> Retention:
    """Return the retention of a file whose start is known."""
    longest = rules.applicable(facts)[0]
    return Retention(basis.at + longest.period, longest.rule_id, basis)


def retention_at_least(
    file: StoredFile, facts: RetentionFacts, rules: RuleSet
) -> tuple[datetime, str]:
    """Return until when a migrated file is kept, and the rule: as before, or longer by `rules`.

    `file` is its row in the catalogue from which it comes. The start of its retention is kept.
    """
    own = retention_from(file.retention_basis, facts, rules)
    if own.keep_until >= file.keep_until:
        return own.keep_until, own.rule
    return file.keep_until, MIGRATED_RULE


def retention_with_labels(
    file: StoredFile, basis: RetentionBasis, facts: RetentionFacts, rules: RuleSet
) -> Retention:
    """Return the retention of a stored file that gets labels: longer, or as long as before.

    `basis` is the start of its retention with them, and `facts` what the rules ask about it then.
    """
    if basis.at < file.retention_basis.at:
        basis = evolve(file.retention_basis, reason=_GIVEN_LATER)
    found = retention_from(basis, facts, rules)
    if found.keep_until > file.keep_until:
        return found
    return Retention(file.keep_until, file.retention_rule, basis)


def capture_doubt(file: StoredFile) -> str:
    """Return why the retention of a file starts at receipt although a capture time was given.

    The result is empty if no capture time was given or the retention starts at it.
    """
    basis = file.retention_basis
    if file.captured_at is None or basis.clock is RetentionClock.CAPTURED:
        return ""
    return basis.reason


def retention_basis(
    captured_at: datetime | None,
    received_at: datetime,
    bounds: CaptureBounds,
    *,
    historic: bool = False,
) -> RetentionBasis:
    """Return the start of a file's retention: its capture time if plausible, else its receipt.

    A capture time is plausible if it is not before `bounds.earliest`, and is at most
    `bounds.max_backdating` before receipt or the caller states that the file is `historic`.
    A capture time after receipt counts as plausible, because `times.time_problem` has already
    refused a time that is too far in the future.
    """
    received = partial(RetentionBasis, RetentionClock.RECEIVED, received_at)
    if captured_at is None:
        return received(USUAL_REASONS[RetentionClock.RECEIVED])
    if captured_at < bounds.earliest:
        return received(
            f"the capture time is before {bounds.earliest.isoformat()} (earliest_capture): "
            "the clock of the device is not set"
        )
    captured = partial(RetentionBasis, RetentionClock.CAPTURED, captured_at)
    backdating = received_at - captured_at
    if backdating <= bounds.max_backdating:
        return captured(USUAL_REASONS[RetentionClock.CAPTURED])
    if historic:
        return captured("the caller states that the file is historic")
    return received(
        f"the capture time lies {in_words(backdating)} before receipt, more than "
        f"{in_words(bounds.max_backdating)} (max_backdating), and the file is not stated to be "
        "historic"
    )
