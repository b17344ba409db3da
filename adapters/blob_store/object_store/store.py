"""ObjectStoreBlobStore: blobs in a bucket of an S3-compatible service."""

import asyncio
import logging
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import NoReturn

from traffic_storage.adapters.blob_store.object_store.bucket import (
    MARKER,
    ONE_REQUEST_BYTES,
    Bucket,
)
from traffic_storage.adapters.blob_store.object_store.feed import Feed
from traffic_storage.adapters.blob_store.object_store.versions import Versions
from traffic_storage.adapters.s3.settings import S3Settings
from traffic_storage.adapters.threads.pool import Threads, wait_to_end
from traffic_storage.domain.digests import (
    SEGMENT_BYTES,
    WHOLE_READ_BYTES,
    Digester,
    Digests,
    WholeDigester,
)
from traffic_storage.domain.errors import TrafficStorageError
from traffic_storage.domain.files import BlobKey, FileKind, Tier, is_blob_key
from traffic_storage.domain.identity import Marker
from traffic_storage.domain.journal import MAX_NOTE_BYTES
from traffic_storage.domain.manifest import (
    MAX_SIDECAR_BYTES,
    BlobManifest,
    manifest_in,
    sidecar_key,
)
from traffic_storage.domain.snapshot import MAX_TEXT_BYTES
from traffic_storage.domain.verification import (
    Segment,
    Span,
    check_key,
    check_measured,
    check_named,
    check_segment,
    check_size,
    check_span,
    check_whole,
    check_witnesses,
    chunks_of,
    part_of_segment,
    segments_of,
)
from traffic_storage.ports.blob_store import (
    BlobEntry,
    BlobHead,
    Examination,
    KeptVersion,
    Room,
    examination,
    head_or_missing,
)
from traffic_storage.ports.clock import Clock
from traffic_storage.ports.concurrency import together
from traffic_storage.ports.errors import (
    BlobConflict,
    BlobCorrupt,
    BlobMissing,
    DeadlinePassed,
    StorageUnavailable,
)
from traffic_storage.ports.snapshot_store import SnapshotStore, TextFolder
from traffic_storage.ports.spool import Body
from traffic_storage.ports.store_identity import MarkedBlobStore

_JOURNAL = "journal"
_CREATE_TRIES = 3
_PAUSE_SECONDS = 0.1
_EXAMINED_AT_ONCE = 8
_HEADS_AT_ONCE = 32
# Large objects that are only checked are fetched in parts, because one connection may be slow; so
# many objects at a time, to bound the memory.
_PART_BYTES = SEGMENT_BYTES
_PARTS_AHEAD = 8
_LARGE_AT_ONCE = 4
_FOLDER = re.compile(r"[a-z]+(/[0-9]{4}(/[0-9]{2}){0,2})?")
# Up to this size the event loop computes a digest faster than it hops to a thread.
_ON_LOOP_BYTES = 512 * 1024
_log = logging.getLogger("traffic_storage.blob_store")


