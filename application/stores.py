"""The stores of this process: their identity, their room, and which one a file goes to."""

import logging
from collections.abc import Iterator, Mapping, Sequence

from attrs import define, field, frozen

from traffic_storage.domain.errors import InvalidInput, StorageUnavailable
from traffic_storage.domain.files import FileKind, Tier
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
from traffic_storage.ports.record_repo import RecordRepo

logger = logging.getLogger("traffic_storage.stores")

ROOM_IS_FRESH_SECONDS = 1.0
NOT_BOUND = "its identity is not verified yet"
NOT_USED = "the strategy does not use it"


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
    None takes the rest.
    """

    store: BlobStore
    limits: StoreLimits
    written: bool = True
    device_pattern: str | None = None


@define
class BoundStore:
    """A store, who it is, and what is known of its room."""

    configured: ConfiguredStore
    store_id: StoreId | None = None
    identity_obstacle: str = NOT_BOUND
    used_bytes: int = 0
    changed_bytes: int = 0
    room: Room = field(factory=Room)
    room_at: float = float("-inf")

    @property
    def store(self) -> BlobStore:
        """The adapter."""
        return self.configured.store

    @property
    def trusted(self) -> bool:
        """Whether it proved to be the store that the catalogue means."""
        return not self.identity_obstacle

    def take(self, size_bytes: int) -> None:
        """Count bytes that go in (negative: that don't, after all)."""
        self.used_bytes += size_bytes
        self.changed_bytes += size_bytes

    def status(self, store_id: StoreId, excluded: Mapping[StoreId, str]) -> StoreStatus:
        """The store as placement sees it now."""
        limits = self.configured.limits
        return StoreStatus(
            store_id=store_id,
            tier=self.store.tier,
            obstacle=self.identity_obstacle or excluded.get(store_id) or self.store.obstacle(),
            used_bytes=self.used_bytes,
            limit_bytes=limits.limit_bytes,
            free_bytes=self.room.free_bytes,
            reserve_bytes=limits.reserve_bytes,
            free_inodes=self.room.free_inodes,
        )


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
        self._by_id: dict[StoreId, BoundStore] = {}

    def __iter__(self) -> Iterator[BoundStore]:
        return iter(self._all)

    def known(self, store_id: StoreId) -> BoundStore | None:
        """The store with this id, if this process has it."""
        return self._by_id.get(store_id)

    def blob_store(self, store_id: StoreId) -> BlobStore:
        """The adapter of a store of this process.

        Raises:
            StorageUnavailable: this process has no such store.
        """
        if bound := self._by_id.get(store_id):
            return bound.store
        raise StorageUnavailable(
            f"the store {store_id} is not one of this process",
            remedy="configure it here, or ask the process that has it",
        )

    def is_trusted(self, store_id: StoreId) -> bool:
        """Whether a store is one of this process and has proved to be the one that is meant."""
        bound = self._by_id.get(store_id)
        return bound is not None and bound.trusted

    def must_be_trusted(self, store_id: StoreId) -> None:
        """Refuse to change anything in a store that has not proved who it is.

        Raises:
            StorageUnavailable: it has not.
        """
        bound = self._by_id.get(store_id)
        if bound is not None and not bound.trusted:
            raise StorageUnavailable(bound.identity_obstacle)

    async def bind(self) -> None:
        """Learn or confirm which store is which. A store that is away is tried again later."""
        for bound in self._all:
            obstacle = await self._identity_obstacle(bound)
            if obstacle not in {"", NOT_USED, bound.identity_obstacle}:
                logger.error("nothing is written to %s: %s", bound.store.location, obstacle)
            bound.identity_obstacle = obstacle
            if bound.store_id is not None:
                self._by_id[bound.store_id] = bound
        await self.recount()

    async def recount(self) -> None:
        """Take the usage from the catalogue's counters; what changes meanwhile counts too."""
        before = {id(bound): bound.changed_bytes for bound in self._all}
        usage = await self._repo.usage()
        for bound in self._all:
            counted = sum(row.bytes for row in usage.stores if row.store_id == bound.store_id)
            bound.used_bytes = counted + bound.changed_bytes - before[id(bound)]

    async def place(
        self,
        kind: FileKind,
        size_bytes: int,
        device: str | None,
        excluded: Mapping[StoreId, str],
    ) -> Placement:
        """Decide where a file goes, and count its bytes there until `release`.

        `excluded` names stores that just failed, and why.

        Raises:
            StorageFull, StorageUnavailable: as `domain.placement.place`.
        """
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
        self._by_id[placement.first.store_id].take(size_bytes)
        return placement

    def release(self, store_id: StoreId, size_bytes: int) -> None:
        """Give back what `place` counted: the file did not come to be there."""
        self._by_id[store_id].take(-size_bytes)

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

    @staticmethod
    def _status(bound: BoundStore | None, excluded: Mapping[StoreId, str]) -> StoreStatus | None:
        if bound is None or bound.store_id is None:
            return None
        return bound.status(bound.store_id, excluded)

    async def _refresh_room(self, bound: BoundStore) -> None:
        now = self._clock.monotonic()
        if now - bound.room_at < ROOM_IS_FRESH_SECONDS or bound.store.obstacle():
            return
        bound.room_at = now
        try:
            bound.room = await bound.store.room()
        except StorageUnavailable as error:
            logger.warning("the room of %s is unknown: %s", bound.store.location, error)

    async def _identity_obstacle(self, bound: BoundStore) -> str:
        try:
            marker = await bound.store.marker()
        except InvalidInput as error:
            return str(error)
        except StorageUnavailable as error:
            return await self._obstacle_while_away(bound, error)
        if marker is None and not bound.configured.written:
            return NOT_USED
        enrolled = await self._enrol(bound, marker)
        bound.store_id = enrolled.store_id
        try:
            return await self._settle(bound.store, enrolled, marker)
        except StorageUnavailable as error:
            return f"{NOT_BOUND}: {error}"

    async def _obstacle_while_away(self, bound: BoundStore, error: StorageUnavailable) -> str:
        if bound.trusted:
            return ""  # It proved itself before; its adapter knows that it is away.
        if bound.configured.written:
            bound.store_id = (await self._enrol(bound, None)).store_id
        return f"{NOT_BOUND}: {error}"

    async def _enrol(self, bound: BoundStore, marker: Marker | None) -> EnrolledStore:
        location, tier = bound.store.location, bound.store.tier
        ours = marker is not None and marker.catalogue_id == await self._repo.catalogue_id()
        if marker is None or not ours:
            return await self._repo.enrol(location, tier, self._new_id(tier))
        known = await self._repo.enrolled(marker.store_id)
        if known is None:
            return await self._repo.enrol(location, tier, marker.store_id)
        if known.location != location:
            await self._repo.relocate(known.store_id, location)
            logger.warning("%s is now at %s", known.location, location)
        return known

    async def _settle(
        self, store: BlobStore, enrolled: EnrolledStore, marker: Marker | None
    ) -> str:
        catalogue = await self._repo.catalogue_id()
        empty = marker is None and not enrolled.marked and await is_empty(store)
        verdict = judge(catalogue, enrolled, marker, empty=empty)
        if verdict.write_marker:
            if marker is None:
                await store.write_marker(Marker(catalogue, enrolled.store_id))
            await self._repo.note_marked(enrolled.store_id)
        return verdict.obstacle

    def _new_id(self, tier: Tier) -> StoreId:
        return StoreId(f"{tier}-{self._ids.uuid7()}")
