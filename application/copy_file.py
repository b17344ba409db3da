"""CopyFile: the only way in which a stored file gets a further copy.

A good replica is read and verified, its bytes are written under a new key that the journal names,
and they are read back and hashed at the target. Only then there is a change that adds the copy.
"""

import asyncio
import logging
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from uuid import UUID

from traffic_storage.application.pace import Pace
from traffic_storage.application.read_back import ReadBack
from traffic_storage.application.stores import Stores
from traffic_storage.application.verified_bodies import VerifiedBodies
from traffic_storage.domain.copies import AddReplica
from traffic_storage.domain.errors import StorageFull, TrafficStorageError
from traffic_storage.domain.files import Replica, ReplicaState, StoredFile, blob_key
from traffic_storage.domain.identifiers import AttemptId, StoreId
from traffic_storage.domain.ingest import Attempt, ClaimedIds
from traffic_storage.domain.jobs import NewJob
from traffic_storage.domain.manifest import manifest_of
from traffic_storage.ports.clock import Clock, Ids
from traffic_storage.ports.errors import BlobConflict, DeadlinePassed
from traffic_storage.ports.ingest_journal import IngestJournal
from traffic_storage.ports.spool import Body

logger = logging.getLogger("traffic_storage.copies")

_NOT_PUBLISHED = (StorageFull, BlobConflict, DeadlinePassed)
_SLOWEST_BYTES_PER_SECOND = 1024 * 1024


class CopyFile:
    """Copies files between stores; at most `parallel` are written at a time in this process.

    The source is never changed. A source that turns out corrupt or missing is recorded so, and
    another one is read. What a copy that fails or is interrupted may have written is removed by
    recovery, if not at once: the journal names it.
    """

    def __init__(
        self,
        *,
        stores: Stores,
        journal: IngestJournal,
        bodies: VerifiedBodies,
        read_back: ReadBack,
        clock: Clock,
        ids: Ids,
        owner: str,
        attempt_timeout: timedelta,
        pace: Pace,
        parallel: int,
    ) -> None:
        self._stores = stores
        self._journal = journal
        self._bodies = bodies
        self._read_back = read_back
        self._clock = clock
        self._ids = ids
        self._owner = owner
        self._attempt_timeout = attempt_timeout
        self._pace = pace
        self._writing = asyncio.Semaphore(parallel)

    async def __call__(
        self,
        file: StoredFile,
        target: StoreId,
        *,
        replaces: UUID | None = None,
        jobs: tuple[NewJob, ...] = (),
        remakes: bool = False,
        from_caches: bool = False,
    ) -> AddReplica:
        """Copy a file to the store `target`; return the change that adds the copy, to be applied.

        The new replica is durable and verified at the target. It replaces the bad replica with the
        id `replaces`, which is not read; `jobs` are written with the change. With `remakes`, the
        bytes of the replaced one are right, and may be read (see `AddReplica`). With `from_caches`,
        the bytes come from a cache, because no replica is good: from the cache of small blobs, or
        from the folder of copies of the replaced one's store.

        Raises (the file is unchanged):
            NoGoodReplica, NotFound: there is nothing to copy (see `ReplicaReader`).
            StorageFull: the target has too little space.
            StorageUnavailable: the target, or every source that may be good, can't be reached.
            CopyRefuted: the target does not hold the bytes that were written there.
            DeadlinePassed: the copy took too long.
            CatalogueUnavailable: the database can't be reached.
        """
        size_bytes = file.stored.size_bytes
        async with self._stores.reserved(target, size_bytes):
            await self._pace.take(size_bytes)
            source = self._source(file, replaces, remakes=remakes, from_caches=from_caches)
            async with source as body, self._writing:
                # Begun here, so that the wait for a turn does not count against its deadline.
                attempt, copy = self._attempt(file, target)
                await self._journal.begin(attempt, ClaimedIds(()))
                await self._put(attempt, file, copy, body)
        verified = await self._read_back(attempt.attempt_id, file, copy)
        # Reading it may have taken long, and the store may have been taken over meanwhile.
        self._stores.trusted(target)
        return AddReplica(attempt.attempt_id, file.file_id, verified, replaces, jobs, remakes)

    def _source(
        self, file: StoredFile, bad: UUID | None, *, remakes: bool, from_caches: bool
    ) -> AbstractAsyncContextManager[Body]:
        """Return a context with the stored bytes of a file, each verified when it was read."""
        if from_caches:
            return self._bodies.cached(file, lambda replica: replica.replica_id == bad)
        if remakes:
            return self._bodies.of(file)
        return self._bodies.of(file, lambda replica: replica.replica_id != bad)

    def _attempt(self, file: StoredFile, target: StoreId) -> tuple[Attempt, Replica]:
        key = blob_key(file.kind, self._ids.uuid7(), file.stored.sha256)
        tier = self._stores.blob_store(target).tier
        transfer = timedelta(seconds=file.stored.size_bytes / _SLOWEST_BYTES_PER_SECOND)
        attempt = Attempt(
            attempt_id=AttemptId(str(self._ids.uuid7())),
            owner=self._owner,
            deadline=self._clock.now() + self._attempt_timeout + transfer,
            keys=((target, key),),
        )
        return attempt, Replica(target, tier, key, ReplicaState.PRESENT, self._clock.now())

    async def _put(self, attempt: Attempt, file: StoredFile, copy: Replica, body: Body) -> None:
        target = copy.store_id
        try:
            async with self._stores.slots({target: 1}):
                await self._stores.trusted(target).put(
                    copy.key, body, manifest_of(file), deadline=attempt.deadline
                )
        except _NOT_PUBLISHED:
            await self._forget(attempt)
            raise

    async def _forget(self, attempt: Attempt) -> None:
        """Remove the entry of a copy that was certainly not published; recovery does it otherwise."""
        try:
            await self._journal.forget(attempt.attempt_id)
        except TrafficStorageError as error:
            logger.warning(
                "the journal entry of the failed copy %s could not be removed now; this is done "
                "after its deadline: %s",
                attempt.attempt_id,
                str(error),
            )
