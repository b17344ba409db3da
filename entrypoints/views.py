"""Views: the typed dictionaries that the Python, HTTP and CLI interfaces return.

Every view serialises to JSON. Times are ISO 8601 in UTC. A field that does not apply is None.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, NotRequired

from attrs import field, frozen
from typing_extensions import TypedDict

from traffic_storage.domain.files import FileKind, FileState, ReplicaState, Tier
from traffic_storage.domain.holds import scope_fields
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.image_layout import ChannelOrder
from traffic_storage.domain.jobs import JobState, Priority
from traffic_storage.domain.pressure import PressureLevel
from traffic_storage.domain.reconcile import Tally
from traffic_storage.domain.times import utc_text, utc_texts

if TYPE_CHECKING:
    from traffic_storage.application.delete_files import DeletedThing
    from traffic_storage.application.examine_quarantine import Examined
    from traffic_storage.application.legal_holds import PlacedHold
    from traffic_storage.application.rebuild_catalogue import Rebuilt
    from traffic_storage.application.reconcile import Reconciliation, Skipped
    from traffic_storage.application.statistics import StorageStatistics, TierUsage
    from traffic_storage.application.store_evidence import StoredEvidence
    from traffic_storage.application.sync_backends import Synchronised
    from traffic_storage.application.watch_pressure import StorePressure
    from traffic_storage.domain.deletion import Certificate
    from traffic_storage.domain.files import StoredFile
    from traffic_storage.domain.holds import Hold
    from traffic_storage.domain.jobs import Job
    from traffic_storage.domain.violation import StoredViolation


@frozen
class Described:
    """Annotation of a type that adds keywords to its JSON schema.

    pydantic finds the method `__get_pydantic_json_schema__` by its name.
    """

    keywords: Mapping[str, Any] = field(hash=False)

    def __get_pydantic_json_schema__(
        self, schema: object, handler: Callable[[object], dict[str, Any]]
    ) -> dict[str, Any]:
        """Return the schema of the field's type with the keywords added."""
        return {**handler(schema), **self.keywords}


Time = Annotated[str, Described({"format": "date-time"})]
Kind = Annotated[str, Described({"enum": [str(kind) for kind in FileKind]})]
TierName = Annotated[str, Described({"enum": [str(tier) for tier in Tier]})]
FileStateName = Annotated[str, Described({"enum": [str(state) for state in FileState]})]
ReplicaStateName = Annotated[str, Described({"enum": [str(state) for state in ReplicaState]})]
LevelName = Annotated[str, Described({"enum": [level.word for level in PressureLevel]})]
JobStateName = Annotated[str, Described({"enum": [str(state) for state in JobState]})]
PriorityName = Annotated[str, Described({"enum": [each.name.lower() for each in Priority]})]
Order = Annotated[str, Described({"enum": [str(order) for order in ChannelOrder]})]


class ReplicaView(TypedDict):
    """One replica of a file: its copy in one store."""

    store: str
    tier: TierName
    state: ReplicaStateName
    verified_at: Time | None


class PlacementView(TypedDict):
    """Which stores were chosen for a file, and the reason, both as text."""

    decision: str
    reason: str


class StoredFileView(TypedDict):
    """Stored-file metadata. `sha256` and `size_bytes` describe the bytes that a read returns.

    `quality` is what validating found when the file was stored: `valid`, `score`, `parts` below 1,
    `errors`, `warnings`, `metrics`. Of a video that was stored damaged (`accept_damaged_video`), it has
    `integrity: damaged` and what is `missing`, in words. If `validate_on_store` was off, it is None, or for the metadata
    file of a violation whose box lies outside its image, this finding (`box_outside`).
    `labels_added` is only in the answer to a repeated call that has added labels: their names.
    """

    file_id: str
    kind: Kind
    content_type: str
    size_bytes: int
    sha256: str
    created_at: Time
    captured_at: Time | None
    device_id: str | None
    violation_id: str | None
    width: int | None
    height: int | None
    channels: int | None
    channel_order: Order | None
    duration_seconds: float | None
    replicas: list[ReplicaView]
    placement: PlacementView
    expires_at: Time
    state: FileStateName
    original_name: str | None
    metadata: dict[str, object] | None
    quality: dict[str, object] | None
    labels_added: NotRequired[list[str]]


