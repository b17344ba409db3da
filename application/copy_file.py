"""CopyFile: the only way in which a stored file gets a further copy.

A good replica is read and verified, its bytes are written under a new key that the journal names,
and they are read back and hashed at the target. Only then there is a change that adds the copy.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from datetime import timedelta
from uuid import UUID

from attrs import evolve

from traffic_storage.application.pace import Pace
from traffic_storage.application.replica_reader import ReplicaFilter, ReplicaReader
from traffic_storage.application.stores import Stores
from traffic_storage.domain.copies import AddReplica, RefuteCopy
from traffic_storage.domain.digests import WHOLE_READ_BYTES
from traffic_storage.domain.errors import StorageFull, TrafficStorageError
from traffic_storage.domain.events import event_of_refuted_copy
from traffic_storage.domain.files import Replica, ReplicaState, StoredFile, blob_key
from traffic_storage.domain.identifiers import AttemptId, StoreId
from traffic_storage.domain.ingest import Attempt, ClaimedIds
from traffic_storage.domain.jobs import NewJob
from traffic_storage.domain.manifest import manifest_of
from traffic_storage.domain.verification import Span
from traffic_storage.ports.changes import Changes
from traffic_storage.ports.clock import Clock, Ids
from traffic_storage.ports.errors import (
    BlobConflict,
    BlobCorrupt,
    BlobMissing,
    CatalogueUnavailable,
    DeadlinePassed,
)
from traffic_storage.ports.ingest_journal import IngestJournal
from traffic_storage.ports.spool import Body, MemoryBody, Spool

logger = logging.getLogger("traffic_storage.copies")

_NOT_PUBLISHED = (StorageFull, BlobConflict, DeadlinePassed)
_SLOWEST_BYTES_PER_SECOND = 1024 * 1024


class CopyRefuted(TrafficStorageError):
    """The target holds other bytes than were written there, or none; the copy was not added."""


class CopyFile:
    """Copies files between stores; at most `parallel` are written at a time in this process.

    As many large ones (over 4 MiB) are read and checked, or read into the spool, at a time.

    The source is never changed. A source that turns out corrupt or missing is recorded so, and
    another one is read. What a copy that fails or is interrupted may have written is removed by
    recovery, if not at once: the journal names it.
    """

    def __init__(
        self,
        *,
        stores: Stores,
        journal: IngestJournal,
        changes: Changes,
        replicas: ReplicaReader,
        spool: Spool,
        clock: Clock,
        ids: Ids,
        owner: str,
        attempt_timeout: timedelta,
        pace: Pace,
        parallel: int,
    ) -> None:
        self._stores = stores
        self._journal = journal
        self._changes = changes
        self._replicas = replicas
        self._spool = spool
        self._clock = clock
        self._ids = ids
        self._owner = owner
        self._attempt_timeout = attempt_timeout
        self._pace = pace
        self._writing = asyncio.Semaphore(parallel)
        self._spooling = asyncio.Semaphore(parallel)

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
            if from_caches:
                source = self._cached_body(file, replaces)
            else:
                source = self._verified_body(file, None if remakes else replaces)
            async with source as body, self._writing:
                # Begun here, so that the wait for a turn does not count against its deadline.
                attempt, copy = self._attempt(file, target)
                await self._journal.begin(attempt, ClaimedIds(()))
                await self._put(attempt, file, copy, body)
        verified = await self._read_back(attempt, file, copy)
        return AddReplica(attempt.attempt_id, file.file_id, verified, replaces, jobs, remakes)

    @asynccontextmanager
    async def _verified_body(self, file: StoredFile, bad: UUID | None) -> AsyncIterator[Body]:
        """Return a context with the stored bytes of a file, each verified when it was read.

        A large file is read where it lies, if its store has files, and by way of the spool otherwise.
        """

        def serving(replica: Replica) -> bool:
            return replica.replica_id != bad

        if file.stored.size_bytes <= WHOLE_READ_BYTES:
            data = await self._replicas.read(file, cached=False, serving=serving)
            yield MemoryBody(data, file.stored)
            return
        async with AsyncExitStack() as stack:
            body: Body | None
            async with self._spooling:
                body = await stack.enter_async_context(self._replicas.lend(file, serving=serving))
            if body is None:
                spooled = self._spooled(file, serving, cached=False)
                body = await stack.enter_async_context(spooled)
            yield body

    @asynccontextmanager
    async def _cached_body(self, file: StoredFile, bad: UUID | None) -> AsyncIterator[Body]:
        """Return a context with the bytes of a file from a cache, each verified."""

        def serving(replica: Replica) -> bool:
            return replica.replica_id == bad

        if (data := await self._replicas.read_cached(file)) is not None:
            yield MemoryBody(data, file.stored)
        elif file.stored.size_bytes <= WHOLE_READ_BYTES:
            yield MemoryBody(await self._replicas.read(file, serving=serving), file.stored)
        else:
            async with self._spooled(file, serving, cached=True) as body:
                yield body

    @asynccontextmanager
    async def _spooled(
        self, file: StoredFile, serving: ReplicaFilter, *, cached: bool
    ) -> AsyncIterator[Body]:
        whole = Span(0, file.stored.size_bytes)
        stream = self._replicas.stream(file, whole, cached=cached, serving=serving)
        async with (
            self._spooling,
            aclosing(stream) as source,
            self._spool.take(source, limit_bytes=whole.stop, field_name="copy") as body,
        ):
            if body.digests != file.stored:
                raise BlobCorrupt(f"the bytes of {file.file_id} changed while they were copied")
            yield body

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

    async def _read_back(self, attempt: Attempt, file: StoredFile, copy: Replica) -> Replica:
        """Read the copy at its store and compare it with the recorded digests.

        A copy that differs stays under its key, and its entry in the journal, until recovery brings
        it to the quarantine.
        """
        try:
            await self._stores.trusted(copy.store_id).verify(copy.key, file.stored)
        except (BlobCorrupt, BlobMissing) as error:
            await self._record_refuted(attempt, file, copy, error)
            raise _refuted(file, copy, error) from error
        return evolve(copy, verified_at=self._clock.now())

    async def _record_refuted(
        self,
        attempt: Attempt,
        file: StoredFile,
        copy: Replica,
        error: BlobCorrupt | BlobMissing,
    ) -> None:
        event = event_of_refuted_copy(file, copy, self._clock.now(), str(error))
        try:
            await self._changes.apply(RefuteCopy(attempt.attempt_id, event))
        except (CatalogueUnavailable, StorageFull) as failure:
            logger.warning(
                "the event of a copy that is not used was not recorded: %s", str(failure)
            )

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


def _refuted(file: StoredFile, copy: Replica, error: BlobCorrupt | BlobMissing) -> CopyRefuted:
    logger.error(
        "the copy of %s in %s does not have the bytes that were written; it is not used, and its "
        "source stays: %s",
        file.file_id,
        copy.store_id,
        str(error),
    )
    return CopyRefuted(
        f"the copy of {file.file_id} in {copy.store_id} does not have the bytes that were written: "
        f"{error}",
        remedy="check the medium of this store; the copy is tried again under another key",
    )