class ObjectStoreBlobStore(MarkedBlobStore, SnapshotStore):
    """Keeps blobs as objects of one bucket; manifests as user metadata or, if long, extra objects.

    The bucket must exist. An object of up to 8 MiB is written in one conditional request, a larger
    one in parts. After an ambiguous reply (a time-out, a 500, "exists already") the store looks for
    the object and, if it exists, reads it back. Bytes that fail a check are fetched a second time
    before the blob counts as corrupt, because the network may have changed them.
    """

    def __init__(self, settings: S3Settings, clock: Clock, *, threads: int = 4) -> None:
        self._settings = settings
        self._bucket = Bucket(settings)
        self._clock = clock
        self._threads = Threads(threads, "object-store")
        self._versions = Versions(settings)
        self._checking = asyncio.Semaphore(_LARGE_AT_ONCE)

    @property
    def settings(self) -> S3Settings:
        """The settings of the bucket."""
        return self._settings

    @property
    def tier(self) -> Tier:
        return Tier.CLOUD

    @property
    def location(self) -> str:
        return self._bucket.location

    def unavailable_reason(self) -> str:
        return self._bucket.unavailable_reason()

    async def put(
        self, key: BlobKey, body: Body, manifest: BlobManifest, *, deadline: datetime
    ) -> None:
        check_key(key)
        feed = Feed(key, body)
        writing = asyncio.ensure_future(self._put(key, feed, body.digests, manifest, deadline))
        await wait_to_end(writing, feed.stop)
        _log.debug("put %s: %d bytes", key, body.digests.size_bytes)

    async def read(self, key: BlobKey, digests: Digests) -> bytes:
        check_key(key)
        check_named(key, digests)
        try:
            return await self._read(key, digests)
        except BlobCorrupt as error:
            _log.warning("bytes of a blob failed a check and are fetched again: %s", str(error))
        return await self._read(key, digests)

    async def open(self, key: BlobKey, digests: Digests, span: Span) -> AsyncIterator[bytes]:
        check_span(span, digests)
        if not digests.segmented:
            data = await self.read(key, digests)
            for chunk in chunks_of(data, span):
                yield chunk
            return
        check_key(key)
        async with aclosing(self._segments(key, digests, span)) as segments:
            async for segment, data in segments:
                yield part_of_segment(data, segment, span)

    async def measure(self, key: BlobKey) -> Digests:
        check_key(key)
        digester = Digester()
        async with aclosing(self._bucket.whole(key)) as pieces:
            async for piece in pieces:
                await self._threads.run(digester.update, piece)
        return digester.finish()

    async def verify(self, key: BlobKey, digests: Digests) -> None:
        check_key(key)
        check_named(key, digests)
        try:
            await self._check(key, digests)
        except BlobCorrupt as error:
            _log.warning("bytes of a blob failed a check and are fetched again: %s", str(error))
            await self._check(key, digests)

    async def examine(self, blobs: Sequence[tuple[BlobKey, Digests]]) -> Sequence[Examination]:
        for key, _ in blobs:
            check_key(key)
        turns = asyncio.Semaphore(_EXAMINED_AT_ONCE)

        async def one(key: BlobKey, digests: Digests) -> Examination:
            async with turns:
                return await examination(self, key, digests)

        return await together(*(one(key, digests) for key, digests in blobs))

    async def head(self, key: BlobKey) -> BlobHead:
        check_key(key)
        size_bytes, summary = await self._bucket.describe(key)
        manifest = manifest_in(summary)
        if manifest is not None and manifest.sidecar_sha256 is not None:
            note = await self._bucket.note(sidecar_key(key), MAX_SIDECAR_BYTES)
            manifest = manifest.completed(None if note is None else note.text)
        return BlobHead(size_bytes, manifest)

    async def heads(self, keys: Sequence[BlobKey]) -> Sequence[BlobHead | BlobMissing]:
        turns = asyncio.Semaphore(_HEADS_AT_ONCE)

        async def one(key: BlobKey) -> BlobHead | BlobMissing:
            async with turns:
                return await head_or_missing(self, key)

        return await together(*map(one, keys))

    async def delete(self, key: BlobKey) -> Sequence[KeptVersion]:
        check_key(key)
        await self._remove(key)
        kept = await self._threads.run(self._versions.remove, (key, sidecar_key(key)))
        _log.debug("deleted %s", key)
        return kept

    async def list(self, prefix: str = "", after: str = "") -> AsyncIterator[BlobEntry]:
        last = after
        for folder in _folders_of(prefix, after):
            async with aclosing(self._entries(folder, after)) as entries:
                async for entry in entries:
                    if entry.key <= last:
                        raise StorageUnavailable(f"{self.location} lists {entry.key} out of order")
                    last = entry.key
                    if entry.key.startswith(prefix):
                        yield entry

    async def room(self) -> Room:
        return Room()

    async def marker(self) -> Marker | None:
        note = await self._bucket.note(MARKER)
        return None if note is None else Marker.from_text(note.text.decode(errors="replace"))

    async def create_marker(self, marker: Marker) -> None:
        text = _text_of(marker)
        try:
            await self._bucket.create_note(MARKER, text)
        except (BlobConflict, StorageUnavailable) as error:
            held = await self._bucket.note(MARKER)
            if held is None:
                self._refuse_contradiction(error)
                raise
            if held.text != text:
                raise BlobConflict(
                    f"{self.location} has another identification object (marker) than expected"
                ) from error

    async def replace_marker(self, was: Marker, becomes: Marker) -> None:
        held = await self._bucket.note(MARKER)
        if held is not None and held.text == _text_of(becomes):
            return
        if held is None or held.text != _text_of(was):
            raise BlobConflict(
                f"{self.location} has another identification object (marker) than expected"
            )
        try:
            await self._bucket.replace_note(MARKER, _text_of(becomes), held.e_tag)
        except (BlobConflict, BlobMissing, StorageUnavailable) as error:
            now = await self._bucket.note(MARKER)
            if now is not None and now.text == _text_of(becomes):
                return
            if isinstance(error, StorageUnavailable):
                raise
            raise BlobConflict(
                f"{self.location} has another identification object (marker) than expected"
            ) from error

    async def put_note(self, name: str, text: bytes) -> None:
        await self._put_small(f"{_JOURNAL}/{name}", text)

    async def note(self, name: str) -> bytes | None:
        held = await self._bucket.note(f"{_JOURNAL}/{name}", MAX_NOTE_BYTES)
        return None if held is None else held.text

    async def put_text(self, folder: TextFolder, name: str, text: bytes) -> None:
        await self._put_small(f"{folder}/{name}", text)

    async def text(self, folder: TextFolder, name: str) -> bytes | None:
        held = await self._bucket.note(f"{folder}/{name}", MAX_TEXT_BYTES)
        return None if held is None else held.text

    async def text_names(self, folder: TextFolder) -> Sequence[str]:
        async with aclosing(self._bucket.objects(folder, None)) as found:
            return sorted([one.path.removeprefix(f"{folder}/") async for one in found])

    async def remove_text(self, folder: TextFolder, name: str) -> None:
        path = f"{folder}/{name}"
        await self._bucket.remove(path)
        await self._threads.run(self._versions.remove, (path,))

    async def is_unused(self) -> bool:
        return await self._bucket.is_empty()

    async def aclose(self) -> None:
        await self._threads.aclose()
        self._versions.close()
        await self._bucket.aclose()

    def __reduce__(self) -> NoReturn:
        raise TypeError("ObjectStoreBlobStore can't be pickled: it contains a secret")

    async def _put(
        self, key: BlobKey, feed: Feed, digests: Digests, manifest: BlobManifest, deadline: datetime
    ) -> None:
        left = (deadline - self._clock.now()).total_seconds()
        if left <= 0:
            raise _too_late(key, deadline)
        until = _now() + left
        kept = manifest.kept()
        if kept.sidecar is not None:
            await self._put_sidecar(key, kept.sidecar, feed, until)
            if self._clock.now() >= deadline:
                raise _too_late(key, deadline)
        seconds = min(until - _now(), self._bucket.seconds_for(digests.size_bytes))
        write = self._create if digests.size_bytes <= ONE_REQUEST_BYTES else self._upload
        wrote = await write(key, feed, digests, kept.summary, seconds)
        if self._clock.now() >= deadline:
            if wrote:
                await self._remove(key)
            raise _too_late(key, deadline)

    async def _put_small(self, path: str, text: bytes) -> None:
        try:
            await self._bucket.create_note(path, text)
        except (BlobConflict, StorageUnavailable) as error:
            held = await self._bucket.note(path, MAX_TEXT_BYTES)
            if held is None:
                self._refuse_contradiction(error)
                raise
            if held.text != text:
                raise BlobConflict(f"{self.location} has another text {path}") from error

    async def _put_sidecar(self, key: BlobKey, data: bytes, feed: Feed, until: float) -> None:
        """Write the object with a blob's long manifest (sidecar), unless the blob exists.

        Replaces the sidecar that a failed `put` left.
        """
        for left in reversed(range(_CREATE_TRIES)):
            seconds = min(until - _now(), self._bucket.seconds_for(len(data)))
            try:
                await self._bucket.create(sidecar_key(key), data, "", seconds)
            except BlobConflict:
                if await self._bucket.size_of(key) is None:
                    await self._bucket.replace(sidecar_key(key), data, seconds)
            except StorageUnavailable:
                if not left or feed.stopped or _now() + _PAUSE_SECONDS >= until:
                    raise
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            return

    async def _remove(self, key: BlobKey) -> None:
        """Remove a blob, and then the object with its long manifest (sidecar).

        In this order no blob remains without its sidecar.
        """
        await self._bucket.remove(key)
        await self._bucket.remove(sidecar_key(key))

    async def _create(
        self, key: BlobKey, feed: Feed, digests: Digests, manifest: str, seconds: float
    ) -> bool:
        """Write a blob in one request; return whether this call may have written the object."""
        if digests.size_bytes <= _ON_LOOP_BYTES:
            data = feed.whole()
        else:
            data = await self._threads.run(feed.whole)
        until = _now() + seconds
        unclear = False
        tries = 0
        while True:
            tries += 1
            try:
                await self._bucket.create(key, data, manifest, until - _now())
                if self._settings.checksum_headers or await self._holds(key, digests):
                    return True
                unclear = True
            except (BlobConflict, BlobMissing, StorageUnavailable) as error:
                unclear = unclear or not isinstance(error, BlobConflict)
                if await self._holds(key, digests):
                    return unclear
                if tries == _CREATE_TRIES or feed.stopped or _now() + _PAUSE_SECONDS >= until:
                    self._refuse_contradiction(error)
                    raise
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _upload(
        self, key: BlobKey, feed: Feed, digests: Digests, manifest: str, seconds: float
    ) -> bool:
        """Write a blob in parts; return whether this call may have written the object."""
        if await self._holds(key, digests):
            return False
        try:
            await self._bucket.upload(key, feed, manifest, seconds)
        except (BlobConflict, BlobMissing, StorageUnavailable) as error:
            # BlobMissing: of the repetition of a completion that was done, and answered 500.
            if await self._holds(key, digests):
                return not isinstance(error, BlobConflict)
            self._refuse_contradiction(error)
            raise
        if not self._settings.checksum_headers and await self._holds(key, digests):
            return True
        size_bytes = await self._bucket.size_of(key)
        if size_bytes != digests.size_bytes:
            await self._remove(key)
            raise StorageUnavailable(
                f"{self.location} stored {key} with a wrong size: {size_bytes} bytes instead of "
                f"{digests.size_bytes}"
            )
        return True

    async def _holds(self, key: BlobKey, digests: Digests) -> bool:
        """Return whether the bucket holds the blob, read back.

        Raises:
            BlobConflict: it holds other bytes under this key.
        """
        size_bytes = await self._bucket.size_of(key)
        if size_bytes is None:
            return False
        if size_bytes != digests.size_bytes or not await self._has_digest(key, digests):
            raise BlobConflict(f"{key} already holds other bytes")
        return True

    def _refuse_contradiction(self, error: TrafficStorageError) -> None:
        """Raise StorageUnavailable if `error` is no answer to a write.

        It reports an object that the bucket does not find, or misses one that is to be created.
        """
        if isinstance(error, BlobMissing):
            raise StorageUnavailable(
                f"{self.location} answered 404 to a write", remedy="send the file again"
            ) from error
        if isinstance(error, BlobConflict):
            raise StorageUnavailable(
                f"{self.location} reports that an object exists, but then does not find it"
            ) from error

    async def _has_digest(self, key: BlobKey, digests: Digests) -> bool:
        whole = WholeDigester()
        async with aclosing(self._parts(key, digests)) as parts:
            async for part in parts:
                await self._threads.run(whole.update, part)
        return whole.finish().sha256 == digests.sha256

    async def _read(self, key: BlobKey, digests: Digests) -> bytes:
        data = await self._bucket.fetch(key, digests)
        if len(data) <= _ON_LOOP_BYTES:
            check_whole(key, data, digests)
        else:
            await self._threads.run(check_whole, key, data, digests)
        return data

    async def _check(self, key: BlobKey, digests: Digests) -> None:
        """Fetch all bytes of a blob, in bounded memory, and compare them with `digests`."""
        if digests.size_bytes <= WHOLE_READ_BYTES:
            await self._read(key, digests)
            return
        whole = WholeDigester()
        async with aclosing(self._parts(key, digests)) as parts:
            async for part in parts:
                await self._threads.run(whole.update, part)
        check_measured(key, whole.finish(), digests)

    async def _parts(self, key: BlobKey, digests: Digests) -> AsyncGenerator[bytes, None]:
        """Check an object's size; yield its bytes in parts, of which some are fetched at a time."""
        ahead: deque[asyncio.Task[bytes]] = deque()
        async with self._checking:
            try:
                for start in range(0, digests.size_bytes, _PART_BYTES):
                    stop = min(start + _PART_BYTES, digests.size_bytes)
                    fetching = self._bucket.fetch_range(key, digests, start, stop)
                    ahead.append(asyncio.ensure_future(fetching))
                    if len(ahead) == _PARTS_AHEAD:
                        yield await ahead.popleft()
                while ahead:
                    yield await ahead.popleft()
            finally:
                for task in ahead:
                    task.cancel()
                await asyncio.gather(*ahead, return_exceptions=True)

    async def _segments(
        self, key: BlobKey, digests: Digests, span: Span
    ) -> AsyncGenerator[tuple[Segment, bytes], None]:
        """Yield each segment of a blob that the span touches, with its checked bytes."""
        if not span.length:
            # The port promises to check that the blob exists and has its size.
            size_bytes, summary = await self._bucket.describe(key)
            check_size(key, size_bytes, digests)
            check_witnesses(key, manifest_in(summary), digests)
            return
        start = span.start - span.start % SEGMENT_BYTES
        stop = min(span.stop - span.stop % -SEGMENT_BYTES, digests.size_bytes)
        async with aclosing(self._bucket.stream(key, digests, start, stop)) as stream:
            pieces = _Pieces(stream)
            for segment in segments_of(span, digests):
                data = await pieces.take(segment.length)
                try:
                    await self._threads.run(check_segment, key, data, segment, digests)
                except BlobCorrupt as error:
                    _log.warning(
                        "bytes of a blob failed a check and are fetched again: %s", str(error)
                    )
                    data = await self._bucket.fetch_part(key, segment.start, segment.stop)
                    await self._threads.run(check_segment, key, data, segment, digests)
                yield segment, data

    async def _entries(self, folder: str, after: str) -> AsyncGenerator[BlobEntry, None]:
        offset = after if is_blob_key(after) and after.startswith(folder) else None
        async with aclosing(self._bucket.objects(folder, offset)) as objects:
            async for found in objects:
                if is_blob_key(found.path) and found.path > after:
                    yield BlobEntry(BlobKey(found.path), found.size_bytes, found.modified_at)


