"""LocalDiskBlobStore: blobs in a folder of this host, written durably."""

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path

from traffic_storage.adapters.files.blobs import BlobFolder, Measurement
from traffic_storage.adapters.files.own_body import OwnBody
from traffic_storage.adapters.threads.pool import Patience, Threads
from traffic_storage.domain.digests import Digests
from traffic_storage.domain.files import BlobKey, Tier
from traffic_storage.domain.identity import Marker
from traffic_storage.domain.manifest import BlobManifest
from traffic_storage.domain.snapshot import MAX_TEXT_BYTES
from traffic_storage.domain.verification import (
    Span,
    check_measured,
    check_span,
    chunks_of,
    parts_of,
)
from traffic_storage.ports.blob_store import (
    BlobEntry,
    BlobHead,
    Examination,
    KeptVersion,
    NewBlob,
    Room,
)
from traffic_storage.ports.clock import Clock
from traffic_storage.ports.errors import BlobMissing, DeadlinePassed, StorageUnavailable
from traffic_storage.ports.snapshot_store import SnapshotStore, TextFolder
from traffic_storage.ports.spool import Body, FileBody, MemoryBody
from traffic_storage.ports.store_identity import MarkedBlobStore

_MARKER = ".traffic-storage"
_JOURNAL = "journal"
_PAGE = 1000
_OBSTACLE_SECONDS = 10.0
_BATCH_BLOBS = 64
_BATCH_BYTES = 64 * 1024 * 1024
# A call about many blobs may take so many times as long as one about one blob.
_LASTING = 12
_SLOWEST_BYTES_PER_SECOND = 4 * 1024 * 1024
_log = logging.getLogger("traffic_storage.blob_store")


