"""Choosing: selects the stores in which a new file is stored, by strategy, device and free space."""

from collections.abc import Mapping
from typing import TypeAlias

from traffic_storage.application.stores.capacity import Capacity
from traffic_storage.application.stores.directory import BoundStore, Directory
from traffic_storage.domain.errors import StorageFull, StorageUnavailable
from traffic_storage.domain.files import FileKind, Tier
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.placement import (
    UNKNOWN_STORE,
    CloudRoute,
    Placement,
    StorageStrategy,
    StoreStatus,
    Thresholds,
    place,
    route,
)

Excluded: TypeAlias = Mapping[StoreId, StorageFull | StorageUnavailable]
"""Id of a store in which a write failed during this call → the error."""


class Choosing:
    """Chooses the stores of a new file, by the availability and free space of the stores."""

    def __init__(
        self,
        directory: Directory,
        capacity: Capacity,
        *,
        strategy: StorageStrategy,
        thresholds: Thresholds,
    ) -> None:
        self._directory = directory
        self._capacity = capacity
        self._strategy = strategy
        self._thresholds = thresholds

    async def place(
        self,
        kind: FileKind,
        size_bytes: int,
        device: str | None,
        excluded: Excluded,
        *,
        is_evidence: bool,
    ) -> Placement:
        """Choose the stores of a new file, and reserve its bytes in the first of them.

        A file that `is_evidence` of a violation may use the space that is kept for evidence.

        Raises:
            StorageFull, StorageUnavailable: as `domain.placement.place`.
        """
        if not self._directory.is_bound:
            raise StorageUnavailable(
                "this service is not started: no store was opened yet",
                remedy="await `container.runtime().start()` first",
            )
        local, cloud = self._local(), self._cloud_for(device)
        placement = place(
            self._strategy,
            kind,
            size_bytes,
            local=await self._status(local, excluded, is_evidence=is_evidence),
            cloud=await self._status(cloud, excluded, is_evidence=is_evidence),
            thresholds=self._thresholds,
        )
        self._capacity.reserve(placement.first.store_id, size_bytes)
        return placement

    def cloud_for(self, device: str | None) -> StoreId | None:
        """Return the id of the cloud store of a device's files; None if there is none.

        `UNKNOWN_STORE` if there is one that is not identified yet.
        """
        bound = self._cloud_for(device)
        return None if bound is None else bound.store_id or UNKNOWN_STORE

    def clouds_work(self) -> bool:
        """Return whether every cloud store in which the strategy stores may be changed and works now.

        False if there is none.
        """
        clouds = self._clouds()
        return bool(clouds) and all(
            one.trusted and not one.store.unavailable_reason() for one in clouds
        )

    def local_status(self) -> StoreStatus | None:
        """Return the status of the local store; None if the strategy has none, or it is not trusted."""
        bound = self._local()
        return None if bound is None or not bound.trusted else self._capacity.status(bound, None)

    def _local(self) -> BoundStore | None:
        if not self._strategy.needs_local:
            return None
        return next(iter(self._directory.of_tier(Tier.LOCAL)), None)

    def _cloud_for(self, device: str | None) -> BoundStore | None:
        clouds = self._clouds()
        rest = next((one for one in clouds if one.configured.device_pattern is None), None)
        if rest is None:
            return None
        routes = [
            CloudRoute(one.configured.device_pattern, one)
            for one in clouds
            if one.configured.device_pattern is not None
        ]
        return route(device, routes, rest)

    def _clouds(self) -> list[BoundStore]:
        return [one for one in self._directory.of_tier(Tier.CLOUD) if one.configured.written]

    async def _status(
        self, bound: BoundStore | None, excluded: Excluded, *, is_evidence: bool
    ) -> StoreStatus | None:
        if bound is None:
            return None
        await self._capacity.refresh(bound)
        failed = None if bound.store_id is None else excluded.get(bound.store_id)
        status = self._capacity.status(bound, failed)
        return status if is_evidence else status.for_others()
