"""Views of analyses, for all entry points: JSON-ready dictionaries."""

from collections.abc import Sequence
from typing import Annotated, Any

from typing_extensions import TypedDict

from traffic_storage.domain.data_quality import BINS, DataQuality, DeviceTrend, Issue
from traffic_storage.domain.duplicates import DuplicateReport
from traffic_storage.domain.proportions import Share
from traffic_storage.domain.storage_patterns import (
    DaysToFull,
    DevicePattern,
    StoragePatterns,
    StoreOutlook,
)
from traffic_storage.domain.violation_patterns import ViolationPatterns
from traffic_storage.entrypoints.views import Described

_TIME = Annotated[str, Described({"format": "date-time"})]

MOST_DEVICES = 100
"""The number of devices in a view of storage patterns: those with the most bytes."""
FORECAST_DAYS = 90
"""The number of days whose forecast is in a view."""
_MANY_DAYS = 1000
_MOST_GROUPS = 100
_MOST_FILES = 20
_MOST_WORST = 20


class EfficiencyView(TypedDict):
    """The factors of the storage efficiency.

    `copies`: bytes of all copies by stored bytes. `compression_ratio`: stored bytes by bytes of the
    content, estimated. `duplicate_share`: the share of bytes of repeated content, estimated.
    """

    copies: float
    compression_ratio: float
    duplicate_share: float


class KindPatternView(TypedDict):
    """The files of one kind. `compression_ratio` is null if none was sampled."""

    kind: str
    files: int
    bytes: int
    compression_ratio: float | None


class TierPatternView(TypedDict):
    """The copies of files in a tier. `cost_month` is null if the tier has no price."""

    tier: str
    copies: int
    bytes: int
    cost_month: float | None


class DevicePatternView(TypedDict):
    """What a device has stored. `share` is that of the bytes of all files, 0 to 1."""

    device_id: str | None
    files: int
    bytes: int
    violations: int
    share: float
    cost_month: float | None


class AgePatternView(TypedDict):
    """The estimated stored bytes of files that were received in a span of time before now."""

    age: str
    bytes: int


class DaysToFullView(TypedDict):
    """In how many days a store is full, with a band of 90 %. null: it does not become full."""

    estimate: float | None
    earliest: float | None
    latest: float | None


class ForecastView(TypedDict):
    """The forecast of the bytes that a store receives a day.

    `method` was chosen by a backtest; `errors` are the mean absolute errors of all methods in it,
    in bytes a day. `days` has 90 forecasts, `low` and `high` their band of 90 %. With less than a week
    of history (`enough_history` is false) there is no band, and `low` and `high` are empty; then the
    band of the days to full says nothing, either.
    """

    method: str
    enough_history: bool
    errors: dict[str, float]
    days: list[int]
    low: list[int]
    high: list[int]


class StoreOutlookView(TypedDict):
    """The growth of one store. `received` are the bytes of each whole day, the oldest first."""

    store: str
    tier: str
    location: str
    room_bytes: int | None
    received: list[int]
    forecast: ForecastView
    days_to_full: DaysToFullView
    days_to_full_with_retention: DaysToFullView


class StrategyOutlookView(TypedDict):
    """What the available files would take and cost a month under a strategy."""

    strategy: str
    current: bool
    local_bytes: int
    cloud_bytes: int
    cost_month: float | None


class RetentionOutlookView(TypedDict):
    """What is held in the long run if all retention periods are multiplied by `factor`."""

    factor: float
    bytes: int
    cost_month: float | None


class DuplicateGroupView(TypedDict):
    """Files with the same content, or images that look alike; at most 20 are named."""

    file_ids: list[str]
    files: int
    surplus_bytes: int


class DuplicatesView(TypedDict):
    """Duplicates among the files that were examined; the 100 groups with the most surplus bytes.

    `files` are those of all `group_count` groups.
    """

    examined: int
    files: int
    group_count: int
    share: float
    surplus_bytes: int
    groups: list[DuplicateGroupView]


