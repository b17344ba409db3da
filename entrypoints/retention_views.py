"""Views of retention: the typed dictionaries that the Python, HTTP and CLI interfaces return."""

from datetime import datetime

from typing_extensions import TypedDict

from traffic_storage.application.clean_up import CleanedUp
from traffic_storage.domain.explanation import Explanation
from traffic_storage.domain.holds import Hold
from traffic_storage.domain.retention_plans import RetentionPlan, RetentionReport
from traffic_storage.domain.retention_rules import RetentionRule, Site
from traffic_storage.domain.rules_in_force import RulesRevision, StagedRules, difference
from traffic_storage.entrypoints.views import FileStateName, Kind, Time


class RuleView(TypedDict):
    """A retention rule: its conditions (None: any), the days, the legal source."""

    rule_id: str
    days: int
    kind: Kind | None
    violation_type: str | None
    device: str | None
    site: str | None
    jurisdiction: str | None
    legal_source: str
    priority: int


class SiteView(TypedDict):
    """A place with devices, by patterns of their ids, and its jurisdiction."""

    site_id: str
    devices: list[str]
    jurisdiction: str | None


class RulesView(TypedDict):
    """The retention rules in force: since when, by whom, why."""

    revision: int
    entered_at: Time
    entered_by: str
    reason: str
    change_id: str | None
    rules: list[RuleView]
    sites: list[SiteView]


class ChangedRuleView(TypedDict):
    """A rule as it is in force, and as it would be."""

    before: RuleView
    after: RuleView


class RulesEffectView(TypedDict):
    """What a change of the rules would do to the available files."""

    files: int
    lengthened: int
    shortened: int
    due: int
    due_bytes: int
    due_held: int
    summary: str


class StagedRulesView(TypedDict):
    """A staged change of the rules: what differs, and what it would do. `change_id` enters it."""

    change_id: str
    base_revision: int
    staged_at: Time
    staged_by: str
    reason: str
    added: list[RuleView]
    removed: list[RuleView]
    changed: list[ChangedRuleView]
    sites_changed: bool
    effect: RulesEffectView


class BasisView(TypedDict):
    """The start of a retention: which clock, when, and why that one."""

    clock: str
    at: Time
    reason: str


class KeepingHoldView(TypedDict):
    """A legal hold that keeps a file."""

    hold_id: str
    case_reference: str
    reason: str
    placed_at: Time
    until: Time | None


class ExplainedDeletionView(TypedDict):
    """Why, when and by whom a file was deleted, and when its bytes are erased."""

    reason: str
    actor: str
    rule: str | None
    override: bool
    tombstoned_at: Time
    purge_after: Time
    purged_at: Time | None


class ExplanationView(TypedDict):
    """Why a file is kept, until when, by which rule and clock, and what would change it.

    `rule` is the rule recorded with the file; None if it is not in force. `rules` are all rules in
    force that apply, the deciding one first.
    """

    file_id: str
    state: FileStateName
    keep_until: Time
    is_due: bool
    retention_rule: str
    rule: RuleView | None
    rules: list[RuleView]
    revision: int
    basis: BasisView
    captured_at: Time | None
    created_at: Time
    holds: list[KeepingHoldView]
    deletion: ExplainedDeletionView | None
    why: list[str]
    would_change: list[str]


class AmountView(TypedDict):
    """A number of files, and the stored bytes of all their copies."""

    files: int
    bytes: int


class PlanLineView(TypedDict):
    """What one rule makes due of one kind of files."""

    rule: str
    kind: Kind
    files: int
    bytes: int


class PlanView(TypedDict):
    """What a deletion by retention would do; `plan_id` applies it. `as_of` is its cut-off.

    `files` and `bytes` are what would be deleted; `held` and `excluded` (by the reason) stay although
    their retention has ended. `available` is the number of all files.
    """

    plan_id: str
    as_of: Time
    revision: int
    planned_by: str
    files: int
    bytes: int
    violations: int
    local_files: int
    cloud_files: int
    lines: list[PlanLineView]
    held: AmountView
    excluded: dict[str, AmountView]
    available: int


class RetentionView(TypedDict):
    """What a deletion by retention has done.

    `files_deleted` are gone from view; their `bytes_pending` are freed when the grace ends.
    `bytes_freed` are bytes of copies that were removed now. `held` files and the `skipped` ones (by
    the reason) stay although their retention has ended.
    """

    plan_id: str
    files_deleted: int
    violations_deleted: int
    bytes_freed: int
    bytes_pending: int
    held: int
    skipped: dict[str, int]


class CleanUpView(TypedDict):
    """What a clean-up has done, or with `dry_run` would do.

    `local_files_deleted` and `cloud_files_deleted` had a copy on that tier (with one on both, they
    count in both); `records_deleted` are violations. `quarantine_removed` blobs had been in the
    quarantine for its days.
    """

    plan_id: str
    files_deleted: int
    local_files_deleted: int
    cloud_files_deleted: int
    records_deleted: int
    bytes_freed: int
    bytes_pending: int
    held: int
    skipped: dict[str, int]
    quarantine_removed: int
    operations_undone: int
    dry_run: bool


def rule_view(rule: RetentionRule) -> RuleView:
    """Return the view of a rule."""
    return {
        "rule_id": rule.rule_id,
        "days": rule.days,
        "kind": None if rule.kind is None else rule.kind.value,
        "violation_type": rule.violation_type,
        "device": rule.device,
        "site": rule.site,
        "jurisdiction": rule.jurisdiction,
        "legal_source": rule.legal_source,
        "priority": rule.priority,
    }


