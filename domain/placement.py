"""Placement: a pure function that chooses the stores of a blob (the bytes of a file).

A blob is written to exactly one store before the caller gets an answer. The result also has the
stores to which the blob must be copied later, and the reason of the choice in words.
"""

from collections.abc import Sequence
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Generic, TypeVar

from attrs import evolve, frozen

from traffic_storage.domain.errors import StorageFull, StorageUnavailable
from traffic_storage.domain.files import FileKind, Tier
from traffic_storage.domain.identifiers import StoreId

RESERVE_INODES = 64
UNKNOWN_STORE = StoreId("unknown")
"""The `store_id` of a store that is not identified yet; no blob is placed in it.

A job that copies a file there is done when every cloud store of the strategy works; the file goes to
the cloud store of its device.
"""

T = TypeVar("T")


class StorageStrategy(StrEnum):
    """Which tiers (local disk, cloud) blobs are stored in."""

    LOCAL_ONLY = "LOCAL_ONLY"
    CLOUD_ONLY = "CLOUD_ONLY"
    LOCAL_THEN_CLOUD = "LOCAL_THEN_CLOUD"
    CLOUD_WITH_CACHE = "CLOUD_WITH_CACHE"
    HYBRID = "HYBRID"

    @property
    def needs_cloud(self) -> bool:
        """Whether this strategy requires a cloud store."""
        return self is not StorageStrategy.LOCAL_ONLY

    @property
    def needs_local(self) -> bool:
        """Whether this strategy stores blobs on local disk (other than in a cache)."""
        return self in (
            StorageStrategy.LOCAL_ONLY,
            StorageStrategy.LOCAL_THEN_CLOUD,
            StorageStrategy.HYBRID,
        )


@frozen
class StoreStatus:
    """The availability and the free space of a store at one moment: an input of placement.

    Attributes:
        store_id: the id of the store in the catalogue; `UNKNOWN_STORE` until it was determined.
            The store is unavailable then.
        unavailable_reason: why the store can't be written now, in words; empty if it can.
        full: the reason, in words, if a recent write failed because the store was full; else empty.
        used_bytes: the bytes that the blobs of this library use in the store, including space
            reserved for writes in progress.
        limit_bytes: the configured limit of `used_bytes`; None means no limit.
        free_bytes: the free space of the disk; None means unknown or unbounded.
        reserve_bytes: the bytes that must stay free on the disk.
        free_inodes: how many more files the disk can hold; None means unknown or unbounded.
        evidence_bytes: the space that only evidence of violations may use.
    """

    store_id: StoreId
    tier: Tier
    unavailable_reason: str = ""
    full: str = ""
    used_bytes: int = 0
    limit_bytes: int | None = None
    free_bytes: int | None = None
    reserve_bytes: int = 0
    free_inodes: int | None = None
    evidence_bytes: int = 0

    def for_others(self) -> "StoreStatus":
        """Return the status for a file that is no evidence of a violation.

        Such a file may not use the last `evidence_bytes`.
        """
        if not self.evidence_bytes:
            return self
        limit = None if self.limit_bytes is None else max(0, self.limit_bytes - self.evidence_bytes)
        return evolve(
            self, limit_bytes=limit, reserve_bytes=self.reserve_bytes + self.evidence_bytes
        )

    def shortage(self, size_bytes: int) -> str:
        """Return why the store has too little space for a blob of this size; empty if enough."""
        if self.full:
            return self.full
        if self.limit_bytes is not None and self.used_bytes + size_bytes > self.limit_bytes:
            return f"its limit of {self.limit_bytes} bytes would be exceeded"
        if self.free_bytes is not None and self.free_bytes - size_bytes < self.reserve_bytes:
            return f"only {self.free_bytes} bytes are free, and {self.reserve_bytes} must stay free"
        if self.free_inodes is not None and self.free_inodes < RESERVE_INODES:
            return f"only {self.free_inodes} inodes are free, and {RESERVE_INODES} must stay free"
        return ""

    def takes(self, size_bytes: int) -> bool:
        """Return whether this store is available and has enough space for a blob of this size."""
        return not self.unavailable_reason and not self.shortage(size_bytes)

    def below(self, share: float, size_bytes: int) -> bool:
        """Return whether the store would use at most `share` of its limit with this blob added.

        True if the store has no limit.
        """
        return self.limit_bytes is None or self.used_bytes + size_bytes <= share * self.limit_bytes


@frozen
class Thresholds:
    """The settings of placement.

    Attributes:
        high_water: the share of the limit of local disk above which LOCAL_THEN_CLOUD stores blobs
            in the cloud, and the oldest blobs leave local disk.
        low_water: the share of the limit of local disk below which no blob leaves it any more.
        large_bytes: HYBRID stores blobs above this size in the cloud, whatever their kind.
        hybrid_local_kinds: the kinds of files that HYBRID stores on local disk first.
        cache_item_bytes: CLOUD_WITH_CACHE does not copy larger blobs into its local cache.
    """

    high_water: float = 0.85
    low_water: float = 0.75
    large_bytes: int = 16 * 1024 * 1024
    hybrid_local_kinds: frozenset[FileKind] = frozenset({FileKind.IMAGE, FileKind.METADATA})
    cache_item_bytes: int = 64 * 1024 * 1024


