"""CreateSnapshot: makes a snapshot; it is complete when its manifest is written, the last step.

```
unfinished/NAME ─► PinSnapshot ─► rows of one moment ─► bytes that the location lacks ─► sealed/NAME
```

A purge that began before the pin is visible in the rows, and no other one begins until all bytes
are there. So every file of the rows can be read, however long that takes.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from attrs import define, evolve, field, frozen

from traffic_storage.application.snapshots.location import (
    SnapshotBusy,
    SnapshotDamaged,
    SnapshotExists,
    SnapshotGone,
    SnapshotLocation,
    SnapshotTooLarge,
    digests_in,
)
from traffic_storage.application.snapshots.objects import SnapshotObjects, note_of
from traffic_storage.application.snapshots.rows import WriteRows, WrittenRows
from traffic_storage.domain.files import BlobKey, StoredFile
from traffic_storage.domain.identifiers import FileId
from traffic_storage.domain.jobs import Progress
from traffic_storage.domain.snapshot import (
    MAX_TEXT_BYTES,
    PartKind,
    PinSnapshot,
    SnapshotManifest,
    SnapshotPin,
    snapshot_name,
)
from traffic_storage.domain.snapshot_rows import file_in
from traffic_storage.ports.blob_store import BlobHead
from traffic_storage.ports.changes import Changes
from traffic_storage.ports.clock import Clock
from traffic_storage.ports.concurrency import together
from traffic_storage.ports.errors import BlobConflict, BlobMissing
from traffic_storage.ports.snapshot_store import TextFolder

Report = Callable[[Progress], None]

_BATCH = 500
_ROOM_BYTES = 1024 * 1024


@frozen
class CreatedSnapshot:
    """A complete snapshot, and what was written for it: objects that the location lacked."""

    location: str
    manifest: SnapshotManifest
    written_objects: int
    written_bytes: int


class CreateSnapshot:
    """Makes snapshots. After an interruption, a further call with the name uses what was copied."""

    def __init__(
        self,
        *,
        location: SnapshotLocation,
        write_rows: WriteRows,
        objects: SnapshotObjects,
        changes: Changes,
        clock: Clock,
        max_age: timedelta,
    ) -> None:
        self._location = location
        self._write_rows = write_rows
        self._objects = objects
        self._changes = changes
        self._clock = clock
        self._max_age = max_age

    async def __call__(self, name: str, report: Report = lambda _progress: None) -> CreatedSnapshot:
        """Make a snapshot of everything that is stored now.

        Raises (the snapshot is not complete; a repeated call goes on):
            InvalidInput: `name` is not the name of a snapshot.
            SnapshotExists: there is a complete one with this name.
            NoSnapshotLocation: the location has something in it that is not of snapshots.
            SnapshotBusy: objects are being removed from the location.
            SnapshotTooLarge: it has too many parts for one manifest.
            SnapshotGone: it was deleted meanwhile.
            StorageUnavailable: the location, or a store with bytes of a file, can't be reached.
            StorageFull: the location has no space.
            CatalogueUnavailable: the database can't be reached.
        """
        begun_at = self._clock.now()
        mark = await self._enter(snapshot_name(name), begun_at)
        location = self._location.store.location
        pin = SnapshotPin(name, location, begun_at, begun_at + self._max_age)
        await self._changes.apply(PinSnapshot(pin))
        rows = await self._write_rows()
        # Before the first file there is nothing to pin.
        await self._changes.apply(PinSnapshot(evolve(pin, newest=rows.newest or begun_at)))
        _check_size(_manifest(name, begun_at, self._clock.now(), rows, _Copied()))
        try:
            copied = await self._copy(rows, report)
        except SnapshotDamaged as error:
            if await self._location.store.text(TextFolder.UNFINISHED, name) != mark:
                raise SnapshotGone(name) from error
            raise
        manifest = _manifest(name, begun_at, self._clock.now(), rows, copied)
        await self._seal(manifest, mark)
        return CreatedSnapshot(location, manifest, copied.objects, copied.size_bytes)

    async def _enter(self, name: str, at: datetime) -> bytes:
        """Note that the snapshot is being made, so that no object that it may use is removed.

        Returns the mark that says so.
        """
        store = self._location.store
        if await store.text(TextFolder.SEALED, name) is not None:
            raise SnapshotExists(name)
        await self._location.claim()
        mark = at.isoformat().encode()
        # BlobConflict: its making was interrupted, and is resumed now.
        with suppress(BlobConflict):
            await store.put_text(TextFolder.UNFINISHED, name, mark)
        mark = await store.text(TextFolder.UNFINISHED, name) or mark
        if deleted := await store.text_names(TextFolder.COLLECTING):
            raise SnapshotBusy(store.location, deleted)
        return mark

    async def _seal(self, manifest: SnapshotManifest, mark: bytes) -> None:
        """Write the manifest; take it back if the snapshot was deleted meanwhile.

        A deletion notes itself and removes the mark before it removes objects. So if it is not
        noted, and the mark is there after the manifest, every object is still there.
        """
        store, name = self._location.store, manifest.name
        try:
            await store.put_text(TextFolder.SEALED, name, manifest.to_text())
        except BlobConflict as error:
            raise SnapshotExists(name) from error
        is_deleted = name in await store.text_names(TextFolder.COLLECTING)
        if is_deleted or await store.text(TextFolder.UNFINISHED, name) != mark:
            await store.remove_text(TextFolder.SEALED, name)
            raise SnapshotGone(name)
        await store.remove_text(TextFolder.UNFINISHED, name)

    async def _copy(self, rows: WrittenRows, report: Report) -> "_Copied":
        """Write the objects that the location lacks, or that were found damaged there."""
        copied, done, noted = _Copied(), 0, await self._objects.noted()
        for part in rows.parts:
            if part.kind is not PartKind.FILES:
                continue
            files = [file_in(line) for line in await self._location.lines(part)]
            for begin in range(0, len(files), _BATCH):
                batch = files[begin : begin + _BATCH]
                await self._copy_batch(batch, noted, copied)
                done += len(batch)
                report(Progress(done, rows.files, copied.size_bytes))
        return copied

    async def _copy_batch(
        self, files: Sequence[StoredFile], noted: Collection[str], copied: "_Copied"
    ) -> None:
        sharers: dict[BlobKey, list[StoredFile]] = {}
        for file in files:
            sharers.setdefault(digests_in(file)[0], []).append(file)
        heads = dict(zip(sharers, await self._location.store.heads(list(sharers)), strict=True))
        lacking = [
            key
            for key, some in sharers.items()
            if not _is_whole(heads[key], some[0]) or note_of(some[0]) in noted
        ]

        async def copy(key: BlobKey) -> None:
            some = sharers[key]
            anew = isinstance(heads[key], BlobHead) or note_of(some[0]) in noted
            if await self._objects.write(some, anew=anew):
                copied.objects += 1
                copied.size_bytes += some[0].stored.size_bytes
            else:
                copied.lost += [file.file_id for file in some]

        await together(*map(copy, lacking))


@define
class _Copied:
    """What was written; `lost` are files whose bytes were nowhere intact."""

    objects: int = 0
    size_bytes: int = 0
    lost: list[FileId] = field(factory=list)


def _check_size(manifest: SnapshotManifest) -> None:
    """Refuse what has too many parts before its bytes are copied."""
    size_bytes = len(manifest.to_text())
    # What is not known yet are the ids of files without intact bytes, of which few are listed.
    if size_bytes > MAX_TEXT_BYTES - _ROOM_BYTES:
        raise SnapshotTooLarge(size_bytes, MAX_TEXT_BYTES - _ROOM_BYTES)


def _is_whole(head: BlobHead | BlobMissing, file: StoredFile) -> bool:
    return isinstance(head, BlobHead) and head.size_bytes == file.stored.size_bytes


def _manifest(
    name: str, begun_at: datetime, sealed_at: datetime, rows: WrittenRows, copied: _Copied
) -> SnapshotManifest:
    return SnapshotManifest(
        name,
        rows.catalogue_id,
        begun_at,
        rows.cut_at,
        sealed_at,
        rows.files,
        rows.violations,
        rows.size_bytes,
        rows.parts,
        tuple(copied.lost),
        len(copied.lost),
        rows.database,
    )
