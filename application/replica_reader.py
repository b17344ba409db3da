"""ReplicaReader: reads the verified stored bytes of a file from its first good replica."""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import TypeAlias

from attrs import frozen

from traffic_storage.application.operation_counters import OperationCounters
from traffic_storage.application.stores import Stores
from traffic_storage.domain.changes import ObserveReplica
from traffic_storage.domain.digests import Digests, Sha256, sha256_of
from traffic_storage.domain.errors import (
    NoGoodReplica,
    NotFound,
    StorageFull,
    StorageUnavailable,
    Unavailable,
)
from traffic_storage.domain.files import (
    BlobKey,
    FileState,
    Replica,
    ReplicaState,
    StoredFile,
    Tier,
    is_of_digest,
)
from traffic_storage.domain.fixity import row_problem
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.verification import Span
from traffic_storage.ports.blob_store import BlobStore, closing
from traffic_storage.ports.cache import Cache
from traffic_storage.ports.catalogue import Catalogue
from traffic_storage.ports.changes import Changes
from traffic_storage.ports.clock import Clock
from traffic_storage.ports.errors import BlobCorrupt, BlobMissing, CatalogueUnavailable
from traffic_storage.ports.spool import FileBody

logger = logging.getLogger("traffic_storage.read")

_REMOVED = frozenset({FileState.PURGING, FileState.PURGED})

ReplicaFilter: TypeAlias = Callable[[Replica], bool]
"""A function that returns whether a file may be read from a replica (one of its copies)."""


def any_replica(_replica: Replica) -> bool:
    """Return True for every replica (copy), so that a file is read from any store."""
    return True


@frozen
class Caching:
    """The settings that select the blobs (stored bytes of files) to be cached, and for how long.

    A blob is cached for `ttl` if it has at most `item_bytes` and its first readable replica is in
    one of `tiers`. Its key in the cache is its digest.
    """

    tiers: frozenset[Tier]
    item_bytes: int
    ttl: timedelta


def cache_key(file: StoredFile) -> str:
    """Return the key under which the stored bytes of a file may be in the cache."""
    return cached_under(file.stored.sha256)


def cached_under(stored: Sha256) -> str:
    """Return the key in the cache of stored bytes with this digest."""
    return f"blob:{stored}"


