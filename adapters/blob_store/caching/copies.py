"""Cached copies of a remote store's blobs in a local folder, limited in bytes."""

import asyncio
import logging
from collections import OrderedDict, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from contextvars import Context
from pathlib import Path
from typing import ParamSpec, TypeVar

from traffic_storage.adapters.files.blobs import BlobFolder, GrowingBlob, OpenBlob
from traffic_storage.adapters.files.own_body import OwnBody
from traffic_storage.adapters.threads.pool import Patience, Threads, wait_to_end
from traffic_storage.domain.digests import Digests
from traffic_storage.domain.files import BlobKey
from traffic_storage.domain.verification import Span
from traffic_storage.ports.errors import (
    BlobConflict,
    BlobCorrupt,
    BlobMissing,
    StorageFull,
    StorageUnavailable,
)
from traffic_storage.ports.spool import Body, MemoryBody

P = ParamSpec("P")
T = TypeVar("T")

_THREADS = 4
# Copies that are written in the background, each at most as large as one segment of a blob.
_MOST_KEEPING = 8
_SCAN_SECONDS = 600.0
# A file occupies whole blocks; an empty file counts as one, for its inode.
_BLOCK_BYTES = 4096
_UNBOUNDED = 2**62
# These errors discard a copy; no request fails because of them.
_COPY_ERRORS = (BlobConflict, BlobCorrupt, BlobMissing, StorageFull, StorageUnavailable)
_log = logging.getLogger("traffic_storage.blob_store")


