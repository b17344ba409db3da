"""Statistics: usage of local and cloud storage, and the operations of this process."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

from attrs import frozen

from traffic_storage.application.operation_counters import OperationCounters
from traffic_storage.application.stores import BoundStore, Stores
from traffic_storage.application.watch_pressure import StorePressure, WatchPressure
from traffic_storage.domain.files import FileKind, Tier
from traffic_storage.domain.usage import CatalogueUsage, DailyUsage, day_of
from traffic_storage.ports.cache import Cache, CacheHealth
from traffic_storage.ports.catalogue import Catalogue
from traffic_storage.ports.clock import Clock

_DAYS_OF_GROWTH = 7


@frozen
class KindUsage:
    """The number and stored bytes of the files of one kind with a replica (copy) in the tier."""

    files: int = 0
    bytes: int = 0


@frozen
class TierUsage:
    """The usage of a tier (all local stores, or all cloud stores).

    `files` counts the files that have a replica (copy) in the tier; a file with replicas in two
    stores of the tier counts twice. `usage_percentage` is 0–100 % of the limit, or None without a
    limit. `free_bytes` is the smallest free space among the stores, or None if unknown.
    """

    configured: bool
    files: int
    used_bytes: int
    limit_bytes: int | None
    free_bytes: int | None
    usage_percentage: float | None
    by_kind: Mapping[FileKind, KindUsage]


@frozen
class DayGrowth:
    """The growth on one day (UTC): the files and violations received, and the files' stored bytes.

    Each file counts once, however many replicas it has.
    """

    day: date
    files: int
    bytes: int
    violations: int


@frozen
class StorageStatistics:
    """The current usage of the tiers, the growth, and the operations of this process.

    The numbers from the catalogue are exact, not estimated.

    `growth` has one entry for each of the last 7 days, oldest first, today included; `pressure` has
    one for each store that the strategy writes.
    """

    local: TierUsage
    cloud: TierUsage
    violations: int
    growth: tuple[DayGrowth, ...]
    pressure: Sequence[StorePressure]
    cache: CacheHealth
    operations: Mapping[str, int]


class Statistics:
    """Reads the statistics from counters, so the cost does not depend on the number of files."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        stores: Stores,
        watch_pressure: WatchPressure,
        cache: Cache,
        counters: OperationCounters,
        clock: Clock,
    ) -> None:
        self._catalogue = catalogue
        self._stores = stores
        self._watch_pressure = watch_pressure
        self._cache = cache
        self._counters = counters
        self._clock = clock

    async def __call__(self) -> StorageStatistics:
        """Return the current statistics.

        Raises:
            CatalogueUnavailable: the database can't be reached.
        """
        usage = await self._catalogue.usage()
        return StorageStatistics(
            local=self._tier(Tier.LOCAL, usage),
            cloud=self._tier(Tier.CLOUD, usage),
            violations=usage.violations,
            growth=await self._growth(),
            pressure=await self._watch_pressure(),
            cache=self._cache.health(),
            operations=self._counters.counts(),
        )

    async def _growth(self) -> tuple[DayGrowth, ...]:
        today = day_of(self._clock.now())
        days = [today - timedelta(days=back) for back in reversed(range(_DAYS_OF_GROWTH))]
        found = await self._catalogue.daily_usage(days[0], today)
        changes = {one.day: one for one in found}
        return tuple(_growth_of(changes.get(day) or DailyUsage(day)) for day in days)

    def _tier(self, tier: Tier, usage: CatalogueUsage) -> TierUsage:
        stores = [bound for bound in self._stores if bound.store.tier is tier]
        ids = {bound.store_id for bound in stores}
        rows = [row for row in usage.stores if row.store_id in ids]
        used = sum(row.bytes for row in rows)
        limit = _limit(stores)
        return TierUsage(
            configured=bool(stores),
            files=sum(row.replicas for row in rows),
            used_bytes=used,
            limit_bytes=limit,
            free_bytes=_free(stores),
            usage_percentage=min(100.0, 100.0 * used / limit) if limit else None,
            by_kind={
                kind: KindUsage(
                    sum(row.replicas for row in rows if row.kind is kind),
                    sum(row.bytes for row in rows if row.kind is kind),
                )
                for kind in FileKind
            },
        )


def _growth_of(daily: DailyUsage) -> DayGrowth:
    rows = daily.change.files
    return DayGrowth(
        daily.day,
        sum(row.files for row in rows),
        sum(row.bytes for row in rows),
        daily.change.violations,
    )


def _limit(stores: list[BoundStore]) -> int | None:
    limits = [bound.configured.limits.limit_bytes for bound in stores]
    known = [limit for limit in limits if limit is not None]
    return sum(known) if known and len(known) == len(limits) else None


def _free(stores: list[BoundStore]) -> int | None:
    free = [bound.room.free_bytes for bound in stores if bound.room.free_bytes is not None]
    return min(free) if free else None