class ViolationView(TypedDict):
    """A violation. `zone_assumed` is the zone in which a naive `timestamp` was interpreted."""

    violation_id: str
    device_id: str
    violation_type: str
    timestamp: Time
    zone_assumed: str | None
    vehicle_bbox: list[float]
    vehicle_class: str
    confidence: float
    image_path: str
    video_path: str
    camera_info: Mapping[str, object]
    processing_time_ms: float
    model_versions: Mapping[str, str]
    received_at: Time
    incomplete: bool
    image_state: FileStateName | None
    video_state: FileStateName | None


class EvidenceView(TypedDict):
    """A violation and its files, keyed by kind."""

    violation: ViolationView
    files: dict[str, StoredFileView]


class ProgressView(TypedDict):
    """How far a job has come. `total` is None while it is unknown."""

    done: int
    total: int | None
    bytes: int
    message: str


class JobView(TypedDict):
    """A job: work that is done outside of a request, and repeated until it has succeeded.

    `run_at` is the earliest time of its next run, `leased_until` the time until which `owner` has
    it, `store_id` and `target_id` the stores that the worker must be able to reach (None: any),
    `result` what a job that is done has made (None: nothing but what the catalogue shows).
    """

    job_id: str
    kind: str
    state: JobStateName
    priority: PriorityName
    arguments: dict[str, object]
    key: str | None
    store_id: str | None
    target_id: str | None
    attempts: int
    max_attempts: int
    created_at: Time
    run_at: Time
    owner: str | None
    leased_until: Time | None
    cancelling: bool
    progress: ProgressView
    result: dict[str, object] | None
    error: str
    ended_at: Time | None


class HoldView(TypedDict):
    """A legal hold on a file, a violation, or the files of a device in a range of time.

    `until` is None if it is open, `released_at` if it was not released.
    """

    hold_id: str
    case_reference: str
    reason: str
    placed_by: str
    placed_at: Time
    until: Time | None
    file_id: str | None
    violation_id: str | None
    device_id: str | None
    start_time: Time | None
    end_time: Time | None
    include_future: bool | None
    kind: Kind | None
    violation_type: str | None
    released_at: Time | None
    released_by: str | None
    release_reason: str | None


class PlacedHoldView(HoldView):
    """A hold that was placed.

    `tombstoned` counts the covered files whose purge it stops, `purging` those that it comes too
    late for.
    """

    tombstoned: int
    purging: int


class DeletionView(TypedDict):
    """The deletion of a file or of a violation with its files (`deleted`, by this call).

    It can be undone until `purge_after`, while its state is `tombstoned`.
    """

    file_id: str | None
    violation_id: str | None
    state: FileStateName
    deleted_at: Time
    purge_after: Time
    reason: str
    actor: str
    rule: str | None
    override: bool
    deleted: list[str]


class CertificateView(TypedDict):
    """A destruction certificate.

    `certificate_sha256` is of the canonical JSON of `certificate`: UTF-8, keys sorted, no white
    space.
    """

    certificate: dict[str, object]
    certificate_sha256: str


class KindUsageView(TypedDict):
    """Number of files of one kind with a copy in a tier, and the stored bytes of the copies."""

    files: int
    bytes: int


class TierUsageView(TypedDict):
    """Usage of a tier (local or cloud).

    `usage_percentage` is 0–100, and 0 if the tier has no limit.

    `files` counts replicas: a file with copies in two stores of the tier counts twice.
    """

    configured: bool
    files: int
    used_bytes: int
    limit_bytes: int | None
    free_bytes: int | None
    usage_percentage: float
    by_kind: dict[str, KindUsageView]


class DayGrowthView(TypedDict):
    """Files and violations received on a day (UTC), and the stored bytes of these files.

    The bytes of a file count once, however many copies it has.
    """

    day: str
    files: int
    bytes: int
    violations: int


class DatabaseView(TypedDict):
    """Number of violations in the catalogue, the database of the system."""

    violations: int


class CacheView(TypedDict):
    """Whether the cache works, and its state as text."""

    healthy: bool
    detail: str


class SyncView(TypedDict):
    """What a synchronisation of the stores has done.

    `copied` are files that got a further copy, `moved` files that left a store after they were
    copied to another one, `failed` failed tries, which are repeated later, `bytes` the bytes that
    were copied, `remaining` files that are still to be copied or moved.
    """

    copied: int
    moved: int
    failed: int
    bytes: int
    remaining: int


class PressureView(TypedDict):
    """How close a store is to being full.

    `level` is none, forecast, move_out, evidence_only or full. `days_to_full` is None if the store
    does not fill at the present rate, `room_bytes` if the space is unknown or unbounded.
    """

    store: str
    tier: TierName
    location: str
    level: LevelName
    reason: str
    room_bytes: int | None
    bytes_per_day: float
    days_to_full: float | None


