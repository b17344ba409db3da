"""Objects of an S3-compatible bucket. One has its key when it is complete, and not before."""

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from datetime import datetime

import obstore
from attrs import frozen
from obstore.exceptions import BaseError
from obstore.store import S3Store

from traffic_storage.adapters.s3.answers import port_error
from traffic_storage.adapters.s3.settings import S3Settings
from traffic_storage.adapters.s3.threads import ended, opened
from traffic_storage.adapters.threads.pool import Threads
from traffic_storage.domain.digests import Sha256
from traffic_storage.domain.errors import InvalidInput, NotFound, TooLarge
from traffic_storage.domain.kept_exports import is_kept_name
from traffic_storage.ports.errors import BlobConflict, BlobMissing, StorageUnavailable
from traffic_storage.ports.export_target import ExportTarget, ExportTargets
from traffic_storage.ports.kept_exports import KeptExports

SCHEME = "s3://"
_OWN = "exports/"
"""Where exports lie in a bucket that has evidence too."""
PART_BYTES = 8 * 1024 * 1024
_PARTS_AT_ONCE = 2
_MOST_PARTS = 10_000
_LONGEST_KEY = 1024
_CHUNK_BYTES = 512 * 1024  # Hashed in half a millisecond.
# Other characters are changed on the way, or read differently by other programs.
_PLACE = re.compile(
    r"s3://([A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9])/([A-Za-z0-9!_.'()=+@:, /-]+)"
)
_FORM = "give s3://BUCKET/KEY, as s3://reports/2026/violations.csv"


class _NotPublishedError(Exception):
    """Ends the pieces of an upload that is abandoned, so that obstore removes its parts."""


@frozen
class _Part:
    """The next bytes of an upload; None at its end; `is_abandoned`: there is no end."""

    data: bytes | None
    is_abandoned: bool = False


class ObjectTargets(ExportTargets):
    """Opens places `s3://BUCKET/KEY`.

    `settings_of` returns the settings of a bucket. In the buckets `shared`, which have evidence or
    snapshots, keys must begin with `exports/`.
    """

    def __init__(
        self, settings_of: Callable[[str], S3Settings], *, shared: Collection[str] = ()
    ) -> None:
        self._settings_of = settings_of
        self._shared = frozenset(shared)

    def open(self, place: str, *, overwrite: bool) -> ExportTarget:
        bucket, key = _parsed(place)
        if bucket in self._shared and not key.startswith(_OWN):
            raise InvalidInput.of(
                "output_path",
                f"{place} is in a bucket with evidence or snapshots, where exports must be below {_OWN}",
                f"give {SCHEME}{bucket}/{_OWN}…, or another bucket",
            )
        return ObjectTarget(self._settings_of(bucket), key, overwrite=overwrite)


