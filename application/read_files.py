"""Reading: one lookup, one verified read. No byte is handed out unverified.

A replica that proves corrupt or missing is marked, never deleted, and another one is read; a
stream switches over in its middle. Where no good one is left, doubtful ones are looked at again:
one that was away comes back by being read.
"""

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta

from attrs import frozen

from traffic_storage.application.operation_counters import OperationCounters
from traffic_storage.application.stores import Stores
from traffic_storage.domain.digests import Digests, sha256_of
from traffic_storage.domain.errors import (
    InvalidInput,
    NoGoodReplica,
    NotFound,
    StorageFull,
    StorageUnavailable,
    Unavailable,
    UnsupportedMedia,
)
from traffic_storage.domain.files import (
    Coding,
    FileKind,
    FileState,
    Replica,
    ReplicaState,
    StoredFile,
    Tier,
)
from traffic_storage.domain.identifiers import known_file_id
from traffic_storage.domain.pixels import ChannelOrder
from traffic_storage.domain.verification import Span, chunks_of
from traffic_storage.ports.blob_store import closing
from traffic_storage.ports.cache import Cache
from traffic_storage.ports.clock import Clock
from traffic_storage.ports.compressor import Compressor
from traffic_storage.ports.errors import BlobCorrupt, BlobMissing, CatalogueUnavailable
from traffic_storage.ports.images import DecodedImage, Images
from traffic_storage.ports.record_repo import Catalogue

logger = logging.getLogger("traffic_storage.read")


@frozen
class Caching:
    """What is cached: small blobs, by digest, of replicas in these tiers."""

    tiers: frozenset[Tier]
    item_bytes: int
    ttl: timedelta