class StatisticsView(TypedDict):
    """Storage statistics. `operation_stats` counts this process's operations since its start.

    `growth` has one entry for each of the last 7 days, oldest first, today included.
    """

    local_storage: TierUsageView
    cloud_storage: TierUsageView
    database: DatabaseView
    growth: list[DayGrowthView]
    pressure: list[PressureView]
    cache: CacheView
    operation_stats: dict[str, int]


def file_view(file: "StoredFile", labels_added: Sequence[str] = ()) -> StoredFileView:
    """Return the view of a stored file; `labels_added` are the labels that a call has added to it."""
    picture = file.media
    view: StoredFileView = {
        "file_id": file.file_id,
        "kind": file.kind.value,
        "content_type": file.content_type,
        "size_bytes": file.content.size_bytes,
        "sha256": file.content.sha256,
        "created_at": utc_text(file.created_at),
        "captured_at": _iso(file.captured_at),
        "device_id": file.device_id,
        "violation_id": file.violation_id,
        "width": picture.width,
        "height": picture.height,
        "channels": picture.channels,
        "channel_order": picture.channel_order.value if picture.channel_order else None,
        "duration_seconds": picture.duration_seconds,
        "replicas": [
            {
                "store": replica.store_id,
                "tier": replica.tier.value,
                "state": replica.state.value,
                "verified_at": _iso(replica.verified_at),
            }
            for replica in file.replicas
        ],
        "placement": {"decision": file.placement.decision, "reason": file.placement.reason},
        "expires_at": utc_text(file.keep_until),
        "state": file.state.value,
        "original_name": file.original_name,
        "metadata": None if file.metadata is None else json.loads(file.metadata),
        "quality": None if file.quality is None else json.loads(file.quality),
    }
    if labels_added:
        view["labels_added"] = [*labels_added]
    return view


def violation_view(violation: "StoredViolation") -> ViolationView:
    """Return the view of a violation. `image_path` and `video_path` are file ids, or empty."""
    return violation_views((violation,))[0]


def violation_views(violations: Sequence["StoredViolation"]) -> list[ViolationView]:
    """Return the `violation_view` of each violation of a page."""
    happened = utc_texts([violation.occurred_at for violation in violations])
    received = utc_texts([violation.received_at for violation in violations])
    records = [violation.record for violation in violations]
    return [
        {
            "violation_id": record.violation_id,
            "device_id": record.device_id,
            "violation_type": record.violation_type,
            "timestamp": happened_at,
            "zone_assumed": violation.zone_assumed,
            "vehicle_bbox": [*record.vehicle_bbox],
            "vehicle_class": record.vehicle_class,
            "confidence": record.confidence,
            "image_path": violation.image_file_id or "",
            "video_path": violation.video_file_id or "",
            "camera_info": record.camera_info,
            "processing_time_ms": record.processing_time_ms,
            "model_versions": record.model_versions,
            "received_at": received_at,
            "incomplete": violation.incomplete,
            "image_state": violation.image_state.value if violation.image_file_id else None,
            "video_state": violation.video_state.value if violation.video_file_id else None,
        }
        for violation, record, happened_at, received_at in zip(
            violations, records, happened, received, strict=True
        )
    ]


def job_view(job: "Job") -> JobView:
    """Return the view of a job."""
    return {
        "job_id": str(job.job_id),
        "kind": job.kind,
        "state": job.state.value,
        "priority": job.priority.name.lower(),
        "arguments": dict(job.arguments),
        "key": job.key,
        "store_id": job.store_id,
        "target_id": job.target_id,
        "attempts": job.attempts,
        "max_attempts": job.max_attempts,
        "created_at": utc_text(job.created_at),
        "run_at": utc_text(job.run_at),
        "owner": job.owner,
        "leased_until": _iso(job.leased_until),
        "cancelling": job.cancelling,
        "progress": {
            "done": job.progress.done,
            "total": job.progress.total,
            "bytes": job.progress.bytes,
            "message": job.progress.message,
        },
        "result": None if job.result is None else dict(job.result),
        "error": job.error,
        "ended_at": _iso(job.ended_at),
    }


class QuarantineView(TypedDict):
    """What became of the blobs in the quarantine of one store.

    `files` and `copies` were recorded again, `removed` were deleted (`bytes_removed` bytes),
    `absent` had no blob or were recorded meanwhile, `waiting` are examined again, about `kept` a
    person must decide.
    """

    files: int
    copies: int
    removed: int
    bytes_removed: int
    absent: int
    waiting: int
    kept: int