class StoragePatternsView(TypedDict):
    """What the stored bytes consist of, how they grow, what they cost, what would help.

    `storage_efficiency` is the bytes of the content of all available files, each distinct content
    once, divided by the bytes of all copies in all stores: 1 if each content is stored once,
    uncompressed. `hot_share` is the share of bytes that were received in the last 30 days.
    `devices` are the 100 devices with the most bytes of `device_count`. Ages, ratios and
    expiry are estimated from `sampled` files.
    """

    measured_at: _TIME
    storage_efficiency: float
    efficiency: EfficiencyView
    files: int
    bytes: int
    held_bytes: int
    violations: int
    kinds: list[KindPatternView]
    tiers: list[TierPatternView]
    devices: list[DevicePatternView]
    device_count: int
    ages: list[AgePatternView]
    hot_share: float
    duplicates: DuplicatesView
    growth: list[StoreOutlookView]
    cost_month: float | None
    currency: str
    what_if_strategy: list[StrategyOutlookView]
    what_if_retention: list[RetentionOutlookView]
    recommendations: list[str]
    sampled: int


def storage_patterns_view(found: StoragePatterns) -> StoragePatternsView:
    """Return the view of storage patterns."""
    return {
        "measured_at": found.measured_at.isoformat(),
        "storage_efficiency": round(found.efficiency.value, 4),
        "efficiency": {
            "copies": round(found.efficiency.copies, 4),
            "compression_ratio": round(found.efficiency.compression_ratio, 4),
            "duplicate_share": round(found.efficiency.duplicate_share, 4),
        },
        "files": found.files,
        "bytes": found.bytes,
        "held_bytes": found.held_bytes,
        "violations": found.violations,
        "kinds": [
            {
                "kind": one.kind.value,
                "files": one.files,
                "bytes": one.bytes,
                "compression_ratio": _rounded(one.compression_ratio, 4),
            }
            for one in found.kinds
        ],
        "tiers": [
            {
                "tier": one.tier.value,
                "copies": one.copies,
                "bytes": one.bytes,
                "cost_month": _rounded(one.cost_month, 2),
            }
            for one in found.tiers
        ],
        "devices": [_device_view(one) for one in found.devices[:MOST_DEVICES]],
        "device_count": len(found.devices),
        "ages": [{"age": one.age, "bytes": round(one.bytes)} for one in found.ages],
        "hot_share": round(found.hot_share, 4),
        "duplicates": duplicates_view(found.duplicates),
        "growth": [_outlook_view(one) for one in found.stores],
        "cost_month": _rounded(found.cost_month, 2),
        "currency": found.currency,
        "what_if_strategy": [
            {
                "strategy": one.strategy.value,
                "current": one.is_current,
                "local_bytes": one.local_bytes,
                "cloud_bytes": one.cloud_bytes,
                "cost_month": _rounded(one.cost_month, 2),
            }
            for one in found.strategies
        ],
        "what_if_retention": [
            {
                "factor": one.factor,
                "bytes": round(one.bytes),
                "cost_month": _rounded(one.cost_month, 2),
            }
            for one in found.retention
        ],
        "recommendations": list(found.recommendations),
        "sampled": found.sampled,
    }


def duplicates_view(report: DuplicateReport) -> DuplicatesView:
    """Return the view of a report of duplicates."""
    return {
        "examined": report.examined,
        "files": sum(len(group.file_ids) for group in report.groups),
        "group_count": len(report.groups),
        "share": round(report.share, 4),
        "surplus_bytes": report.surplus_bytes,
        "groups": [
            {
                "file_ids": list(group.file_ids[:_MOST_FILES]),
                "files": len(group.file_ids),
                "surplus_bytes": group.surplus_bytes,
            }
            for group in report.groups[:_MOST_GROUPS]
        ],
    }


