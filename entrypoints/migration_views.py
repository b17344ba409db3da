"""Views of migrations and of the seal, for all entry points: JSON-ready dictionaries."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, cast

from typing_extensions import TypedDict

from traffic_storage.application.migrate_and_prove import ProvenMigration
from traffic_storage.application.reconcile_migration import RangeCount
from traffic_storage.domain.canonical import Json
from traffic_storage.domain.migration import DayTotals, Difference, Failure, Reconciliation
from traffic_storage.domain.seal import Seal
from traffic_storage.domain.signed_report import report_in, signed_report
from traffic_storage.entrypoints.views import Described

SCHEMA = "traffic-storage/migration-report/1"
"""The kind of a signed report."""

_TIME = Annotated[str, Described({"format": "date-time"})]
_DAY = Annotated[str, Described({"format": "date"})]


class NotMigratedView(TypedDict):
    """A violation, or one file of it, that was not brought, and why."""

    violation_id: str
    file_id: str | None
    reason: str


class DifferenceView(TypedDict):
    """In what the target differs from the source: about a violation, or one file of it."""

    violation_id: str
    file_id: str | None
    problem: str


class DayTotalsView(TypedDict):
    """The violations of a day with their files. `bytes` as stored; `digest` of their order-free set."""

    records: int
    files: int
    bytes: int
    digest: str


class MigrationDayView(TypedDict):
    """What the source has of a day (UTC), and what the target has of that."""

    day: _DAY
    equal: bool
    source: DayTotalsView
    target: DayTotalsView


class MigrationReconciliationView(TypedDict):
    """The comparison of source and target. `reread`: all bytes were read at the target and hashed.

    `different` counts the differences; `differences` names the first 1,000 of them.
    """

    equal: bool
    reread: bool
    at: _TIME
    days: list[MigrationDayView]
    different: int
    differences: list[DifferenceView]


class MigrationView(TypedDict):
    """The result of a migration.

    `migrated_records` (violations), `migrated_files` and `bytes` (as stored) were brought by this
    call, `resumed` violations by earlier, interrupted ones; `skipped` violations were there already.
    `without_violation` files of the source belong to no violation and were received in the range: they
    are not brought (at least so many if `without_violation_at_least`).
    `deleted` files of the violations brought are deleted at the source. `can_be_undeleted` deleted
    files of the range can still be undeleted, and are not brought (at least so many if
    `can_be_undeleted_at_least`); those of deleted violations are among them. `holds` were placed or released, and `certificates` of
    destruction brought, by this call. `failed` names the first 1,000 of `failed_count`.
    `source` is the id of the catalogue. `reconciliation` is null after a dry run.
    """

    dry_run: bool
    source: str
    start_date: _TIME
    end_date: _TIME
    migrated_records: int
    migrated_files: int
    bytes: int
    skipped: int
    deleted: int
    without_violation: int
    without_violation_at_least: bool
    can_be_undeleted: int
    can_be_undeleted_at_least: bool
    holds: int
    certificates: int
    resumed: int
    failed: list[NotMigratedView]
    failed_count: int
    reconciliation: MigrationReconciliationView | None
    sealed: bool


class ChangedDayView(TypedDict):
    """A day of which the service has other totals now than the report says of the source."""

    day: _DAY
    reported: DayTotalsView
    now: DayTotalsView


class ReportCheckView(TypedDict):
    """A signed report, whose signature is right, beside what the service has now.

    `reread`: all bytes were read now and hashed; `damaged` names the files that are not as recorded.
    """

    report: MigrationView
    reread: bool
    equal: bool
    days: int
    changed: list[ChangedDayView]
    damaged: list[str]


class SealView(TypedDict):
    """Whether a service is sealed (read only), since when, by whom and why."""

    sealed: bool
    sealed_at: _TIME | None
    sealed_by: str | None
    reason: str | None


def migration_view(done: ProvenMigration) -> MigrationView:
    """Return the view of a migration."""
    migrated, found = done.migrated, done.reconciliation
    return {
        "dry_run": migrated.dry_run,
        "source": migrated.migration.source,
        "start_date": _text(migrated.migration.start),
        "end_date": _text(migrated.migration.end),
        "migrated_records": migrated.records,
        "migrated_files": migrated.files,
        "bytes": migrated.bytes,
        "skipped": migrated.skipped,
        "deleted": migrated.deleted,
        "without_violation": migrated.without_violation,
        "without_violation_at_least": migrated.without_violation_at_least,
        "can_be_undeleted": migrated.can_be_undeleted,
        "can_be_undeleted_at_least": migrated.can_be_undeleted_at_least,
        "holds": migrated.holds,
        "certificates": migrated.certificates,
        "resumed": migrated.resumed,
        "failed": [_failure_view(one) for one in migrated.failures],
        "failed_count": migrated.failed,
        "reconciliation": None if found is None else _reconciliation_view(found),
        "sealed": done.seal is not None,
    }


def seal_view(seal: Seal | None) -> SealView:
    """Return the view of a seal."""
    return {
        "sealed": seal is not None,
        "sealed_at": _text(seal.sealed_at) if seal else None,
        "sealed_by": seal.sealed_by if seal else None,
        "reason": seal.reason if seal else None,
    }


def signed_migration(view: MigrationView, key: bytes) -> bytes:
    """Return the signed report of a migration; see `domain.signed_report` for what it proves."""
    return signed_report(SCHEMA, cast("Mapping[str, Json]", view), key)


def migration_in(document: bytes, key: bytes) -> MigrationView:
    """Return what a signed report tells.

    Raises:
        InvalidInput: it is no report of a migration.
        DigestMismatch: it was changed, or signed with another key.
    """
    return cast("MigrationView", report_in(document, SCHEMA, key))


def report_check_view(report: MigrationView, now: RangeCount, *, reread: bool) -> ReportCheckView:
    """Return the comparison of a report with what the service has now."""
    reconciliation = report["reconciliation"]
    reported = (
        {one["day"]: one["source"] for one in reconciliation["days"]} if reconciliation else {}
    )
    found = {day.isoformat(): _totals_view(totals) for day, totals in now.days.items()}
    nothing = _totals_view(DayTotals())
    changed: list[ChangedDayView] = [
        {"day": day, "reported": reported.get(day, nothing), "now": found.get(day, nothing)}
        for day in sorted({*reported, *found})
        if reported.get(day) != found.get(day)
    ]
    return {
        "report": report,
        "reread": reread,
        "equal": not changed,
        "days": len(reported),
        "changed": changed,
        "damaged": list(now.damaged),
    }


def _reconciliation_view(found: Reconciliation) -> MigrationReconciliationView:
    return {
        "equal": found.is_equal,
        "reread": found.reread,
        "at": _text(found.at),
        "days": [
            {
                "day": one.day.isoformat(),
                "equal": one.is_equal,
                "source": _totals_view(one.source),
                "target": _totals_view(one.target),
            }
            for one in found.days
        ],
        "different": found.different,
        "differences": [_difference_view(one) for one in found.differences],
    }


def _totals_view(totals: DayTotals) -> DayTotalsView:
    return {
        "records": totals.records,
        "files": totals.files,
        "bytes": totals.bytes,
        "digest": totals.digest,
    }


def _failure_view(one: Failure) -> NotMigratedView:
    return {"violation_id": one.violation_id, "file_id": one.file_id, "reason": one.reason}


def _difference_view(one: Difference) -> DifferenceView:
    return {"violation_id": one.violation_id, "file_id": one.file_id, "problem": one.problem}


def _text(at: datetime) -> str:
    return at.isoformat()