class ReconciliationView(TypedDict):
    """The comparison of one store with the catalogue.

    `skipped` states why the store was not compared, `aborted` why nothing was changed; both are
    empty if it was compared and the differences were acted on. `listed` to `reappeared` count what
    was found, `entered` to `remaining` what was done: blobs entered into the quarantine, copies
    recorded as missing, corrupt or present again, differences that were gone at the second look,
    and those left to the next comparison. `quarantine` is None if it was not examined.
    """

    location: str
    store: str | None
    dry_run: bool
    skipped: str
    aborted: str
    listed: int
    listed_bytes: int
    recorded: int
    foreign: int
    young: int
    unrecorded: int
    known_unrecorded: int
    missing: int
    damaged: int
    reappeared: int
    entered: int
    recorded_missing: int
    recorded_corrupt: int
    recorded_present: int
    unexplained: int
    remaining: int
    quarantine: QuarantineView | None


class UnplacedView(TypedDict):
    """A blob (by its key) or a violation (by its id) that a rebuild could not restore, and why."""

    store: str | None
    name: str
    reason: str


class RebuildView(TypedDict):
    """What a rebuild has restored; of a dry run, what it would restore.

    `files` are files and `copies` further copies of files, together `bytes`; `violations` were
    restored or completed; `known` copies were in the catalogue before; `unfinished` are still being
    stored. `unplaced` could not be restored: `reasons` counts them, `examples` names the first
    1,000. `taken_over` has the locations of stores that belonged to another catalogue,
    `trusted_again` those of a catalogue that was loaded from a backup, `skipped` those of stores that
    were not examined, and why. Changes in the journal beside the blobs were
    applied: `holds`, `deletions`, `purged` files with their certificates, added `labels`, `rules` of retention;
    `unreadable_notes` of it are damaged.
    """

    dry_run: bool
    files: int
    copies: int
    violations: int
    known: int
    unfinished: int
    bytes: int
    unplaced: int
    reasons: dict[str, int]
    examples: list[UnplacedView]
    taken_over: list[str]
    trusted_again: list[str]
    skipped: dict[str, str]
    holds: int
    deletions: int
    purged: int
    labels: int
    rules: int
    unreadable_notes: list[str]


def reconciliation_view(found: "Reconciliation | Skipped") -> ReconciliationView:
    """Return the view of the comparison of one store."""
    from traffic_storage.application.reconcile import Skipped
    from traffic_storage.application.reconcile_store import Reconciled

    if isinstance(found, Skipped):
        nothing = Reconciled(StoreId(""), found.location, dry_run=False, tally=Tally())
        compared, examined, skipped = nothing, None, found.reason
    else:
        compared, examined, skipped = found.compared, found.examined, ""
    tally = compared.tally
    return {
        "location": compared.location,
        "store": compared.store_id or None,
        "dry_run": compared.dry_run,
        "skipped": skipped,
        "aborted": compared.aborted,
        "listed": tally.listed,
        "listed_bytes": tally.listed_bytes,
        "recorded": tally.recorded,
        "foreign": tally.foreign,
        "young": tally.young,
        "unrecorded": tally.unrecorded,
        "known_unrecorded": tally.quarantined,
        "missing": tally.missing,
        "damaged": tally.damaged,
        "reappeared": tally.reappeared,
        "entered": compared.quarantined,
        "recorded_missing": compared.missing,
        "recorded_corrupt": compared.corrupt,
        "recorded_present": compared.present,
        "unexplained": compared.unexplained,
        "remaining": compared.remaining,
        "quarantine": None if examined is None else _quarantine_view(examined),
    }


def _quarantine_view(examined: "Examined") -> QuarantineView:
    return {
        "files": examined.files,
        "copies": examined.copies,
        "removed": examined.removed,
        "bytes_removed": examined.bytes_removed,
        "absent": examined.absent,
        "waiting": examined.waiting,
        "kept": examined.kept,
    }


