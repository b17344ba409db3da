"""The stores of this process.

| module | responsibility |
|---|---|
| `directory` | stores by id, and whether each is trusted (may be changed) |
| `identity` | determines which registered store each configured location holds |
| `capacity` | free space, reserved space and the limit of concurrent writes |
| `choosing` | selects the stores of a new file |
"""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from traffic_storage.application.stores.capacity import Capacity, Occupancy, PutSlots
from traffic_storage.application.stores.choosing import Choosing, Excluded
from traffic_storage.application.stores.directory import (
    BoundStore,
    ConfiguredStore,
    Directory,
    Identity,
    StoreLimits,
)
from traffic_storage.application.stores.identity import Identities
from traffic_storage.domain.files import FileKind
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.placement import Placement, StorageStrategy, StoreStatus, Thresholds
from traffic_storage.ports.blob_store import BlobStore
from traffic_storage.ports.clock import Clock, Ids
from traffic_storage.ports.errors import BlobMissing, StorageUnavailable
from traffic_storage.ports.record_repo import RecordRepo
from traffic_storage.ports.store_identity import MarkedBlobStore

__all__ = [
    "BoundStore",
    "ConfiguredStore",
    "Excluded",
    "Occupancy",
    "PutSlots",
    "StoreLimits",
    "Stores",
]


