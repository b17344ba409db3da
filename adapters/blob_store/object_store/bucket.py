"""The requests to one S3 bucket, with time limits. Checks sizes of objects, not digests."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import datetime
from typing import TypeVar

import obstore
from attrs import frozen
from obstore.store import S3Store

from traffic_storage.adapters.blob_store.object_store.feed import Feed
from traffic_storage.adapters.blob_store.object_store.guard import Guard
from traffic_storage.adapters.s3.settings import S3Settings
from traffic_storage.adapters.s3.threads import ended, opened
from traffic_storage.domain.digests import Digests
from traffic_storage.domain.files import BlobKey
from traffic_storage.domain.manifest import manifest_in
from traffic_storage.domain.verification import check_size, check_witnesses
from traffic_storage.ports.errors import BlobConflict, BlobCorrupt, BlobMissing, StorageUnavailable

T = TypeVar("T")

MARKER = ".traffic-storage-marker"
_MAX_NOTE_BYTES = 4096
_MANIFEST = "traffic-storage-manifest"
ONE_REQUEST_BYTES = 8 * 1024 * 1024
# The minimum of S3. Larger parts are not faster and need more memory.
_PART_BYTES = 5 * 1024 * 1024
_PARTS_AT_ONCE = 4
_MOST_PARTS = 10_000
_STREAM_BYTES = 1024 * 1024
_PAGE = 1000
_LOOK_SECONDS = 5.0
# No object is below it. A server gathers up to 1,000 names for each listing, whatever of it is read.
_NOWHERE = ".traffic-storage-nothing"
_SLOWEST_BYTES_PER_SECOND = 1024 * 1024


@frozen
class Note:
    """A small object that is not a blob, and its entity tag.

    It is the identification of the store (marker), or the long manifest of a blob (sidecar).
    """

    text: bytes
    e_tag: str | None


@frozen
class Listed:
    """An object in a listing, whether or not it is a blob of this product."""

    path: str
    size_bytes: int
    modified_at: datetime


class Bucket:
    """One S3 bucket: its client, made at first use, and the `Guard` that limits the calls' time."""

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self._client: S3Store | None = None
        self._guard = Guard(settings.location, self._probe, settings.probe_seconds)

    @property
    def location(self) -> str:
        """The endpoint and the name of the bucket, as `https://host/bucket`."""
        return self._settings.location

    def unavailable_reason(self) -> str:
        """Return why calls to the bucket are refused; an empty text while they are not."""
        return self._guard.unavailable_reason()

    def seconds_for(self, size_bytes: int) -> float:
        """Return the seconds that a transfer of `size_bytes` may take."""
        return self._settings.timeout_seconds + size_bytes / _SLOWEST_BYTES_PER_SECOND

    async def create(self, key: str, data: bytes, manifest: str, seconds: float) -> None:
        """Write an object in one request; raise BlobConflict if the object exists."""
        attributes = {_MANIFEST: manifest} if manifest else {}
        mode: obstore.PutMode = "create"
        if not self._settings.conditional_writes:
            # Keys are unique, so that nobody else writes an object of this one meanwhile.
            if await self.size_of(key) is not None:
                raise BlobConflict(f"{self.location} has an object under the key {key} already")
            mode = "overwrite"
        await self._guard.run(
            lambda: obstore.put_async(
                self._s3, key, data, mode=mode, attributes=attributes, use_multipart=False
            ),
            seconds,
            key,
            creates=True,
        )

    async def upload(self, key: BlobKey, feed: Feed, manifest: str, seconds: float) -> None:
        """Write an object in parts, in bounded memory; replaces an existing object.

        The upload is aborted after `seconds`, or when `feed`, which yields the bytes, is stopped.
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
        """Return all bytes of an object after a check of its size."""

        async def call() -> bytes:
            answer = await obstore.get_async(self._s3, key)
            check_size(key, answer.meta["size"], digests)
            return bytes(await answer.bytes_async())

        return await self._guard.run(call, self.seconds_for(digests.size_bytes), key)

    async def fetch_range(self, key: BlobKey, digests: Digests, start: int, stop: int) -> bytes:
        """Check the size of an object; return its bytes from `start` to `stop`."""

        async def call() -> bytes:
            answer = await obstore.get_async(self._s3, key, options={"range": (start, stop)})
            check_size(key, answer.meta["size"], digests)
            return bytes(await answer.bytes_async())

        return await self._guard.run(call, self.seconds_for(stop - start), key)

    async def fetch_part(self, key: BlobKey, start: int, stop: int) -> bytes:
        """Return the bytes of an object from `start` to `stop`, fewer if it ends before."""

        async def call() -> bytes:
            return bytes(await obstore.get_range_async(self._s3, key, start=start, end=stop))

        return await self._guard.run(call, self.seconds_for(stop - start), key)

    async def stream(
        self, key: BlobKey, digests: Digests, start: int, stop: int
    ) -> AsyncGenerator[bytes, None]:
        """Check an object's size, key and manifest; yield its bytes from `start` to `stop` as they arrive."""

        async def call() -> "obstore.BytesStream":
            answer = await obstore.get_async(self._s3, key, options={"range": (start, stop)})
            check_size(key, answer.meta["size"], digests)
            check_witnesses(key, manifest_in(answer.attributes.get(_MANIFEST)), digests)
            return answer.stream(min_chunk_size=_STREAM_BYTES)

        seconds = self.seconds_for(_STREAM_BYTES)
        pieces = await self._guard.run(call, seconds, key)
        while piece := await self._guard.run(lambda: _next(pieces, b""), seconds, key):
            yield piece

    async def whole(self, key: BlobKey) -> AsyncGenerator[bytes, None]:
        """Yield all bytes of an object as they arrive, whatever its size."""

        async def call() -> tuple[int, "obstore.BytesStream"]:
            answer = await obstore.get_async(self._s3, key)
            return answer.meta["size"], answer.stream(min_chunk_size=_STREAM_BYTES)

        seconds = self.seconds_for(_STREAM_BYTES)
        size_bytes, pieces = await self._guard.run(call, seconds, key)
        while piece := await self._guard.run(lambda: _next(pieces, b""), seconds, key):
            size_bytes -= len(piece)
            yield piece
        if size_bytes:
            raise StorageUnavailable(
                f"{self.location} sent {key} incompletely: {size_bytes} bytes are missing"
            )

    async def size_of(self, key: str) -> int | None:
        """Return the size of an object in bytes; None if the bucket reports that it is missing."""

        async def call() -> int:
            return (await obstore.head_async(self._s3, key))["size"]

        try:
            return await self._guard.run(call, self._look_seconds, key)
        except BlobMissing:
            return None

    async def describe(self, key: BlobKey) -> tuple[int, str | None]:
        """Return the size and the manifest of an object; the manifest is None if there is none."""

        async def call() -> tuple[int, str | None]:
            answer = await obstore.get_async(self._s3, key, options={"head": True})
            return answer.meta["size"], answer.attributes.get(_MANIFEST)

        try:
            return await self._guard.run(call, self._look_seconds, key)
        except BlobMissing:
            # A reply to HEAD has no body, so it does not distinguish a missing bucket from a
            # missing blob. A listing raises StorageUnavailable if the bucket is missing.
            await self._guard.run(self._probe, self._look_seconds)
            raise

    async def remove(self, key: str) -> None:
        """Remove an object; do nothing if it does not exist."""
        try:
            await self._guard.run(
                lambda: obstore.delete_async(self._s3, key), self._settings.timeout_seconds, key
            )
        except BlobMissing:
            return

    async def objects(self, folder: str, after: str | None) -> AsyncGenerator[Listed, None]:
        """Yield the objects below `folder`, in the order in which the server lists them."""
        pages = obstore.list(self._s3, folder, offset=after, chunk_size=_PAGE)
        seconds = self._settings.timeout_seconds
        while page := await self._guard.run(lambda: _next(pages, ()), seconds):
            for found in page:
                yield Listed(found["path"], found["size"], found["last_modified"])

    async def is_empty(self) -> bool:
        """Return whether there is no object at all."""
        found = await self._guard.run(
            lambda: _next(obstore.list(self._s3, chunk_size=1), ()), self._settings.timeout_seconds
        )
        return not found

    async def note(self, name: str, limit_bytes: int = _MAX_NOTE_BYTES) -> Note | None:
        """Return a small object that is not a blob, cut to `limit_bytes`; None if there is none."""

        async def call() -> Note:
            options: obstore.GetOptions = {"range": (0, limit_bytes)}
            answer = await obstore.get_async(self._s3, name, options=options)
            text = bytes(await answer.bytes_async())
            if text.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
                raise StorageUnavailable(
                    f"{self.location} is no S3 service: it answers with a web page",
                    remedy="correct s3_endpoint: it may name the port of a web console",
                )
            return Note(text, answer.meta["e_tag"])

        try:
            return await self._guard.run(call, self._settings.timeout_seconds, name)
        except BlobMissing:
            return None
        except BlobCorrupt:  # The range holds no byte: the note is empty.
            return Note(b"", await self._e_tag_of(name))

    async def create_note(self, name: str, text: bytes) -> None:
        """Write a small object that is not a blob; raise BlobConflict if the name exists."""
        await self.create(name, text, "", self._settings.timeout_seconds)

    async def replace_note(self, name: str, text: bytes, e_tag: str | None) -> None:
        """Replace a small object that is not a blob.

        Raises:
            BlobConflict: the entity tag of the object is not `e_tag`.
        """
        mode: obstore.PutMode = {"e_tag": e_tag}
        if not self._settings.conditional_writes:
            if await self._e_tag_of(name) != e_tag:
                raise BlobConflict(f"{self.location} has another object {name} than expected")
            mode = "overwrite"
        await self._guard.run(
            lambda: obstore.put_async(self._s3, name, text, mode=mode, use_multipart=False),
            self._settings.timeout_seconds,
            name,
            creates=True,
        )

    async def replace(self, name: str, data: bytes, seconds: float) -> None:
        """Write an object in one request; replaces an existing object."""
        await self._guard.run(
            lambda: obstore.put_async(self._s3, name, data, use_multipart=False), seconds, name
        )

    async def aclose(self) -> None:
        """Cancel the running availability check of the bucket and close the client."""
        await self._guard.aclose()
        if self._client is not None:
            await ended(self)
            self._client = None
            await asyncio.sleep(0)

    async def _e_tag_of(self, name: str) -> str | None:
        async def call() -> str | None:
            return (await obstore.head_async(self._s3, name))["e_tag"]

        return await self._guard.run(call, self._look_seconds, name)

    @property
    def _s3(self) -> S3Store:
        if self._client is None:
            self._client = self._settings.connect()
            opened(self)
        return self._client

    @property
    def _look_seconds(self) -> float:
        return min(_LOOK_SECONDS, self._settings.timeout_seconds)

    async def _probe(self) -> None:
        """List nothing: raises if the server does not answer, or has no such bucket."""
        await _next(obstore.list(self._s3, _NOWHERE), ())


async def _next(stream: AsyncIterator[T], at_end: T) -> T:
    """Return the next item of a stream, or `at_end` after the last.

    `anext` with a default fails on the iterators of obstore.
    """
    try:
        return await stream.__anext__()
    except StopAsyncIteration:
        return at_end