class ReplicaReader:
    """Reads the stored bytes of files. Every byte is verified before it is returned.

    Present replicas are tried first, in the file's order, then those recorded as corrupt or missing.
    A replica whose key names another digest than the catalogue records, or whose manifest does, fails
    verification, whatever its bytes are. A present replica that fails verification is recorded as corrupt or missing, with an incident, and
    never deleted. A
    corrupt or missing replica that is read whole and verified is recorded as present. A new state is
    recorded only after a check that the store is the registered one. When all replicas have failed,
    the file is looked up again, and replicas added since the caller's lookup are tried.

    Errors of all methods:
        StorageUnavailable: a replica that may be good can't be reached; the message names each.
        NoGoodReplica: every replica is corrupt or missing, or `serving` admits none.
        NotFound: the file was removed after the caller's lookup.
    """

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        changes: Changes,
        stores: Stores,
        cache: Cache,
        caching: Caching,
        clock: Clock,
        counters: OperationCounters,
    ) -> None:
        self._catalogue = catalogue
        self._changes = changes
        self._stores = stores
        self._cache = cache
        self._caching = caching
        self._clock = clock
        self._counters = counters

    async def read(
        self, file: StoredFile, *, cached: bool = True, serving: ReplicaFilter = any_replica
    ) -> bytes:
        """Return all stored bytes of a file that fits in memory.

        With `cached`, the bytes may come from the cache, even if `serving` (the condition that a
        replica must meet) admits no replica, and bytes read from a replica are cached. Without
        `cached`, they come from the disk or bucket itself.
        """
        if not cached:
            return await self._from_replicas(file, serving, cached=False)
        if not self._cacheable(file):
            return await self._from_replicas(file, serving)
        key = cache_key(file)
        if (data := await self._cache.get(key)) is not None and _has_digests(data, file.stored):
            self._counters.cache_hits += 1
            return data
        self._counters.cache_misses += 1
        data = await self._from_replicas(file, serving)
        await self._cache.put(key, data, self._caching.ttl)
        return data

    async def read_cached(self, file: StoredFile) -> bytes | None:
        """Return the stored bytes of a file from the cache, verified; None if it has not got them."""
        if file.stored.size_bytes > self._caching.item_bytes or not _is_credible(file):
            return None
        data = await self._cache.get(f"blob:{file.stored.sha256}")
        return data if data is not None and _has_digests(data, file.stored) else None

    async def stream(
        self,
        file: StoredFile,
        span: Span,
        *,
        cached: bool = True,
        serving: ReplicaFilter = any_replica,
    ) -> AsyncGenerator[bytes, None]:
        """Yield the stored bytes of a file in the range `span`, in chunks.

        Without `cached`, they come from the disk or bucket itself; with it, a store may have a copy
        in a folder.

        When a replica fails during the stream, the stream continues with another replica at the
        same byte. Close the iterator when leaving early.
        """
        position = span.start
        search = _Search(file, serving, self._catalogue)
        while replica := await search.next():
            rest = Span(position, span.stop)
            try:
                _check_row(file)
                store = self._store(replica, cached=cached)
                async with closing(store.open(replica.key, file.stored, rest)) as chunks:
                    async for chunk in chunks:
                        yield chunk
                        position += len(chunk)
            except (BlobCorrupt, BlobMissing) as error:
                search.reasons += await self._failed(file, replica, error)
            except Unavailable as error:
                search.reasons.append(str(error))
            else:
                if rest == Span(0, file.stored.size_bytes):
                    await self._succeeded(file, replica)
                return
        raise search.error()

    @asynccontextmanager
    async def lend(
        self, file: StoredFile, *, serving: ReplicaFilter = any_replica
    ) -> AsyncIterator[FileBody | None]:
        """Return a context with the open file of the first good replica, whose bytes were checked.

        The body is None if that replica's store has no files of blobs: `stream` reads it.
        """
        search = _Search(file, serving, self._catalogue)
        async with AsyncExitStack() as stack:
            yield await self._lent(file, search, stack)

    async def verify(self, file: StoredFile, replica: Replica) -> bool:
        """Read one replica whole in its own store, past every cache; return whether it is good.

        A bad one is recorded as corrupt or missing if its store proves its identity.

        Raises:
            StorageUnavailable: the replica can't be read now, or its store is not proven to be the
                registered one.
        """
        try:
            _check_row(file)
            await self._stores.blob_store(replica.store_id).verify(replica.key, file.stored)
        except (BlobCorrupt, BlobMissing) as error:
            if reasons := await self._failed(file, replica, error):
                raise StorageUnavailable("; ".join(reasons)) from error
            return False
        await self._stores.confirm(replica.store_id)
        return True

    async def restore(self, file: StoredFile, replica: Replica) -> bool:
        """Record a bad replica as present if it is good, read whole as by `verify`; return whether it is."""
        try:
            is_good = await self.verify(file, replica)
        except Unavailable:
            return False
        if is_good:
            await self._mark(file, replica, ReplicaState.PRESENT)
        return is_good

    async def _lent(
        self, file: StoredFile, search: "_Search", stack: AsyncExitStack
    ) -> FileBody | None:
        while replica := await search.next():
            try:
                _check_row(file)
                store = self._store(replica, cached=False)
                body = await stack.enter_async_context(store.lend(replica.key, file.stored))
            except (BlobCorrupt, BlobMissing) as error:
                search.reasons += await self._failed(file, replica, error)
            except Unavailable as error:
                search.reasons.append(str(error))
            else:
                if body is not None:
                    await self._succeeded(file, replica)
                return body
        raise search.error()

    def _store(self, replica: Replica, *, cached: bool) -> BlobStore:
        store = self._stores.blob_store(replica.store_id)
        return store if cached else store.uncached

    async def _from_replicas(
        self, file: StoredFile, serving: ReplicaFilter, *, cached: bool = True
    ) -> bytes:
        search = _Search(file, serving, self._catalogue)
        while replica := await search.next():
            try:
                _check_row(file)
                store = self._store(replica, cached=cached)
                data = await store.read(replica.key, file.stored)
            except (BlobCorrupt, BlobMissing) as error:
                search.reasons += await self._failed(file, replica, error)
            except Unavailable as error:
                search.reasons.append(str(error))
            else:
                await self._succeeded(file, replica)
                return data
        raise search.error()

    def _cacheable(self, file: StoredFile) -> bool:
        readable = file.readable
        return (
            file.stored.size_bytes <= self._caching.item_bytes
            and bool(readable)
            and readable[0].tier in self._caching.tiers
            and _is_credible(file)
        )

    async def _failed(
        self, file: StoredFile, replica: Replica, error: BlobCorrupt | BlobMissing
    ) -> list[str]:
        """Record a replica as corrupt or missing, after a check that its store is the registered one.

        If the check fails, nothing is recorded, and the reason is returned in a list.
        """
        self._counters.replicas_failed += 1
        logger.error(
            "the copy of %s in %s could not be read: %s",
            file.file_id,
            replica.store_id,
            str(error),
        )
        missing = error if isinstance(error, BlobMissing) else None
        try:
            await self._stores.confirm(replica.store_id, missing)
        except Unavailable as untrusted:
            return [str(untrusted)]
        if replica.state is ReplicaState.PRESENT:
            bad = ReplicaState.MISSING if missing else ReplicaState.CORRUPT
            await self._mark(file, replica, bad, str(error))
        return []

    async def _succeeded(self, file: StoredFile, replica: Replica) -> None:
        """Record a corrupt or missing replica as present after it was read whole and verified."""
        if replica.state is ReplicaState.PRESENT:
            return
        try:
            store = self._stores.blob_store(replica.store_id)
            if store.uncached is not store:
                # The bytes may have come from its folder of copies.
                await store.verify(replica.key, file.stored)
            await self._stores.confirm(replica.store_id)
        except (BlobCorrupt, BlobMissing) as error:
            logger.warning("a copy in a cache was read in place of a bad replica: %s", str(error))
            return
        except Unavailable as untrusted:
            logger.warning(
                "the replica %s was verified, but could not be recorded as present: %s",
                replica.key,
                str(untrusted),
            )
            return
        logger.warning(
            "the copy of %s in %s, recorded as %s, was read and verified",
            file.file_id,
            replica.store_id,
            replica.state,
        )
        await self._mark(file, replica, ReplicaState.PRESENT)

    async def _mark(
        self, file: StoredFile, replica: Replica, state: ReplicaState, details: str = ""
    ) -> None:
        try:
            await self._changes.apply(
                ObserveReplica(file.file_id, replica.replica_id, state, self._clock.now(), details)
            )
        except (CatalogueUnavailable, StorageFull) as error:
            logger.warning(
                "the replica %s could not be recorded as %s: %s", replica.key, state, str(error)
            )


