"""Identities: determine the identity of each configured store, and whether it may be changed.

This module carries out the steps of the protocol that `domain.identity` defines. Several processes
may do so concurrently, and any of them may die between two steps.
"""

import asyncio
import logging
from collections.abc import Collection

from attrs import evolve

from traffic_storage.application.stores.directory import (
    NOT_BOUND,
    NOT_USED,
    BoundStore,
    Identity,
)
from traffic_storage.domain.errors import InvalidInput, StorageFull, StorageUnavailable
from traffic_storage.domain.files import Tier
from traffic_storage.domain.identifiers import Incarnation, StoreId
from traffic_storage.domain.identity import (
    Marker,
    RegisteredStore,
    Step,
    configured_twice,
    disagreement,
    next_step,
    other_catalogue,
    unmarked,
)
from traffic_storage.ports.blob_store import is_empty
from traffic_storage.ports.clock import Clock, Ids
from traffic_storage.ports.errors import BlobConflict, StoreReplaced
from traffic_storage.ports.store_identity import MarkedBlobStore
from traffic_storage.ports.store_registry import StoreRegistry

logger = logging.getLogger("traffic_storage.stores")

CONFIRM_SECONDS = 5.0
_MAX_RACES = 20


class Identities:
    """Compares markers with the catalogue, and introduces new incarnations."""

    def __init__(self, registry: StoreRegistry, clock: Clock, ids: Ids) -> None:
        self._registry = registry
        self._clock = clock
        self._ids = ids
        self._proposed: dict[str, RegisteredStore] = {}
        self._introduced: set[StoreId] = set()

    async def identify(self, bound: BoundStore, claimed: Collection[StoreId | None]) -> Identity:
        """Return the identity of a store.

        At the first call in this process, and when the incarnation is an hour old, writes a new
        incarnation (a random id) to the catalogue and to the store's marker (its identity file).
        `claimed`: the ids of configured stores that were identified before; this store must not
        have one of them.

        Raises:
            CatalogueUnavailable: the database can't be reached.
        """
        try:
            return await self._identified(bound, claimed)
        except (InvalidInput, StoreReplaced) as error:
            return Identity(await self._id_by_location(bound), str(error))
        except StorageUnavailable as error:
            if bound.trusted:
                # It was identified before. Its adapter itself reports that it is unavailable.
                return bound.identity
            return Identity(await self._id_while_unreachable(bound), f"{NOT_BOUND}: {error}")
        except (BlobConflict, StorageFull) as error:
            return Identity(await self._id_by_location(bound), f"{NOT_BOUND}: {error}")

    async def confirm(self, bound: BoundStore, store_id: StoreId) -> None:
        """Read the marker of a store and check it against the catalogue.

        Takes at most `CONFIRM_SECONDS`.

        Raises:
            StorageUnavailable: the store is not `store_id`, or the check is impossible now; the
                message gives the reason.
            CatalogueUnavailable: the database can't be reached.
        """
        location = bound.store.location
        try:
            registered, agrees = None, False
            async with asyncio.timeout(CONFIRM_SECONDS):
                marker = await bound.store.marker()
                is_this = marker is not None and await self._is_marker_of(marker, store_id)
                if marker is not None and is_this:
                    marker, registered, agrees = await self._compare(bound.store, marker)
        except InvalidInput as error:
            raise StorageUnavailable(f"{location}: {error}") from error
        except TimeoutError as error:
            raise StorageUnavailable(
                f"the marker of {location} could not be read within {CONFIRM_SECONDS:.0f} s",
                remedy="check the disk or the network",
            ) from error
        if marker is None or not is_this:
            raise StorageUnavailable(
                f"{location} does not contain the marker of {store_id}",
                remedy="check mount points and bucket names",
            )
        if not agrees:
            raise StorageUnavailable(disagreement(location, marker, registered))

    async def doubt(self, store: MarkedBlobStore) -> str:
        """Return why a process that starts now would not trust a store; empty if it would.

        Changes nothing.

        Raises:
            InvalidInput: the marker of the store is unreadable.
            StorageUnavailable: the store can't be reached.
            CatalogueUnavailable: the database can't be reached.
        """
        location, marker = store.location, await store.marker()
        if marker is None:
            there = await self._registry.registered_at(store.tier, location)
            return unmarked(location, there, empty=not there and await is_empty(store))
        if marker.catalogue_id != await self._registry.catalogue_id():
            return other_catalogue(location, marker)
        marker, registered, agrees = await self._compare(store, marker)
        return "" if agrees else disagreement(location, marker, registered)

    async def adopt(self, bound: BoundStore) -> str:
        """Make the catalogue trust the store at this location; return a description of the result.

        For an operator who knows that it is the correct store. The catalogue confirms the
        incarnation of the existing marker. A store without a marker gets one.

        Raises:
            StorageUnavailable: its marker names another catalogue, or it can't be reached.
            BlobConflict: another process changes the marker concurrently.
            CatalogueUnavailable: the database can't be reached.
        """
        location = bound.store.location
        marker = await bound.store.marker()
        if marker is None:
            return await self._adopt_unmarked(bound)
        if marker.catalogue_id != await self._registry.catalogue_id():
            raise StorageUnavailable(other_catalogue(location, marker))
        registered = await self._registry.registered(marker.store_id)
        if registered is not None and registered.admits(marker):
            return f"{location} is already trusted as {marker.store_id}"
        if registered is None:
            registered = self._new_store(bound, marker.store_id)
            await self._registry.register(registered)
        now = self._clock.now()
        accepted = registered.intending(marker.incarnation, now)
        await self._exchange(registered, accepted)
        await self._exchange(accepted, accepted.confirming(location, now))
        return f"{location} was adopted as {marker.store_id}"

    async def _adopt_unmarked(self, bound: BoundStore) -> str:
        """Write a marker into a store that has none.

        If the store holds blobs and the catalogue knows a store at this location, the marker names
        that store. Else it names a new store.
        """
        location = bound.store.location
        there = await self._registry.registered_at(bound.store.tier, location)
        if there and not await is_empty(bound.store):
            known = there[-1]
            intending = known.intending(
                known.intended or self._new_incarnation(), self._clock.now()
            )
            await self._exchange(known, intending)
        else:
            intending = self._new_store(bound)
            await self._registry.register(intending)
        await self._create_marker(bound.store, intending)
        return f"{location} has a new marker and was adopted as {intending.store_id}"

    async def _exchange(self, was: RegisteredStore, becomes: RegisteredStore) -> None:
        if not await self._registry.exchange(was, becomes):
            raise BlobConflict(f"{was.store_id} is being changed by another process")

    async def _identified(self, bound: BoundStore, claimed: Collection[StoreId | None]) -> Identity:
        store = bound.store
        marker = await store.marker()
        if marker is None:
            try:
                return await self._identity_of_unmarked(bound)
            except BlobConflict:
                # Another process wrote a marker first.
                marker = await store.marker()
        if marker is None:
            raise StorageUnavailable(
                f"{store.location} gave contradictory answers: it refused a new identity marker because "
                "one exists, but a read found none",
                remedy="try again",
            )
        if marker.store_id in claimed:
            return Identity(None, configured_twice(store.location))
        if marker.catalogue_id != await self._registry.catalogue_id():
            return Identity(
                await self._id_by_location(bound), other_catalogue(store.location, marker)
            )
        return await self._identity_of_marked(bound, marker)

    async def _identity_of_marked(self, bound: BoundStore, marker: Marker) -> Identity:
        marker, registered, agrees = await self._compare(bound.store, marker)
        if registered is None or not agrees:
            reason = disagreement(bound.store.location, marker, registered)
            return Identity(marker.store_id, reason)
        is_first = marker.store_id not in self._introduced
        if bound.configured.written and (is_first or registered.is_due(self._clock.now())):
            await self._try_to_introduce(bound, registered, marker)
        return Identity(marker.store_id, "")

    async def _identity_of_unmarked(self, bound: BoundStore) -> Identity:
        location = bound.store.location
        lost = await self._confirmed_before(bound)
        if not lost and not bound.configured.written:
            return Identity(None, NOT_USED)
        reason = unmarked(location, lost, empty=not lost and await is_empty(bound.store))
        if reason:
            if await bound.store.marker() is not None:
                raise BlobConflict(f"another process wrote a marker into {location}")
            return Identity(lost[-1].store_id if lost else None, reason)
        proposed = await self._propose(bound)
        await self._create_marker(bound.store, proposed)
        self._introduced.add(proposed.store_id)
        del self._proposed[location]
        return Identity(proposed.store_id, "")

    async def _confirmed_before(self, bound: BoundStore) -> list[RegisteredStore]:
        """Return the stores that were confirmed as this one, by this process or at its location."""
        if bound.store_id is not None:
            known = await self._registry.registered(bound.store_id)
            return [known] if known and known.confirmed_at else []
        return [*await self._registry.registered_at(bound.store.tier, bound.store.location)]

    async def _id_by_location(self, bound: BoundStore) -> StoreId | None:
        """Return the id that the store has by its location, so that it can be read."""
        if bound.store_id is not None:
            return bound.store_id
        there = await self._registry.registered_at(bound.store.tier, bound.store.location)
        return there[-1].store_id if there else None

    async def _id_while_unreachable(self, bound: BoundStore) -> StoreId | None:
        """Return the id of an unreachable store; a new cloud store is registered under a new id.

        With an id, replicas can be planned in the store before it is reached. If the store turns
        out to be another one, the registered entry stays unused.
        """
        supposed = await self._id_by_location(bound)
        if supposed or bound.store.tier is not Tier.CLOUD or not bound.configured.written:
            return supposed
        try:
            return (await self._propose(bound)).store_id
        except StorageFull:
            return None

    async def _propose(self, bound: BoundStore) -> RegisteredStore:
        """Return the entry that this store gets if it is new. Registered once per process."""
        location = bound.store.location
        if location not in self._proposed:
            self._proposed[location] = self._new_store(bound)
        await self._registry.register(self._proposed[location])
        return self._proposed[location]

    async def _compare(
        self, store: MarkedBlobStore, marker: Marker
    ) -> tuple[Marker, RegisteredStore | None, bool]:
        """Return the marker, the catalogue's entry of the store, and whether it admits the marker.

        Other processes of the same catalogue may introduce an incarnation concurrently. Store and
        catalogue therefore disagree only if the entry is equal before and after reading the marker.
        """
        before: RegisteredStore | None = None
        for number in range(_MAX_RACES):
            registered = await self._registry.registered(marker.store_id)
            if registered is not None and registered.admits(marker):
                return marker, registered, True
            if number and _is_unchanged(before, registered):
                return marker, registered, False
            before = registered
            again = await store.marker()
            if again is None or not again.names_store_of(marker):
                break
            marker = again
        raise StorageUnavailable(
            f"the marker of {store.location} is being changed by another process",
            remedy="try again",
        )

    async def _is_marker_of(self, marker: Marker, store_id: StoreId) -> bool:
        catalogue_id = await self._registry.catalogue_id()
        return (marker.catalogue_id, marker.store_id) == (catalogue_id, store_id)

    async def _try_to_introduce(
        self, bound: BoundStore, registered: RegisteredStore, marker: Marker
    ) -> None:
        """Introduce an incarnation. After a failure the next sweep tries again."""
        try:
            await self._introduce(bound.store, registered, marker)
        except (StorageFull, StorageUnavailable, BlobConflict, InvalidInput) as error:
            logger.warning(
                "no new incarnation was introduced in %s: %s", bound.store.location, str(error)
            )
        else:
            self._introduced.add(registered.store_id)

    async def _introduce(
        self, store: MarkedBlobStore, registered: RegisteredStore, marker: Marker
    ) -> None:
        """Complete a pending introduction, then introduce an incarnation of this process."""
        is_ours = False
        for _ in range(_MAX_RACES):
            step = next_step(registered, marker)
            if step is Step.INTEND and is_ours:
                return
            taken = await self._take(step, store, registered, marker)
            if taken is None:
                marker, registered = await self._admitted(store, registered)
                continue
            is_ours = is_ours or step is Step.INTEND
            registered, marker = taken
        logger.debug(
            "other processes introduced incarnations of %s concurrently", registered.store_id
        )

    async def _take(
        self, step: Step, store: MarkedBlobStore, registered: RegisteredStore, marker: Marker
    ) -> tuple[RegisteredStore, Marker] | None:
        """Take a step; return entry and marker after it, or None if another process was first."""
        now = self._clock.now()
        if step is Step.MARK and registered.intended is not None:
            becomes = evolve(marker, incarnation=registered.intended)
            try:
                await store.replace_marker(marker, becomes)
            except BlobConflict:
                return None
            return registered, becomes
        wanted = (
            registered.intending(self._new_incarnation(), now)
            if step is Step.INTEND
            else registered.confirming(store.location, now)
        )
        return (wanted, marker) if await self._registry.exchange(registered, wanted) else None

    async def _admitted(
        self, store: MarkedBlobStore, registered: RegisteredStore
    ) -> tuple[Marker, RegisteredStore]:
        """Read marker and registered store again and return them if they agree.

        Raises:
            BlobConflict: they do not agree.
        """
        marker = await store.marker()
        if marker is not None and marker.store_id == registered.store_id:
            marker, found, agrees = await self._compare(store, marker)
            if found is not None and agrees:
                return marker, found
        raise BlobConflict(f"the marker of {store.location} was changed by another process")

    async def _create_marker(self, store: MarkedBlobStore, registered: RegisteredStore) -> None:
        """Write the first marker of a registered store, and confirm its incarnation."""
        if registered.intended is None:
            raise ValueError(
                f"the catalogue has no new incarnation for the store {registered.store_id}: its identity "
                "marker can't be written"
            )
        catalogue_id = await self._registry.catalogue_id()
        await store.create_marker(Marker(catalogue_id, registered.store_id, registered.intended))
        confirmed = registered.confirming(store.location, self._clock.now())
        await self._registry.exchange(registered, confirmed)

    def _new_store(self, bound: BoundStore, store_id: StoreId | None = None) -> RegisteredStore:
        tier, now = bound.store.tier, self._clock.now()
        new = store_id or StoreId(f"{tier}-{self._ids.uuid7()}")
        blank = RegisteredStore(new, tier, bound.store.location, now)
        return blank if store_id else blank.intending(self._new_incarnation(), now)

    def _new_incarnation(self) -> Incarnation:
        return Incarnation(str(self._ids.uuid7()))


def _is_unchanged(before: RegisteredStore | None, now: RegisteredStore | None) -> bool:
    if before is None or now is None:
        return before is now
    return before.agrees_with(now)
