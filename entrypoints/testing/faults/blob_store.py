"""A blob store that fails on purpose, and blobs that are damaged on purpose."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from attrs import frozen

from traffic_storage.domain.digests import Digests
from traffic_storage.domain.facts import Facts
from traffic_storage.domain.files import BlobKey, Tier
from traffic_storage.domain.identity import Marker
from traffic_storage.ports.blob_store import (
    BlobEntry,
    BlobHead,
    BlobStore,
    Room,
    Span,
    closing,
)
from traffic_storage.ports.errors import BlobMissing, StorageUnavailable
from traffic_storage.ports.spool import Body


class When(StrEnum):
    """Whether a failing call has done its work."""

    BEFORE = "before"
    AFTER = "after"


@frozen
class BlobFault:
    """What happens to some calls of one method.

    Attributes:
        method: `put`, `read`, `open`, `head`, `delete`, `list`, `room`, `marker`, `write_marker`,
            `missing_part`, `holder`, `note_holder`, `is_copied_at`.
        error: makes the error that the call ends with; None: it only waits for `gate`.
        nth: the first of the calls that it happens to, counted from the time it was planned.
        times: to how many calls in a row; None: to all from then on.
        when: whether the inner store did its work before the error. Of `open` and `list` the
            first item counts as that work.
        gate: waited for before anything else is done.
    """

    method: str
    error: Callable[[], Exception] | None = lambda: StorageUnavailable("failed on purpose")
    nth: int = 1
    times: int | None = 1
    when: When = When.BEFORE
    gate: asyncio.Event | None = None


class FailingBlobStore(BlobStore):
    """`inner` with failures where they are planned; everything else is the inner store's answer.

    `FailingBlobStore(inner, after=2)` fails every call after the first two that do I/O.
    """

    def __init__(self, inner: BlobStore, *, after: int | None = None) -> None:
        self.inner = inner
        self.calls: Counter[str] = Counter()
        """How often each method was called."""
        self._down = ""
        self._left = after
        self._plans: list[_Plan] = []

    def plan(self, *faults: BlobFault) -> None:
        """Add faults; where several meet, the oldest counts."""
        self._plans += [_Plan(fault) for fault in faults]

    def go_down(self, obstacle: str = "taken down on purpose") -> None:
        """From now on `obstacle` says so and every call fails."""
        self._down = obstacle

    def come_back(self) -> None:
        """Undo `go_down`, and forget what was planned."""
        self._down = ""
        self._left = None
        self._plans.clear()

    @property
    def tier(self) -> Tier:
        return self.inner.tier

    @property
    def location(self) -> str:
        return self.inner.location

    def obstacle(self) -> str:
        return self._down or self.inner.obstacle()

    async def put(self, key: BlobKey, body: Body, facts: Facts, *, deadline: datetime) -> None:
        fault = await self._enter("put")
        await self.inner.put(key, body, facts, deadline=deadline)
        _leave(fault)

    async def read(self, key: BlobKey, digests: Digests) -> bytes:
        fault = await self._enter("read")
        data = await self.inner.read(key, digests)
        _leave(fault)
        return data

    async def open(self, key: BlobKey, digests: Digests, span: Span) -> AsyncIterator[bytes]:
        fault = await self._enter("open")
        async with closing(self.inner.open(key, digests, span)) as chunks:
            async for chunk in chunks:
                yield chunk
                _leave(fault)

    async def head(self, key: BlobKey) -> BlobHead:
        fault = await self._enter("head")
        head = await self.inner.head(key)
        _leave(fault)
        return head

    async def delete(self, key: BlobKey) -> None:
        fault = await self._enter("delete")
        await self.inner.delete(key)
        _leave(fault)

    async def list(self, prefix: str = "", after: str = "") -> AsyncIterator[BlobEntry]:
        fault = await self._enter("list")
        async with closing(self.inner.list(prefix, after)) as entries:
            async for entry in entries:
                yield entry
                _leave(fault)

    async def room(self) -> Room:
        fault = await self._enter("room")
        room = await self.inner.room()
        _leave(fault)
        return room

    async def marker(self) -> Marker | None:
        fault = await self._enter("marker")
        marker = await self.inner.marker()
        _leave(fault)
        return marker

    async def missing_part(self, key: BlobKey) -> str:
        fault = await self._enter("missing_part")
        part = await self.inner.missing_part(key)
        _leave(fault)
        return part

    async def write_marker(self, marker: Marker) -> None:
        fault = await self._enter("write_marker")
        await self.inner.write_marker(marker)
        _leave(fault)

    async def holder(self) -> str | None:
        fault = await self._enter("holder")
        location = await self.inner.holder()
        _leave(fault)
        return location

    async def note_holder(self, location: str) -> bool:
        fault = await self._enter("note_holder")
        noted = await self.inner.note_holder(location)
        _leave(fault)
        return noted

    async def is_copied_at(self, location: str) -> bool | None:
        fault = await self._enter("is_copied_at")
        copied = await self.inner.is_copied_at(location)
        _leave(fault)
        return copied

    async def aclose(self) -> None:
        await self.inner.aclose()

    async def _enter(self, method: str) -> BlobFault | None:
        """Count a call, and fail it here if it is to do no work."""
        self.calls[method] += 1
        taking = [plan.fault for plan in self._plans if plan.takes(method)]
        if self._down:
            raise StorageUnavailable(self._down)
        if self._left is not None:
            if self._left == 0:
                raise StorageUnavailable("failed on purpose")
            self._left -= 1
        if not taking:
            return None
        fault = taking[0]
        if fault.gate:
            await fault.gate.wait()
        if fault.error and fault.when is When.BEFORE:
            raise fault.error()
        return fault


class _Plan:
    """A fault and how many calls it has seen."""

    def __init__(self, fault: BlobFault) -> None:
        self.fault = fault
        self._seen = 0

    def takes(self, method: str) -> bool:
        if method != self.fault.method:
            return False
        self._seen += 1
        past = self._seen - self.fault.nth
        return past >= 0 and (self.fault.times is None or past < self.fault.times)


def _leave(fault: BlobFault | None) -> None:
    """Fail a call whose work is done."""
    if fault and fault.error:
        raise fault.error()


class Damage(StrEnum):
    """What may happen to bytes at rest; `damaged` does it to bytes at hand.

    Attributes:
        FLIP: one bit of the byte at `at` is wrong.
        TRUNCATE: what begins at `at` is gone.
        EXTEND: one byte more, at the end; `at` says nothing.
        REMOVE: all is gone, the facts too; `at` says nothing.
    """

    FLIP = "flip"
    TRUNCATE = "truncate"
    EXTEND = "extend"
    REMOVE = "remove"


def damaged(data: bytes, how: Damage, at: int) -> bytes | None:
    """The bytes after the damage; None when they are gone."""
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
    """Damage a blob below the verification of an adapter of ours, facts and all else untouched.

    Raises:
        BlobMissing: there is none to damage.
        TypeError: a store that it knows no way into.
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
            await _tamper_far(store, key, how, at)


def _tamper_file(path: Path, how: Damage, at: int) -> None:
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise BlobMissing(f"no blob at {path}") from error
    changed = damaged(data, how, at)
    if changed is None:
        path.unlink()
        return
    # In place: the facts are an attribute of this very file.
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.write(changed)
        file.truncate()
    path.chmod(0o400)


async def _tamper_far(store: BlobStore, key: BlobKey, how: Damage, at: int) -> None:
    from traffic_storage.adapters.blob_store.object_store import ObjectStoreBlobStore

    if not isinstance(store, ObjectStoreBlobStore):
        raise TypeError(f"no way into a {type(store).__name__} is known")
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