class Copies:
    """Keeps copies of blobs in `folder`, at most `limit_bytes`; evicts the least recently used.

    `reserve_bytes` of the disk stay free, whatever else fills it: copies make room.

    The first use scans the folder: existing copies count, in the order of their last use. If
    several processes share one folder, each counts only the copies that it knows. Space is freed
    and reserved before a copy is written. No method raises for a bad copy or a failing disk. While a
    call takes longer than `timeout_seconds` on the disk, there are no copies.
    """

    def __init__(
        self,
        folder: Path,
        *,
        limit_bytes: int,
        item_bytes: int,
        reserve_bytes: int,
        timeout_seconds: float,
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._folder = BlobFolder(folder, durable=False, notes_use=True)
        self._threads = Threads(
            _THREADS, "blob-cache", Patience(timeout_seconds, self._hanging, most_late=1)
        )
        self._scanner = Threads(
            1, "blob-cache-scan", Patience(_SCAN_SECONDS, self._hanging, most_late=1)
        )
        self._limit_bytes = limit_bytes
        self._item_bytes = item_bytes
        self._reserve_bytes = reserve_bytes
        self._sizes: OrderedDict[BlobKey, int] | None = None
        self._held_bytes = 0
        self._growing: set[BlobKey] = set()
        self._doomed: set[BlobKey] = set()
        self._given_up: set[GrowingBlob] = set()
        self._keeping: set[asyncio.Task[None]] = set()
        self._fetches: defaultdict[BlobKey, set[Fetch]] = defaultdict(set)
        self._scanning: asyncio.Task[None] | None = None
        self._scan_is_slow = False
        # Space that was freed in the index may be reserved at once, while its files are still there.
        self._removing = asyncio.Lock()

    @property
    def held_bytes(self) -> int:
        """The bytes of the limit that copies use, or that are reserved for copies being written."""
        return self._held_bytes

    async def read(self, key: BlobKey, digests: Digests) -> bytes | None:
        """Return the checked bytes of a blob's copy; None if there is no intact copy."""
        return await self._use(key, self._folder.read, key, digests)

    async def open(self, key: BlobKey, digests: Digests) -> OpenBlob | None:
        """Open a blob's copy for calls of `part`; return None if there is no intact copy."""
        return await self._use(key, self._folder.open, key, digests)

    async def part(self, key: BlobKey, blob: OpenBlob, span: Span) -> bytes | None:
        """Return the checked bytes of a span of an open copy; None if they are damaged."""
        return await self._use(key, blob.read, span)

    @contextmanager
    def fetching(self, key: BlobKey) -> Iterator["Fetch"]:
        """Register a transfer of a blob to or from the remote store for the duration of the block.

        A `drop` of the blob meanwhile makes the transfer stale, so that no copy of its bytes is
        kept.
        """
        fetch = Fetch()
        self._fetches[key].add(fetch)
        try:
            yield fetch
        finally:
            self._fetches[key].discard(fetch)
            if not self._fetches[key]:
                del self._fetches[key]

    async def keep(self, key: BlobKey, body: Body, fetch: "Fetch") -> None:
        """Write a copy of a blob if it fits in the limits and `drop` was not called meanwhile."""
        await wait_to_end(asyncio.ensure_future(self._keep(key, body, fetch)), ignore_cancellation)

    def keep_soon(self, key: BlobKey, body: MemoryBody, fetch: "Fetch") -> None:
        """As `keep`, in the background; no copy is written while many are being written."""
        if len(self._keeping) >= _MOST_KEEPING or fetch.is_stale:
            return
        held = ExitStack()
        own = held.enter_context(self.fetching(key))
        task = asyncio.create_task(self._keep_and_release(key, body, own, held), context=Context())
        self._keeping.add(task)
        task.add_done_callback(self._kept)

    async def settled(self) -> None:
        """Wait until the copies that are written in the background are written."""
        while self._keeping:
            await asyncio.wait(set(self._keeping))

    @asynccontextmanager
    async def filling(self, key: BlobKey, size_bytes: int) -> AsyncIterator["Filling"]:
        """Write a copy piece by piece; keep it if it fits and the block calls `complete`."""
        victims = await self._reserve(key, size_bytes)
        if victims is None:
            yield Filling(self, None)
            return
        filling = Filling(self, self._folder.grow(key))
        try:
            await self._remove(victims)
            yield filling
        finally:
            await wait_to_end(
                asyncio.ensure_future(self._finish(key, filling)), ignore_cancellation
            )

    async def attempt(self, call: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> bool:
        """Run a file operation in a thread to its end; return whether it succeeded."""
        try:
            await self._threads.run_to_end(ignore_cancellation, call, *args, **kwargs)
        except _COPY_ERRORS as error:
            _log.debug("an operation on the local cache of blobs failed: %s", str(error))
            return False
        return True

    async def discard(self, blob: GrowingBlob) -> None:
        """Delete the pieces of an incomplete copy, at a later call if the disk hangs."""
        if blob.give_up():
            self._given_up.add(blob)
            await self._discard_given_up()

    async def _discard_given_up(self) -> None:
        for blob in tuple(self._given_up):
            if await self.attempt(blob.discard):
                self._given_up.discard(blob)

    async def keys(self) -> Sequence[BlobKey]:
        """Return the keys of the blobs that have copies; none if the folder can't be read."""
        return tuple(await self._index() or ())

    async def drop(self, key: BlobKey) -> None:
        """Remove the copy of a blob; a copy being written is removed afterwards."""
        for fetch in self._fetches.get(key, ()):
            fetch.is_stale = True
        if key in self._growing:
            self._doomed.add(key)
            return
        if self._sizes:
            self._held_bytes -= self._sizes.pop(key, 0)
        await self._remove([key])

    async def free_disk(self) -> None:
        """Remove copies, the least recently used first, until the reserve of the disk is free."""
        sizes = await self._index()
        if not sizes:
            return
        shortage = await self._shortage()
        victims = self._victims(sizes, min(shortage, self._removable_bytes(sizes)))
        if victims:
            _log.warning(
                "the disk of the cache of blobs lacks %d free bytes: %d copies are removed",
                shortage,
                len(victims),
            )
            await self._remove(victims)

    async def aclose(self) -> None:
        """Wait for running calls and close all files; the copies remain on disk.

        Calls that hang are left behind.
        """
        await self.settled()
        await self._discard_given_up()
        await self._threads.aclose()
        await self._scanner.aclose(self._timeout_seconds)
        if self._scanning is not None:
            self._scanning.cancel()
            await asyncio.wait([self._scanning])
            self._scanning = None
        self._folder.close()
        self._sizes = None
        self._held_bytes = 0

    async def _index(self) -> OrderedDict[BlobKey, int] | None:
        """Return the sizes of the copies by last use; None if the folder can't be read.

        Concurrent first calls wait for one scan of the folder; while that takes long, the result is
        None, too.
        """
        if self._sizes is None:
            if self._scanning is None or self._scanning.done():
                self._scanning = asyncio.create_task(self._load_index())
                self._scan_is_slow = False
            if not self._scan_is_slow:
                # A cancelled caller does not end the scan that others wait for.
                await asyncio.wait([self._scanning], timeout=self._timeout_seconds)
                self._scan_is_slow = not self._scanning.done()
        return self._sizes

    async def _load_index(self) -> None:
        try:
            found = await self._scanner.run(self._scan)
        except _COPY_ERRORS as error:
            _log.warning(
                "the cache of blobs is not used, because its folder can't be read: %s", str(error)
            )
            return
        self._sizes = OrderedDict(found)
        self._held_bytes = sum(self._sizes.values())
        excess = self._held_bytes - self._limit_bytes
        await self.attempt(self._remove_all, self._victims(self._sizes, excess) or [])

    def _scan(self) -> list[tuple[BlobKey, int]]:
        entries = sorted(self._folder.entries(), key=lambda entry: entry.modified_at)
        return [(entry.key, _occupied(entry.size_bytes)) for entry in entries]

    async def _use(
        self, key: BlobKey, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T | None:
        sizes = await self._index()
        if sizes is None or key not in sizes or key in self._growing or self._is_hanging():
            return None
        try:
            found = await self._threads.run(call, *args, **kwargs)
        except _COPY_ERRORS as error:
            if self._is_hanging():
                _log.warning("the cache of blobs is not used for now: %s", str(error))
                return None
            _log.warning(
                "the cache of blobs removes a copy that can't be read or is damaged: %s", str(error)
            )
            await self.drop(key)
            return None
        if key in sizes:
            sizes.move_to_end(key)
        return found

    def _is_hanging(self) -> bool:
        return self._threads.late > 0

    def _hanging(self) -> StorageUnavailable:
        return StorageUnavailable(
            f"{self._folder.place} does not answer: a call took longer than "
            f"{self._timeout_seconds:g} s",
            remedy="check the disk of the cache",
        )

    async def _keep_and_release(
        self, key: BlobKey, body: MemoryBody, fetch: "Fetch", held: ExitStack
    ) -> None:
        with held:
            await self._keep(key, body, fetch)

    def _kept(self, task: "asyncio.Task[None]") -> None:
        self._keeping.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _log.error("a copy of a blob could not be kept", exc_info=error)

    async def _keep(self, key: BlobKey, body: Body, fetch: "Fetch") -> None:
        victims = await self._reserve(key, body.digests.size_bytes, fetch)
        if victims is not None:
            await self._remove(victims)
            # If the call is late, its thread needs the file longer than the caller keeps it open.
            own = OwnBody.of(body)
            await self._end(key, kept=await self.attempt(self._write, key, own))

    def _write(self, key: BlobKey, own: OwnBody) -> None:
        self._folder.write(key, own.body)

    async def _finish(self, key: BlobKey, filling: "Filling") -> None:
        await self._end(key, kept=await filling.end())

    async def _reserve(
        self, key: BlobKey, size_bytes: int, fetch: "Fetch | None" = None
    ) -> list[BlobKey] | None:
        """Reserve space for a new copy; return the copies to remove for it.

        Returns None, and reserves nothing, if the copy is not to be kept.
        """
        sizes = await self._index()
        size = _occupied(size_bytes)
        if (
            sizes is None
            or self._is_hanging()
            or key in sizes
            or size > self._item_bytes
            or (fetch is not None and fetch.is_stale)
        ):
            return None
        shortage = await self._shortage()
        # Another call may have reserved the space for this key meanwhile.
        if key in sizes or (fetch is not None and fetch.is_stale):
            return None
        excess = max(self._held_bytes + size - self._limit_bytes, shortage + size)
        victims = self._victims(sizes, excess)
        if victims is not None:
            sizes[key] = size
            self._held_bytes += size
            self._growing.add(key)
        return victims

    async def _shortage(self) -> int:
        """Return how many bytes the disk's free space is below the reserve; negative if above."""
        if not self._reserve_bytes:
            return -_UNBOUNDED
        try:
            room = await self._threads.run(self._folder.room)
        except _COPY_ERRORS:
            # What fails here fails at the copy too, which is then not kept.
            return -_UNBOUNDED
        return self._reserve_bytes - (_UNBOUNDED if room.free_bytes is None else room.free_bytes)

    def _removable_bytes(self, sizes: OrderedDict[BlobKey, int]) -> int:
        return self._held_bytes - sum(sizes.get(key, 0) for key in self._growing)

    def _victims(self, sizes: OrderedDict[BlobKey, int], excess: int) -> list[BlobKey] | None:
        """Evict copies of at least `excess` bytes from the index, and return their keys.

        Returns None, and evicts nothing, if there are not that many bytes.
        """
        victims = []
        for key, occupied in sizes.items():
            if excess <= 0:
                break
            if key not in self._growing:
                victims.append(key)
                excess -= occupied
        if excess > 0:
            return None
        for key in victims:
            self._held_bytes -= sizes.pop(key)
        return victims

    async def _remove(self, keys: Sequence[BlobKey]) -> None:
        """Remove the files of copies that are no longer in the index, and wait for earlier removals.

        Only then the space that was reserved before the call is free.
        """
        await wait_to_end(asyncio.ensure_future(self._remove_in_turn(keys)), ignore_cancellation)

    async def _remove_in_turn(self, keys: Sequence[BlobKey]) -> None:
        async with self._removing:
            await self._discard_given_up()
            if keys:
                await self.attempt(self._remove_all, keys)

    def _remove_all(self, keys: Sequence[BlobKey]) -> None:
        for key in keys:
            self._folder.remove(key)

    async def _end(self, key: BlobKey, *, kept: bool) -> None:
        """End the writing of a cached copy, for which space was reserved.

        The copy is removed if it is incomplete (not `kept`), or if its key was dropped meanwhile.
        """
        self._growing.discard(key)
        if not kept or key in self._doomed:
            self._doomed.discard(key)
            await self.drop(key)


class Fetch:
    """A transfer of a blob to or from the remote store; stale if the blob was dropped meanwhile."""

    is_stale = False


class Filling:
    """A cached copy that is written in pieces; if `blob` is None the pieces are ignored."""

    def __init__(self, copies: Copies, blob: GrowingBlob | None) -> None:
        self._copies = copies
        self._blob = blob
        self._is_good = blob is not None
        self._is_complete = False

    async def write(self, piece: bytes) -> None:
        """Append a piece to the copy."""
        if self._blob and self._is_good:
            self._is_good = await self._copies.attempt(self._blob.write, piece)

    def complete(self) -> None:
        """Mark the copy as complete; without this call `end` discards the copy."""
        self._is_complete = True

    async def end(self) -> bool:
        """Publish a complete copy, discard an incomplete one; return whether it was published."""
        if self._blob is None:
            return False
        is_whole = self._is_good and self._is_complete
        if is_whole and await self._copies.attempt(self._blob.publish):
            return True
        await self._copies.discard(self._blob)
        return False


def _occupied(size_bytes: int) -> int:
    return max(1, -(-size_bytes // _BLOCK_BYTES)) * _BLOCK_BYTES


def ignore_cancellation() -> None:
    """Do nothing; passed as `abandon`, so that a cancelled call still runs to its end."""
