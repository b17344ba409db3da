"""CachingBlobStore: a decorator that keeps copies of a remote store's blobs on local disk."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from datetime import datetime
from pathlib import Path

from traffic_storage.adapters.blob_store.caching.copies import Copies
from traffic_storage.domain.digests import Digests
from traffic_storage.domain.files import BlobKey, Tier
from traffic_storage.domain.identity import Marker
from traffic_storage.domain.manifest import BlobManifest
from traffic_storage.domain.verification import (
    Span,
    check_span,
    chunks_of,
    parts_of,
)
from traffic_storage.ports.blob_store import (
    BlobEntry,
    BlobHead,
    BlobStore,
    Examination,
    KeptVersion,
    Room,
    closing,
)
from traffic_storage.ports.errors import BlobMissing
from traffic_storage.ports.spool import Body, MemoryBody
from traffic_storage.ports.store_identity import MarkedBlobStore


class CachingBlobStore(MarkedBlobStore):
    """Wraps the store `cloud`; keeps local copies of the blobs that are written or read whole.

    The copies are a cache, never a replica: at most `limit_bytes` in total and `item_bytes` each,
    least recently used evicted first, kept across restarts. While the disk has less than
    `reserve_bytes` free, copies make room and no new one is kept. Each read checks the copy like any
    blob; a bad copy is dropped and the blob is read from the cloud. A failing disk fails no request;
    one that hangs for `timeout_seconds` is not used until it answers. `read` does not wait for its copy. Only `read` and `open` return copies; every other result is the cloud's.
    """

    def __init__(
        self,
        cloud: MarkedBlobStore,
        folder: Path,
        *,
        limit_bytes: int,
        item_bytes: int,
        reserve_bytes: int = 0,
        timeout_seconds: float = 1.0,
    ) -> None:
        self._cloud = cloud
        self._copies = Copies(
            folder.absolute(),
            limit_bytes=limit_bytes,
            item_bytes=item_bytes,
            reserve_bytes=reserve_bytes,
            timeout_seconds=timeout_seconds,
        )
        self._hits = 0
        self._misses = 0

    @property
    def hits(self) -> int:
        """The number of reads that found a copy on the local disk."""
        return self._hits

    @property
    def misses(self) -> int:
        """The number of reads that found no copy and were made from the cloud store."""
        return self._misses

    @property
    def cached_bytes(self) -> int:
        """The bytes of `limit_bytes` that the copies use, counted in whole disk blocks."""
        return self._copies.held_bytes

    @property
    def tier(self) -> Tier:
        return self._cloud.tier

    @property
    def location(self) -> str:
        return self._cloud.location

    def unavailable_reason(self) -> str:
        return self._cloud.unavailable_reason()

    async def put(
        self, key: BlobKey, body: Body, manifest: BlobManifest, *, deadline: datetime
    ) -> None:
        with self._copies.fetching(key) as fetch:
            await self._cloud.put(key, body, manifest, deadline=deadline)
            await self._copies.keep(key, body, fetch)

    async def read(self, key: BlobKey, digests: Digests) -> bytes:
        if (copy := await self._copies.read(key, digests)) is not None:
            self._hits += 1
            return copy
        self._misses += 1
        with self._copies.fetching(key) as fetch:
            data = await self._cloud.read(key, digests)
            self._copies.keep_soon(key, MemoryBody(data, digests), fetch)
        return data

    async def open(self, key: BlobKey, digests: Digests, span: Span) -> AsyncIterator[bytes]:
        check_span(span, digests)
        if not digests.segmented:
            for chunk in chunks_of(await self.read(key, digests), span):
                yield chunk
            return
        given = 0
        async with closing(self._copied(key, digests, span)) as chunks:
            async for chunk in chunks:
                given += len(chunk)
                yield chunk
        if (
            given < span.length or not span.length
        ):  # If empty, the cloud checks that the blob exists.
            rest = Span(span.start + given, span.stop)
            async with closing(self._fetched(key, digests, rest)) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def measure(self, key: BlobKey) -> Digests:
        return await self._cloud.measure(key)

    async def verify(self, key: BlobKey, digests: Digests) -> None:
        await self._cloud.verify(key, digests)

    async def examine(self, blobs: Sequence[tuple[BlobKey, Digests]]) -> Sequence[Examination]:
        return await self._cloud.examine(blobs)

    @property
    def uncached(self) -> BlobStore:
        return self._cloud.uncached

    async def forget(self, key: BlobKey) -> None:
        await self._copies.drop(key)

    async def cached_keys(self) -> Sequence[BlobKey]:
        return await self._copies.keys()

    async def free_cache(self) -> None:
        await self._copies.free_disk()

    async def head(self, key: BlobKey) -> BlobHead:
        return await self._cloud.head(key)

    async def heads(self, keys: Sequence[BlobKey]) -> Sequence[BlobHead | BlobMissing]:
        return await self._cloud.heads(keys)

    async def delete(self, key: BlobKey) -> Sequence[KeptVersion]:
        try:
            return await self._cloud.delete(key)
        finally:
            # After the deletion: earlier fetches become stale, later ones find no blob.
            await self._copies.drop(key)

    def list(self, prefix: str = "", after: str = "") -> AsyncIterator[BlobEntry]:
        return self._cloud.list(prefix, after)

    async def room(self) -> Room:
        return await self._cloud.room()

    async def marker(self) -> Marker | None:
        return await self._cloud.marker()

    async def create_marker(self, marker: Marker) -> None:
        await self._cloud.create_marker(marker)

    async def replace_marker(self, was: Marker, becomes: Marker) -> None:
        await self._cloud.replace_marker(was, becomes)

    async def put_note(self, name: str, text: bytes) -> None:
        await self._cloud.put_note(name, text)

    async def note(self, name: str) -> bytes | None:
        return await self._cloud.note(name)

    async def settled(self) -> None:
        """Wait until the copies of what was read are written."""
        await self._copies.settled()

    async def aclose(self) -> None:
        await self._copies.aclose()
        await self._cloud.aclose()

    async def _copied(
        self, key: BlobKey, digests: Digests, span: Span
    ) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of `span` from the local copy of a blob, up to a damaged segment.

        Yields nothing if there is no copy.
        """
        copy = await self._copies.open(key, digests)
        if copy is None:
            self._misses += 1
            return
        self._hits += 1
        for part in parts_of(span):
            data = await self._copies.part(key, copy, part)
            if data is None:
                return
            if data:
                yield data

    async def _fetched(
        self, key: BlobKey, digests: Digests, span: Span
    ) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of `span` from the cloud store; keep a copy if that is the whole blob."""
        if span != Span(0, digests.size_bytes):
            async with closing(self._cloud.open(key, digests, span)) as chunks:
                async for chunk in chunks:
                    yield chunk
            return
        async with self._copies.filling(key, digests.size_bytes) as filling:
            async with closing(self._cloud.open(key, digests, span)) as chunks:
                async for chunk in chunks:
                    await filling.write(chunk)
                    yield chunk
            filling.complete()
