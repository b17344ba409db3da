"""InMemoryBlobStore: the reference implementation of the port BlobStore, in memory."""

import os
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime

from attrs import evolve, frozen

from traffic_storage.domain.digests import Digests, digests_of
from traffic_storage.domain.files import BlobKey, Tier
from traffic_storage.domain.identity import Marker
from traffic_storage.domain.manifest import BlobManifest
from traffic_storage.domain.verification import (
    Span,
    check_key,
    check_segment,
    check_size,
    check_span,
    check_whole,
    check_witnesses,
    chunks_of,
    part_of_segment,
    segments_of,
)
from traffic_storage.ports.blob_store import BlobEntry, BlobHead, KeptVersion, Room
from traffic_storage.ports.clock import Clock
from traffic_storage.ports.errors import BlobConflict, BlobMissing, DeadlinePassed, StorageFull
from traffic_storage.ports.snapshot_store import SnapshotStore, TextFolder
from traffic_storage.ports.spool import Body, MemoryBody
from traffic_storage.ports.store_identity import MarkedBlobStore


@frozen
class _Blob:
    data: bytes
    manifest: BlobManifest
    modified_at: datetime


class InMemoryBlobStore(MarkedBlobStore, SnapshotStore):
    """Keeps blobs in a dictionary. `limit_bytes` limits the sum of their sizes."""

    def __init__(
        self,
        clock: Clock,
        *,
        tier: Tier = Tier.LOCAL,
        location: str = "memory",
        limit_bytes: int | None = None,
    ) -> None:
        self._clock = clock
        self._tier = tier
        self._location = location
        self._limit_bytes = limit_bytes
        self._blobs: dict[BlobKey, _Blob] = {}
        self._marker: Marker | None = None
        self._notes: dict[str, bytes] = {}
        self._texts: dict[tuple[TextFolder, str], bytes] = {}

    @property
    def tier(self) -> Tier:
        return self._tier

    @property
    def location(self) -> str:
        return self._location

    def unavailable_reason(self) -> str:
        return ""

    async def put(
        self, key: BlobKey, body: Body, manifest: BlobManifest, *, deadline: datetime
    ) -> None:
        check_key(key)
        now = self._clock.now()
        if now >= deadline:
            raise DeadlinePassed(f"{key} was not stored before {deadline.isoformat()}")
        data = _bytes_of(body)
        check_size(key, len(data), body.digests)
        if held := self._blobs.get(key):
            if held.data != data:
                raise BlobConflict(f"{key} already holds other bytes")
            return
        if self._limit_bytes is not None and self._used_bytes + len(data) > self._limit_bytes:
            raise StorageFull(f"{self._location} is full: its limit is {self._limit_bytes} bytes")
        self._blobs[key] = _Blob(data, manifest, now)

    async def read(self, key: BlobKey, digests: Digests) -> bytes:
        data = self._blob(key).data
        check_whole(key, data, digests)
        return data

    async def open(self, key: BlobKey, digests: Digests, span: Span) -> AsyncIterator[bytes]:
        check_span(span, digests)
        data = self._blob(key).data
        if not digests.segmented:
            check_whole(key, data, digests)
            for chunk in chunks_of(data, span):
                yield chunk
            return
        check_size(key, len(data), digests)
        check_witnesses(key, self._blob(key).manifest, digests)
        for segment in segments_of(span, digests):
            held = data[segment.start : segment.stop]
            check_segment(key, held, segment, digests)
            yield part_of_segment(held, segment, span)

    async def measure(self, key: BlobKey) -> Digests:
        return digests_of(self._blob(key).data)

    async def head(self, key: BlobKey) -> BlobHead:
        blob = self._blob(key)
        return BlobHead(len(blob.data), blob.manifest)

    async def delete(self, key: BlobKey) -> Sequence[KeptVersion]:
        check_key(key)
        self._blobs.pop(key, None)
        return ()

    async def list(self, prefix: str = "", after: str = "") -> AsyncIterator[BlobEntry]:
        for key in sorted(self._blobs):
            if key > after and key.startswith(prefix) and (blob := self._blobs.get(key)):
                yield BlobEntry(key, len(blob.data), blob.modified_at)

    async def room(self) -> Room:
        if self._limit_bytes is None:
            return Room()
        return Room(self._limit_bytes - self._used_bytes, self._limit_bytes)

    async def marker(self) -> Marker | None:
        return self._marker

    async def create_marker(self, marker: Marker) -> None:
        if self._marker not in (None, marker):
            raise BlobConflict(
                f"{self._location} has another identification file (marker) than expected"
            )
        self._marker = marker

    async def replace_marker(self, was: Marker, becomes: Marker) -> None:
        if self._marker not in (was, becomes):
            raise BlobConflict(
                f"{self._location} has another identification file (marker) than expected"
            )
        self._marker = becomes

    async def put_note(self, name: str, text: bytes) -> None:
        if self._notes.setdefault(name, text) != text:
            raise BlobConflict(f"{self._location} has another note {name}")

    async def note(self, name: str) -> bytes | None:
        return self._notes.get(name)

    async def put_text(self, folder: TextFolder, name: str, text: bytes) -> None:
        if self._texts.setdefault((folder, name), text) != text:
            raise BlobConflict(f"{self._location} has another text {folder}/{name}")

    async def text(self, folder: TextFolder, name: str) -> bytes | None:
        return self._texts.get((folder, name))

    async def text_names(self, folder: TextFolder) -> Sequence[str]:
        return sorted(name for where, name in self._texts if where is folder)

    async def remove_text(self, folder: TextFolder, name: str) -> None:
        self._texts.pop((folder, name), None)

    async def is_unused(self) -> bool:
        return not self._blobs and not self._texts

    async def aclose(self) -> None:
        """Do nothing: the blobs remain in memory."""

    def alter(self, key: BlobKey, change: Callable[[bytes], bytes | None]) -> None:
        """For tests: replace a blob's bytes by the result of `change`; None removes the blob."""
        blob = self._blob(key)
        changed = change(blob.data)
        if changed is None:
            del self._blobs[key]
        else:
            self._blobs[key] = evolve(blob, data=changed)

    @property
    def _used_bytes(self) -> int:
        return sum(len(blob.data) for blob in self._blobs.values())

    def _blob(self, key: BlobKey) -> _Blob:
        check_key(key)
        try:
            return self._blobs[key]
        except KeyError as error:
            raise BlobMissing(f"{self._location} has no blob {key}") from error


def _bytes_of(body: Body) -> bytes:
    if isinstance(body, MemoryBody):
        return body.data
    return os.pread(body.fd, os.fstat(body.fd).st_size, 0)
