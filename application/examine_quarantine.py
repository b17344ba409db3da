"""ExamineQuarantine: decides what becomes of the blobs in the quarantine of a store, and does it."""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta

from attrs import evolve, frozen

from traffic_storage.application.restore_rows import RestoreRows, violation_of
from traffic_storage.application.stores import Stores
from traffic_storage.domain.errors import (
    DigestMismatch,
    InvalidInput,
    StorageUnavailable,
)
from traffic_storage.domain.files import FileState, Replica, ReplicaState, StoredFile
from traffic_storage.domain.identifiers import FileId, StoreId
from traffic_storage.domain.jobs import Progress
from traffic_storage.domain.manifest import BlobManifest
from traffic_storage.domain.quarantine import (
    BeginRemoval,
    DoubtUndone,
    Fate,
    LeaveQuarantine,
    NoteQuarantined,
    Quarantined,
    QuarantineReason,
    QuarantineState,
    Verdict,
    examine,
    is_of,
)
from traffic_storage.domain.rebuild import ImportRows
from traffic_storage.domain.reconcile import MIN_AGE, replica_id_of
from traffic_storage.ports.blob_store import BlobHead
from traffic_storage.ports.changes import Changes
from traffic_storage.ports.clock import Clock
from traffic_storage.ports.database_backup import Loads
from traffic_storage.ports.errors import BlobCorrupt, BlobMissing, IdsTaken
from traffic_storage.ports.reconciliation import Reconciliation

logger = logging.getLogger("traffic_storage.reconcile")

PAGE = 500


@frozen
class Examined:
    """What became of the entries of the quarantine of one store.

    Attributes:
        files: files that were recorded again.
        copies: blobs that were recorded as further replicas of known files.
        removed, bytes_removed: blobs that were deleted.
        absent: entries without a blob, or with a replica by now; they were deleted.
        waiting: blobs that will be examined again.
        kept: blobs about which a person must decide.
    """

    files: int = 0
    copies: int = 0
    removed: int = 0
    bytes_removed: int = 0
    absent: int = 0
    waiting: int = 0
    kept: int = 0


