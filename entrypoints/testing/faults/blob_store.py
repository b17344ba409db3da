"""Fault injection for blob stores: planned failures, and damage to stored bytes."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from traffic_storage.domain.digests import Digests
from traffic_storage.domain.files import BlobKey, Tier
from traffic_storage.domain.identity import Marker
from traffic_storage.domain.manifest import BlobManifest
from traffic_storage.domain.verification import Span
from traffic_storage.entrypoints.testing.faults.plans import Failing
from traffic_storage.ports.blob_store import (
    BlobEntry,
    BlobHead,
    BlobStore,
    Examination,
    KeptVersion,
    NewBlob,
    Room,
    closing,
)
from traffic_storage.ports.errors import BlobMissing, StorageUnavailable
from traffic_storage.ports.spool import Body, FileBody
from traffic_storage.ports.store_identity import MarkedBlobStore


class FailingBlobStore(Failing, MarkedBlobStore):
    """Wraps the adapter `inner`: fails at planned calls and forwards all others.

    `FailingBlobStore(inner, after=2)` fails every call that does I/O after the first two.
    """

    def __init__(self, inner: MarkedBlobStore, *, after: int | None = None) -> None:
        super().__init__(StorageUnavailable, after)
        self.inner = inner

    @property
    def tier(self) -> Tier:
        return self.inner.tier

    @property
    def location(self) -> str:
        return self.inner.location

    def unavailable_reason(self) -> str:
        return self._down or self.inner.unavailable_reason()

    async def put(
        self, key: BlobKey, body: Body, manifest: BlobManifest, *, deadline: datetime
    ) -> None:
        await self._do("put", lambda: self.inner.put(key, body, manifest, deadline=deadline))

    async def put_all(self, blobs: Sequence[NewBlob], *, deadline: datetime) -> None:
        await self._do("put_all", lambda: self.inner.put_all(blobs, deadline=deadline))

    async def read(self, key: BlobKey, digests: Digests) -> bytes:
        return await self._do("read", lambda: self.inner.read(key, digests))

    async def open(self, key: BlobKey, digests: Digests, span: Span) -> AsyncIterator[bytes]:
        fault = await self._enter("open")
        async with closing(self.inner.open(key, digests, span)) as chunks:
            async for chunk in chunks:
                yield chunk
                self._leave(fault)

    async def measure(self, key: BlobKey) -> Digests:
        return await self._do("measure", lambda: self.inner.measure(key))

    async def verify(self, key: BlobKey, digests: Digests) -> None:
        await self._do("verify", lambda: self.inner.verify(key, digests))

    async def examine(self, blobs: Sequence[tuple[BlobKey, Digests]]) -> Sequence[Examination]:
        return await self._do("examine", lambda: self.inner.examine(blobs))

    @asynccontextmanager
    async def lend(self, key: BlobKey, digests: Digests) -> AsyncIterator[FileBody | None]:
        fault = await self._enter("lend")
        async with self.inner.lend(key, digests) as body:
            self._leave(fault)
            yield body

    @property
    def uncached(self) -> BlobStore:
        uncached = self.inner.uncached
        return self if uncached is self.inner else uncached

    async def head(self, key: BlobKey) -> BlobHead:
        return await self._do("head", lambda: self.inner.head(key))

    async def heads(self, keys: Sequence[BlobKey]) -> Sequence[BlobHead | BlobMissing]:
        return await self._do("heads", lambda: self.inner.heads(keys))

    async def delete(self, key: BlobKey) -> Sequence[KeptVersion]:
        return await self._do("delete", lambda: self.inner.delete(key))

    async def list(self, prefix: str = "", after: str = "") -> AsyncIterator[BlobEntry]:
        fault = await self._enter("list")
        async with closing(self.inner.list(prefix, after)) as entries:
            async for entry in entries:
                yield entry
                self._leave(fault)

    async def room(self) -> Room:
        return await self._do("room", self.inner.room)

    async def marker(self) -> Marker | None:
        return await self._do("marker", self.inner.marker)

    async def create_marker(self, marker: Marker) -> None:
        await self._do("create_marker", lambda: self.inner.create_marker(marker))

    async def replace_marker(self, was: Marker, becomes: Marker) -> None:
        await self._do("replace_marker", lambda: self.inner.replace_marker(was, becomes))

    async def put_note(self, name: str, text: bytes) -> None:
        await self._do("put_note", lambda: self.inner.put_note(name, text))

    async def note(self, name: str) -> bytes | None:
        return await self._do("note", lambda: self.inner.note(name))

    async def aclose(self) -> None:
        await self.inner.aclose()


class Damage(StrEnum):
    """Kinds of damage to stored bytes. `tamper` and `damaged` apply them at an offset `at`.

    Attributes:
        FLIP: one bit of the byte at `at` is inverted.
        TRUNCATE: the bytes from `at` on are lost.
        EXTEND: a zero byte is appended; `at` is ignored.
        REMOVE: the bytes and the manifest are lost; `at` is ignored.
    """

    FLIP = "flip"
    TRUNCATE = "truncate"
    EXTEND = "extend"
    REMOVE = "remove"


def damaged(data: bytes, how: Damage, at: int) -> bytes | None:
    """Return a damaged copy of `data`, or None for `Damage.REMOVE`."""
    match how:
        case Damage.FLIP:
            return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        case Damage.TRUNCATE:
            return data[:at]
        case Damage.EXTEND:
            return data + b"\0"
        case Damage.REMOVE:
            return None


async def tamper(store: BlobStore, key: BlobKey, how: Damage, *, at: int = 0) -> None:
    """Damage a blob on the medium of a `store`, bypassing its adapter.

    Supports the adapters of this package: in memory, local disk, object store. Leaves the manifest
    unchanged, except for `Damage.REMOVE`.

    Raises:
        BlobMissing: no such blob.
        TypeError: the store has another type.
    """
    from traffic_storage.adapters.blob_store.local_disk import LocalDiskBlobStore
    from traffic_storage.adapters.blob_store.memory import InMemoryBlobStore

    match store:
        case FailingBlobStore():
            await tamper(store.inner, key, how, at=at)
        case InMemoryBlobStore():
            store.alter(key, lambda data: damaged(data, how, at))
        case LocalDiskBlobStore():
            await asyncio.to_thread(_tamper_file, store.root / key, how, at)
        case _:
            await _tamper_object(store, key, how, at)


def _tamper_file(path: Path, how: Damage, at: int) -> None:
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise BlobMissing(f"no blob at {path}") from error
    changed = damaged(data, how, at)
    if changed is None:
        path.unlink()
        return
    # In place: the manifest may be an extended attribute of this file.
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.write(changed)
        file.truncate()
    path.chmod(0o400)


async def _tamper_object(store: BlobStore, key: BlobKey, how: Damage, at: int) -> None:
    from traffic_storage.adapters.blob_store.object_store import ObjectStoreBlobStore

    if not isinstance(store, ObjectStoreBlobStore):
        raise TypeError(f"tamper does not support a {type(store).__name__}")
    bucket = store.settings.connect()
    try:
        held = await bucket.get_async(key)
    except FileNotFoundError as error:
        raise BlobMissing(f"no object {key}") from error
    changed = damaged(bytes(await held.bytes_async()), how, at)
    if changed is None:
        await bucket.delete_async(key)
    else:
        await bucket.put_async(key, changed, attributes=held.attributes)
