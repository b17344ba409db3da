"""Views of analyses, for all entry points: JSON-ready dictionaries."""

from typing import Annotated

from typing_extensions import TypedDict

from traffic_storage.domain.duplicates import DuplicateReport
from traffic_storage.domain.storage_patterns import (
    DaysToFull,
    DevicePattern,
    StoragePatterns,
    StoreOutlook,
)
from traffic_storage.entrypoints.views import Described

_TIME = Annotated[str, Described({"format": "date-time"})]

MOST_DEVICES = 100
"""The number of devices in a view of storage patterns: those with the most bytes."""
FORECAST_DAYS = 90
"""The number of days whose forecast is in a view."""
_MOST_GROUPS = 100
_MOST_FILES = 20


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
    in bytes a day. `days` has 90 forecasts, `low` and `high` their band of 90 %.
    """

    method: str
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
    """Duplicates among the files that were examined; the 100 groups with the most surplus bytes."""

    examined: int
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
    low, high = found.band()
    return {
        "store": store.store_id,
        "tier": store.tier.value,
        "location": store.location,
        "room_bytes": store.room_bytes,
        "received": [round(size) for size in store.received.tolist()],
        "forecast": {
            "method": found.method.value,
            "errors": {method.value: round(error, 1) for method, error in found.errors.items()},
            "days": [round(size) for size in found.values[:FORECAST_DAYS].tolist()],
            "low": [round(size) for size in low[:FORECAST_DAYS].tolist()],
            "high": [round(size) for size in high[:FORECAST_DAYS].tolist()],
        },
        "days_to_full": _days_view(store.without_retention),
        "days_to_full_with_retention": _days_view(store.with_retention),
    }


def _days_view(days: DaysToFull) -> DaysToFullView:
    return {
        "estimate": _rounded(days.estimate, 1),
        "earliest": _rounded(days.earliest, 1),
        "latest": _rounded(days.latest, 1),
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
