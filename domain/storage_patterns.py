"""Storage patterns: what the stored bytes consist of, how they grow, what they cost, what would help.

Exact figures come from the maintained counters. What no counter knows (age, compression, when files
expire) is estimated from a random sample of files of each kind and scaled to the counters; content
that is stored twice is looked for among the newest files.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import numpy as np
from attrs import frozen

from traffic_storage.domain.amounts import counted, in_bytes
from traffic_storage.domain.duplicates import DuplicateReport
from traffic_storage.domain.files import OCCUPYING, FileKind, StoredFile, Tier
from traffic_storage.domain.forecast import BAND_Z, Forecast, Series
from traffic_storage.domain.identifiers import DeviceId, StoreId
from traffic_storage.domain.placement import StorageStrategy, Thresholds
from traffic_storage.domain.pressure import days_to_fill
from traffic_storage.domain.prices import Prices
from traffic_storage.domain.usage import CatalogueUsage, DeviceUsage

HOT_DAYS = 30
"""Files that were received within this number of days count as hot. Reads are not recorded."""
OUTLOOK_DAYS = 730
"""The number of days for which receipts are forecast day by day."""
MONTH_DAYS = 30
_AGES = (("under 7 days", 7), ("7 to 30 days", 30), ("30 to 90 days", 90), ("90 to 365 days", 365))
_OLDEST = "over 365 days"
_FACTORS = (0.5, 1.0, 2.0)
_DAY = timedelta(days=1)
_CENTURY_DAYS = 36_500


@frozen
class Efficiency:
    """How many bytes of content the stores hold for each byte that they use.

    `value` = content bytes of the available files, each distinct content once, divided by the bytes
    of all copies in all stores. It is 1 if each content is stored once, as it came; compression
    raises it, and further copies, duplicates and files that are being deleted lower it. So HYBRID,
    which keeps two copies, has about 0.5 without compression. An empty catalogue has 1.

    Attributes:
        copies: the bytes of all copies divided by the stored bytes of the available files.
        compression_ratio: stored bytes divided by content bytes, estimated; 1 is uncompressed.
        duplicate_share: the share of bytes of files whose content is stored twice, estimated.
    """

    value: float
    copies: float
    compression_ratio: float
    duplicate_share: float


@frozen
class KindPattern:
    """The files of one kind. `compression_ratio` is None if none was sampled."""

    kind: FileKind
    files: int
    bytes: int
    compression_ratio: float | None


@frozen
class TierPattern:
    """All copies in a tier. `cost_month` is None without a price of the tier."""

    tier: Tier
    copies: int
    bytes: int
    cost_month: float | None


@frozen
class DevicePattern:
    """What a device has stored; `share` is that of the bytes of all files, 0 to 1.

    `cost_month` is for all copies in all tiers that have a price; None if none has.
    """

    device_id: DeviceId | None
    files: int
    bytes: int
    violations: int
    share: float
    cost_month: float | None


@frozen
class AgePattern:
    """The estimated stored bytes of the files that were received in a span of time before now."""

    age: str
    bytes: float


@frozen
class DaysToFull:
    """In how many days a store is full: the estimate and the limits of a band of 90 %.

    None: at that rate it does not become full within 100 years.
    """

    estimate: float | None
    earliest: float | None
    latest: float | None


@frozen
class StoreOutlook:
    """The forecast of one store.

    Attributes:
        received: the bytes received on each whole day, the oldest first.
        forecast: the bytes received on each day to come.
        without_retention: when the store is full if nothing is removed.
        with_retention: when it is full if files are removed as soon as their retention ends.
    """

    store_id: StoreId
    tier: Tier
    location: str
    room_bytes: int | None
    received: Series
    forecast: Forecast
    without_retention: DaysToFull
    with_retention: DaysToFull


@frozen
class StrategyOutlook:
    """What the available files would take and cost a month under a strategy.

    LOCAL_THEN_CLOUD fills local disk to its low-water mark and stores the rest in the cloud. HYBRID
    stores all in the cloud and keeps further copies of some kinds on local disk, to the same mark.
    """

    strategy: StorageStrategy
    is_current: bool
    local_bytes: int
    cloud_bytes: int
    cost_month: float | None


@frozen
class RetentionOutlook:
    """What is held in the long run if all retention periods are multiplied by a factor.

    The bytes of all copies at the rate of the last four weeks, with as many copies as now.
    """

    factor: float
    bytes: float
    cost_month: float | None


@frozen
class StoragePatterns:
    """All findings about the stored bytes. Devices: those with the most bytes first."""

    measured_at: datetime
    efficiency: Efficiency
    files: int
    bytes: int
    held_bytes: int
    violations: int
    kinds: tuple[KindPattern, ...]
    tiers: tuple[TierPattern, ...]
    devices: tuple[DevicePattern, ...]
    ages: tuple[AgePattern, ...]
    hot_share: float
    duplicates: DuplicateReport
    stores: tuple[StoreOutlook, ...]
    cost_month: float | None
    currency: str
    strategies: tuple[StrategyOutlook, ...]
    retention: tuple[RetentionOutlook, ...]
    sampled: int

    @property
    def recommendations(self) -> tuple[str, ...]:
        """What could be done, in words with the figures that speak for it; most urgent first."""
        return tuple(_recommendations(self))


@frozen
class StorageOptions:
    """The settings that storage patterns depend on; `local_limit_bytes` is that of local disk."""

    strategy: StorageStrategy
    thresholds: Thresholds
    local_limit_bytes: int
    prices: Prices


@frozen
class Totals:
    """The counters at one moment, and the tier of each store."""

    usage: CatalogueUsage
    tiers: Mapping[StoreId, Tier]
    prices: Prices

    @property
    def bytes(self) -> int:
        """The stored bytes of all available files."""
        return sum(row.bytes for row in self.usage.files)

    @property
    def held_bytes(self) -> int:
        """The bytes of all copies."""
        return sum(row.bytes for row in self.usage.stores)

    @property
    def by_kind(self) -> Mapping[FileKind, int]:
        """The stored bytes of the available files of each kind."""
        return {row.kind: row.bytes for row in self.usage.files}

    def by_tier(self, usage: CatalogueUsage | None = None) -> Mapping[Tier, int]:
        """Return the bytes of all copies, or of those in `usage`, by tier."""
        rows = (usage or self.usage).stores
        return {
            tier: sum(row.bytes for row in rows if self.tiers.get(row.store_id) is tier)
            for tier in Tier
        }

    def tier_patterns(self) -> tuple[TierPattern, ...]:
        """Return what is in each tier that has copies."""
        found = []
        for tier, size in self.by_tier().items():
            rows = [row for row in self.usage.stores if self.tiers.get(row.store_id) is tier]
            if rows:
                copies = sum(row.replicas for row in rows)
                found.append(TierPattern(tier, copies, size, self.prices.month({tier: size})))
        return tuple(found)

    def device_patterns(self, devices: Iterable[DeviceUsage]) -> tuple[DevicePattern, ...]:
        """Return what each device has stored, those with the most bytes first."""
        found = [self._device_pattern(device) for device in devices]
        return tuple(sorted(found, key=lambda one: (-one.bytes, one.device_id or "")))

    def _device_pattern(self, device: DeviceUsage) -> DevicePattern:
        size = sum(row.bytes for row in device.usage.files)
        return DevicePattern(
            device.device_id,
            sum(row.files for row in device.usage.files),
            size,
            device.usage.violations,
            size / self.bytes if self.bytes else 0.0,
            self.prices.month(self.by_tier(device.usage)),
        )


@frozen
class FileSample:
    """A random sample of the available files, and what it says of all of them at `now`."""

    files: Sequence[StoredFile]
    now: datetime

    def compression_ratio(self, kind: FileKind) -> float | None:
        """Return the stored bytes of a kind divided by the bytes of the content; None if unknown."""
        files = [file for file in self.files if file.kind is kind]
        content = sum(file.content.size_bytes for file in files)
        return sum(file.stored.size_bytes for file in files) / content if content else None

    def kind_patterns(self, usage: CatalogueUsage) -> tuple[KindPattern, ...]:
        """Return the files of each kind."""
        return tuple(
            KindPattern(row.kind, row.files, row.bytes, self.compression_ratio(row.kind))
            for row in usage.files
        )

    def bytes_by_age(self, totals: Mapping[FileKind, int]) -> Mapping[int, float]:
        """Return the stored bytes of all files by their age in days, scaled to the totals."""
        found: dict[int, float] = {}
        for kind, total in totals.items():
            files = [file for file in self.files if file.kind is kind]
            scale = _scale(total, sum(file.stored.size_bytes for file in files))
            for file in files:
                days = max(0, (self.now - file.created_at) // _DAY)
                found[days] = found.get(days, 0.0) + scale * file.stored.size_bytes
        return found

    def expiring(self, store_id: StoreId, held: Mapping[FileKind, int], days: int) -> Series:
        """Return the bytes of copies in a store whose retention ends on each day from now on.

        `held` are the bytes in the store by kind. What is overdue ends on the first day. Files
        under legal hold count as the others.
        """
        found = np.zeros(days)
        for kind, total in held.items():
            files = [file for file in self.files if file.kind is kind and _is_in(file, store_id)]
            scale = _scale(total, sum(file.stored.size_bytes for file in files))
            for file in files:
                day = max(0, (file.keep_until - self.now) // _DAY)
                if day < days:
                    found[day] += scale * file.stored.size_bytes
        return found


def efficiency_of(
    totals: Totals, kinds: Sequence[KindPattern], duplicates: DuplicateReport
) -> Efficiency:
    """Return the storage efficiency, as `Efficiency` defines it."""
    content = sum(kind.bytes / (kind.compression_ratio or 1.0) for kind in kinds)
    compression = totals.bytes / content if content else 1.0
    copies = totals.held_bytes / totals.bytes if totals.bytes else 1.0
    if not content or not totals.held_bytes:
        return Efficiency(1.0, copies, compression, duplicates.share)
    value = content * (1 - duplicates.share) / totals.held_bytes
    return Efficiency(value, copies, compression, duplicates.share)


def age_patterns(by_age: Mapping[int, float]) -> tuple[AgePattern, ...]:
    """Return the bytes by span of age, the youngest first."""
    sums = dict.fromkeys([*(name for name, _ in _AGES), _OLDEST], 0.0)
    for days, size in by_age.items():
        sums[next((name for name, limit in _AGES if days < limit), _OLDEST)] += size
    return tuple(AgePattern(name, size) for name, size in sums.items())


def hot_share(by_age: Mapping[int, float]) -> float:
    """Return the share of bytes that were received within `HOT_DAYS`; 0 without files."""
    total = sum(by_age.values())
    hot = sum(size for days, size in by_age.items() if days < HOT_DAYS)
    return hot / total if total else 0.0


def with_retention(
    received: Series,
    expiring: Series,
    shares: Mapping[FileKind, float],
    retention_days: Mapping[FileKind, int],
) -> Series:
    """Return by how much the bytes in a store change on each day, if what has expired is removed.

    Args:
        received: the forecast of the receipts of each day.
        expiring: the bytes that are stored now and expire on each day.
        shares: the share of each kind in the receipts, 0 to 1.
        retention_days: how long files of each kind are kept from their receipt on.
    """
    changes = received - expiring
    for kind, share in shares.items():
        kept = retention_days[kind]
        if kept < len(received):
            changes[kept:] -= share * received[: len(received) - kept]
    return changes


def time_to_full(room_bytes: int | None, changes: Series, deviations: Series) -> DaysToFull:
    """Return when a store with this room is full, if its bytes change so each day.

    `deviations` are the standard deviations of the sum of all changes up to each day.
    """
    if room_bytes is None:
        return DaysToFull(None, None, None)
    spread = np.diff(BAND_Z * deviations, prepend=0.0)
    found = (
        days_to_fill(room_bytes, one.tolist())
        for one in (changes, changes + spread, changes - spread)
    )
    return DaysToFull(*(days if days is None or days < _CENTURY_DAYS else None for days in found))


def strategy_outlooks(totals: Totals, options: StorageOptions) -> tuple[StrategyOutlook, ...]:
    """Return what each strategy would take and cost for the available files."""
    thresholds = options.thresholds
    by_kind, room = totals.by_kind, int(thresholds.low_water * options.local_limit_bytes)
    size = totals.bytes
    hybrid = sum(by_kind.get(kind, 0) for kind in thresholds.hybrid_local_kinds)
    held = {
        StorageStrategy.LOCAL_ONLY: (size, 0),
        StorageStrategy.CLOUD_ONLY: (0, size),
        StorageStrategy.LOCAL_THEN_CLOUD: (min(size, room), size - min(size, room)),
        StorageStrategy.CLOUD_WITH_CACHE: (0, size),
        StorageStrategy.HYBRID: (min(hybrid, room), size),
    }
    return tuple(
        StrategyOutlook(
            strategy,
            strategy is options.strategy,
            local,
            cloud,
            totals.prices.month({Tier.LOCAL: local, Tier.CLOUD: cloud}),
        )
        for strategy, (local, cloud) in held.items()
    )


def retention_outlooks(
    totals: Totals, per_day: Mapping[FileKind, float], retention_days: Mapping[FileKind, int]
) -> tuple[RetentionOutlook, ...]:
    """Return what is held in the long run with shorter and with longer retention."""
    copies = totals.held_bytes / totals.bytes if totals.bytes else 1.0
    steady = copies * sum(rate * retention_days[kind] for kind, rate in per_day.items())
    held = totals.held_bytes or 1
    mix = {tier: size / held for tier, size in totals.by_tier().items()}
    return tuple(
        RetentionOutlook(
            factor,
            factor * steady,
            totals.prices.month({tier: share * factor * steady for tier, share in mix.items()}),
        )
        for factor in _FACTORS
    )


_SOON_DAYS = 90
_MANY_DUPLICATES = 0.01
_LARGE_SHARE = 0.25
_FEW_DEVICES = 4
_SAVING = 0.1
_LEAST_SAVING = 1.0
_ONE_COPY = 1.01


def _recommendations(found: StoragePatterns) -> Iterable[str]:
    for store in found.stores:
        yield from _of_room(store)
    if found.files and found.efficiency.copies < _ONE_COPY:
        yield (
            f"{in_bytes(found.bytes)} in {counted(found.files, 'file')} exist in one copy: the loss of a store "
            "loses evidence; the strategy HYBRID keeps a second copy"
        )
    if found.duplicates.share >= _MANY_DUPLICATES:
        yield (
            f"{found.duplicates.share:.1%} of the bytes of the {found.duplicates.examined:,} newest "
            f"files repeat the content of another file ({in_bytes(found.duplicates.surplus_bytes)} "
            f"in {counted(len(found.duplicates.groups), 'group')}): look for a sender that stores files twice"
        )
    if len(found.devices) > _FEW_DEVICES and found.devices[0].share >= _LARGE_SHARE:
        device = found.devices[0]
        yield (
            f"{device.device_id or 'files without a device'}: {device.share:.0%} of all bytes "
            f"({in_bytes(device.bytes)}); check its resolution, rate and triggers"
        )
    yield from _of_cost(found)


def _of_room(store: StoreOutlook) -> Iterable[str]:
    days = store.without_retention
    if days.estimate is None or days.estimate > _SOON_DAYS:
        return
    kept = store.with_retention.estimate
    words = (
        "with retention applied it does not become full"
        if kept is None
        else f"with retention applied in {counted(round(kept), 'day')}"
    )
    low, high = ("never" if one is None else f"{one:.0f}" for one in (days.earliest, days.latest))
    certain = f"({low} to {high})" if store.forecast.enough_history else "(too little history)"
    yield (
        f"{store.location} is full in {counted(round(days.estimate), 'day')} {certain} at "
        f"{in_bytes(store.forecast.total(MONTH_DAYS) / MONTH_DAYS)} a day; {words}: add space, move "
        "files out, or shorten retention"
    )


def _of_cost(found: StoragePatterns) -> Iterable[str]:
    priced = [one for one in found.strategies if one.cost_month is not None]
    current = next((one for one in priced if one.is_current), None)
    if current is None or not current.cost_month:
        return
    least = min(priced, key=lambda one: one.cost_month or 0.0)
    saving = current.cost_month - (least.cost_month or 0.0)
    if saving >= max(_LEAST_SAVING, _SAVING * current.cost_month):
        yield (
            f"{least.strategy} would cost {least.cost_month:.2f} {found.currency} a month instead of "
            f"{current.cost_month:.2f} of {current.strategy} for the files of today; compare how "
            "many copies each keeps before you change it"
        )


def _scale(total: int, sampled: int) -> float:
    return total / sampled if sampled else 0.0


def _is_in(file: StoredFile, store_id: StoreId) -> bool:
    return any(one.store_id == store_id and one.state in OCCUPYING for one in file.replicas)