class LocalDiskBlobStore(MarkedBlobStore, SnapshotStore):
    """Keeps blobs below `root`; the first call makes that folder if it does not exist.

    `put` writes a blob to an unnamed file, syncs the file and its manifest, gives the file its name
    and syncs the name, all in one call of one thread. A blob survives a power cut once `put` has
    returned.

    After a failed write `unavailable_reason` returns the cause for ten seconds. If another folder
    replaces `root` (moved there, or mounted over it), the store neither writes to it nor deletes
    from it, until `marker` finds there the identification file (marker) of the same store.

    A call that takes longer than `timeout_seconds` in its thread (large blobs may take longer to be
    written) fails; the disk may hang. Until the late calls have ended, every write fails at once, and
    so does every read while no thread for reads is left.
    """

    def __init__(
        self,
        root: Path,
        clock: Clock,
        *,
        writers: int = 16,
        readers: int = 4,
        examiners: int | None = None,
        attributes: bool = True,
        unnamed: bool = True,
        timeout_seconds: float = 5.0,
    ) -> None:
        self._root = root.absolute()
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._folder = BlobFolder(self._root, durable=True, attributes=attributes, unnamed=unnamed)
        lasting = _LASTING * timeout_seconds
        # One write that hangs shows that the disk does; a read can hang at one damaged sector.
        self._writing = Threads(
            writers, "blob-writer", Patience(timeout_seconds, self._hanging, most_late=1)
        )
        self._reading = Threads(
            readers, "blob-reader", Patience(timeout_seconds, self._hanging, most_late=readers)
        )
        examiners = examiners or _examiners()
        self._examining = Threads(
            examiners, "blob-examiner", Patience(lasting, self._hanging, most_late=examiners)
        )
        self._trouble = ""
        self._trouble_until = 0.0

    @property
    def root(self) -> Path:
        """The absolute path of the folder with the blobs."""
        return self._root

    @property
    def tier(self) -> Tier:
        return Tier.LOCAL

    @property
    def location(self) -> str:
        return str(self._root)

    def unavailable_reason(self) -> str:
        if self._writing.late:
            return str(self._hanging())
        return self._trouble if self._clock.monotonic() < self._trouble_until else ""

    async def put(
        self, key: BlobKey, body: Body, manifest: BlobManifest, *, deadline: datetime
    ) -> None:
        permit = _Permit(self._clock, deadline, key)
        longer = body.digests.size_bytes / _SLOWEST_BYTES_PER_SECOND
        # If the call is late, its thread needs the file longer than the caller keeps it open.
        own = OwnBody.of(body)
        with self._watched():
            await self._writing.run_longer(
                longer, permit.withdraw, self._write, key, own, manifest, permit
            )
        _log.debug("put %s: %d bytes", key, body.digests.size_bytes)

    async def put_all(self, blobs: Sequence[NewBlob], *, deadline: datetime) -> None:
        small = [blob for blob in blobs if isinstance(blob.body, MemoryBody)]
        for at in range(0, len(small), _BATCH_BLOBS):
            await self._put_batch(small[at : at + _BATCH_BLOBS], deadline)
        for blob in blobs:
            if not isinstance(blob.body, MemoryBody):
                await self.put(blob.key, blob.body, blob.manifest, deadline=deadline)

    async def read(self, key: BlobKey, digests: Digests) -> bytes:
        return await self._reading.run(self._folder.read, key, digests)

    async def open(self, key: BlobKey, digests: Digests, span: Span) -> AsyncIterator[bytes]:
        check_span(span, digests)
        if not digests.segmented:
            data = await self.read(key, digests)
            for chunk in chunks_of(data, span):
                yield chunk
            return
        parts = parts_of(span)
        data, blob = await self._reading.run(self._folder.read_first, key, digests, next(parts))
        if data:
            yield data
        for part in parts:
            yield await self._reading.run(blob.read, part)

    async def measure(self, key: BlobKey) -> Digests:
        measurement = await self._reading.run(self._folder.measure, key, segments=True)
        return await self._measured(measurement)

    async def verify(self, key: BlobKey, digests: Digests) -> None:
        measurement = await self._reading.run(self._folder.measure, key, segments=False)
        check_measured(key, await self._measured(measurement), digests)

    @asynccontextmanager
    async def lend(self, key: BlobKey, digests: Digests) -> AsyncIterator[FileBody | None]:
        blob = await self._reading.run(self._folder.measure, key, segments=False, fresh=False)
        check_measured(key, await self._measured(blob), digests)
        yield FileBody(blob.fd, digests)

    async def examine(self, blobs: Sequence[tuple[BlobKey, Digests]]) -> Sequence[Examination]:
        running = [
            asyncio.ensure_future(self._examine_batch(batch)) for batch in _batches_of(blobs)
        ]
        try:
            return [found for batch in running for found in await batch]
        finally:
            for batch in running:
                batch.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def head(self, key: BlobKey) -> BlobHead:
        return await self._reading.run(self._folder.describe, key)

    async def heads(self, keys: Sequence[BlobKey]) -> Sequence[BlobHead | BlobMissing]:
        batches = [keys[at : at + _BATCH_BLOBS] for at in range(0, len(keys), _BATCH_BLOBS)]
        found = await asyncio.gather(*(self._reading.run(self._described, one) for one in batches))
        return [head for batch in found for head in batch]

    async def delete(self, key: BlobKey) -> Sequence[KeptVersion]:
        # Not watched: a blob that can't be removed does not make the store unavailable.
        await self._writing.run_to_end(ignore_cancellation, self._folder.remove, key)
        _log.debug("deleted %s", key)
        return ()

    async def list(self, prefix: str = "", after: str = "") -> AsyncIterator[BlobEntry]:
        entries = self._folder.entries(prefix, after)
        longer = (_LASTING - 1) * self._timeout_seconds
        while page := await self._reading.run_longer(
            longer, ignore_cancellation, _page_of, entries
        ):
            for entry in page:
                yield entry

    async def room(self) -> Room:
        return await self._reading.run(self._folder.room)

    async def marker(self) -> Marker | None:
        note = await self._reading.run(self._folder.marker, _MARKER)
        return None if note is None else Marker.from_text(note.decode(errors="replace"))

    async def create_marker(self, marker: Marker) -> None:
        text = _text_of(marker)
        with self._watched():
            await self._writing.run_to_end(
                ignore_cancellation, self._folder.exchange_marker, _MARKER, (None, text), text
            )

    async def replace_marker(self, was: Marker, becomes: Marker) -> None:
        expected = _text_of(was), _text_of(becomes)
        with self._watched():
            await self._writing.run_to_end(
                ignore_cancellation, self._folder.exchange_marker, _MARKER, expected, expected[1]
            )

    async def put_note(self, name: str, text: bytes) -> None:
        with self._watched():
            await self._writing.run_to_end(
                ignore_cancellation, self._folder.put_note, _JOURNAL, name, text
            )

    async def note(self, name: str) -> bytes | None:
        return await self._reading.run(self._folder.note, _JOURNAL, name)

    async def put_text(self, folder: TextFolder, name: str, text: bytes) -> None:
        with self._watched():
            await self._writing.run_to_end(
                ignore_cancellation, self._folder.put_note, folder.value, name, text
            )

    async def text(self, folder: TextFolder, name: str) -> bytes | None:
        return await self._reading.run(self._folder.note, folder.value, name, MAX_TEXT_BYTES)

    async def text_names(self, folder: TextFolder) -> Sequence[str]:
        return await self._reading.run(self._folder.notes, folder.value)

    async def remove_text(self, folder: TextFolder, name: str) -> None:
        await self._writing.run_to_end(
            ignore_cancellation, self._folder.remove_note, folder.value, name
        )

    async def is_unused(self) -> bool:
        return await self._reading.run(self._folder.is_unused)

    async def aclose(self) -> None:
        await self._writing.aclose()
        await self._reading.aclose()
        await self._examining.aclose(self._timeout_seconds)
        self._folder.close()

    async def _put_batch(self, blobs: Sequence[NewBlob], deadline: datetime) -> None:
        permit = _Permit(self._clock, deadline, f"{len(blobs)} blobs")
        size_bytes = sum(blob.body.digests.size_bytes for blob in blobs)
        longer = self._timeout_seconds + size_bytes / _SLOWEST_BYTES_PER_SECOND
        with self._watched():
            await self._writing.run_longer(
                longer, permit.withdraw, self._folder.write_all, blobs, permit
            )
        _log.debug("put %d blobs: %d bytes", len(blobs), size_bytes)

    def _write(self, key: BlobKey, own: OwnBody, manifest: BlobManifest, permit: "_Permit") -> None:
        self._folder.write(key, own.body, manifest, permit)

    def _hanging(self) -> StorageUnavailable:
        return StorageUnavailable(
            f"{self._root} does not answer: a call took longer than {self._timeout_seconds:g} s",
            remedy="check the disk; raise disk_timeout_seconds if it is only slow",
        )

    async def _measured(self, measurement: Measurement) -> Digests:
        # One hop per step, so that a long blob does not block a thread for short reads.
        while await self._reading.run(measurement.step):
            pass
        return measurement.digests()

    def _described(self, keys: Sequence[BlobKey]) -> Sequence[BlobHead | BlobMissing]:
        """Describe many blobs in one hop to a thread."""
        found: list[BlobHead | BlobMissing] = []
        for key in keys:
            try:
                found.append(self._folder.describe(key))
            except BlobMissing as error:
                found.append(error)
        return found

    async def _examine_batch(
        self, blobs: Sequence[tuple[BlobKey, Digests]]
    ) -> Sequence[Examination]:
        stop = threading.Event()
        return await self._examining.run_to_end(stop.set, self._folder.examine, blobs, stop.is_set)

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Set `unavailable_reason` for ten seconds if the block raises StorageUnavailable.

        Clear it if the block succeeds.
        """
        try:
            yield
        except StorageUnavailable as error:
            self._trouble = str(error)
            self._trouble_until = self._clock.monotonic() + _OBSTACLE_SECONDS
            raise
        self._trouble_until = 0.0


class _Permit:
    """The check before blobs get their names: raises DeadlinePassed if that would be too late.

    It is too late after the deadline, and after `withdraw`.
    """

    def __init__(self, clock: Clock, deadline: datetime, what: str) -> None:
        self._clock = clock
        self._deadline = deadline
        self._what = what
        self._withdrawn = False

    def withdraw(self) -> None:
        self._withdrawn = True

    def __call__(self) -> None:
        is_late = self._clock.now() >= self._deadline
        if self._withdrawn:
            raise DeadlinePassed(f"{self._what} was not stored: the call was cancelled")
        if is_late:
            raise DeadlinePassed(
                f"{self._what} was not stored before {self._deadline.isoformat()}",
                remedy="send it again; raise attempt_timeout_seconds if the store is slow",
            )


def ignore_cancellation() -> None:
    """Do nothing; passed as `abandon`, so that a cancelled call still runs to its end."""


def _text_of(marker: Marker) -> bytes:
    return f"{marker.to_text()}\n".encode()


def _examiners() -> int:
    """Return the number of cores: a thread hashes while the system reads its next blobs."""
    return os.cpu_count() or 1


def _batches_of(
    blobs: Sequence[tuple[BlobKey, Digests]],
) -> Iterator[Sequence[tuple[BlobKey, Digests]]]:
    """Divide blobs into batches that a thread examines in one call (a hop costs as a small blob)."""
    batch: list[tuple[BlobKey, Digests]] = []
    size_bytes = 0
    for blob in blobs:
        batch.append(blob)
        size_bytes += blob[1].size_bytes
        if len(batch) == _BATCH_BLOBS or size_bytes >= _BATCH_BYTES:
            yield batch
            batch, size_bytes = [], 0
    if batch:
        yield batch


def _page_of(entries: Iterator[BlobEntry]) -> list[BlobEntry]:
    return list(islice(entries, _PAGE))