def _device_view(device: DevicePattern) -> DevicePatternView:
    return {
        "device_id": device.device_id,
        "files": device.files,
        "bytes": device.bytes,
        "violations": device.violations,
        "share": round(device.share, 4),
        "cost_month": _rounded(device.cost_month, 2),
    }


def _outlook_view(store: StoreOutlook) -> StoreOutlookView:
    found = store.forecast
    low, high = (one[: FORECAST_DAYS if found.enough_history else 0] for one in found.band())
    return {
        "store": store.store_id,
        "tier": store.tier.value,
        "location": store.location,
        "room_bytes": store.room_bytes,
        "received": [round(size) for size in store.received.tolist()],
        "forecast": {
            "method": found.method.value,
            "enough_history": found.enough_history,
            "errors": {method.value: round(error, 1) for method, error in found.errors.items()},
            "days": [round(size) for size in found.values[:FORECAST_DAYS].tolist()],
            "low": [round(size) for size in low.tolist()],
            "high": [round(size) for size in high.tolist()],
        },
        "days_to_full": _days_view(store.without_retention),
        "days_to_full_with_retention": _days_view(store.with_retention),
    }


def some_names(names: Sequence[str], count: int, most: int) -> str:
    """Return at most `most` of the names of `count` files, and how many there are besides."""
    few = names[:most]
    rest = count - len(few)
    return ", ".join(few) + (f" and {rest:,} more" if rest else "")


def days_in_words(days: DaysToFullView, *, certain: bool) -> str:
    """Return when a store is full, in words, with the band.

    `certain` is whether the forecast has a band (`ForecastView.enough_history`).
    """
    estimate = days["estimate"]
    if estimate is None:
        return "never" if certain else "never (too little history)"
    unit, size = ("years", 365.25) if estimate >= _MANY_DAYS else ("days", 1.0)
    if not certain:
        return f"in {estimate / size:,.0f} {unit} (too little history)"
    low, high = (
        "never" if one is None else f"{one / size:,.0f}"
        for one in (days["earliest"], days["latest"])
    )
    return f"in {estimate / size:,.0f} {unit} ({low} to {high})"


