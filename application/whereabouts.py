"""Where each store is: by the catalogue, by the store itself, and as this process sees it.

A store's id lies in its folder or bucket, so a copy of it has the id too. Of all copies one is the
store: the one at which the catalogue last placed it. A process that starts may place it anew, for a
store moves, and its host gets another name; one that runs on notices when another did so. Two
processes may reach one store by different names: whoever places it says so in the store, and who
finds that word in his own store knows that it is the same.
"""

import asyncio
import logging

from traffic_storage.domain.errors import StorageFull, StorageUnavailable
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.identity import EnrolledStore, taken_over, two_copies
from traffic_storage.ports.blob_store import BlobStore
from traffic_storage.ports.store_registry import Registry

logger = logging.getLogger("traffic_storage.stores")

LOOK_SECONDS = 5.0
_RACES = 20


class Whereabouts:
    """What this process knows of where its stores are."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._placed: dict[str, StoreId] = {}
        self._came_from: dict[str, str] = {}

    async def agree(
        self, store: BlobStore, known: EnrolledStore, *, moves_along: bool = False
    ) -> str:
        """Agree with the catalogue on where a store is; what stands against it, in words.

        The first time, a store that is elsewhere than the catalogue says is placed here, unless
        its old place can be seen to hold a copy. With `moves_along` the catalogue lies beside the
        store, so that a copy of it is none that others of this catalogue use. From then on, one that is placed elsewhere was
        taken over by another process; when it is placed here again, all is well again.

        Raises:
            CatalogueUnavailable: the database is away.
            StorageUnavailable: the store is.
        """
        here = store.location
        if known.location == here:
            await self._keep(store, known.store_id)
        elif self._placed.get(here) != known.store_id:
            is_copy = False if moves_along else await _is_copied(store, known.location)
            if is_copy:
                return two_copies(known.location, here)
            await self._place(store, known)
            self._came_from[here] = known.location if is_copy is None else ""
        elif await store.holder() != known.location:
            return taken_over(known, here)
        self._placed[here] = known.store_id
        return ""

    async def check_complete(self, store: BlobStore, store_id: StoreId) -> None:
        """Make sure that what a store lacks can't lie in a copy of it.

        Raises:
            StorageUnavailable: it can.
            CatalogueUnavailable: the database is away.
        """
        here = store.location
        known = await self._registry.enrolled(store_id)
        if known and known.location != here and await store.holder() != known.location:
            raise StorageUnavailable(taken_over(known, here))
        if before := self._came_from.get(here):
            raise StorageUnavailable(
                f"{here} is a store that was at {before} until this process started: what it "
                "lacks may lie there",
                remedy="if nothing is left there, restart the service",
            )

    async def _keep(self, store: BlobStore, store_id: StoreId) -> None:
        """Put the store's own word right: a new store's, or where a process died half-way."""
        if await store.holder() != store.location and await _noted(store):
            await self._reconcile(store, store_id)

    async def _place(self, store: BlobStore, known: EnrolledStore) -> None:
        # The store first: who sees the catalogue changed must find the same word in the store.
        if await _noted(store):
            await self._reconcile(store, known.store_id)
        else:
            await self._registry.relocate(known.store_id, store.location)
        logger.warning("%s is now at %s", known.location, store.location)

    async def _reconcile(self, store: BlobStore, store_id: StoreId) -> None:
        """Bring the catalogue to what the store says, which others may change meanwhile.

        Each who says something in the store does this after it, so the last word stays in both.
        """
        for _ in range(_RACES):
            known = await self._registry.enrolled(store_id)
            said = await store.holder()
            if known is None or said is None or known.location == said:
                return
            await self._registry.relocate(store_id, said)


async def placed_elsewhere(registry: Registry, store: BlobStore, store_id: StoreId) -> str:
    """What speaks against a store's being where the catalogue has it, in words; changes nothing.

    A store that moved, and that no process has met since at its new place, says nothing.

    Raises:
        CatalogueUnavailable, StorageUnavailable: as `Whereabouts.agree`.
    """
    known = await registry.enrolled(store_id)
    if known is None or known.location == store.location:
        return ""
    if await _is_copied(store, known.location):
        return two_copies(known.location, store.location)
    if await store.holder() in (None, known.location):
        return ""
    return taken_over(known, store.location)


async def _is_copied(store: BlobStore, location: str) -> bool | None:
    """Whether a copy of the store is at `location`; None if that can't be seen from here."""
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            return await store.is_copied_at(location)
    except (TimeoutError, StorageUnavailable):
        return None


async def _noted(store: BlobStore) -> bool:
    """Whether the store now says that it is where this process sees it."""
    try:
        return await store.note_holder(store.location)
    except (StorageFull, StorageUnavailable) as error:
        logger.debug("%s can't be told where it is: %s", store.location, str(error))
        return False
