"""The calls to one bucket, each under the guard. No verification beyond sizes."""

import asyncio
import atexit
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from datetime import datetime
from typing import TypeVar

import obstore
from attrs import frozen
from obstore.store import S3Store

from traffic_storage.adapters.blob_store.object_store.feed import Feed
from traffic_storage.adapters.blob_store.object_store.guard import Guard
from traffic_storage.adapters.blob_store.object_store.settings import S3Settings
from traffic_storage.domain.digests import Digests
from traffic_storage.domain.files import BlobKey
from traffic_storage.domain.verification import check_size
from traffic_storage.ports.errors import BlobCorrupt, BlobMissing, StorageUnavailable

T = TypeVar("T")

MARKER = ".traffic-storage-marker"
_MAX_NOTE_BYTES = 4096
_MANIFEST = "traffic-storage-manifest"
ONE_REQUEST_BYTES = 8 * 1024 * 1024
# The least that S3 takes: larger parts are no quicker, and four of them at once twice the memory.
_PART_BYTES = 5 * 1024 * 1024
_PARTS_AT_ONCE = 4
_MOST_PARTS = 10_000
_STREAM_BYTES = 1024 * 1024
_PAGE = 1000
_LOOK_SECONDS = 5.0
_FAREWELL_SECONDS = 0.01
_LAST_FAREWELL_SECONDS = 0.1
_SLOWEST_BYTES_PER_SECOND = 1024 * 1024


@frozen
class Note:
    """A small object of ours that is no blob."""

    text: bytes
    e_tag: str | None


@frozen
class Listed:
    """An object in a listing, ours or not."""

    path: str
    size_bytes: int
    modified_at: datetime