class ExamineQuarantine:
    """Examines every entry of a store's quarantine. `keep_for` is `quarantine_days`.

    While the catalogue was loaded from a backup and awaits a rebuild, it only counts. The blobs of
    undone attempts come last: if a file was recorded that the catalogue lacked, the catalogue is
    older than the store, and such blobs may be acknowledged evidence too (`DoubtUndone`).

    Concurrent and repeated runs do no harm: the catalogue lets a blob be recorded or removed, never
    both.
    """

    def __init__(
        self,
        *,
        stores: Stores,
        catalogue: Reconciliation,
        loads: Loads,
        changes: Changes,
        restore: RestoreRows,
        clock: Clock,
        keep_for: timedelta,
    ) -> None:
        self._stores = stores
        self._catalogue = catalogue
        self._loads = loads
        self._changes = changes
        self._restore = restore
        self._clock = clock
        self._keep_for = keep_for

    async def __call__(
        self, store_id: StoreId, report: Callable[[Progress], None], *, dry_run: bool = False
    ) -> Examined:
        """Examine the quarantine of a store; with `dry_run`, count only what would be done.

        Raises:
            StorageUnavailable: the store is not trusted or can't be reached.
            CatalogueUnavailable: the database can't be reached.
        """
        await self._stores.confirm(store_id)
        # An old catalogue does not know what was recorded again since.
        dry_run = dry_run or await self._loads.loaded() is not None
        found, done, undone = Examined(), 0, False
        async for entries in self._pages(store_id):
            for entry in entries:
                if entry.reason is QuarantineReason.UNDONE:
                    undone = True
                else:
                    found = await self._one(entry, found, dry_run=dry_run)
            done += len(entries)
            report(Progress(done, message="quarantine"))
        if not undone:
            return found
        if found.files and not dry_run:
            # It lacked a file that its store has: it is older than the store.
            await self._changes.apply(DoubtUndone(store_id, self._clock.now()))
        # Last, because what was found above may tell that they are needed.
        async for entries in self._pages(store_id):
            for entry in entries:
                if entry.reason is QuarantineReason.UNDONE:
                    found = await self._one(entry, found, dry_run=dry_run)
        return found

    async def _pages(self, store_id: StoreId) -> AsyncIterator[Sequence[Quarantined]]:
        after = None
        while entries := await self._catalogue.quarantined(store_id, after, PAGE):
            yield entries
            after = entries[-1].key

    async def _one(self, entry: Quarantined, found: Examined, *, dry_run: bool) -> Examined:
        if await self._has_replica(entry):
            return await self._leave(entry, found, dry_run=dry_run)
        try:
            head = await self._stores.blob_store(entry.store_id).head(entry.key)
        except BlobMissing as missing:
            if self._clock.now() - entry.seen_at < MIN_AGE:
                return evolve(found, waiting=found.waiting + 1)
            await self._stores.confirm(entry.store_id, missing)
            return await self._leave(entry, found, dry_run=dry_run)
        file = await self._file(head.manifest)
        verdict = examine(entry, head.manifest, file, now=self._clock.now(), lasts=self._keep_for)
        if dry_run:
            return _counted(found, verdict.fate, head.size_bytes)
        fate, note = await self._do(verdict, entry, head, file)
        await self._note(entry, head, note, fate)
        return _counted(found, fate, head.size_bytes)

    async def _do(
        self, verdict: Verdict, entry: Quarantined, head: BlobHead, file: StoredFile | None
    ) -> tuple[Fate, str]:
        """Do what was decided; return what was done, and why."""
        try:
            match verdict.fate, head.manifest, file:
                case Fate.RECORD_FILE, BlobManifest() as manifest, _:
                    await self._record_file(entry, manifest)
                case Fate.RECORD_COPY, BlobManifest() as manifest, StoredFile() as known:
                    await self._record_copy(entry, manifest, known)
                case Fate.REMOVE, manifest, known:
                    return await self._remove(entry, manifest, known, verdict.note)
                case _:
                    pass
        except (InvalidInput, DigestMismatch, IdsTaken) as error:
            return Fate.KEEP, str(error)
        return verdict.fate, verdict.note

    async def _record_file(self, entry: Quarantined, manifest: BlobManifest) -> None:
        file = await self._restore.file(entry.store_id, entry.key, manifest, read=True)
        await self._stores.confirm(entry.store_id)
        await self._changes.apply(ImportRows(files=(file,)))
        logger.warning("the file %s was found in %s and recorded", file.file_id, entry.store_id)
        if violation_id := violation_of(file.file_id):
            await self._restore.violations([violation_id])

    async def _record_copy(
        self, entry: Quarantined, manifest: BlobManifest, known: StoredFile
    ) -> None:
        found = await self._restore.file(entry.store_id, entry.key, manifest, read=True)
        await self._stores.confirm(entry.store_id)
        await self._changes.apply(ImportRows(further=(evolve(known, replicas=found.replicas),)))
        logger.warning("a copy of %s was found in %s", known.file_id, entry.store_id)

    async def _remove(
        self,
        entry: Quarantined,
        manifest: BlobManifest | None,
        file: StoredFile | None,
        note: str,
    ) -> tuple[Fate, str]:
        """Delete a blob that is not needed; first verify the copy that makes it superfluous."""
        if entry.state is QuarantineState.HELD:
            needed = file if file and manifest and is_of(manifest, file) else None
            if needed is not None and not await self._has_good_copy(needed, entry):
                return Fate.KEEP, f"no other copy of {needed.file_id} could be verified"
            if not await self._changes.apply(BeginRemoval(entry)):
                return Fate.WAIT, "it was recorded meanwhile"
        await self._stores.confirm(entry.store_id)
        kept = await self._stores.trusted(entry.store_id).delete(entry.key)
        note = "; ".join((note, *map(str, kept)))
        await self._changes.apply(LeaveQuarantine(entry))
        logger.warning("the blob %s in %s was deleted: %s", entry.key, entry.store_id, note)
        return Fate.REMOVE, note

    async def _has_good_copy(self, file: StoredFile, entry: Quarantined) -> bool:
        """Return whether another copy of a file can be read now; a destroyed file needs none."""
        if file.state in {FileState.PURGING, FileState.PURGED}:
            return True
        copies = [copy for copy in file.replicas if copy.state is ReplicaState.PRESENT]
        copies.sort(key=lambda copy: copy.store_id != entry.store_id)
        for copy in copies:
            if await self._is_good(copy, file):
                return True
        return False

    async def _is_good(self, copy: Replica, file: StoredFile) -> bool:
        try:
            await self._stores.blob_store(copy.store_id).verify(copy.key, file.stored)
        except (BlobCorrupt, BlobMissing, StorageUnavailable) as error:
            logger.warning("the copy %s of %s: %s", copy.key, file.file_id, str(error))
            return False
        return True

    async def _has_replica(self, entry: Quarantined) -> bool:
        number = replica_id_of(entry.key)
        recorded = (await self._catalogue.replicas([number])).get(number)
        return recorded is not None and recorded.state is not ReplicaState.GONE

    async def _file(self, manifest: BlobManifest | None) -> StoredFile | None:
        if manifest is None:
            return None
        file_id = FileId(manifest.file_id)
        return (await self._catalogue.files_by_id([file_id])).get(file_id)

    async def _leave(self, entry: Quarantined, found: Examined, *, dry_run: bool) -> Examined:
        if not dry_run:
            await self._changes.apply(LeaveQuarantine(entry))
        return evolve(found, absent=found.absent + 1)

    async def _note(self, entry: Quarantined, head: BlobHead, note: str, fate: Fate) -> None:
        """Record why a blob stays."""
        if fate not in {Fate.WAIT, Fate.KEEP}:
            return
        file_id = FileId(head.manifest.file_id) if head.manifest else entry.file_id
        noted = evolve(entry, size_bytes=head.size_bytes, file_id=file_id, note=note)
        if noted != entry:
            await self._changes.apply(NoteQuarantined(noted))


def _counted(found: Examined, fate: Fate, size_bytes: int) -> Examined:
    match fate:
        case Fate.RECORD_FILE:
            return evolve(found, files=found.files + 1)
        case Fate.RECORD_COPY:
            return evolve(found, copies=found.copies + 1)
        case Fate.REMOVE:
            return evolve(
                found, removed=found.removed + 1, bytes_removed=found.bytes_removed + size_bytes
            )
        case Fate.WAIT:
            return evolve(found, waiting=found.waiting + 1)
        case Fate.KEEP:
            return evolve(found, kept=found.kept + 1)
