"""Capacity: free space of stores, reserved bytes, and limits on concurrent writes."""

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeAlias

from attrs import define, evolve

from traffic_storage.application.stores.directory import BoundStore, Directory
from traffic_storage.domain.errors import StorageFull, StorageUnavailable
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.placement import UNKNOWN_STORE, StoreStatus
from traffic_storage.domain.pressure import evidence_bytes
from traffic_storage.ports.catalogue import Catalogue
from traffic_storage.ports.clock import Clock

logger = logging.getLogger("traffic_storage.stores")

ROOM_IS_FRESH_SECONDS = 1.0

PutSlots: TypeAlias = Mapping[StoreId, asyncio.Semaphore]
"""Store id → the semaphore that limits the concurrent writes of one call in this store."""


@define
class Occupancy:
    """The bytes that stored files, and files that are being stored, occupy in a store.

    Attributes:
        counted_bytes: the catalogue's counters at the last recount, plus the bytes that this
            process stored since.
        reserved_bytes: bytes of files that are being stored.
        kept_bytes: all bytes that this process stored; monotonic. Its growth since a measurement of
            free space is subtracted from that measurement.
    """

    counted_bytes: int = 0
    reserved_bytes: int = 0
    kept_bytes: int = 0

    @property
    def used_bytes(self) -> int:
        """The bytes that count against the limit of the store."""
        return self.counted_bytes + self.reserved_bytes


@define
class _Measurement:
    """The time at which a store's free space was measured, and `kept_bytes` at that time."""

    at: float = float("-inf")
    kept_bytes: int = 0