class Bucket:
    """One bucket: the client, made at first use, and the guard around it."""

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self._client: S3Store | None = None
        self._guard = Guard(settings.location, self._probe, settings.probe_seconds)

    @property
    def location(self) -> str:
        """Endpoint and bucket."""
        return self._settings.location

    def unavailable_reason(self) -> str:
        """Why calls are refused at the moment; empty when they are tried."""
        return self._guard.unavailable_reason()

    def seconds_for(self, size_bytes: int) -> float:
        """How long a transfer of so many bytes may take."""
        return self._settings.timeout_seconds + size_bytes / _SLOWEST_BYTES_PER_SECOND

    async def create(self, key: str, data: bytes, manifest: str, seconds: float) -> None:
        """Write one object in one request, if there is none; else BlobConflict."""
        attributes = {_MANIFEST: manifest} if manifest else {}
        await self._guard.run(
            lambda: obstore.put_async(
                self._s3, key, data, mode="create", attributes=attributes, use_multipart=False
            ),
            seconds,
            key,
            creates=True,
        )

    async def upload(self, key: BlobKey, feed: Feed, manifest: str, seconds: float) -> None:
        """Write one object in parts, in bounded memory; over what may be there.

        When the time is up, or the feed is stopped, the upload is aborted.
        """
        timer = asyncio.get_running_loop().call_later(seconds, feed.stop)
        try:
            await self._guard.run(
                lambda: obstore.put_async(
                    self._s3,
                    key,
                    feed,
                    attributes={_MANIFEST: manifest},
                    use_multipart=True,
                    chunk_size=max(_PART_BYTES, -(-feed.size_bytes // _MOST_PARTS)),
                    max_concurrency=_PARTS_AT_ONCE,
                ),
                seconds + self._settings.timeout_seconds,
                key,
                creates=True,
            )
        finally:
            timer.cancel()

    async def fetch(self, key: BlobKey, digests: Digests) -> bytes:
        """All bytes of an object that has the right size."""

        async def call() -> bytes:
            answer = await obstore.get_async(self._s3, key)
            check_size(key, answer.meta["size"], digests)
            return bytes(await answer.bytes_async())

        return await self._guard.run(call, self.seconds_for(digests.size_bytes), key)

    async def fetch_part(self, key: BlobKey, start: int, stop: int) -> bytes:
        """Some bytes of an object; fewer where it ends."""

        async def call() -> bytes:
            return bytes(await obstore.get_range_async(self._s3, key, start=start, end=stop))

        return await self._guard.run(call, self.seconds_for(stop - start), key)

    async def stream(
        self, key: BlobKey, digests: Digests, start: int, stop: int
    ) -> AsyncGenerator[bytes, None]:
        """Some bytes of an object that has the right size, in pieces as they come."""

        async def call() -> "obstore.BytesStream":
            answer = await obstore.get_async(self._s3, key, options={"range": (start, stop)})
            check_size(key, answer.meta["size"], digests)
            return answer.stream(min_chunk_size=_STREAM_BYTES)

        seconds = self.seconds_for(_STREAM_BYTES)
        pieces = await self._guard.run(call, seconds, key)
        while piece := await self._guard.run(lambda: _next(pieces, b""), seconds, key):
            yield piece

    async def whole(self, key: BlobKey) -> AsyncGenerator[bytes, None]:
        """All bytes of an object, whatever its size, in pieces as they come."""

        async def call() -> tuple[int, "obstore.BytesStream"]:
            answer = await obstore.get_async(self._s3, key)
            return answer.meta["size"], answer.stream(min_chunk_size=_STREAM_BYTES)

        seconds = self.seconds_for(_STREAM_BYTES)
        size_bytes, pieces = await self._guard.run(call, seconds, key)
        while piece := await self._guard.run(lambda: _next(pieces, b""), seconds, key):
            size_bytes -= len(piece)
            yield piece
        if size_bytes:
            raise StorageUnavailable(f"{self.location} ended {key} {size_bytes} bytes early")

    async def size_of(self, key: BlobKey) -> int | None:
        """How many bytes an object has; None if the bucket says that it has no such object."""

        async def call() -> int:
            return (await obstore.head_async(self._s3, key))["size"]

        try:
            return await self._guard.run(call, self._look_seconds, key)
        except BlobMissing:
            return None

    async def describe(self, key: BlobKey) -> tuple[int, str | None]:
        """Size and manifest of an object; None where it has no manifest."""

        async def call() -> tuple[int, str | None]:
            answer = await obstore.get_async(self._s3, key, options={"head": True})
            return answer.meta["size"], answer.attributes.get(_MANIFEST)

        try:
            return await self._guard.run(call, self._look_seconds, key)
        except BlobMissing:
            # The answer to HEAD has no body that would tell a missing bucket from a missing blob.
            await self._guard.run(self._first_page, self._look_seconds)
            raise

    async def remove(self, key: str) -> None:
        """Remove an object. One that is not there is a success."""
        try:
            await self._guard.run(
                lambda: obstore.delete_async(self._s3, key), self._settings.timeout_seconds, key
            )
        except BlobMissing:
            return

    async def objects(self, folder: str, after: str | None) -> AsyncGenerator[Listed, None]:
        """The objects below `folder`, as the service lists them."""
        pages = obstore.list(self._s3, folder, offset=after, chunk_size=_PAGE)
        seconds = self._settings.timeout_seconds
        while page := await self._guard.run(lambda: _next(pages, ()), seconds):
            for found in page:
                yield Listed(found["path"], found["size"], found["last_modified"])

    async def note(self, name: str, limit_bytes: int = _MAX_NOTE_BYTES) -> Note | None:
        """A note of at most `limit_bytes` (what is longer is cut), or None."""

        async def call() -> Note:
            options: obstore.GetOptions = {"range": (0, limit_bytes)}
            answer = await obstore.get_async(self._s3, name, options=options)
            return Note(bytes(await answer.bytes_async()), answer.meta["e_tag"])

        try:
            return await self._guard.run(call, self._settings.timeout_seconds, name)
        except BlobMissing:
            return None
        except BlobCorrupt:  # No byte is in the range that was asked for: it is empty.
            return Note(b"", await self._e_tag_of(name))

    async def create_note(self, name: str, text: bytes) -> None:
        """Write a note, if there is none of this name; else BlobConflict."""
        await self.create(name, text, "", self._settings.timeout_seconds)

    async def replace_note(self, name: str, text: bytes, e_tag: str | None) -> None:
        """Write a note over the version with this entity tag; BlobConflict if that is not there."""
        await self._guard.run(
            lambda: obstore.put_async(
                self._s3, name, text, mode={"e_tag": e_tag}, use_multipart=False
            ),
            self._settings.timeout_seconds,
            name,
            creates=True,
        )

    async def replace(self, name: str, data: bytes, seconds: float) -> None:
        """Write one object in one request, over the one of this name."""
        await self._guard.run(
            lambda: obstore.put_async(self._s3, name, data, use_multipart=False), seconds, name
        )

    async def aclose(self) -> None:
        """End what runs in the background and forget the client."""
        await self._guard.aclose()
        if self._client is not None:
            # A connection that is on its way back to the client's pool when that goes stays open;
            # and a loop that ends while obstore's threads call back into it aborts the process.
            await asyncio.sleep(_FAREWELL_SECONDS)
            self._client = None
            _left_open.discard(id(self))
            await asyncio.sleep(0)

    async def _e_tag_of(self, name: str) -> str | None:
        async def call() -> str | None:
            return (await obstore.head_async(self._s3, name))["e_tag"]

        return await self._guard.run(call, self._look_seconds, name)

    @property
    def _s3(self) -> S3Store:
        if self._client is None:
            self._client = self._settings.connect()
            _left_open.add(id(self))
        return self._client

    @property
    def _look_seconds(self) -> float:
        return min(_LOOK_SECONDS, self._settings.timeout_seconds)

    async def _first_page(self) -> Sequence[object]:
        return await _next(obstore.list(self._s3, chunk_size=1), ())

    async def _probe(self) -> None:
        await self._first_page()


async def _next(stream: AsyncIterator[T], at_end: T) -> T:
    """As `anext`, which obstore's iterators do not bear with a default."""
    try:
        return await stream.__anext__()
    except StopAsyncIteration:
        return at_end


# By number, so that nothing is kept alive by it.
_left_open: set[int] = set()


@atexit.register
def _let_threads_end() -> None:
    """An interpreter that ends while obstore's threads call back into it is aborted.

    A program that closes its stores has waited already; this is for one that does not.
    """
    if _left_open:
        time.sleep(_LAST_FAREWELL_SECONDS)