class Stores:
    """All stores of this process and their ids in the catalogue. Use cases reach stores through it."""

    def __init__(
        self,
        configured: Sequence[ConfiguredStore],
        *,
        strategy: StorageStrategy,
        thresholds: Thresholds,
        repo: RecordRepo,
        clock: Clock,
        ids: Ids,
        parallel_puts: int,
    ) -> None:
        self._repo = repo
        self._directory = Directory(configured)
        self._identities = Identities(repo, repo, clock, ids)
        self._capacity = Capacity(self._directory, repo, clock, parallel_puts=parallel_puts)
        self._choosing = Choosing(
            self._directory, self._capacity, strategy=strategy, thresholds=thresholds
        )

    def __iter__(self) -> Iterator[BoundStore]:
        return iter(self._directory)

    def __contains__(self, store_id: StoreId) -> bool:
        return store_id in self._directory

    def blob_store(self, store_id: StoreId) -> BlobStore:
        """Return the adapter of a store of this process, for reading (see `Directory.blob_store`)."""
        return self._directory.blob_store(store_id)

    def trusted(self, store_id: StoreId) -> MarkedBlobStore:
        """Return the adapter of a store, for a change; raise if the store is not trusted.

        A store is trusted while it and the catalogue agree that it is the registered one (see
        `Directory.trusted`).
        """
        return self._directory.trusted(store_id)

    async def confirm(self, store_id: StoreId, missing: BlobMissing | None = None) -> None:
        """Read the identification file (marker) of a store; check that it has the id `store_id`.

        Call it before a replica is recorded as missing or as present again, and before recovery
        deletes a blob. With `missing`, the error of a read that found no blob, also check that the
        folder of that blob exists.

        Raises:
            StorageUnavailable: the check failed or was impossible; the message names the cause.
            CatalogueUnavailable: the database can't be reached.
        """
        self._directory.trusted(store_id)
        await self._identities.confirm(self._directory.known(store_id), store_id)
        if missing is not None and missing.absent_part:
            raise StorageUnavailable(
                f"the folder {missing.absent_part} is absent",
                remedy="mount the medium that belongs at this path, or restore the folder",
            )
        self._directory.trusted(store_id)

    async def bind(self) -> None:
        """Determine the id of each store and whether it may be changed; reload its usage.

        Also measures the free space. A store that can't be reached is identified by a later call.

        Raises:
            CatalogueUnavailable: the database can't be reached. If this happens before all stores
                are identified, what is known of them is unchanged.
        """
        found: list[Identity] = []
        for bound in self._directory:
            claimed = {identity.store_id for identity in found}
            found.append(await self._identities.identify(bound, claimed))
        self._directory.bind(found)
        await self.recount()
        for bound in self._directory:
            if bound.store_id is not None:
                await self._capacity.refresh(bound)

    async def doubt(self, store: MarkedBlobStore) -> str:
        """Return why a process that starts now would not write to a store; empty if it would.

        See `Identities.doubt`.
        """
        return await self._identities.doubt(store)

    async def adopt(self, bound: BoundStore) -> str:
        """Register a store as the correct one at its location; return a description of the result.

        See `Identities.adopt`.
        """
        return await self._identities.adopt(bound)

    async def is_of_backup(self, bound: BoundStore) -> bool:
        """Return whether the catalogue's entry of a store was loaded from a backup.

        See `Identities.is_of_backup`.
        """
        return await self._identities.is_of_backup(bound.store)

    async def accept(self, bound: BoundStore) -> None:
        """Trust a store again whose entry was loaded from a backup. See `Identities.accept`."""
        await self._identities.accept(bound)

    async def is_of_other_catalogue(self, bound: BoundStore) -> bool:
        """Return whether the identification file (marker) of a store names another catalogue.

        Raises:
            StorageUnavailable: the store can't be reached.
            CatalogueUnavailable: the database can't be reached.
        """
        return await self._identities.is_of_other_catalogue(bound.store)

    async def take_over(self, bound: BoundStore) -> str:
        """Make a store of another catalogue one of this catalogue; return a text about the result.

        See `Identities.take_over`.
        """
        return await self._identities.take_over(bound)

    async def recount(self) -> None:
        """Reload the usage of each store from the catalogue (see `Capacity.recount`).

        Also note the last locations of stores that other processes use, for error messages.
        """
        counted = await self._capacity.recount()
        foreign = [store_id for store_id in counted if store_id not in self._directory]
        known = [await self._repo.registered(store_id) for store_id in foreign]
        self._directory.note_elsewhere({store.store_id: store.location for store in known if store})

    async def place(
        self,
        kind: FileKind,
        size_bytes: int,
        device: str | None,
        excluded: Excluded,
        *,
        is_evidence: bool,
    ) -> Placement:
        """Choose the stores of a new file and reserve space for it (see `Choosing.place`)."""
        return await self._choosing.place(
            kind, size_bytes, device, excluded, is_evidence=is_evidence
        )

    async def status(self, bound: BoundStore) -> StoreStatus:
        """Return the availability and the free space of a store (see `Capacity.status`)."""
        await self._capacity.refresh(bound)
        return self._capacity.status(bound, None)

    @asynccontextmanager
    async def reserved(self, store_id: StoreId, size_bytes: int) -> AsyncIterator[None]:
        """Reserve space in a store for a copy; it counts as used if the context ends without error.

        Raises:
            StorageFull: the store has too little space.
            StorageUnavailable: the store can't be changed now.
        """
        self._directory.trusted(store_id)
        await self._capacity.reserve_in(self._directory.known(store_id), size_bytes)
        kept = False
        try:
            yield
            kept = True
        finally:
            self._capacity.end_reservation(store_id, size_bytes, kept=kept)

    def limit_bytes(self, store_id: StoreId) -> int | None:
        """Return how many bytes files may occupy in a store of this process; None: no limit."""
        return self._directory.known(store_id).configured.limits.limit_bytes

    def cloud_for(self, device: str | None) -> StoreId | None:
        """Return the id of the cloud store of a device's files (see `Choosing.cloud_for`)."""
        return self._choosing.cloud_for(device)

    def clouds_work(self) -> bool:
        """Return whether every cloud store in which the strategy stores may be changed and works now.

        False if there is none.
        """
        return self._choosing.clouds_work()

    def local_status(self) -> StoreStatus | None:
        """Return the status of the local store; None if the strategy has none, or it is not trusted."""
        return self._choosing.local_status()

    def slots(self, puts: Mapping[StoreId, int]) -> AbstractAsyncContextManager[PutSlots]:
        """Wait until this number of writes may begin in each store (see `Capacity.slots`)."""
        return self._capacity.slots(puts)

    def occupied(self, store_id: StoreId) -> Occupancy:
        """Return the bytes that files occupy in a store (see `Capacity.occupied`)."""
        return self._capacity.occupied(store_id)

    def end_reservation(self, store_id: StoreId, size_bytes: int, *, kept: bool) -> None:
        """End a reservation of space in a store (see `Capacity.end_reservation`)."""
        self._capacity.end_reservation(store_id, size_bytes, kept=kept)