def rules_view(entered: RulesRevision) -> RulesView:
    """Return the view of the rules in force."""
    return {
        "revision": entered.revision,
        "entered_at": entered.entered_at.isoformat(),
        "entered_by": entered.entered_by,
        "reason": entered.reason,
        "change_id": None if entered.change_id is None else str(entered.change_id),
        "rules": [rule_view(rule) for rule in entered.rules.rules],
        "sites": [_site_view(site) for site in entered.rules.sites],
    }


def staged_view(staged: StagedRules, in_force: RulesRevision) -> StagedRulesView:
    """Return the view of a staged change, compared with the rules in force."""
    differs, effect = difference(staged, in_force), staged.effect
    return {
        "change_id": str(staged.change_id),
        "base_revision": staged.base_revision,
        "staged_at": staged.staged_at.isoformat(),
        "staged_by": staged.staged_by,
        "reason": staged.reason,
        "added": [rule_view(rule) for rule in differs.added],
        "removed": [rule_view(rule) for rule in differs.removed],
        "changed": [
            {"before": rule_view(before), "after": rule_view(after)}
            for before, after in differs.changed
        ],
        "sites_changed": differs.are_sites_changed,
        "effect": {
            "files": effect.files,
            "lengthened": effect.lengthened,
            "shortened": effect.shortened,
            "due": effect.due,
            "due_bytes": effect.due_bytes,
            "due_held": effect.due_held,
            "summary": effect.in_words(),
        },
    }


def explanation_view(found: Explanation) -> ExplanationView:
    """Return the view of an explanation."""
    file, basis = found.file, found.file.retention_basis
    recorded = found.in_force.rules.rule(file.retention_rule)
    return {
        "file_id": file.file_id,
        "state": file.state.value,
        "keep_until": file.keep_until.isoformat(),
        "is_due": found.is_due,
        "retention_rule": file.retention_rule,
        "rule": None if recorded is None else rule_view(recorded),
        "rules": [rule_view(rule) for rule in found.applicable],
        "revision": found.in_force.revision,
        "basis": {
            "clock": basis.clock.value,
            "at": basis.at.isoformat(),
            "reason": basis.reason,
        },
        "captured_at": _iso(file.captured_at),
        "created_at": file.created_at.isoformat(),
        "holds": [_hold_view(hold) for hold in found.holds],
        "deletion": _deletion_view(found),
        "why": list(found.why),
        "would_change": list(found.would_change),
    }


def _site_view(site: Site) -> SiteView:
    return {
        "site_id": site.site_id,
        "devices": list(site.devices),
        "jurisdiction": site.jurisdiction,
    }


def _hold_view(hold: Hold) -> KeepingHoldView:
    return {
        "hold_id": str(hold.hold_id),
        "case_reference": hold.case_reference,
        "reason": hold.reason,
        "placed_at": hold.placed_at.isoformat(),
        "until": _iso(hold.until),
    }


def _deletion_view(found: Explanation) -> ExplainedDeletionView | None:
    deletion = found.deletion
    if deletion is None:
        return None
    return {
        "reason": deletion.reason,
        "actor": deletion.actor,
        "rule": deletion.rule,
        "override": deletion.override,
        "tombstoned_at": deletion.tombstoned_at.isoformat(),
        "purge_after": deletion.purge_after.isoformat(),
        "purged_at": _iso(deletion.purged_at),
    }


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def plan_view(plan: RetentionPlan) -> PlanView:
    """Return the view of a plan."""
    return {
        "plan_id": str(plan.plan_id),
        "as_of": plan.as_of.isoformat(),
        "revision": plan.revision,
        "planned_by": plan.planned_by,
        "files": plan.files,
        "bytes": plan.bytes,
        "violations": plan.violations,
        "local_files": plan.local_files,
        "cloud_files": plan.cloud_files,
        "lines": [
            {"rule": line.rule, "kind": line.kind.value, "files": line.files, "bytes": line.bytes}
            for line in plan.lines
        ],
        "held": {"files": plan.held.files, "bytes": plan.held.bytes},
        "excluded": {
            why: {"files": one.files, "bytes": one.bytes} for why, one in plan.excluded.items()
        },
        "available": plan.available,
    }


def retention_view(found: RetentionReport) -> RetentionView:
    """Return the view of what a deletion by retention has done."""
    return {
        "plan_id": str(found.plan_id),
        "files_deleted": found.files_deleted,
        "violations_deleted": found.violations_deleted,
        "bytes_freed": found.bytes_freed,
        "bytes_pending": found.bytes_pending,
        "held": found.held,
        "skipped": dict(found.skipped),
    }


def clean_up_view(done: CleanedUp) -> CleanUpView:
    """Return the view of a clean-up."""
    found = done.retention
    return {
        "plan_id": str(found.plan_id),
        "files_deleted": found.files_deleted,
        "local_files_deleted": found.local_files,
        "cloud_files_deleted": found.cloud_files,
        "records_deleted": found.violations_deleted,
        "bytes_freed": found.bytes_freed + done.bytes_removed,
        "bytes_pending": found.bytes_pending,
        "held": found.held,
        "skipped": dict(found.skipped),
        "quarantine_removed": done.removed,
        "operations_undone": done.undone,
        "dry_run": done.dry_run,
    }
