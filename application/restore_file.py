"""RestoreFile: stores a file as it was, with its times, retention and digests, under a new key."""

import asyncio
import logging
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

from attrs import evolve

from traffic_storage.application.read_back import ReadBack
from traffic_storage.application.stores import Stores
from traffic_storage.domain.changes import CommitUnit
from traffic_storage.domain.copies import copy_job
from traffic_storage.domain.errors import StorageFull, TrafficStorageError
from traffic_storage.domain.files import Replica, ReplicaState, StoredFile, blob_key
from traffic_storage.domain.identifiers import AttemptId
from traffic_storage.domain.ingest import Attempt, ClaimedIds, Unit
from traffic_storage.domain.manifest import manifest_of
from traffic_storage.domain.placement import Placement
from traffic_storage.ports.changes import Changes
from traffic_storage.ports.clock import Clock, Ids
from traffic_storage.ports.errors import AttemptCondemned, BlobConflict, DeadlinePassed, IdsTaken
from traffic_storage.ports.ingest_journal import IngestJournal
from traffic_storage.ports.spool import Body

logger = logging.getLogger("traffic_storage.restore")

_SLOWEST_BYTES_PER_SECOND = 1024 * 1024
_NOT_PUBLISHED = (StorageFull, BlobConflict, DeadlinePassed)


class RestoreFile:
    """Writes bytes where the strategy places new files, and commits the row.

    The bytes are read back at their store before the row is committed. The row is as given but for
    its replica. What the strategy owes the cloud is a job, as for a new file. At most `parallel`
    files are restored at a time.
    """

    def __init__(
        self,
        *,
        stores: Stores,
        journal: IngestJournal,
        changes: Changes,
        read_back: ReadBack,
        clock: Clock,
        ids: Ids,
        owner: str,
        attempt_timeout: timedelta,
        parallel: int,
    ) -> None:
        self._stores = stores
        self._journal = journal
        self._changes = changes
        self._read_back = read_back
        self._clock = clock
        self._ids = ids
        self._owner = owner
        self._attempt_timeout = attempt_timeout
        self._turns = asyncio.Semaphore(parallel)

    async def __call__(
        self,
        file: StoredFile,
        source: AbstractAsyncContextManager[Body],
        known: StoredFile | None = None,
    ) -> bool:
        """Store an available file, whose stored bytes `source` gives; return whether it was.

        With `known`, the file exists and gets a further replica. The result is False if another
        process has stored a file with this id meanwhile, or has deleted `known`.

        Raises:
            StorageFull, StorageUnavailable: no store of the strategy takes it.
            DeadlinePassed, AttemptCondemned: it took too long.
            CopyRefuted: its store does not hold the bytes that were written there.
            CatalogueUnavailable: the database can't be reached.
            Any error of `source`.
        """
        async with self._turns, source as body:
            size_bytes = file.stored.size_bytes
            placement = await self._stores.place(
                file.kind,
                size_bytes,
                file.device_id,
                {},
                is_evidence=file.violation_id is not None,
            )
            kept = False
            try:
                kept = await self._stored(file, known, placement, body)
            finally:
                self._stores.end_reservation(placement.first.store_id, size_bytes, kept=kept)
            return kept

    async def _stored(
        self, file: StoredFile, known: StoredFile | None, placement: Placement, body: Body
    ) -> bool:
        place = placement.first
        key = blob_key(file.kind, self._ids.uuid7(), file.stored.sha256)
        copy = Replica(place.store_id, place.tier, key, ReplicaState.PRESENT, self._clock.now())
        store = self._stores.trusted(place.store_id)
        # Slots come before the attempt, so that its deadline does not run during the wait.
        async with self._stores.slots({place.store_id: 1}) as slots:
            attempt = self._attempt(file, copy)
            await self._journal.begin(attempt, ClaimedIds(()))
            try:
                async with slots[place.store_id]:
                    await store.put(key, body, manifest_of(file), deadline=attempt.deadline)
            except _NOT_PUBLISHED:
                await self._forget(attempt)
                raise
        verified = await self._read_back(attempt.attempt_id, file, copy)
        return await self._is_committed(attempt, file, known, placement, verified)

    async def _is_committed(
        self,
        attempt: Attempt,
        file: StoredFile,
        known: StoredFile | None,
        placement: Placement,
        copy: Replica,
    ) -> bool:
        row = evolve(known or file, replicas=(copy,))
        unit = Unit((row,)) if known is None else Unit((), restored=(row,))
        jobs = tuple(
            copy_job(self._ids.uuid7(), row, copy.store_id, target.store_id)
            for target in placement.later
        )
        try:
            # False: an earlier run of this commit, whose outcome was unknown, had happened.
            await self._changes.apply(CommitUnit(attempt.attempt_id, unit, jobs))
        except IdsTaken:
            # What was written is removed by recovery: the journal names it.
            return False
        except AttemptCondemned:
            if known is None:
                raise
            return False
        return True

    def _attempt(self, file: StoredFile, copy: Replica) -> Attempt:
        transfer = timedelta(seconds=file.stored.size_bytes / _SLOWEST_BYTES_PER_SECOND)
        return Attempt(
            attempt_id=AttemptId(str(self._ids.uuid7())),
            owner=self._owner,
            deadline=self._clock.now() + self._attempt_timeout + transfer,
            keys=((copy.store_id, copy.key),),
        )

    async def _forget(self, attempt: Attempt) -> None:
        """Remove the entry of a blob that was certainly not published; recovery does it otherwise."""
        try:
            await self._journal.forget(attempt.attempt_id)
        except TrafficStorageError as error:
            logger.warning(
                "the journal entry %s could not be removed now; this is done after its deadline: %s",
                attempt.attempt_id,
                str(error),
            )