def rebuild_view(found: "Rebuilt") -> RebuildView:
    """Return the view of what a rebuild has restored."""
    return {
        "dry_run": found.dry_run,
        "files": found.files,
        "copies": found.copies,
        "violations": found.violations,
        "known": found.known,
        "unfinished": found.unfinished,
        "bytes": found.bytes,
        "unplaced": found.unplaced,
        "reasons": dict(found.reasons),
        "examples": [
            {"store": one.store_id, "name": one.name, "reason": one.reason}
            for one in found.examples
        ],
        "taken_over": [*found.taken_over],
        "trusted_again": [*found.accepted],
        "skipped": dict(found.skipped),
        "holds": found.holds,
        "deletions": found.deletions,
        "purged": found.purged,
        "labels": found.labels,
        "rules": found.rules,
        "unreadable_notes": [f"{store_id} {name}" for store_id, name in found.unreadable],
    }


def hold_view(hold: "Hold") -> HoldView:
    """Return the view of a hold."""
    return {
        "hold_id": str(hold.hold_id),
        "case_reference": hold.case_reference,
        "reason": hold.reason,
        "placed_by": hold.placed_by,
        "placed_at": utc_text(hold.placed_at),
        "until": _iso(hold.until),
        "file_id": None,
        "violation_id": None,
        "device_id": None,
        "start_time": None,
        "end_time": None,
        "include_future": None,
        "kind": None,
        "violation_type": None,
        "released_at": _iso(hold.released_at),
        "released_by": hold.released_by,
        "release_reason": hold.release_reason,
        **scope_fields(hold.scope),  # type: ignore[typeddict-item]
    }


def placed_hold_view(placed: "PlacedHold") -> PlacedHoldView:
    """Return the view of a hold that was placed."""
    return {
        **hold_view(placed.hold),
        "tombstoned": placed.reach.tombstoned,
        "purging": placed.reach.purging,
    }


def deletion_view(done: "DeletedThing", what: str) -> DeletionView:
    """Return the view of the deletion of a `file` or a `violation`."""
    deletion = done.deletion
    return {
        "file_id": done.identifier if what == "file" else None,
        "violation_id": done.identifier if what == "violation" else None,
        "state": done.state.value,
        "deleted_at": utc_text(deletion.tombstoned_at),
        "purge_after": utc_text(deletion.purge_after),
        "reason": deletion.reason,
        "actor": deletion.actor,
        "rule": deletion.rule,
        "override": deletion.override,
        "deleted": list(done.file_ids),
    }


def certificate_view(certificate: "Certificate") -> CertificateView:
    """Return the view of a destruction certificate."""
    return {
        "certificate": json.loads(certificate.document),
        "certificate_sha256": certificate.sha256,
    }


def evidence_view(evidence: "StoredEvidence") -> EvidenceView:
    """Return the view of a newly stored violation with its files."""
    return {
        "violation": violation_view(evidence.violation),
        "files": {kind.value: file_view(file) for kind, file in evidence.files.items()},
    }


def sync_view(done: "Synchronised") -> SyncView:
    """Return the view of a synchronisation."""
    return {
        "copied": done.copied,
        "moved": done.moved,
        "failed": done.failed,
        "bytes": done.bytes,
        "remaining": done.remaining,
    }


def statistics_view(statistics: "StorageStatistics") -> StatisticsView:
    """Return the view of the statistics."""
    return {
        "local_storage": _tier_view(statistics.local),
        "cloud_storage": _tier_view(statistics.cloud),
        "database": {"violations": statistics.violations},
        "growth": [
            {
                "day": day.day.isoformat(),
                "files": day.files,
                "bytes": day.bytes,
                "violations": day.violations,
            }
            for day in statistics.growth
        ],
        "pressure": [_pressure_view(found) for found in statistics.pressure],
        "cache": {"healthy": statistics.cache.healthy, "detail": statistics.cache.detail},
        "operation_stats": dict(statistics.operations),
    }


def _pressure_view(found: "StorePressure") -> PressureView:
    here = found.pressure
    days = None if here.full_in is None else round(here.full_in / timedelta(days=1), 2)
    return {
        "store": found.store_id,
        "tier": found.tier.value,
        "location": found.location,
        "level": here.level.word,
        "reason": here.reason,
        "room_bytes": here.room_bytes,
        "bytes_per_day": round(here.bytes_per_day, 1),
        "days_to_full": days,
    }


def _tier_view(usage: "TierUsage") -> TierUsageView:
    return {
        "configured": usage.configured,
        "files": usage.files,
        "used_bytes": usage.used_bytes,
        "limit_bytes": usage.limit_bytes,
        "free_bytes": usage.free_bytes,
        "usage_percentage": usage.usage_percentage or 0.0,
        "by_kind": {
            kind.value: {"files": part.files, "bytes": part.bytes}
            for kind, part in usage.by_kind.items()
        },
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else utc_text(moment)
