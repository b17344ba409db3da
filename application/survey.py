"""Survey: merges the listing of a store with the catalogue's replicas of it, both in order."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack
from typing import TypeAlias, TypeVar
from uuid import UUID

from attrs import define, frozen

from traffic_storage.application.stores import Stores
from traffic_storage.domain.errors import StorageUnavailable
from traffic_storage.domain.files import BlobKey, FileKind
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.reconcile import Listed, Recorded, last_key, listed_blob
from traffic_storage.ports.blob_store import BlobEntry, BlobStore, closing
from traffic_storage.ports.reconciliation import Reconciliation

T = TypeVar("T")

_Place: TypeAlias = tuple[UUID, BlobKey]


@frozen
class Comparison:
    """A blob in the listing of a store, or a recorded replica, or both if they have one key."""

    listed: Listed | None
    recorded: Recorded | None

    @property
    def replica_id(self) -> UUID:
        """The replica id in the key."""
        found = self.listed or self.recorded
        if found is None:
            raise ValueError("a comparison has a blob or a replica")
        return found.replica_id


@define
class Survey:
    """One pass over a store. `foreign` counts listed keys that this product never creates.

    Memory is bounded: a page of the listing for each kind of file, and a page of the catalogue.
    """

    store_id: StoreId
    _stores: Stores
    _catalogue: Reconciliation
    foreign: int = 0

    async def comparisons(self, after: UUID | None = None) -> AsyncGenerator[Comparison, None]:
        """Yield all comparisons with replica ids greater than `after`, in ascending order.

        Each page of the catalogue is read when the listing has come to it. A blob that is written
        or deleted meanwhile may or may not be seen. Close the iterator when leaving early.

        Raises:
            StorageUnavailable: the listing can't be completed, or is not in order.
            CatalogueUnavailable: the database can't be reached.
        """
        store = self._stores.blob_store(self.store_id)
        async with (
            closing(self._listed(store, after)) as listing,
            closing(self._recorded(after)) as recorded,
        ):
            blob, replica = await _next(listing), await _next(recorded)
            while blob is not None or replica is not None:
                if replica is None or (blob is not None and _place(blob) < _place(replica)):
                    yield Comparison(blob, None)
                    blob = await _next(listing)
                elif blob is None or _place(replica) < _place(blob):
                    yield Comparison(None, replica)
                    replica = await _next(recorded)
                else:
                    yield Comparison(blob, replica)
                    blob, replica = await _next(listing), await _next(recorded)

    async def _recorded(self, after: UUID | None) -> AsyncGenerator[Recorded, None]:
        while True:
            page = await self._catalogue.recorded(self.store_id, after)
            for one in page.items:
                yield one
            if page.last is None:
                return
            after = page.last

    async def _listed(self, store: BlobStore, after: UUID | None) -> AsyncGenerator[Listed, None]:
        """Yield the blobs of all kinds in the order of their replica ids.

        A listing has one kind after the other, each in this order.
        """
        async with AsyncExitStack() as stack:
            heads: list[tuple[Listed, AsyncGenerator[Listed, None]]] = []
            for kind in FileKind:
                start = last_key(kind, after) if after is not None else ""
                listing = store.list(f"{kind}/", start)
                blobs = self._in_order(await stack.enter_async_context(closing(listing)))
                if (first := await anext(blobs, None)) is not None:
                    heads.append((first, blobs))
            while heads:
                least = min(range(len(heads)), key=lambda n: _place(heads[n][0]))
                blob, blobs = heads[least]
                yield blob
                if (following := await anext(blobs, None)) is None:
                    del heads[least]
                else:
                    heads[least] = following, blobs

    async def _in_order(self, listing: AsyncIterator[BlobEntry]) -> AsyncGenerator[Listed, None]:
        last: _Place | None = None
        async for entry in listing:
            blob = listed_blob(entry.key, entry.size_bytes, entry.modified_at)
            if blob is None:
                self.foreign += 1
                continue
            if last is not None and _place(blob) <= last:
                location = self._stores.blob_store(self.store_id).location
                raise StorageUnavailable(
                    f"the listing of {location} is not in the order of the keys: {entry.key} comes "
                    f"after {last[1]}"
                )
            last = _place(blob)
            yield blob


def _place(one: Listed | Recorded) -> _Place:
    return one.replica_id, one.key


async def _next(iterator: AsyncIterator[T]) -> T | None:
    return await anext(iterator, None)