class ObjectTarget(ExportTarget):
    """Writes a new object: up to 8 MiB in one request, and more in parts of an upload.

    Whether an object of this key exists is asked at the beginning. At the end, a single request has
    it as its condition. An upload in parts can't have it: then it is asked again before the last
    part is sent, and an object that another writer completes after that is replaced. A process that
    is killed may leave parts, which no listing of objects shows; a rule of the bucket for incomplete
    uploads (`AbortIncompleteMultipartUpload`) removes them.
    """

    def __init__(self, settings: S3Settings, key: str, *, overwrite: bool) -> None:
        self._settings = settings
        self._key = key
        self._overwrite = overwrite
        self._threads = Threads(1, "export-target")
        self._hash = hashlib.sha256()
        self._size_bytes = 0
        self._head = bytearray()
        self._parts: asyncio.Queue[_Part] = asyncio.Queue(1)
        self._upload: asyncio.Task[None] | None = None
        self._client: S3Store | None = None

    async def write(self, data: bytes) -> None:
        await self._begin()
        self._size_bytes += len(data)
        if self._size_bytes > _MOST_PARTS * PART_BYTES:
            raise TooLarge.of(
                "output_path",
                f"an object of S3 has at most {_MOST_PARTS} parts of {PART_BYTES >> 20} MiB here",
                "export fewer rows or violations, or write to a file",
            )
        await self._threads.run(self._hash.update, data)
        if self._upload is None and len(self._head) + len(data) <= PART_BYTES:
            self._head += data
            return
        if self._upload is None:
            self._upload = asyncio.create_task(self._uploaded())
            head, self._head = bytes(self._head), bytearray()
            await self._give(self._upload, _Part(head))
        await self._give(self._upload, _Part(data))

    async def publish(self) -> Sha256:
        await self._begin()
        if self._upload is None:
            await self._put(bytes(self._head))
        else:
            await self._check_free()
            await self._give(self._upload, _Part(None))
            try:
                # Cancelled, an upload would leave its parts: whoever is cancelled leaves it to its
                # end.
                await asyncio.shield(self._upload)
            except (BlobMissing, StorageUnavailable):
                # It may have been completed all the same.
                if not await self._is_there():
                    raise
        return Sha256(self._hash.hexdigest())

    async def aclose(self) -> None:
        if self._upload is not None and not self._upload.done():
            while not self._parts.empty():
                self._parts.get_nowait()
            self._parts.put_nowait(_Part(None, is_abandoned=True))
            await asyncio.wait([self._upload])
        if self._upload is not None and not self._upload.cancelled():
            self._upload.exception()  # Seen, so that the loop does not report it.
        if self._client is not None:
            await ended(self)
            self._client = None
        await self._threads.aclose()

    @property
    def _place(self) -> str:
        return f"{SCHEME}{self._settings.bucket}/{self._settings.full_key(self._key)}"

    @property
    def _s3(self) -> S3Store:
        if self._client is None:
            self._client = self._settings.connect()
            opened(self)
        return self._client

    async def _begin(self) -> None:
        if self._client is None:
            await self._check_free()

    async def _check_free(self) -> None:
        if self._overwrite:
            return
        try:
            with self._translated():
                await obstore.head_async(self._s3, self._key)
        except BlobMissing:
            return
        raise self._taken()

    async def _put(self, data: bytes) -> None:
        is_asked = not (self._overwrite or self._settings.conditional_writes)
        if is_asked:
            await self._check_free()
        is_over = self._overwrite or is_asked
        mode: obstore.PutMode = "overwrite" if is_over else "create"
        try:
            with self._translated():
                await obstore.put_async(self._s3, self._key, data, mode=mode, use_multipart=False)
        except (BlobConflict, StorageUnavailable) as error:
            # The first of several requests may have written it, whatever the last one was answered.
            if await self._is_there():
                return
            if isinstance(error, BlobConflict):
                raise self._taken() from error
            raise

    async def _is_there(self) -> bool:
        """Return whether the bucket holds the object with all the bytes that were written."""
        found = hashlib.sha256()
        with suppress(BlobMissing, StorageUnavailable), self._translated():
            answer = await obstore.get_async(self._s3, self._key)
            if answer.meta["size"] != self._size_bytes:
                return False
            async for piece in answer.stream(_CHUNK_BYTES):
                await self._threads.run(found.update, piece)
        return found.digest() == self._hash.digest()

    async def _uploaded(self) -> None:
        with self._translated():
            await obstore.put_async(
                self._s3,
                self._key,
                self._pieces(),
                use_multipart=True,
                chunk_size=PART_BYTES,
                max_concurrency=_PARTS_AT_ONCE,
            )

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        while True:
            part = await self._parts.get()
            if part.is_abandoned:
                raise _NotPublishedError
            if part.data is None:
                return
            yield part.data

    async def _give(self, upload: "asyncio.Task[None]", part: _Part) -> None:
        """Hand a part to the upload; raise the error of an upload that has failed."""
        giving = asyncio.ensure_future(self._parts.put(part))
        try:
            await asyncio.wait([giving, upload], return_when=asyncio.FIRST_COMPLETED)
        finally:
            giving.cancel()
        if upload.done():
            upload.result()

    def _translated(self) -> AbstractContextManager[None]:
        return _translated(self._settings, self._key)

    def _taken(self) -> InvalidInput:
        return InvalidInput.of(
            "output_path",
            f"{self._place} exists already",
            "choose another file, or overwrite it (--force; in Python overwrite=True)",
        )


class ObjectFolder(KeptExports):
    """The part of a bucket that the prefix of the settings names."""

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings

    @property
    def location(self) -> str:
        return self._settings.location

    def open(self, name: str) -> ExportTarget:
        return ObjectTarget(self._settings, name, overwrite=True)

    async def read(self, name: str) -> AsyncGenerator[bytes, None]:
        async with self._client() as client:
            try:
                with _translated(self._settings, name):
                    chunks = (await obstore.get_async(client, name)).stream(_CHUNK_BYTES)
            except BlobMissing as error:
                raise NotFound("export", name) from error
            while chunk := await self._next(chunks, name):
                yield chunk

    async def remove_before(self, moment: datetime) -> int:
        removed = 0
        async with self._client() as client:
            with _translated(self._settings, ""):
                pages = [page async for page in obstore.list(client)]
            for found in (one for page in pages for one in page):
                if is_kept_name(found["path"]) and found["last_modified"] < moment:
                    with _translated(self._settings, found["path"]), suppress(FileNotFoundError):
                        await obstore.delete_async(client, found["path"])
                    removed += 1
        return removed

    async def _next(self, chunks: "obstore.BytesStream", name: str) -> bytes:
        """Return the next bytes; none at the end. `anext` with a default fails on obstore's."""
        with _translated(self._settings, name):
            try:
                return bytes(await chunks.__anext__())
            except StopAsyncIteration:
                return b""

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[S3Store]:
        client = self._settings.connect()
        opened(client)
        try:
            yield client
        finally:
            await ended(client)


@contextmanager
def _translated(settings: S3Settings, key: str) -> Iterator[None]:
    try:
        yield
    except (BaseError, FileNotFoundError) as error:
        failure = port_error(error, settings.location, key, creates=True)
    else:
        return
    # Raised outside the handler, so that the original error is not its context.
    raise failure


def _parsed(place: str) -> tuple[str, str]:
    """Return the bucket and the key of a place.

    Raises:
        InvalidInput: it has another form.
    """
    found = _PLACE.fullmatch(place)
    key = found[2] if found else ""
    if found is None or len(key) > _LONGEST_KEY or not all(map(_is_name, key.split("/"))):
        raise InvalidInput.of(
            "output_path", f"{place!a:.100} is not the place of an object in S3", _FORM
        )
    return found[1], key


def _is_name(part: str) -> bool:
    return bool(part.strip(" ")) and part not in (".", "..")
