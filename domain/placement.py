"""Placement: a pure function that chooses the store of a blob and gives the reason.

A blob is in exactly one store before the caller gets an answer. Copies that are due later are part
of the result, but are not made here.
"""

from collections.abc import Sequence
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Generic, TypeVar

from attrs import frozen

from traffic_storage.domain.errors import StorageFull, StorageUnavailable
from traffic_storage.domain.files import FileKind, Tier
from traffic_storage.domain.identifiers import StoreId

RESERVE_INODES = 64
UNKNOWN_STORE = StoreId("")
"""In place of the id of a store that could not be identified yet; nothing is placed there."""

T = TypeVar("T")


class StorageStrategy(StrEnum):
    """How blobs are spread over the tiers."""

    LOCAL_ONLY = "LOCAL_ONLY"
    CLOUD_ONLY = "CLOUD_ONLY"
    LOCAL_THEN_CLOUD = "LOCAL_THEN_CLOUD"
    CLOUD_WITH_CACHE = "CLOUD_WITH_CACHE"
    HYBRID = "HYBRID"

    @property
    def needs_cloud(self) -> bool:
        """Whether it can't work without a cloud tier."""
        return self is not StorageStrategy.LOCAL_ONLY

    @property
    def needs_local(self) -> bool:
        """Whether evidence may lie on local disk."""
        return self in (
            StorageStrategy.LOCAL_ONLY,
            StorageStrategy.LOCAL_THEN_CLOUD,
            StorageStrategy.HYBRID,
        )