class ReadFiles:
    """Hands out files by id.

    Errors of all methods:
        InvalidInput: no file can have this id.
        NotFound: no file has it.
        StorageUnavailable: every good replica is in a store that can't be reached; it is named.
        NoGoodReplica: every replica is corrupt or missing.
        CatalogueUnavailable: the database is away.
    """

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        stores: Stores,
        cache: Cache,
        caching: Caching,
        compressor: Compressor,
        images: Images,
        clock: Clock,
        counters: OperationCounters,
    ) -> None:
        self._catalogue = catalogue
        self._stores = stores
        self._cache = cache
        self._caching = caching
        self._compressor = compressor
        self._images = images
        self._clock = clock
        self._counters = counters

    async def file(self, file_id: str) -> StoredFile:
        """What is known of a file; its bytes are not read."""
        file = await self._catalogue.file(known_file_id(file_id))
        if file is None or file.state is not FileState.AVAILABLE:
            raise NotFound("file", file_id)
        return file

    async def whole(self, file_id: str) -> tuple[bytes, StoredFile]:
        """All bytes of a file, as they were handed in. Meant for what fits in memory."""
        file = await self.file(file_id)
        data = await self._content(file)
        self._count(len(data))
        return data, file

    async def open(self, file_id: str) -> "OpenFile":
        """A file whose bytes are taken piece by piece."""
        return OpenFile(await self.file(file_id), self)

    async def image(
        self, file_id: str, channel_order: ChannelOrder | None = None
    ) -> tuple[DecodedImage, StoredFile]:
        """An image's pixels, in this channel order or (None) in the one it was handed in with.

        Raises:
            UnsupportedMedia: the file is no image.
        """
        file = await self.file(file_id)
        if file.kind is not FileKind.IMAGE:
            raise UnsupportedMedia.of(
                "file_id",
                f"{file_id!r} is of kind {file.kind}, not an image",
                "read it with retrieve_file",
            )
        data = await self._content(file)
        self._count(len(data))
        order = channel_order or file.media.channel_order or ChannelOrder.RGB
        # An encoder may have dropped what an array had: grey, or alpha that is opaque all over.
        given = file.media.channels if file.media.pixel_sha256 is not None else None
        return await self._images.decode(data, order, given), file

    async def chunks(self, file: StoredFile, span: Span) -> AsyncGenerator[bytes, None]:
        """The bytes of a span of a file, each verified before it is given."""
        if file.stored.segmented and file.coding is Coding.IDENTITY:
            async with aclosing(self._streamed(file, span)) as stream:
                async for chunk in stream:
                    self._counters.bytes_retrieved += len(chunk)
                    yield chunk
            self._counters.files_retrieved += 1
        elif span.length:
            data = await self._content(file)
            self._count(span.length)
            for chunk in chunks_of(data, span):
                yield chunk

    async def _content(self, file: StoredFile) -> bytes:
        stored = await self._stored_bytes(file)
        if file.coding is Coding.IDENTITY:
            return stored
        try:
            return await self._compressor.expand(stored, file.content)
        except BlobCorrupt as error:
            # The stored bytes are those that were recorded: no other copy can do better.
            raise NoGoodReplica(f"{file.file_id} can't be decoded: {error}") from error

    async def _stored_bytes(self, file: StoredFile) -> bytes:
        if not self._cacheable(file):
            return await self._from_replicas(file)
        key = f"blob:{file.stored.sha256}"
        if (data := await self._cache.get(key)) is not None and _is(data, file.stored):
            self._counters.cache_hits += 1
            return data
        self._counters.cache_misses += 1
        data = await self._from_replicas(file)
        await self._cache.put(key, data, self._caching.ttl)
        return data

    def _cacheable(self, file: StoredFile) -> bool:
        readable = file.readable
        return (
            file.stored.size_bytes <= self._caching.item_bytes
            and bool(readable)
            and readable[0].tier in self._caching.tiers
        )

    async def _from_replicas(self, file: StoredFile) -> bytes:
        away: list[Unavailable] = []
        for replica in (*file.readable, *file.doubtful):
            try:
                store = self._stores.blob_store(replica.store_id)
                data = await store.read(replica.key, file.stored)
                await self._succeeded(file, replica)
                return data
            except (BlobCorrupt, BlobMissing) as error:
                away += await self._failed(file, replica, error)
            except StorageUnavailable as error:
                away.append(error)
        raise self._no_replica(file, away)

    async def _streamed(self, file: StoredFile, span: Span) -> AsyncGenerator[bytes, None]:
        position = span.start
        away: list[Unavailable] = []
        for replica in (*file.readable, *file.doubtful):
            try:
                store = self._stores.blob_store(replica.store_id)
                rest = Span(position, span.stop)
                async with closing(store.open(replica.key, file.stored, rest)) as stream:
                    async for chunk in stream:
                        yield chunk
                        position += len(chunk)
                if rest == Span(0, file.stored.size_bytes):
                    await self._succeeded(file, replica)
                return
            except (BlobCorrupt, BlobMissing) as error:
                away += await self._failed(file, replica, error)
            except StorageUnavailable as error:
                away.append(error)
        raise self._no_replica(file, away)

    async def _failed(
        self, file: StoredFile, replica: Replica, error: BlobCorrupt | BlobMissing
    ) -> list[Unavailable]:
        """Mark a replica that is bad; what is returned says why nothing is known of it instead."""
        self._counters.replicas_failed += 1
        logger.error("replica of %s in %s: %s", file.file_id, replica.store_id, str(error))
        try:
            if isinstance(error, BlobMissing):
                await self._stores.confirm(replica.store_id, replica.key)
            else:
                self._stores.must_be_trusted(replica.store_id)
        except (StorageUnavailable, CatalogueUnavailable) as untrusted:
            # Perhaps another store altogether: what it lacks proves nothing.
            return [untrusted]
        if replica.state is ReplicaState.PRESENT:
            bad = ReplicaState.CORRUPT if isinstance(error, BlobCorrupt) else ReplicaState.MISSING
            await self._mark(file, replica, bad)
        return []

    async def _succeeded(self, file: StoredFile, replica: Replica) -> None:
        """Note that a whole replica was read and verified, where that is news."""
        if replica.state is not ReplicaState.PRESENT:
            logger.warning("replica of %s in %s is whole again", file.file_id, replica.store_id)
            await self._mark(file, replica, ReplicaState.PRESENT)

    async def _mark(self, file: StoredFile, replica: Replica, state: ReplicaState) -> None:
        try:
            await self._catalogue.mark(
                file.file_id, replica.store_id, replica.key, state, self._clock.now()
            )
        except (CatalogueUnavailable, StorageFull) as away:
            logger.warning("could not mark it: %s", str(away))

    @staticmethod
    def _no_replica(
        file: StoredFile, away: list[Unavailable]
    ) -> StorageUnavailable | NoGoodReplica:
        if away:
            reasons = "; ".join(str(error) for error in away)
            return StorageUnavailable(f"{file.file_id} can't be read now: {reasons}")
        states = ", ".join(f"{replica.store_id}: {replica.state}" for replica in file.replicas)
        return NoGoodReplica(
            f"no good replica of {file.file_id} is left ({states})",
            remedy="restore it from a backup; its digest in the catalogue proves the copy",
        )

    def _count(self, size_bytes: int) -> None:
        self._counters.files_retrieved += 1
        self._counters.bytes_retrieved += size_bytes


@frozen
class OpenFile:
    """A file that is read piece by piece."""

    file: StoredFile
    _reader: ReadFiles

    def chunks(self, span: Span | None = None) -> AsyncGenerator[bytes, None]:
        """The bytes of `span` (None: all), in chunks of at most 4 MiB, each verified.

        Close the iterator (`aclosing`) when leaving early. Errors come while iterating, as of
        `ReadFiles`; bytes given before are right.

        Raises:
            InvalidInput: the span ends behind the file's end.
        """
        size = self.file.content.size_bytes
        span = span or Span(0, size)
        if span.stop > size:
            raise InvalidInput.of(
                "span", f"ends at {span.stop}, the file at {size}", f"stop at {size} or before"
            )
        return self._reader.chunks(self.file, span)


def _is(data: bytes, digests: Digests) -> bool:
    return len(data) == digests.size_bytes and sha256_of(data) == digests.sha256
