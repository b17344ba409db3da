"""Identities: determine which registered store each location holds, and if it may be changed.

This module carries out the steps of the protocol that `domain.identity` defines: the identification
file (marker) in a store and the catalogue must hold the same random token (incarnation), which is
replaced regularly. Several processes may take these steps concurrently, and any of them may die
between two steps.
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
from traffic_storage.domain.identifiers import Incarnation, StoreId
from traffic_storage.domain.identity import (
    Marker,
    RegisteredStore,
    Step,
    configured_twice,
    disagreement,
    next_step,
    of_backup,
    other_catalogue,
    unmarked,
)
from traffic_storage.domain.quarantine import DoubtUndone
from traffic_storage.ports.blob_store import is_empty
from traffic_storage.ports.changes import Changes
from traffic_storage.ports.clock import Clock, Ids
from traffic_storage.ports.errors import BlobConflict, CatalogueReadOnly, StoreReplaced
from traffic_storage.ports.store_identity import MarkedBlobStore
from traffic_storage.ports.store_registry import StoreRegistry

logger = logging.getLogger("traffic_storage.stores")

CONFIRM_SECONDS = 5.0
_MAX_RACES = 20


class Identities:
    """Compares the identification files of stores with the catalogue, and renews their tokens.

    The identification file is called the marker, the random token in it the incarnation.
    """

    def __init__(self, registry: StoreRegistry, changes: Changes, clock: Clock, ids: Ids) -> None:
        self._registry = registry
        self._changes = changes
        self._clock = clock
        self._ids = ids
        self._proposed: dict[str, RegisteredStore] = {}
        self._introduced: set[StoreId] = set()

    async def identify(self, bound: BoundStore, claimed: Collection[StoreId | None]) -> Identity:
        """Return the id of a configured store, and why it may not be changed (empty if it may).

        At the first call in this process, and when the random token of the store (its incarnation)
        is an hour old, writes a new one to the catalogue and to the store's identification file.
        `claimed` has the ids of the configured stores that were identified before; this store must
        not have one of them.

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
            return Identity(await self._id_by_location(bound), f"{NOT_BOUND}: {error}")
        except (BlobConflict, StorageFull, CatalogueReadOnly) as error:
            return Identity(await self._id_by_location(bound), f"{NOT_BOUND}: {error}")

    async def confirm(self, bound: BoundStore, store_id: StoreId) -> None:
        """Read the identification file (marker) of a store and check it against the catalogue.

        Reading takes at most `CONFIRM_SECONDS`.

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
                f"the identification file of the store at {location} could not be read within "
                f"{CONFIRM_SECONDS:.0f} s",
                remedy="check the disk or the network",
            ) from error
        if marker is None or not is_this:
            raise StorageUnavailable(
                f"{location} does not contain the identification file (marker) of {store_id}",
                remedy="check mount points and bucket names",
            )
        if not agrees:
            raise StorageUnavailable(disagreement(location, marker, registered))

    async def doubt(self, store: MarkedBlobStore) -> str:
        """Return why a process that starts now would not write to a store; empty if it would.

        Changes nothing.

        Raises:
            InvalidInput: the store's identification file (marker) is unreadable.
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
        """Register the store at this location as the correct one; return a text about the result.

        For an operator who knows that it is the correct store. The catalogue accepts the random
        token in the store's identification file (marker). A store without this file gets one. The
        blobs of attempts that this catalogue undid are not deleted for their age any more: if the
        catalogue is an older backup, they may be acknowledged evidence (`DoubtUndone`).

        Raises:
            StorageUnavailable: the file names another catalogue, or the store can't be reached.
            BlobConflict: another process changes the file or the catalogue's entry concurrently.
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
            return f"{location} is already accepted as the store {marker.store_id}"
        if registered is not None and registered.is_of_backup:
            raise StorageUnavailable(of_backup(location))
        if registered is None:
            registered = self._new_store(bound, marker.store_id)
            await self._registry.register(registered)
        await self._accept(registered, marker, location)
        return (
            f"{location} was adopted as the store {marker.store_id}; run `traffic-storage rebuild` "
            "now if the database was restored from a backup: it records what was stored since"
        )

    async def is_of_backup(self, store: MarkedBlobStore) -> bool:
        """Return whether the store is this catalogue's, whose entry of it was loaded from a backup.

        Raises:
            StorageUnavailable: the store can't be reached.
            CatalogueUnavailable: the database can't be reached.
        """
        return await self._of_backup(store) is not None

    async def accept(self, bound: BoundStore) -> None:
        """Trust a store again whose entry was loaded from a backup; nothing happens to another one.

        For a rebuild, which brings what the store has and the catalogue lacks.

        Raises:
            StorageUnavailable: the store can't be reached.
            BlobConflict: another process changes the catalogue's entry concurrently.
            CatalogueUnavailable: the database can't be reached.
        """
        found = await self._of_backup(bound.store)
        if found is not None:
            marker, registered = found
            await self._accept(registered, marker, bound.store.location)

    async def _accept(self, registered: RegisteredStore, marker: Marker, location: str) -> None:
        # First, so that a crash behind it leaves nothing that would be deleted.
        await self._changes.apply(DoubtUndone(registered.store_id, self._clock.now()))
        now = self._clock.now()
        accepted = registered.intending(marker.incarnation, now)
        await self._exchange(registered, accepted)
        await self._exchange(accepted, accepted.confirming(location, now))

    async def _of_backup(self, store: MarkedBlobStore) -> tuple[Marker, RegisteredStore] | None:
        try:
            marker = await store.marker()
        except InvalidInput:
            return None
        if marker is None or marker.catalogue_id != await self._registry.catalogue_id():
            return None
        registered = await self._registry.registered(marker.store_id)
        return (marker, registered) if registered is not None and registered.is_of_backup else None

    async def is_of_other_catalogue(self, store: MarkedBlobStore) -> bool:
        """Return whether the identification file (marker) of a store names another catalogue.

        False if there is no such file, or it is unreadable.

        Raises:
            StorageUnavailable: the store can't be reached.
            CatalogueUnavailable: the database can't be reached.
        """
        try:
            marker = await store.marker()
        except InvalidInput:
            return False
        return marker is not None and marker.catalogue_id != await self._registry.catalogue_id()

    async def take_over(self, bound: BoundStore) -> str:
        """Make a store of another catalogue one of this catalogue; return a text about the result.

        The store keeps its id. The steps are those of a new random token (incarnation); after a
        crash between two of them, `take_over` or `identify` completes them.

        Raises:
            StorageUnavailable: the store can't be reached, or has no identification file (marker).
            BlobConflict: another process changes the file or the catalogue's entry concurrently.
            CatalogueUnavailable: the database can't be reached.
        """
        location, marker = bound.store.location, await bound.store.marker()
        if marker is None:
            raise StorageUnavailable(f"{location} has no identification file (marker)")
        catalogue_id = await self._registry.catalogue_id()
        registered = await self._registry.registered(marker.store_id)
        if registered is None:
            registered = self._new_store(bound, marker.store_id)
            await self._registry.register(registered)
        intended = registered.intended
        if intended is None:
            intended = self._new_incarnation()
            intending = registered.intending(intended, self._clock.now())
            await self._exchange(registered, intending)
            registered = intending
        becomes = Marker(catalogue_id, marker.store_id, intended)
        await bound.store.replace_marker(marker, becomes)
        await self._exchange(registered, registered.confirming(location, self._clock.now()))
        return (
            f"the store {marker.store_id} at {location} belonged to the catalogue "
            f"{marker.catalogue_id} and was taken over"
        )

    async def _adopt_unmarked(self, bound: BoundStore) -> str:
        """Write an identification file (marker) into a store that has none.

        If the store holds blobs and the catalogue knows a store at this location, the file names
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
        return (
            f"a new identification file was written into {location}, which was adopted as the "
            f"store {intending.store_id}"
        )

    async def _exchange(self, was: RegisteredStore, becomes: RegisteredStore) -> None:
        if not await self._registry.exchange(was, becomes):
            raise BlobConflict(
                f"the catalogue's entry of the store {was.store_id} was changed by another process",
                remedy="try again",
            )

    async def _identified(self, bound: BoundStore, claimed: Collection[StoreId | None]) -> Identity:
        store = bound.store
        marker = await store.marker()
        if marker is None:
            try:
                return await self._identity_of_unmarked(bound)
            except BlobConflict:
                # Another process wrote an identification file first.
                marker = await store.marker()
        if marker is None:
            raise StorageUnavailable(
                f"{store.location} gave contradictory answers: a new identification file was refused "
                "because one exists, but a read found none",
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
                raise BlobConflict(f"another process wrote an identification file into {location}")
            return Identity(lost[-1].store_id if lost else None, reason)
        proposed = await self._propose(bound)
        await self._create_marker(bound.store, proposed)
        self._introduced.add(proposed.store_id)
        del self._proposed[location]
        return Identity(proposed.store_id, "")

    async def _confirmed_before(self, bound: BoundStore) -> list[RegisteredStore]:
        """Return the entries of the stores that this location held before, the latest last.

        If this process knows the id of the store, only the store with this id is returned.
        """
        if bound.store_id is not None:
            known = await self._registry.registered(bound.store_id)
            return [known] if known and known.confirmed_at else []
        return [*await self._registry.registered_at(bound.store.tier, bound.store.location)]

    async def _id_by_location(self, bound: BoundStore) -> StoreId | None:
        """Return the id of the store that was last verified at this location; None if there is none.

        With the id, files can be read from a store that is not verified.
        """
        if bound.store_id is not None:
            return bound.store_id
        there = await self._registry.registered_at(bound.store.tier, bound.store.location)
        return there[-1].store_id if there else None

    async def _propose(self, bound: BoundStore) -> RegisteredStore:
        """Register the store as a new one, once per process, and return its entry.

        The entry is used if the location holds no known store.
        """
        location = bound.store.location
        if location not in self._proposed:
            self._proposed[location] = self._new_store(bound)
        await self._registry.register(self._proposed[location])
        return self._proposed[location]

    async def _compare(
        self, store: MarkedBlobStore, marker: Marker
    ) -> tuple[Marker, RegisteredStore | None, bool]:
        """Compare the identification file (marker) of a store with the catalogue.

        Return the content of the file, the catalogue's entry of the store, and whether both have
        the same random token. Another process may replace the token meanwhile. Store and catalogue
        therefore disagree only if the entry is equal before and after reading the file.
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
            f"the identification file of the store at {store.location} is being changed by another "
            "process",
            remedy="try again",
        )

    async def _is_marker_of(self, marker: Marker, store_id: StoreId) -> bool:
        catalogue_id = await self._registry.catalogue_id()
        return (marker.catalogue_id, marker.store_id) == (catalogue_id, store_id)

    async def _try_to_introduce(
        self, bound: BoundStore, registered: RegisteredStore, marker: Marker
    ) -> None:
        """Replace the random token of a store (its incarnation) by a new one.

        After a failure the next periodic maintenance tries again.
        """
        try:
            await self._introduce(bound.store, registered, marker)
        except CatalogueReadOnly as error:
            logger.info("the stores can only be read: %s", str(error))
        except (StorageFull, StorageUnavailable, BlobConflict, InvalidInput) as error:
            logger.warning(
                "the random token that identifies the store at %s could not be renewed; this is tried "
                "again periodically: %s",
                bound.store.location,
                str(error),
            )
        else:
            self._introduced.add(registered.store_id)

    async def _introduce(
        self, store: MarkedBlobStore, registered: RegisteredStore, marker: Marker
    ) -> None:
        """Complete a replacement of the store's random token that was begun, then replace it anew."""
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
            "this process did not renew the random token of the store %s, because other processes "
            "renewed it at the same time",
            registered.store_id,
        )

    async def _take(
        self, step: Step, store: MarkedBlobStore, registered: RegisteredStore, marker: Marker
    ) -> tuple[RegisteredStore, Marker] | None:
        """Take one step of replacing the random token of a store.

        Return the catalogue's entry and the content of the identification file after the step, or
        None if another process changed them first.
        """
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
        """Read a store's identification file (marker) and its catalogue entry; return both.

        Raises:
            BlobConflict: they do not have the same store id and random token.
        """
        marker = await store.marker()
        if marker is not None and marker.store_id == registered.store_id:
            marker, found, agrees = await self._compare(store, marker)
            if found is not None and agrees:
                return marker, found
        raise BlobConflict(
            f"the identification file of the store at {store.location} was changed by another process"
        )

    async def _create_marker(self, store: MarkedBlobStore, registered: RegisteredStore) -> None:
        """Write the first identification file (marker) of a registered store.

        Then the catalogue records the random token in the file (the incarnation) as confirmed.
        """
        if registered.intended is None:
            raise ValueError(
                f"the catalogue has no new random token for the store {registered.store_id}: its "
                "identification file can't be written"
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