def _days_view(days: DaysToFull) -> DaysToFullView:
    return {
        "estimate": _rounded(days.estimate, 1),
        "earliest": _rounded(days.earliest, 1),
        "latest": _rounded(days.latest, 1),
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


class ShareView(TypedDict):
    """How many of the sample have a value; `low` to `high` is the interval of 95 % (Wilson)."""

    value: str
    count: int
    share: float
    low: float
    high: float


class DeviceShareView(ShareView):
    """The share of a device; `violations` is the number of all its violations, exact."""

    violations: int


class ViolationPatternsView(TypedDict):
    """When, where and which violations happen, from `sampled` of `violations`.

    Hours (0 to 23) and weekdays are in the zone `zone`. Devices are the 100 most frequent ones. Of a
    period or device with more than 20,000 violations, their numbers are estimates.
    """

    measured_at: _TIME
    zone: str
    violations: int
    sampled: int
    by_hour: list[ShareView]
    by_weekday: list[ShareView]
    by_device: list[DeviceShareView]
    by_type: list[ShareView]
    by_vehicle_class: list[ShareView]
    findings: list[str]


class IssueView(TypedDict):
    """One kind of finding: in how many of the judged records, with the interval of 95 %."""

    kind: str
    severity: str
    records: int
    share: float
    low: float
    high: float
    example: str
    remedy: str


class DeviceQualityView(TypedDict):
    """The quality of the sampled records of one device. `issue` is the finding that costs the most score."""

    device_id: str
    records: int
    average_score: float
    invalid_records: int
    issue: str


class DeviceTrendView(TypedDict):
    """A metric of the images of a device that rises or falls, by the Mann-Kendall test.

    `slope` is the change a day; `first` and `last` are the medians of the first and the last tenth of
    the values, and `days` is the time between these.
    """

    device_id: str
    metric: str
    slope: float
    first: float
    last: float
    days: float
    images: int
    p_value: float
    words: str


class BinView(TypedDict):
    """The number of records whose score is from `low` to below `high` (1 included in the last)."""

    low: float
    high: float
    records: int


class DataQualityView(TypedDict):
    """The quality of a random sample of violations, and of images that belong to none.

    A record is valid if no check of it or its image found an error; its score, 0 to 1, is the
    product of the parts. `unread_records` are not judged: their image could not be reached.
    `average_quality_score` is null if nothing was judged. Devices need 3 records to be among the
    worst, and 8 images for a trend; `devices_watched` have them.
    """

    measured_at: _TIME
    sampled: int
    average_quality_score: float | None
    valid_records: int
    invalid_records: int
    unread_records: int
    score_distribution: list[BinView]
    issues: list[IssueView]
    worst_devices: list[DeviceQualityView]
    trends: list[DeviceTrendView]
    devices_watched: int
    exact_duplicates: DuplicatesView
    near_duplicates: DuplicatesView


def violation_patterns_view(found: ViolationPatterns) -> ViolationPatternsView:
    """Return the view of violation patterns."""
    return {
        "measured_at": found.measured_at.isoformat(),
        "zone": found.zone.key,
        "violations": found.violations,
        "sampled": found.sampled,
        "by_hour": [_share_view(one) for one in found.by_hour],
        "by_weekday": [_share_view(one) for one in found.by_weekday],
        "by_device": [
            {**_share_view(one), "violations": found.by_device_count.get(one.value, 0)}
            for one in found.by_device[:MOST_DEVICES]
        ],
        "by_type": [_share_view(one) for one in found.by_type[:MOST_DEVICES]],
        "by_vehicle_class": [_share_view(one) for one in found.by_vehicle_class[:MOST_DEVICES]],
        "findings": list(found.findings),
    }


def data_quality_view(found: DataQuality) -> DataQualityView:
    """Return the view of the data quality."""
    return {
        "measured_at": found.measured_at.isoformat(),
        "sampled": found.sampled,
        "average_quality_score": _rounded(found.average_score, 4),
        "valid_records": found.valid,
        "invalid_records": found.invalid,
        "unread_records": found.unread,
        "score_distribution": [
            {"low": place / BINS, "high": (place + 1) / BINS, "records": records}
            for place, records in enumerate(found.distribution)
        ],
        "issues": [_issue_view(one) for one in found.issues],
        "worst_devices": [
            {
                "device_id": one.device_id,
                "records": one.records,
                "average_score": round(one.average_score, 4),
                "invalid_records": one.invalid,
                "issue": one.costliest,
            }
            for one in found.worst_devices[:_MOST_WORST]
        ],
        "trends": [_trend_view(one) for one in found.trends],
        "devices_watched": found.devices_watched,
        "exact_duplicates": duplicates_view(found.exact),
        "near_duplicates": duplicates_view(found.near),
    }


def _share_view(share: Share[Any]) -> ShareView:
    low, high = share.interval
    return {
        "value": str(share.value),
        "count": share.count,
        "share": round(share.share, 4),
        "low": round(low, 4),
        "high": round(high, 4),
    }


def _issue_view(issue: Issue) -> IssueView:
    low, high = issue.found.interval
    return {
        "kind": issue.kind,
        "severity": issue.severity.value,
        "records": issue.found.count,
        "share": round(issue.found.share, 4),
        "low": round(low, 4),
        "high": round(high, 4),
        "example": issue.example,
        "remedy": issue.remedy,
    }


def _trend_view(found: DeviceTrend) -> DeviceTrendView:
    trend = found.trend
    return {
        "device_id": found.device_id,
        "metric": found.metric,
        "slope": trend.slope,
        "first": round(trend.first, 4),
        "last": round(trend.last, 4),
        "days": round(trend.days, 2),
        "images": trend.points,
        "p_value": trend.p_value,
        "words": found.words,
    }