class _Pieces:
    """Regroups a stream of pieces of any size into pieces of requested sizes."""

    def __init__(self, stream: AsyncIterator[bytes]) -> None:
        self._stream = stream
        self._held = bytearray()

    async def take(self, length: int) -> bytes:
        """Return the next `length` bytes, fewer if the stream ends before."""
        while len(self._held) < length and (piece := await anext(self._stream, b"")):
            self._held += piece
        with memoryview(self._held) as held:
            data = bytes(held[:length])
        del self._held[:length]
        return data


def _text_of(marker: Marker) -> bytes:
    return f"{marker.to_text()}\n".encode()


def _now() -> float:
    return asyncio.get_running_loop().time()


def _too_late(key: BlobKey, deadline: datetime) -> DeadlinePassed:
    return DeadlinePassed(
        f"{key} was not stored before {deadline.isoformat()}",
        remedy="send it again; raise attempt_timeout_seconds if the store is slow",
    )


def _folders_of(prefix: str, after: str) -> Iterator[str]:
    """Yield the folders that can hold keys which begin with `prefix` and are after `after`."""
    for kind in sorted(FileKind):
        if _may_hold(f"{kind}/", prefix, after) and (folder := _folder_of(prefix, f"{kind}/")):
            yield folder


def _may_hold(folder: str, prefix: str, after: str) -> bool:
    """Return whether keys that begin with `folder` can match `prefix` and `after`."""
    if not (folder.startswith(prefix) or prefix.startswith(folder)):
        return False
    return folder > after or after.startswith(folder)


def _folder_of(prefix: str, folder: str) -> str | None:
    """Return the narrowest folder with all keys that begin with `prefix`; None if it has none."""
    if not prefix.startswith(folder):
        return folder
    narrowest = prefix.rpartition("/")[0]
    return narrowest if _FOLDER.fullmatch(narrowest) else None
