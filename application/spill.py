"""Spill: plans which files leave a local store that is above its high-water mark, oldest first."""

from collections.abc import Iterator, Mapping, Sequence
from uuid import UUID

from attrs import frozen

from traffic_storage.application.live_jobs import live_jobs
from traffic_storage.application.retarget_copies import RetargetCopies
from traffic_storage.application.stores import Stores
from traffic_storage.application.watch_pressure import WatchPressure
from traffic_storage.application.worker import Outcome, Report
from traffic_storage.domain.copies import MOVE, RELEASE, Leaving, excess_bytes, leaving
from traffic_storage.domain.files import StoredFile
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.jobs import Done, Progress, Run
from traffic_storage.domain.placement import StorageStrategy, Thresholds
from traffic_storage.domain.pressure import PressureLevel
from traffic_storage.ports.catalogue import Catalogue
from traffic_storage.ports.clock import Ids
from traffic_storage.ports.copies import Copies
from traffic_storage.ports.jobs import JobQueue

_PAGE = 500
_MOST_PAGES = 200


@frozen
class Spilled:
    """How many files, with how many bytes, have begun to leave a store."""

    files: int = 0
    bytes: int = 0


class Spill:
    """Plans jobs that move files out of a local store until it is at its low-water mark.

    They begin above the high-water mark. While the store is soon full (`PressureLevel.MOVE_OUT`),
    copies that are verified elsewhere leave from above the low-water mark on.

    The bytes of our own files alone count, as the catalogue has them; whatever else fills the disk
    starts nothing. Files that are leaving count as gone, so that a plan that is made again, also by
    another process at the same time, moves nothing in addition.
    """

    def __init__(
        self,
        *,
        stores: Stores,
        catalogue: Catalogue,
        copies: Copies,
        queue: JobQueue,
        ids: Ids,
        strategy: StorageStrategy,
        thresholds: Thresholds,
        watch_pressure: WatchPressure,
        retarget_copies: RetargetCopies,
    ) -> None:
        self._stores = stores
        self._catalogue = catalogue
        self._copies = copies
        self._queue = queue
        self._ids = ids
        self._strategy = strategy
        self._thresholds = thresholds
        self._watch_pressure = watch_pressure
        self._retarget_copies = retarget_copies

    async def __call__(self, store_id: StoreId, *, dry_run: bool = False) -> Spilled:
        """Write the jobs that are needed now; with `dry_run`, only count them.

        Before that, copies that wait for a store that is configured no more get another target:
        files that are to be moved there count as leaving.

        Raises:
            CatalogueUnavailable: the database can't be reached.
        """
        if not dry_run:
            await self._retarget_copies(store_id)
        limit_bytes = self._stores.limit_bytes(store_id)
        if limit_bytes is None:
            return Spilled()
        # In this order: what ends between both reads is counted as leaving, never as staying.
        going = await self._going(store_id)
        used = await self._used_bytes(store_id)
        leaves = sum(going.values())
        excess = excess_bytes(used, leaves, limit_bytes, self._thresholds)
        is_early = not excess and await self._is_soon_full(store_id)
        if is_early:
            excess = excess_bytes(used, leaves, limit_bytes, self._thresholds, is_early=True)
        files = size_bytes = 0
        after: UUID | None = None
        for _ in range(_MOST_PAGES):
            page = await self._copies.oldest_in(store_id, after, _PAGE) if excess > 0 else ()
            if not page:
                break
            after = _replica_id(page[-1], store_id)
            moves = [*self._leaving(page, store_id, going, excess, is_early=is_early)]
            if not dry_run:
                await self._queue.enqueue([move.job(self._ids.uuid7()) for move in moves])
            found = sum(move.file.stored.size_bytes for move in moves)
            excess, files, size_bytes = excess - found, files + len(moves), size_bytes + found
        return Spilled(files, size_bytes)

    async def run(self, run: Run, _report: Report) -> Outcome:
        """Do a job of the kind `SPILL`."""
        planned = await self(StoreId(str(run.arguments["store_id"])))
        return Outcome(Done(Progress(planned.files, planned.files, planned.bytes)))

    def _leaving(
        self,
        page: Sequence[StoredFile],
        store_id: StoreId,
        going: Mapping[str, int],
        excess: int,
        *,
        is_early: bool,
    ) -> Iterator[Leaving]:
        pairs = (
            (file, self._stores.cloud_for(file.device_id))
            for file in page
            if str(_replica_id(file, store_id)) not in going
        )
        return leaving(self._strategy, pairs, store_id, excess, is_early=is_early)

    async def _is_soon_full(self, store_id: StoreId) -> bool:
        level = await self._watch_pressure.by_limit(store_id)
        return level >= PressureLevel.MOVE_OUT

    async def _going(self, store_id: StoreId) -> Mapping[str, int]:
        """Return the ids of the replicas that have begun to leave a store, with their bytes."""
        return {
            str(job.arguments["replica_id"]): int(str(job.arguments["bytes"]))
            async for job in live_jobs(self._queue, (MOVE, RELEASE))
            if job.store_id == store_id
        }

    async def _used_bytes(self, store_id: StoreId) -> int:
        usage = await self._catalogue.usage()
        return sum(row.bytes for row in usage.stores if row.store_id == store_id)


def _replica_id(file: StoredFile, store_id: StoreId) -> UUID:
    """Return the id of the present replica of a file in a store; it has one."""
    return next(one.replica_id for one in file.readable if one.store_id == store_id)