@frozen
class StoreStatus:
    """The state of a store that placement depends on, at one moment.

    Attributes:
        store_id: `UNKNOWN_STORE` while the store is not identified; it is unavailable then.
        unavailable_reason: why it can't be written now, in words; empty when it can.
        full: why it just said that it has no room, in words; empty when it did not.
        used_bytes: what our files occupy, reservations included.
        limit_bytes: how much they may occupy; None: as much as there is.
        free_bytes: what the medium has left; None: unknown or unbounded.
        reserve_bytes: what must stay free on the medium.
        free_inodes: files that the medium can still take; None: unknown or unbounded.
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

    def shortage(self, size_bytes: int) -> str:
        """Why there is no room for `size_bytes` more, in words; empty when there is."""
        if self.full:
            return self.full
        if self.limit_bytes is not None and self.used_bytes + size_bytes > self.limit_bytes:
            return f"its limit of {self.limit_bytes} bytes is reached"
        if self.free_bytes is not None and self.free_bytes - size_bytes < self.reserve_bytes:
            return f"only {self.free_bytes} bytes are free, {self.reserve_bytes} are a reserve"
        if self.free_inodes is not None and self.free_inodes < RESERVE_INODES:
            return f"only {self.free_inodes} inodes are free, {RESERVE_INODES} are a reserve"
        return ""

    def takes(self, size_bytes: int) -> bool:
        """Whether a blob of `size_bytes` may be put into this store now."""
        return not self.unavailable_reason and not self.shortage(size_bytes)

    def below(self, share: float, size_bytes: int) -> bool:
        """Whether it stays at or below `share` of its limit with `size_bytes` more."""
        return self.limit_bytes is None or self.used_bytes + size_bytes <= share * self.limit_bytes


@frozen
class Thresholds:
    """The settings of placement.

    Attributes:
        high_water: share of the local limit above which LOCAL_THEN_CLOUD goes to the cloud.
        large_bytes: above this size HYBRID treats any kind like a video.
        hybrid_local_kinds: kinds that HYBRID keeps local first.
        cache_item_bytes: larger files don't enter the local cache of CLOUD_WITH_CACHE.
    """

    high_water: float = 0.85
    large_bytes: int = 16 * 1024 * 1024
    hybrid_local_kinds: frozenset[FileKind] = frozenset({FileKind.IMAGE, FileKind.METADATA})
    cache_item_bytes: int = 64 * 1024 * 1024


@frozen
class Placement:
    """The chosen store, the stores of copies that are due later, caching, and the reason."""

    first: StoreStatus
    later: tuple[StoreStatus, ...]
    cached: bool
    reason: str

    @property
    def decision(self) -> str:
        """The decision in a few words: `local`, `cloud, cached`, `local, then cloud`."""
        words = ", then ".join([self.first.tier, *(store.tier for store in self.later)])
        return f"{words}, cached" if self.cached else words


@frozen
class CloudRoute(Generic[T]):
    """Files of devices whose id matches the shell pattern go to this store."""

    device_pattern: str
    store: T


def route(device_id: str | None, routes: Sequence[CloudRoute[T]], rest: T) -> T:
    """The cloud store of a device: the first route that matches, else `rest`."""
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
    """The placement of a blob of this kind and size. Deterministic.

    The first store is configured, available, and has room for the blob.

    Raises:
        StorageFull: the stores that the strategy allows are available but have no room.
        StorageUnavailable: one of them is unavailable, and no other takes the blob.
    """
    match strategy:
        case StorageStrategy.LOCAL_ONLY:
            return _first_that_takes([(local, "the strategy keeps all on local disk")], size_bytes)
        case StorageStrategy.CLOUD_ONLY:
            return _first_that_takes([(cloud, "the strategy keeps all in the cloud")], size_bytes)
        case StorageStrategy.CLOUD_WITH_CACHE:
            return _cached(cloud, size_bytes, thresholds)
        case StorageStrategy.LOCAL_THEN_CLOUD:
            return _local_then_cloud(size_bytes, local, cloud, thresholds)
        case StorageStrategy.HYBRID:
            return _hybrid(kind, size_bytes, local, cloud, thresholds)


def _cached(cloud: StoreStatus | None, size_bytes: int, thresholds: Thresholds) -> Placement:
    if size_bytes <= thresholds.cache_item_bytes:
        why, cached = "the strategy keeps all in the cloud and a copy in the local cache", True
    else:
        why, cached = "the strategy keeps all in the cloud; too large for the local cache", False
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
        wishes = [
            (local, f"local disk is below its high-water mark of {share}"),
            (cloud, "local disk does not take it"),
        ]
    else:
        wishes = [
            (cloud, f"local disk is above its high-water mark of {share}"),
            (local, f"above the high-water mark of {share}, but the cloud does not take it"),
        ]
    return _first_that_takes(wishes, size_bytes)


def _hybrid(
    kind: FileKind,
    size_bytes: int,
    local: StoreStatus | None,
    cloud: StoreStatus | None,
    thresholds: Thresholds,
) -> Placement:
    # A copy can be due in a store that is away, but only if it is known which store that is.
    later = (cloud,) if cloud and cloud.store_id != UNKNOWN_STORE else ()
    if kind in thresholds.hybrid_local_kinds and size_bytes <= thresholds.large_bytes:
        if local and local.takes(size_bytes):
            return Placement(
                local, later, False, f"{kind} files are kept local first, cloud copy due"
            )
        return _first_that_takes([(cloud, "local disk does not take it"), (local, "")], size_bytes)
    why = (
        f"{kind} files go to the cloud"
        if kind not in thresholds.hybrid_local_kinds
        else (f"files above {thresholds.large_bytes} bytes go to the cloud")
    )
    if cloud and cloud.takes(size_bytes):
        return Placement(cloud, (), False, why)
    if local and local.takes(size_bytes):
        unavailable_reason = (
            (cloud.unavailable_reason or cloud.shortage(size_bytes)) if cloud else "not configured"
        )
        return Placement(
            local, later, False, f"{why}, but the cloud does not take it: {unavailable_reason}"
        )
    return _first_that_takes([(cloud, why), (local, why)], size_bytes)


def _first_that_takes(
    wishes: Sequence[tuple[StoreStatus | None, str]], size_bytes: int, *, cached: bool = False
) -> Placement:
    for store, why in wishes:
        if store and store.takes(size_bytes):
            return Placement(store, (), cached, why)
    stores = [store for store, _ in wishes if store]
    obstacles = [
        f"{store.tier}: {store.unavailable_reason}" for store in stores if store.unavailable_reason
    ]
    shortages = [
        f"{store.tier}: {store.shortage(size_bytes)}"
        for store in stores
        if not store.unavailable_reason and store.shortage(size_bytes)
    ]
    if not stores or obstacles:
        raise StorageUnavailable(
            "no store can be written: "
            + ("; ".join(obstacles + shortages) or "none is configured"),
            remedy="restore the store named, or choose a strategy that does not need it",
        )
    raise StorageFull(
        f"no room for {size_bytes} bytes: {'; '.join(shortages)}",
        remedy="free space on the medium, raise its limit, or add a cloud tier",
    )