class Slots:
    """A limited number of slots (rights to write one file), granted in the order of the requests."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._free = limit
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def take(self, count: int) -> AsyncIterator[int]:
        """Wait for `count` slots (rights to write a file), but at most the limit; yield the number.

        The slots are released at the end of the context.
        """
        wanted = min(count, self._limit)
        await self._acquire(wanted)
        try:
            yield wanted
        finally:
            self._release(wanted)

    async def _acquire(self, wanted: int) -> None:
        if not self._waiting and self._free >= wanted:
            self._free -= wanted
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((wanted, turn))
        try:
            await turn
        except asyncio.CancelledError:
            # The slots were granted just before the cancellation, or never. In both cases the next
            # waiting caller may be able to continue.
            self._release(0 if turn.cancelled() else wanted)
            raise

    def _release(self, count: int) -> None:
        self._free += count
        while self._waiting and (self._waiting[0][1].done() or self._free >= self._waiting[0][0]):
            wanted, turn = self._waiting.popleft()
            if not turn.done():
                self._free -= wanted
                turn.set_result(None)


class Capacity:
    """Measures free space, counts stored and reserved bytes, limits concurrent writes per store."""

    def __init__(
        self, directory: Directory, catalogue: Catalogue, clock: Clock, *, parallel_puts: int
    ) -> None:
        self._directory = directory
        self._catalogue = catalogue
        self._clock = clock
        self._occupied: defaultdict[StoreId, Occupancy] = defaultdict(Occupancy)
        self._measured: defaultdict[int, _Measurement] = defaultdict(_Measurement)
        self._slots: defaultdict[StoreId, Slots] = defaultdict(lambda: Slots(parallel_puts))

    def occupied(self, store_id: StoreId) -> Occupancy:
        """Return the bytes that stored files, and files being stored, occupy in a store now."""
        return self._occupied[store_id]

    def reserve(self, store_id: StoreId, size_bytes: int) -> None:
        """Reserve space in a store for a file that is about to be stored, until `end_reservation`."""
        self._occupied[store_id].reserved_bytes += size_bytes

    async def reserve_in(self, bound: BoundStore, size_bytes: int) -> None:
        """Measure the space of a store if needed; reserve the bytes of a blob until `end_reservation`.

        Raises:
            StorageFull: the store has too little space.
            StorageUnavailable: the store can't be written.
        """
        await self.refresh(bound)
        status = self.status(bound, None)
        where = f"the {status.tier} store {status.store_id}"
        if status.unavailable_reason:
            raise StorageUnavailable(f"{where} can't be written: {status.unavailable_reason}")
        if shortage := status.shortage(size_bytes):
            raise StorageFull(
                f"{where} has no space for {size_bytes} bytes: {shortage}",
                remedy="free space in this store, or raise its limit",
            )
        self.reserve(status.store_id, size_bytes)

    def end_reservation(self, store_id: StoreId, size_bytes: int, *, kept: bool) -> None:
        """End a reservation of space in a store; `kept` is whether the file was stored."""
        here = self._occupied[store_id]
        here.reserved_bytes -= size_bytes
        if kept:
            here.counted_bytes += size_bytes
            here.kept_bytes += size_bytes

    @asynccontextmanager
    async def slots(self, puts: Mapping[StoreId, int]) -> AsyncIterator[PutSlots]:
        """Wait until this number of writes may begin in each store; yield a semaphore for each.

        The semaphore has the size of that number. Each store has its own limit of concurrent
        writes, so a slow store does not delay writes to another.
        """
        async with AsyncExitStack() as held:
            # All calls take slots in the same order, so no two calls wait for each other.
            yield {
                store_id: asyncio.Semaphore(
                    await held.enter_async_context(self._slots[store_id].take(puts[store_id]))
                )
                for store_id in sorted(puts)
            }

    async def recount(self) -> Mapping[StoreId, int]:
        """Reload the usage from the catalogue's counters; return the used bytes of each store.

        Reservations stay. A file stored during the recount may count twice until the next recount,
        but is never omitted.
        """
        before = {store_id: here.kept_bytes for store_id, here in self._occupied.items()}
        usage = await self._catalogue.usage()
        counted: defaultdict[StoreId, int] = defaultdict(int)
        for row in usage.stores:
            counted[row.store_id] += row.bytes
        for store_id in {*counted, *self._occupied}:
            here = self._occupied[store_id]
            here.counted_bytes = counted[store_id] + here.kept_bytes - before.get(store_id, 0)
        return counted

    async def refresh(self, bound: BoundStore) -> None:
        """Measure the free space of a store, unless that was done within the last second."""
        now = self._clock.monotonic()
        measured = self._measured[id(bound)]
        if now - measured.at < ROOM_IS_FRESH_SECONDS or bound.store.unavailable_reason():
            return
        measured.at = now
        kept_bytes = self._occupancy_of(bound).kept_bytes
        try:
            bound.room = await bound.store.room()
        except StorageUnavailable as error:
            logger.warning(
                "the free space of %s could not be measured: %s", bound.store.location, str(error)
            )
        else:
            measured.kept_bytes = kept_bytes

    def status(
        self, bound: BoundStore, failed: StorageFull | StorageUnavailable | None
    ) -> StoreStatus:
        """Return the availability and the free space of a store, for the choice of stores.

        `failed` is the error that this store raised earlier in the same call, or None.
        """
        limits, occupied = bound.configured.limits, self._occupancy_of(bound)
        full = str(failed) if isinstance(failed, StorageFull) else ""
        away = str(failed) if failed and not full else ""
        status = StoreStatus(
            store_id=bound.store_id or UNKNOWN_STORE,
            tier=bound.store.tier,
            unavailable_reason=bound.untrusted_reason or away or bound.store.unavailable_reason(),
            full=full,
            used_bytes=occupied.used_bytes,
            limit_bytes=limits.limit_bytes,
            free_bytes=self._free_bytes(bound, occupied),
            reserve_bytes=limits.reserve_bytes,
            free_inodes=bound.room.free_inodes,
        )
        return evolve(status, evidence_bytes=evidence_bytes(status, limits.evidence_share))

    def _occupancy_of(self, bound: BoundStore) -> Occupancy:
        return Occupancy() if bound.store_id is None else self._occupied[bound.store_id]

    def _free_bytes(self, bound: BoundStore, occupied: Occupancy) -> int | None:
        """Return the last measured free bytes minus the bytes stored since and the reserved bytes."""
        if bound.room.free_bytes is None:
            return None
        stored_since = occupied.kept_bytes - self._measured[id(bound)].kept_bytes
        return bound.room.free_bytes - stored_since - occupied.reserved_bytes