class _Search:
    """The replicas of a file that a read has not tried yet.

    `reasons` has one text for each tried replica that could not be checked, such as one in a store
    that can't be reached.
    """

    def __init__(self, file: StoredFile, serving: ReplicaFilter, catalogue: Catalogue) -> None:
        self.reasons: list[str] = []
        self._file = file
        self._serving = serving
        self._catalogue = catalogue
        self._untried = _in_order(file, serving)
        self._tried: set[tuple[StoreId, BlobKey]] = set()
        self._is_current = False

    async def next(self) -> Replica | None:
        """Return the next replica to try; None if none is left after the file was looked up again."""
        if not self._untried and not self._is_current:
            self._is_current = True
            await self._look_up_again()
        if not self._untried:
            return None
        replica = self._untried.pop(0)
        self._tried.add((replica.store_id, replica.key))
        return replica

    def error(self) -> StorageUnavailable | NoGoodReplica:
        """Return the error that states why no replica could be read."""
        name = self._file.file_id
        if self.reasons:
            return StorageUnavailable(f"{name} can't be read now: {'; '.join(self.reasons)}")
        states = ", ".join(f"{copy.store_id}: {copy.state}" for copy in self._file.replicas)
        return NoGoodReplica(
            f"no intact copy of {name} was found ({states})",
            remedy="restore it from a backup; the recorded SHA-256 shows whether a copy is intact",
        )

    async def _look_up_again(self) -> None:
        try:
            current = await self._catalogue.file(self._file.file_id)
        except CatalogueUnavailable as error:
            self.reasons.append(f"a lookup of newer replicas failed: {error}")
            return
        if current is None or current.state in _REMOVED:
            raise NotFound("file", self._file.file_id)
        if current.stored == self._file.stored:
            self._file = current
            self._untried = [
                replica
                for replica in _in_order(current, self._serving)
                if (replica.store_id, replica.key) not in self._tried
            ]


def _in_order(file: StoredFile, serving: ReplicaFilter) -> list[Replica]:
    return [replica for replica in (*file.readable, *file.doubtful) if serving(replica)]


def _check_row(file: StoredFile) -> None:
    """Raise BlobCorrupt if the row of a file contradicts itself, so that no byte can prove it."""
    if problem := row_problem(file):
        raise BlobCorrupt(problem)


def _is_credible(file: StoredFile) -> bool:
    """Return whether the key of a replica names the digest under which a cache has the bytes."""
    return not row_problem(file) and any(
        is_of_digest(replica.key, file.stored.sha256) for replica in file.replicas
    )


def _has_digests(data: bytes, digests: Digests) -> bool:
    return len(data) == digests.size_bytes and sha256_of(data) == digests.sha256
