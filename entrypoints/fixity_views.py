"""Views of verifications and incidents, for all entry points: JSON-ready dictionaries."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from typing_extensions import TypedDict

from traffic_storage.entrypoints.views import Described

if TYPE_CHECKING:
    from traffic_storage.application.verify_replicas import IntegrityReport
    from traffic_storage.domain.files import Replica, StoredFile
    from traffic_storage.domain.fixity import Coverage, FixityDay, StoreCoverage
    from traffic_storage.domain.incidents import Incident

_TIME = Annotated[str, Described({"format": "date-time"})]


class IntegrityView(TypedDict):
    """The result of a verification. `files_checked` counts files, the others copies of files.

    `corrupted` includes copies with right bytes whose manifest is missing or altered. `unknown`
    copies could not be read; they may be intact. `recorded` is false if the catalogue could not be
    written, as that of a read-only copy: then nothing was healed either.
    """

    files_checked: int
    replicas_checked: int
    corrupted: int
    missing: int
    healed: int
    unknown: int
    bytes_checked: int
    recorded: bool


class StoreCoverageView(TypedDict):
    """How current the verification in one store is.

    `overdue` copies were not verified within the interval, or never; more than 10,000 are estimated
    from a random sample, then `overdue_is_estimated`.
    `oldest_verified_at` is null if a copy was never verified.
    """

    store_id: str
    replicas: int
    corrupt: int
    missing: int
    overdue: int
    overdue_is_estimated: bool
    oldest_verified_at: _TIME | None


class CoverageView(TypedDict):
    """The share of copies that are intact and were verified within the interval, in percent."""

    summary: str
    percentage: float
    interval_days: float
    oldest_verified_at: _TIME | None
    stores: list[StoreCoverageView]


class FixityDayView(TypedDict):
    """What was verified in one store on one day (UTC). The numbers count copies of files."""

    day: Annotated[str, Described({"format": "date"})]
    store_id: str
    replicas_checked: int
    corrupted: int
    missing: int
    altered_manifests: int
    unknown: int
    healed: int
    bytes_checked: int


class FixityView(TypedDict):
    """How current the verification is, and its history, oldest day first."""

    coverage: CoverageView
    history: list[FixityDayView]


class IncidentView(TypedDict):
    """Damage to stored evidence. It is open while `closed_at` is null."""

    incident_id: Annotated[str, Described({"format": "uuid"})]
    kind: str
    file_id: str
    store_id: str | None
    replica_id: str | None
    details: str
    opened_at: _TIME
    closed_at: _TIME | None
    closed_by: str
    resolution: str


class ReplicaDetailView(TypedDict):
    """One copy of a file. `verified_at` is when all its bytes were last read and verified."""

    replica_id: Annotated[str, Described({"format": "uuid"})]
    store_id: str
    tier: str
    state: str
    written_on: Annotated[str, Described({"format": "date"})]
    verified_at: _TIME | None


class ReplicasView(TypedDict):
    """The copies of a file."""

    file_id: str
    replicas: list[ReplicaDetailView]


def integrity_view(report: "IntegrityReport") -> IntegrityView:
    """Return the result of a verification."""
    counts = report.counts
    return {
        "files_checked": report.files_checked,
        "replicas_checked": counts.checked,
        "corrupted": counts.corrupted + counts.altered,
        "missing": counts.missing,
        "healed": counts.healed,
        "unknown": counts.unknown,
        "bytes_checked": counts.bytes,
        "recorded": report.is_recorded,
    }


def fixity_view(coverage: "Coverage", history: Sequence["FixityDay"]) -> FixityView:
    """Return how current the verification is, and its history."""
    return {
        "coverage": {
            "summary": str(coverage),
            "percentage": round(100 * coverage.share, 3),
            "interval_days": coverage.interval.total_seconds() / 86_400,
            "oldest_verified_at": _iso(coverage.oldest_at),
            "stores": [_store_view(store) for store in coverage.stores],
        },
        "history": [_day_view(day) for day in history],
    }


def incident_view(incident: "Incident") -> IncidentView:
    """Return an incident."""
    return {
        "incident_id": str(incident.incident_id),
        "kind": incident.kind.value,
        "file_id": incident.file_id,
        "store_id": incident.store_id,
        "replica_id": None if incident.replica_id is None else str(incident.replica_id),
        "details": incident.details,
        "opened_at": incident.opened_at.isoformat(),
        "closed_at": _iso(incident.closed_at),
        "closed_by": incident.closed_by,
        "resolution": incident.resolution,
    }


def replicas_view(file: "StoredFile") -> ReplicasView:
    """Return the copies of a file."""
    return {"file_id": file.file_id, "replicas": [_replica_view(one) for one in file.replicas]}


def _replica_view(replica: "Replica") -> ReplicaDetailView:
    return {
        "replica_id": str(replica.replica_id),
        "store_id": replica.store_id,
        "tier": replica.tier.value,
        "state": replica.state.value,
        "written_on": replica.written_on.isoformat(),
        "verified_at": _iso(replica.verified_at),
    }


def _store_view(store: "StoreCoverage") -> StoreCoverageView:
    return {
        "store_id": store.store_id,
        "replicas": store.replicas,
        "corrupt": store.corrupt,
        "missing": store.missing,
        "overdue": store.overdue,
        "overdue_is_estimated": store.is_estimated,
        "oldest_verified_at": _iso(store.oldest_at),
    }


def _day_view(day: "FixityDay") -> FixityDayView:
    return {
        "day": day.day.isoformat(),
        "store_id": day.store_id,
        "replicas_checked": day.counts.checked,
        "corrupted": day.counts.corrupted,
        "missing": day.counts.missing,
        "altered_manifests": day.counts.altered,
        "unknown": day.counts.unknown,
        "healed": day.counts.healed,
        "bytes_checked": day.counts.bytes,
    }


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