@frozen
class Placement:
    """The stores that were chosen for a blob.

    Attributes:
        first: the store to which the blob is written before the caller gets an answer.
        later: the stores to which the blob must be copied afterwards.
        cached: whether a copy is kept in the local cache.
        reason: why these stores were chosen, in words.
    """

    first: StoreStatus
    later: tuple[StoreStatus, ...]
    cached: bool
    reason: str

    @property
    def decision(self) -> str:
        """The tiers of the chosen stores: `local`, `cloud, cached` or `local, then cloud`."""
        words = ", then ".join([self.first.tier, *(store.tier for store in self.later)])
        return f"{words}, cached" if self.cached else words


@frozen
class CloudRoute(Generic[T]):
    """A rule: the cloud store of devices whose id matches a shell pattern (`cam_0*`)."""

    device_pattern: str
    store: T


def route(device_id: str | None, routes: Sequence[CloudRoute[T]], rest: T) -> T:
    """Return the cloud store of a device: that of the first matching route, else `rest`."""
    for candidate in routes:
        if device_id is not None and fnmatchcase(device_id, candidate.device_pattern):
            return candidate.store
    return rest


def place(
    strategy: StorageStrategy,
    kind: FileKind,
    size_bytes: int,
    *,
    local: StoreStatus | None,
    cloud: StoreStatus | None,
    thresholds: Thresholds,
) -> Placement:
    """Choose the stores of a blob of this kind and size. Equal arguments give equal results.

    `local` and `cloud` are None if they are not configured. The store `first` of the result is
    available and has enough space for the blob.

    Raises:
        StorageFull: all stores that the strategy allows are available but have too little space.
        StorageUnavailable: no store that the strategy allows can be written, and at least one of
            them is unavailable, or none is configured.
    """
    match strategy:
        case StorageStrategy.LOCAL_ONLY:
            why = "the strategy stores all files on local disk"
            return _first_that_takes([(local, why)], size_bytes)
        case StorageStrategy.CLOUD_ONLY:
            why = "the strategy stores all files in the cloud"
            return _first_that_takes([(cloud, why)], size_bytes)
        case StorageStrategy.CLOUD_WITH_CACHE:
            return _cached(cloud, size_bytes, thresholds)
        case StorageStrategy.LOCAL_THEN_CLOUD:
            return _local_then_cloud(size_bytes, local, cloud, thresholds)
        case StorageStrategy.HYBRID:
            return _hybrid(kind, size_bytes, local, cloud, thresholds)


def _cached(cloud: StoreStatus | None, size_bytes: int, thresholds: Thresholds) -> Placement:
    why = "the strategy stores all files in the cloud"
    cached = size_bytes <= thresholds.cache_item_bytes
    if cached:
        why += ", with a copy in the local cache"
    else:
        why += "; this one is too large for the local cache"
    return _first_that_takes([(cloud, why)], size_bytes, cached=cached)


def _local_then_cloud(
    size_bytes: int,
    local: StoreStatus | None,
    cloud: StoreStatus | None,
    thresholds: Thresholds,
) -> Placement:
    share = f"{thresholds.high_water:.0%}"
    below = local is not None and local.below(thresholds.high_water, size_bytes)
    if below:
        candidates = [
            (local, f"local disk is below its high-water mark of {share}"),
            (cloud, "local disk is unavailable or full"),
        ]
    else:
        above = f"local disk is above its high-water mark of {share}"
        candidates = [
            (cloud, above),
            (local, f"{above}, but the cloud is unavailable or full"),
        ]
    return _first_that_takes(candidates, size_bytes)


def _hybrid(
    kind: FileKind,
    size_bytes: int,
    local: StoreStatus | None,
    cloud: StoreStatus | None,
    thresholds: Thresholds,
) -> Placement:
    # A copy can be due in an unavailable store, also if its id is not known yet.
    later = (cloud,) if cloud else ()
    if kind in thresholds.hybrid_local_kinds and size_bytes <= thresholds.large_bytes:
        if local and local.takes(size_bytes):
            why = f"{kind} files are stored on local disk first and copied to the cloud later"
            return Placement(local, later, False, why)
        return _first_that_takes(
            [(cloud, "local disk is unavailable or full"), (local, "")], size_bytes
        )
    why = (
        f"{kind} files are stored in the cloud"
        if kind not in thresholds.hybrid_local_kinds
        else (f"files above {thresholds.large_bytes} bytes are stored in the cloud")
    )
    if cloud and cloud.takes(size_bytes):
        return Placement(cloud, (), False, why)
    if local and local.takes(size_bytes):
        unavailable_reason = (
            (cloud.unavailable_reason or cloud.shortage(size_bytes)) if cloud else "not configured"
        )
        return Placement(
            local, later, False, f"{why}, but the cloud can't store this one: {unavailable_reason}"
        )
    return _first_that_takes([(cloud, why), (local, why)], size_bytes)


def _first_that_takes(
    candidates: Sequence[tuple[StoreStatus | None, str]], size_bytes: int, *, cached: bool = False
) -> Placement:
    for store, why in candidates:
        if store and store.takes(size_bytes):
            return Placement(store, (), cached, why)
    stores = [store for store, _ in candidates if store]
    unavailable = [
        f"{store.tier}: {store.unavailable_reason}" for store in stores if store.unavailable_reason
    ]
    shortages = [
        f"{store.tier}: {store.shortage(size_bytes)}"
        for store in stores
        if not store.unavailable_reason and store.shortage(size_bytes)
    ]
    if not stores or unavailable:
        raise StorageUnavailable(
            "no store that the strategy allows can be written: "
            + ("; ".join(unavailable + shortages) or "none is configured"),
            remedy="make the named store available, or choose a strategy that does not need it",
        )
    raise StorageFull(
        f"no store has space for {size_bytes} bytes: {'; '.join(shortages)}",
        remedy="free disk space, raise the limit of the store, or add a cloud store",
    )
