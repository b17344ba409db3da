"""The stores of this process: their identity, their room, and which one a file goes to."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from attrs import define, field, frozen

from traffic_storage.application.whereabouts import Whereabouts
from traffic_storage.domain.errors import InvalidInput, StorageFull, StorageUnavailable
from traffic_storage.domain.files import BlobKey, FileKind, Tier
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.identity import EnrolledStore, Marker, judge
from traffic_storage.domain.placement import (
    CloudRoute,
    Placement,
    StorageStrategy,
    StoreStatus,
    Thresholds,
    place,
    route,
)
from traffic_storage.ports.blob_store import BlobStore, Room, is_empty
from traffic_storage.ports.clock import Clock, Ids
from traffic_storage.ports.errors import BlobConflict, CatalogueUnavailable, StoreReplaced
from traffic_storage.ports.record_repo import RecordRepo

logger = logging.getLogger("traffic_storage.stores")

ROOM_IS_FRESH_SECONDS = 1.0
CONFIRM_SECONDS = 5.0
NOT_BOUND = "its identity is not verified yet"
NOT_USED = "the strategy does not use it"

Excluded: TypeAlias = Mapping[StoreId, StorageFull | StorageUnavailable]
"""Stores that just failed, and how."""


@frozen
class StoreLimits:
    """How much our files may occupy in a store, and what must stay free on its medium."""

    limit_bytes: int | None = None
    reserve_bytes: int = 0


@frozen
class ConfiguredStore:
    """A store that the configuration names.

    `written` says whether the strategy puts files here; a store that it does not use is read
    where files of another time lie in it. `device_pattern` sends devices there (cloud stores);
    None takes the rest. `beside_catalogue` says that the catalogue lies in the same folder, and is
    moved and copied with it.
    """

    store: BlobStore
    limits: StoreLimits
    written: bool = True
    device_pattern: str | None = None
    beside_catalogue: bool = False


@define
class Occupancy:
    """What our files occupy in a store.

    Attributes:
        counted_bytes: what the catalogue counted, and what was stored here since.
        reserved_bytes: of files that are being stored.
        kept_bytes: all that was ever stored here; what it grows by while something is measured
            may be missing in the measurement.
    """

    counted_bytes: int = 0
    reserved_bytes: int = 0
    kept_bytes: int = 0

    @property
    def used_bytes(self) -> int:
        """What counts against a limit."""
        return self.counted_bytes + self.reserved_bytes


@define
class BoundStore:
    """A store, who it is, and what is known of its room."""

    configured: ConfiguredStore
    store_id: StoreId | None = None
    untrusted_reason: str = NOT_BOUND
    room: Room = field(factory=Room)
    room_at: float = float("-inf")
    room_kept_bytes: int = 0

    @property
    def store(self) -> BlobStore:
        """The adapter."""
        return self.configured.store

    @property
    def trusted(self) -> bool:
        """Whether it proved to be the store that the catalogue means."""
        return not self.untrusted_reason

    def status(self, store_id: StoreId, occupied: Occupancy, excluded: Excluded) -> StoreStatus:
        """The store as placement sees it now."""
        limits = self.configured.limits
        failed = excluded.get(store_id)
        full = str(failed) if isinstance(failed, StorageFull) else ""
        away = str(failed) if failed and not full else ""
        return StoreStatus(
            store_id=store_id,
            tier=self.store.tier,
            unavailable_reason=self.untrusted_reason or away or self.store.unavailable_reason(),
            full=full,
            used_bytes=occupied.used_bytes,
            limit_bytes=limits.limit_bytes,
            free_bytes=self._free_bytes(occupied),
            reserve_bytes=limits.reserve_bytes,
            free_inodes=self.room.free_inodes,
        )

    def _free_bytes(self, occupied: Occupancy) -> int | None:
        """What was free when it was measured, less what was stored since."""
        if self.room.free_bytes is None:
            return None
        return self.room.free_bytes - (occupied.kept_bytes - self.room_kept_bytes)


class Stores:
    """All stores of this process, bound to the catalogue."""

    def __init__(
        self,
        configured: Sequence[ConfiguredStore],
        *,
        strategy: StorageStrategy,
        thresholds: Thresholds,
        repo: RecordRepo,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._strategy = strategy
        self._thresholds = thresholds
        self._repo = repo
        self._clock = clock
        self._ids = ids
        self._all = [BoundStore(store) for store in configured]
        self._whereabouts = Whereabouts(repo)
        self._bound = False
        self._by_id: dict[StoreId, BoundStore] = {}
        self._elsewhere: dict[StoreId, str] = {}
        self._occupied: defaultdict[StoreId, Occupancy] = defaultdict(Occupancy)

    def __iter__(self) -> Iterator[BoundStore]:
        return iter(self._all)

    def blob_store(self, store_id: StoreId) -> BlobStore:
        """The adapter of a store of this process.

        Raises:
            StorageUnavailable: this process has no such store.
        """
        return self._known(store_id).store

    def occupied(self, store_id: StoreId) -> Occupancy:
        """What our files occupy in a store at this moment."""
        return self._occupied[store_id]

    def must_be_trusted(self, store_id: StoreId) -> None:
        """Refuse to draw conclusions from, or change anything in, a store that may be another.

        Raises:
            StorageUnavailable: it has not proved who it is; names why.
        """
        bound = self._by_id.get(store_id)
        if bound is not None and not bound.trusted:
            raise StorageUnavailable(f"the store {store_id} is in doubt: {bound.untrusted_reason}")

    async def confirm(self, store_id: StoreId, key: BlobKey | None = None) -> None:
        """Make sure, by looking now, that what a store lacks is lacking: call it before a replica
        is noted as missing. With `key` the part of the store where that blob lies is looked for,
        too. Takes some seconds at most.

        Raises:
            StorageUnavailable: that can't be said of it now; the message says why.
            CatalogueUnavailable: the database is away.
        """
        bound = self._known(store_id)
        self.must_be_trusted(store_id)
        catalogue = await self._repo.catalogue_id()
        try:
            async with asyncio.timeout(CONFIRM_SECONDS):
                marker = await bound.store.marker()
                part = "" if key is None else await bound.store.missing_part(key)
        except InvalidInput as error:
            raise StorageUnavailable(f"{bound.store.location}: {error}") from error
        except TimeoutError as error:
            raise StorageUnavailable(
                f"{bound.store.location} did not show its marker in {CONFIRM_SECONDS:.0f} s",
                remedy="check the disk or the network",
            ) from error
        if marker != Marker(catalogue, store_id):
            raise StorageUnavailable(
                f"{bound.store.location} does not carry the marker of {store_id} now",
                remedy="check mount points and bucket names",
            )
        if part:
            raise StorageUnavailable(
                f"{part} is not there", remedy="mount what belongs there, or restore the folder"
            )
        await self._whereabouts.check_complete(bound.store, store_id)
        self.must_be_trusted(store_id)

    async def bind(self) -> None:
        """Learn or confirm which store is which. A store that is away is tried again later.

        Raises:
            CatalogueUnavailable: the database is away; nothing has changed.
        """
        found: list[tuple[StoreId | None, str]] = []
        for bound in self._all:
            found.append(await self._identity(bound, {store_id for store_id, _ in found}))
        for bound, (store_id, unavailable_reason) in zip(self._all, found, strict=True):
            if unavailable_reason not in {"", NOT_USED, bound.untrusted_reason}:
                logger.error(
                    "nothing is written to %s: %s", bound.store.location, unavailable_reason
                )
            bound.store_id, bound.untrusted_reason = store_id, unavailable_reason
        self._bound = True
        self._by_id = {bound.store_id: bound for bound in self._all if bound.store_id is not None}
        await self.recount()
        for bound in self._by_id.values():
            await self._refresh_room(bound)

    async def recount(self) -> None:
        """Take the usage from the catalogue's counters.

        What is being stored stays reserved. What was stored meanwhile counts, twice perhaps until
        the next recount: never too little.
        """
        before = {store_id: here.kept_bytes for store_id, here in self._occupied.items()}
        usage = await self._repo.usage()
        counted: defaultdict[StoreId, int] = defaultdict(int)
        for row in usage.stores:
            counted[row.store_id] += row.bytes
        self._elsewhere = await self._locations(counted.keys() - self._by_id.keys())
        for store_id in {*counted, *self._occupied}:
            here = self._occupied[store_id]
            here.counted_bytes = counted[store_id] + here.kept_bytes - before.get(store_id, 0)

    async def place(
        self, kind: FileKind, size_bytes: int, device: str | None, excluded: Excluded
    ) -> Placement:
        """Decide where a file goes, and reserve its bytes there until `end_reservation`.

        Raises:
            StorageFull, StorageUnavailable: as `domain.placement.place`.
        """
        if not self._bound:
            raise StorageUnavailable(
                "this service is not started: no store was opened yet",
                remedy="await its start first: `container.runtime().start()`",
            )
        local, cloud = self._local(), self._cloud_for(device)
        for bound in (local, cloud):
            if bound is not None:
                await self._refresh_room(bound)
        placement = place(
            self._strategy,
            kind,
            size_bytes,
            local=self._status(local, excluded),
            cloud=self._status(cloud, excluded),
            thresholds=self._thresholds,
        )
        self._occupied[placement.first.store_id].reserved_bytes += size_bytes
        return placement

    def end_reservation(self, store_id: StoreId, size_bytes: int, *, kept: bool) -> None:
        """End what `place` reserved: `kept` says whether the file came to be there."""
        here = self._occupied[store_id]
        here.reserved_bytes -= size_bytes
        if kept:
            here.counted_bytes += size_bytes
            here.kept_bytes += size_bytes

    def _known(self, store_id: StoreId) -> BoundStore:
        if bound := self._by_id.get(store_id):
            return bound
        where = f"{self._elsewhere[store_id]}: " if store_id in self._elsewhere else ""
        raise StorageUnavailable(
            f"{where}the store {store_id} is not one of this process",
            remedy="configure it here, or ask the process that has it",
        )

    async def _locations(self, store_ids: Iterable[StoreId]) -> dict[StoreId, str]:
        """Where stores of other processes are."""
        known = [await self._repo.enrolled(store_id) for store_id in store_ids]
        return {store.store_id: store.location for store in known if store}

    def _local(self) -> BoundStore | None:
        if not self._strategy.needs_local:
            return None
        return next((bound for bound in self._all if bound.store.tier is Tier.LOCAL), None)

    def _cloud_for(self, device: str | None) -> BoundStore | None:
        clouds = [
            bound
            for bound in self._all
            if bound.store.tier is Tier.CLOUD
            and bound.configured.written
            and bound.store_id is not None
        ]
        rest = [bound for bound in clouds if bound.configured.device_pattern is None]
        if not rest or rest[0].store_id is None:
            return None
        routes = [
            CloudRoute(bound.configured.device_pattern, bound.store_id)
            for bound in clouds
            if bound.configured.device_pattern is not None and bound.store_id is not None
        ]
        return self._by_id[route(device, routes, rest[0].store_id)]

    def _status(self, bound: BoundStore | None, excluded: Excluded) -> StoreStatus | None:
        if bound is None or bound.store_id is None:
            return None
        return bound.status(bound.store_id, self._occupied[bound.store_id], excluded)

    async def _refresh_room(self, bound: BoundStore) -> None:
        now = self._clock.monotonic()
        if now - bound.room_at < ROOM_IS_FRESH_SECONDS or bound.store.unavailable_reason():
            return
        bound.room_at = now
        kept = 0 if bound.store_id is None else self._occupied[bound.store_id].kept_bytes
        try:
            bound.room = await bound.store.room()
        except StorageUnavailable as error:
            logger.warning("the room of %s is unknown: %s", bound.store.location, str(error))
        else:
            bound.room_kept_bytes = kept

    async def _identity(
        self, bound: BoundStore, claimed: Collection[StoreId | None]
    ) -> tuple[StoreId | None, str]:
        """Which store it is, if that can be said, and why it may not be written (empty: it may)."""
        try:
            return await self._proved(bound, claimed)
        except CatalogueUnavailable:
            raise
        except (InvalidInput, StoreReplaced) as error:
            return await self._supposed(bound), str(error)
        except (BlobConflict, StorageFull, StorageUnavailable) as error:
            if bound.trusted and isinstance(error, StorageUnavailable):
                # It proved itself before; its adapter knows that it is away.
                return bound.store_id, ""
            return await self._supposed(bound), f"{NOT_BOUND}: {error}"

    async def _proved(
        self, bound: BoundStore, claimed: Collection[StoreId | None]
    ) -> tuple[StoreId | None, str]:
        marker = await bound.store.marker()
        if marker is None and not bound.configured.written:
            return None, NOT_USED
        if marker is not None and marker.store_id in claimed:
            return None, (
                f"{bound.store.location} carries the marker of a store that is configured already: "
                "one is a copy of the other, or both settings name one place"
            )
        enrolled = await self._enrol(bound, marker)
        unavailable_reason = await self._verdict_on(bound.store, enrolled, marker)
        if not unavailable_reason:
            unavailable_reason = await self._whereabouts.agree(
                bound.store, enrolled, moves_along=bound.configured.beside_catalogue
            )
        return enrolled.store_id, unavailable_reason

    async def _supposed(self, bound: BoundStore) -> StoreId | None:
        """Which store it is by its location: copies can be due in it while it is away."""
        if bound.store_id is not None or not bound.configured.written:
            return bound.store_id
        return (await self._enrol(bound, None)).store_id

    async def _enrol(self, bound: BoundStore, marker: Marker | None) -> EnrolledStore:
        location, tier = bound.store.location, bound.store.tier
        ours = marker is not None and marker.catalogue_id == await self._repo.catalogue_id()
        if marker is None or not ours:
            return await self._repo.enrol(location, tier, self._new_id(tier))
        known = await self._repo.enrolled(marker.store_id)
        if known is None:
            return await self._repo.enrol(location, tier, marker.store_id)
        return known

    async def _verdict_on(
        self, store: BlobStore, enrolled: EnrolledStore, marker: Marker | None
    ) -> str:
        catalogue = await self._repo.catalogue_id()
        empty = marker is None and not enrolled.marked and await is_empty(store)
        verdict = judge(catalogue, enrolled, marker, empty=empty)
        if verdict.write_marker:
            if marker is None:
                await store.write_marker(Marker(catalogue, enrolled.store_id))
            await self._repo.note_marked(enrolled.store_id)
        return verdict.unavailable_reason

    def _new_id(self, tier: Tier) -> StoreId:
        return StoreId(f"{tier}-{self._ids.uuid7()}")
