"""Purge: erases the bytes of files whose grace has ended, then what identifies somebody."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from attrs import define, frozen

from traffic_storage.application.replica_reader import cache_key
from traffic_storage.application.rules_in_force import REFRESH, RulesInForce, lengthened
from traffic_storage.application.stores import Stores
from traffic_storage.application.worker import Outcome, Report
from traffic_storage.domain.amounts import counted
from traffic_storage.domain.database_backup import Loaded
from traffic_storage.domain.deletion import (
    BeginPurge,
    EndPurge,
    Removal,
    RemoveReplicas,
    certificate_of,
    leads,
    remaining,
)
from traffic_storage.domain.errors import StorageUnavailable, TrafficStorageError
from traffic_storage.domain.files import OCCUPYING, FileState, Replica, StoredFile
from traffic_storage.domain.identifiers import FileId, StoreId
from traffic_storage.domain.jobs import Done, JobKind, Progress, Run
from traffic_storage.domain.query import MAX_LIMIT, FilesQuery
from traffic_storage.ports.cache import Cache
from traffic_storage.ports.catalogue import Catalogue
from traffic_storage.ports.changes import Changes
from traffic_storage.ports.clock import Clock
from traffic_storage.ports.concurrency import together
from traffic_storage.ports.database_backup import Loads
from traffic_storage.ports.deletions import Deletions
from traffic_storage.ports.errors import BlobMissing, CatalogueUnavailable
from traffic_storage.ports.snapshots import SnapshotRecords

logger = logging.getLogger("traffic_storage.purge")

PURGE = JobKind("purge")
_PAGE = 100
_AT_ONCE = 16
_LATE = timedelta(minutes=10)
_CLOCKS = timedelta(days=1)
"""By how much the clock that dated a deletion may be ahead of the one that dated new rules."""
_ANSWER = "deleted; the store then had no blob under the key"


@frozen
class PurgeReport:
    """What a purge has done.

    Attributes:
        purged: files that are purged now.
        bytes_freed: the stored bytes of all removed replicas.
        waiting: files that have replicas in stores that this process can't reach now; another
            process, or a later purge, goes on with them.
        bytes_waiting: the stored bytes of these replicas.
        kept: deleted files that are not purged yet, because retention rules that were entered after
            their deletion keep them longer.
        pinned: deleted files that are not purged yet, because snapshots have them.
        reason: why nothing is purged at all; empty: there is no such reason.
    """

    purged: int = 0
    bytes_freed: int = 0
    waiting: int = 0
    bytes_waiting: int = 0
    kept: int = 0
    pinned: int = 0
    reason: str = ""


@frozen
class WaitingPurges:
    """Files whose purge has begun and waits for a store.

    Attributes:
        files: their number, of at most 1,000 files whose purge has begun.
        since: when the first of these purges began.
        stores: for each store, how many of them have a copy there.
        is_complete: whether all such files were looked at.
    """

    files: int
    since: datetime | None
    stores: Mapping[StoreId, int]
    is_complete: bool = True


@define
class _Tally:
    """Sums of a purge that is running."""

    purged: int = 0
    bytes_freed: int = 0
    waiting: int = 0
    bytes_waiting: int = 0
    kept: int = 0
    pinned: int = 0


class Purge:
    """Erases files whose grace has ended and that are not held. Safe to run in many processes.

    Retention rules that were entered after a deletion and keep the file longer delay its purge,
    unless the deletion overrode the retention, and so do the pins of snapshots.

    Nothing is purged in a catalogue that was loaded from a backup and awaits a rebuild: it does not know
    of holds and undeletes that came later.

    A crash leaves a file `purging`; the next purge goes on with it. Replicas in stores that this
    process can't reach are left to others; the process that finds none left writes the certificate.

    Errors of all methods:
        CatalogueUnavailable: the database can't be reached.
    """

    def __init__(
        self,
        *,
        stores: Stores,
        catalogue: Catalogue,
        deletions: Deletions,
        snapshots: SnapshotRecords,
        loads: Loads,
        in_force: RulesInForce,
        changes: Changes,
        cache: Cache,
        clock: Clock,
    ) -> None:
        self._stores = stores
        self._catalogue = catalogue
        self._deletions = deletions
        self._snapshots = snapshots
        self._loads = loads
        self._in_force = in_force
        self._changes = changes
        self._cache = cache
        self._clock = clock

    async def due(self, report: Report = lambda _progress: None) -> PurgeReport:
        """Purge all files whose grace has ended, also those whose purge was interrupted."""
        if loaded := await self._loads.loaded():
            return _refused(loaded)
        tally = _Tally()
        async for names in self._due_pages():
            await self._purge(names, tally)
            report(Progress(tally.purged, bytes=tally.bytes_freed))
        return await self._reported(tally)

    async def files(self, file_ids: Collection[FileId]) -> PurgeReport:
        """Purge those of these files whose grace has ended."""
        if loaded := await self._loads.loaded():
            return _refused(loaded)
        tally = _Tally()
        names = list(file_ids)
        for begin in range(0, len(names), _PAGE):
            await self._purge(names[begin : begin + _PAGE], tally)
        return await self._reported(tally)

    async def waiting(self) -> WaitingPurges:
        """Return which purges have not ended for some minutes, because a store is away."""
        page = await self._catalogue.files(FilesQuery(state=FileState.PURGING, limit=MAX_LIMIT))
        before = self._clock.now() - _LATE
        late = [(file.state_at, file) for file in page.items if file.state_at is not None]
        late = [(at, file) for at, file in late if at <= before]
        stores: Counter[StoreId] = Counter()
        for _, file in late:
            left = remaining(file, await self._removals(file.file_id))
            stores.update({copy.store_id for copy in left})
        since = min((at for at, _ in late), default=None)
        return WaitingPurges(len(late), since, stores, is_complete=page.next is None)

    async def run(self, _run: Run, report: Report) -> Outcome:
        """Do a job of the kind `PURGE`."""
        done = await self.due(report)
        told = (
            [f"{counted(done.waiting, 'file waits', 'files wait')} for a store"]
            if done.waiting
            else []
        )
        told += [f"the rules keep {counted(done.kept, 'deleted file')} longer"] if done.kept else []
        told += [f"snapshots pin {counted(done.pinned, 'deleted file')}"] if done.pinned else []
        told += [done.reason] if done.reason else []
        progress = Progress(done.purged, bytes=done.bytes_freed, message="; ".join(told))
        return Outcome(Done(progress))

    async def _reported(self, tally: _Tally) -> PurgeReport:
        if tally.bytes_freed:
            await self._stores.recount()
        return PurgeReport(
            tally.purged,
            tally.bytes_freed,
            tally.waiting,
            tally.bytes_waiting,
            tally.kept,
            tally.pinned,
        )

    async def _due_pages(self) -> AsyncIterator[Sequence[FileId]]:
        now = self._clock.now()
        after = None
        while True:
            page = await self._deletions.due_for_purge(now, after, _PAGE)
            if page.items:
                yield [deletion.file_id for deletion in page.items]
            if page.next is None:
                return
            after = page.next

    async def _purge(self, names: Sequence[FileId], tally: _Tally) -> None:
        kept = await self._kept_longer(names)
        tally.kept += len(kept)
        names = [name for name in names if name not in kept]
        await self._changes.apply(BeginPurge(tuple(names), self._clock.now()))
        files = await self._catalogue.files_by_id(names)
        tally.pinned += await self._pinned(files.values())
        begun = [file for file in files.values() if file.state is FileState.PURGING]
        reachable = await self._confirmed({copy.store_id for f in begun for copy in f.replicas})
        limit = asyncio.Semaphore(_AT_ONCE)

        async def erase(file: StoredFile) -> None:
            async with limit:
                await self._erase(file, reachable, tally)

        await together(*(erase(file) for file in begun))

    async def _pinned(self, files: Collection[StoredFile]) -> int:
        """Return how many of these files are not purged because snapshots have them."""
        left = [file for file in files if file.state is FileState.TOMBSTONED]
        if not left:
            return 0
        now, pins = self._clock.now(), await self._snapshots.pins()
        return sum(any(pin.covers(file, now) for pin in pins) for file in left)

    async def _kept_longer(self, names: Collection[FileId]) -> Collection[FileId]:
        """Return those of these files that rules entered after their deletion still keep."""
        entered = await self._in_force.current()
        deletions = await self._deletions.deletions(list(names))
        before = [
            one.file_id
            for one in deletions.values()
            if not one.override and one.tombstoned_at <= entered.entered_at + REFRESH + _CLOCKS
        ]
        if not before:
            return ()
        files = (await self._catalogue.files_by_id(before)).values()
        deleted = [file for file in files if file.state is FileState.TOMBSTONED]
        granted = await lengthened(deleted, entered.rules, self._catalogue)
        now = self._clock.now()
        return {one.file_id for one in granted if one.keep_until > now}

    async def _confirmed(self, store_ids: Collection[StoreId]) -> frozenset[StoreId]:
        """Return those of these stores that may be changed now: their markers were read."""
        found = set()
        for store_id in sorted(store_ids):
            try:
                await self._stores.confirm(store_id)
            except CatalogueUnavailable:
                raise
            except StorageUnavailable as error:
                logger.info("files in %s are not purged now: %s", store_id, str(error))
            else:
                found.add(store_id)
        return frozenset(found)

    async def _erase(self, file: StoredFile, reachable: Collection[StoreId], tally: _Tally) -> None:
        left = remaining(file, await self._removals(file.file_id))
        mine = [copy for copy in left if copy.store_id in reachable]
        removals = [removal for copy in mine if (removal := await self._removed(file, copy))]
        freed = {removal.replica_id for removal in removals}
        if removals:
            await self._changes.apply(RemoveReplicas(file.file_id, tuple(removals)))
            tally.bytes_freed += _occupied([c for c in mine if c.replica_id in freed], file)
        await self._cache.drop(cache_key(file))
        if waiting := [copy for copy in left if copy.replica_id not in freed]:
            tally.waiting += 1
            tally.bytes_waiting += _occupied(waiting, file)
            return
        has_ended = await self._end(file.file_id)
        tally.purged += has_ended

    async def _removals(self, file_id: FileId) -> Mapping[UUID, Removal]:
        return {one.replica_id: one for one in await self._deletions.removals(file_id)}

    async def _removed(self, file: StoredFile, copy: Replica) -> Removal | None:
        """Delete a replica; None if that failed, so that a later purge tries again."""
        try:
            store = self._stores.trusted(copy.store_id)
            kept = await store.delete(copy.key)
            try:
                await store.head(copy.key)
            except BlobMissing:
                answer = "; ".join([_ANSWER, *map(str, kept)])
                return Removal(copy.replica_id, self._clock.now(), answer)
            raise StorageUnavailable(f"{copy.store_id} still has {copy.key} after its deletion")
        except CatalogueUnavailable:
            raise
        except TrafficStorageError as error:
            logger.warning(
                "the replica of %s in %s could not be removed; this is tried again: %s",
                file.file_id,
                copy.store_id,
                str(error),
            )
            return None

    async def _end(self, file_id: FileId) -> bool:
        """Write the certificate and erase the rows, if no replica is left; return whether it was."""
        file = await self._catalogue.file(file_id)
        deletion = (await self._deletions.deletions([file_id])).get(file_id)
        if file is None or deletion is None or file.state is not FileState.PURGING:
            return False
        removals = await self._removals(file_id)
        if remaining(file, removals):
            return False
        violation = (
            await self._catalogue.violation(file.violation_id) if file.violation_id else None
        )
        led = violation if leads(file, violation) else None
        certificate = certificate_of(file, deletion, removals, led, self._clock.now())
        ended = await self._changes.apply(EndPurge(certificate))
        if ended:
            logger.info("purged %s: %s", file_id, deletion.reason)
        return ended


def _refused(loaded: Loaded) -> PurgeReport:
    reason = f"nothing is purged: {loaded.in_words}"
    logger.warning("%s", reason)
    return PurgeReport(reason=reason)


def _occupied(replicas: Sequence[Replica], file: StoredFile) -> int:
    """Return the bytes that these replicas of a file occupy."""
    return sum(replica.state in OCCUPYING for replica in replicas) * file.stored.size_bytes
