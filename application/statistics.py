"""Statistics: usage of the tiers, and the operations of this process."""

from collections.abc import Mapping

from attrs import frozen

from traffic_storage.application.operation_counters import OperationCounters
from traffic_storage.application.stores import BoundStore, Stores
from traffic_storage.domain.files import FileKind, Tier
from traffic_storage.domain.ingest import CatalogueUsage
from traffic_storage.ports.cache import Cache, CacheHealth
from traffic_storage.ports.catalogue import Catalogue


@frozen
class KindUsage:
    """Number of files and stored bytes of one kind."""

    files: int = 0
    bytes: int = 0


@frozen
class TierUsage:
    """Usage of a tier.

    `usage_percentage` is 0–100 % of the limit, or None without a limit. `free_bytes` is the smallest
    free space among its stores, or None if unknown.
    """

    configured: bool
    files: int
    used_bytes: int
    limit_bytes: int | None
    free_bytes: int | None
    usage_percentage: float | None
    by_kind: Mapping[FileKind, KindUsage]


@frozen
class StorageStatistics:
    """The current figures. The catalogue's counters are exact, not estimated."""

    local: TierUsage
    cloud: TierUsage
    violations: int
    cache: CacheHealth
    operations: Mapping[str, int]


class Statistics:
    """Reads the maintained counters. The cost does not depend on the number of files."""

    def __init__(
        self, *, catalogue: Catalogue, stores: Stores, cache: Cache, counters: OperationCounters
    ) -> None:
        self._catalogue = catalogue
        self._stores = stores
        self._cache = cache
        self._counters = counters

    async def __call__(self) -> StorageStatistics:
        """Return the current figures.

        Raises:
            CatalogueUnavailable: the database can't be reached.
        """
        usage = await self._catalogue.usage()
        return StorageStatistics(
            local=self._tier(Tier.LOCAL, usage),
            cloud=self._tier(Tier.CLOUD, usage),
            violations=usage.violations,
            cache=self._cache.health(),
            operations=self._counters.counts(),
        )

    def _tier(self, tier: Tier, usage: CatalogueUsage) -> TierUsage:
        stores = [bound for bound in self._stores if bound.store.tier is tier]
        ids = {bound.store_id for bound in stores}
        rows = [row for row in usage.stores if row.store_id in ids]
        used = sum(row.bytes for row in rows)
        limit = _limit(stores)
        return TierUsage(
            configured=bool(stores),
            files=sum(row.files for row in rows),
            used_bytes=used,
            limit_bytes=limit,
            free_bytes=_free(stores),
            usage_percentage=min(100.0, 100.0 * used / limit) if limit else None,
            by_kind={
                kind: KindUsage(
                    sum(row.files for row in rows if row.kind is kind),
                    sum(row.bytes for row in rows if row.kind is kind),
                )
                for kind in FileKind
            },
        )


def _limit(stores: list[BoundStore]) -> int | None:
    limits = [bound.configured.limits.limit_bytes for bound in stores]
    known = [limit for limit in limits if limit is not None]
    return sum(known) if known and len(known) == len(limits) else None


def _free(stores: list[BoundStore]) -> int | None:
    free = [bound.room.free_bytes for bound in stores if bound.room.free_bytes is not None]
    return min(free) if free else None
