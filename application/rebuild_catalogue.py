"""RebuildCatalogue: fills the catalogue from what the stores contain.

It makes rows for all blobs that the catalogue does not have: all of them in an empty catalogue, the
later ones in a catalogue that was restored from a backup. It deletes nothing. A rebuild that was
interrupted goes on behind the last batch of rows that it has written.

1. Stores that belong to another catalogue are taken over: all of them by an empty catalogue. A
   catalogue that was loaded from a backup trusts its stores again.
2. Each store is surveyed; blobs without a replica become rows, from their manifests.
3. Violations are restored from their metadata files.
4. The journal beside the blobs is applied: holds, deletions, undeletes, purged files, retention
   rules (`ReplayJournal`). A job then recomputes until when files are kept.
"""

import logging
from asyncio import Semaphore
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

from attrs import define, evolve, field, frozen

from traffic_storage.application.replay_journal import ReplayJournal
from traffic_storage.application.restore_rows import Reason, RestoreRows, violation_of
from traffic_storage.application.stores import BoundStore, Stores
from traffic_storage.application.stores.directory import NOT_USED
from traffic_storage.application.survey import Survey
from traffic_storage.domain.database_backup import EndLoad
from traffic_storage.domain.errors import (
    DigestMismatch,
    InvalidInput,
    StorageUnavailable,
)
from traffic_storage.domain.files import BlobKey, FileState, StoredFile
from traffic_storage.domain.identifiers import FileId, StoreId
from traffic_storage.domain.jobs import Progress
from traffic_storage.domain.quarantine import (
    EnterQuarantine,
    Quarantined,
    QuarantineReason,
    QuarantineState,
)
from traffic_storage.domain.rebuild import ImportRows, RebuildCursor
from traffic_storage.domain.reconcile import Listed
from traffic_storage.ports.blob_store import BlobHead, closing
from traffic_storage.ports.catalogue import Catalogue
from traffic_storage.ports.changes import Changes
from traffic_storage.ports.clock import Clock
from traffic_storage.ports.concurrency import together
from traffic_storage.ports.errors import BlobMissing, IdsTaken
from traffic_storage.ports.reconciliation import Reconciliation

logger = logging.getLogger("traffic_storage.rebuild")

BATCH = 500
_OTHER_DELETED = Reason("it stays as it is: the journal tells of another file with this id")
MOST_EXAMPLES = 1000
_PARALLEL_LOOKS = 32
_MOST_RACES = 3

Report: TypeAlias = Callable[[Progress], None]


@frozen
class Unplaced:
    """A blob, or a violation, that could not be restored, and why."""

    store_id: StoreId | None
    name: str
    reason: Reason


@define
class Rebuilt:
    """What a rebuild has restored.

    Attributes:
        files, copies: files, and further replicas of files that the catalogue had.
        violations: violations that were restored, or completed by an image or a video.
        known: replicas that the catalogue had before.
        unfinished: blobs of attempts that are still in the ingest journal.
        unplaced: how many blobs and violations could not be restored.
        reasons: the number of them for each reason.
        examples: the first `MOST_EXAMPLES` of them. Blobs are in the quarantine too.
        taken_over: locations of stores that belonged to another catalogue.
        accepted: locations of stores that are trusted again: the catalogue was loaded from a backup.
        skipped: locations of stores that were not examined, and why.
        holds, deletions, purged, labels, rules: changes in the journal beside the blobs that were
            applied: of holds, of deletions that can be undone, of purged files, of labels that were
            added to files, of the retention rules.
        unreadable: notes of the journal that are damaged, each with its store.
    """

    dry_run: bool
    files: int = 0
    copies: int = 0
    violations: int = 0
    known: int = 0
    unfinished: int = 0
    bytes: int = 0
    unplaced: int = 0
    reasons: Counter[Reason] = field(factory=Counter)
    examples: list[Unplaced] = field(factory=list)
    taken_over: list[str] = field(factory=list)
    accepted: list[str] = field(factory=list)
    skipped: dict[str, str] = field(factory=dict)
    holds: int = 0
    deletions: int = 0
    purged: int = 0
    rules: int = 0
    labels: int = 0
    unreadable: list[tuple[StoreId, str]] = field(factory=list)

    def note(self, store_id: StoreId | None, name: str, reason: Reason) -> None:
        """Count a blob or a violation that could not be restored."""
        self.unplaced += 1
        self.reasons[reason] += 1
        if len(self.examples) < MOST_EXAMPLES:
            self.examples.append(Unplaced(store_id, name, reason))

    def progress(self, message: str) -> Progress:
        """Return how far the rebuild has come."""
        done = self.files + self.copies + self.known + self.unfinished + self.unplaced
        return Progress(done, bytes=self.bytes, message=message)


class RebuildCatalogue:
    """Restores the rows of blobs that the catalogue does not have. Safe to repeat."""

    def __init__(
        self,
        *,
        stores: Stores,
        rows: Reconciliation,
        catalogue: Catalogue,
        changes: Changes,
        restore: RestoreRows,
        replay: ReplayJournal,
        clock: Clock,
    ) -> None:
        self._stores = stores
        self._rows = rows
        self._catalogue = catalogue
        self._changes = changes
        self._restore = restore
        self._replay = replay
        self._clock = clock

    async def __call__(
        self,
        report: Report,
        *,
        dry_run: bool = False,
        read: bool = False,
        take_over: Collection[str] = (),
    ) -> Rebuilt:
        """Restore what the stores of this process contain; with `dry_run`, only count it.

        Stores that belong to another catalogue are taken over if this one has no files yet, or if
        `take_over` has their locations. A process of the other catalogue then no longer changes
        them.

        With `read`, the bytes of every blob are read and compared with its manifest; else only
        those of long files. Reading a file always verifies it, and so does the periodic check.

        Raises:
            StorageUnavailable: the listing of a store can't be completed. A repeated call goes on.
            CatalogueUnavailable: the database can't be reached. A repeated call goes on.
        """
        found = Rebuilt(dry_run)
        await self._take_over(take_over, found)
        await self._accept(found)
        for bound in self._stores:
            location = bound.store.location
            if bound.untrusted_reason == NOT_USED or (dry_run and location in found.taken_over):
                continue
            is_read = bound.trusted or (dry_run and location in found.accepted)
            if bound.store_id is None or not is_read:
                found.skipped[location] = bound.untrusted_reason
            else:
                await self._store(bound.store_id, found, report, read=read)
        if not dry_run:
            await self._violations(found, report)
            await self._apply_journal(found)
            await self._stores.recount()
            if not found.skipped:
                await self._changes.apply(EndLoad())
        return found

    async def _apply_journal(self, found: Rebuilt) -> None:
        replay = await self._replay()
        found.holds, found.deletions = replay.holds, replay.deletions
        found.purged, found.rules = replay.purged, replay.rules
        found.labels = replay.labels
        found.unreadable = replay.unreadable
        for file_id in replay.others:
            found.note(None, file_id, _OTHER_DELETED)

    async def _take_over(self, locations: Collection[str], found: Rebuilt) -> None:
        """Make this catalogue the one of stores that belong to another."""
        usage = await self._catalogue.usage()
        is_empty = not usage.files and not usage.violations
        for bound in self._stores:
            may = is_empty or bound.store.location in locations
            if may and await self._is_of_other_catalogue(bound):
                found.taken_over.append(bound.store.location)
                if found.dry_run:
                    async with closing(bound.store.list()) as listing:
                        async for entry in listing:
                            found.files += 1
                            found.bytes += entry.size_bytes
                else:
                    logger.warning("%s", await self._stores.take_over(bound))
        if found.taken_over and not found.dry_run:
            await self._stores.bind()

    async def _accept(self, found: Rebuilt) -> None:
        """Trust the stores again whose entries were loaded from a backup."""
        for bound in self._stores:
            if await self._is_of_backup(bound):
                found.accepted.append(bound.store.location)
                if not found.dry_run:
                    await self._stores.accept(bound)
        if found.accepted and not found.dry_run:
            await self._stores.bind()

    async def _is_of_backup(self, bound: BoundStore) -> bool:
        """Return whether a store's entry is of a backup; False while it can't be reached."""
        try:
            return not bound.trusted and await self._stores.is_of_backup(bound)
        except StorageUnavailable:
            return False

    async def _is_of_other_catalogue(self, bound: BoundStore) -> bool:
        """Return whether a store belongs to another catalogue; False while it can't be reached."""
        try:
            return not bound.trusted and await self._stores.is_of_other_catalogue(bound)
        except StorageUnavailable:
            return False

    async def _store(
        self, store_id: StoreId, found: Rebuilt, report: Report, *, read: bool
    ) -> None:
        cursor = (await self._rows.rebuild_cursors()).get(store_id)
        after = cursor.after if cursor and not cursor.is_done else None
        if not found.dry_run:
            await self._stores.confirm(store_id)
        survey = Survey(store_id, self._stores, self._rows)
        batch: list[Listed] = []
        async with closing(survey.comparisons(after)) as comparisons:
            async for one in comparisons:
                if one.listed is None:
                    continue
                if one.recorded is not None:
                    found.known += 1
                    continue
                batch.append(one.listed)
                if len(batch) == BATCH:
                    await self._place(store_id, batch, found, read=read)
                    report(found.progress(self._stores.blob_store(store_id).location))
                    batch = []
        await self._place(store_id, batch, found, read=read, is_last=True)
        report(found.progress(self._stores.blob_store(store_id).location))

    async def _place(
        self,
        store_id: StoreId,
        blobs: Sequence[Listed],
        found: Rebuilt,
        *,
        read: bool,
        is_last: bool = False,
    ) -> None:
        """Restore the rows of some blobs in one transaction, together with the cursor."""
        cursor = RebuildCursor(store_id, blobs[-1].replica_id if blobs else None, is_last)
        for left in reversed(range(_MOST_RACES)):
            batch = await self._restored(store_id, blobs, read=read)
            try:
                if not found.dry_run:
                    await self._record(batch, cursor)
            except IdsTaken:
                # Another process stored or recorded one of them meanwhile.
                if not left:
                    raise
            else:
                batch.count_into(found)
                return

    async def _record(self, batch: "_Batch", cursor: RebuildCursor) -> None:
        await self._stores.confirm(batch.store_id)
        if batch.unplaced:
            await self._changes.apply(EnterQuarantine(batch.entries(self._clock.now())))
        rows = ImportRows(tuple(batch.files), tuple(batch.further), cursor=cursor)
        await self._changes.apply(rows)

    async def _restored(
        self, store_id: StoreId, blobs: Sequence[Listed], *, read: bool
    ) -> "_Batch":
        batch = _Batch(store_id)
        # An attempt is entered before its blobs are written. So a blob without an attempt has its
        # row by now, or was left behind; and one that is undone at once is deleted by now.
        tried = {*await self._rows.attempted(store_id, [blob.key for blob in blobs])}
        recorded = await self._rows.replicas([blob.replica_id for blob in blobs])
        batch.unfinished = len(tried)
        batch.known = sum(blob.replica_id in recorded for blob in blobs if blob.key not in tried)
        entries = await self._rows.quarantine_entries(store_id, [blob.key for blob in blobs])
        removing = {key for key, one in entries.items() if one.state is QuarantineState.REMOVING}
        batch.unplaced += [(blob, None, _REMOVING) for blob in blobs if blob.key in removing]
        left = {*tried, *removing}
        new = [blob for blob in blobs if blob.key not in left and blob.replica_id not in recorded]
        looks = await self._look(store_id, new, read=read)
        names = {one.file_id for one in looks.values() if isinstance(one, StoredFile)}
        known = await self._rows.files_by_id(names)
        for blob in new:
            look = looks[blob.key]
            if isinstance(look, StoredFile):
                batch.add(blob, look, known.get(look.file_id))
            elif look:
                batch.unplaced.append((blob, None, look))
        return batch

    async def _look(
        self, store_id: StoreId, blobs: Sequence[Listed], *, read: bool
    ) -> Mapping[BlobKey, StoredFile | Reason]:
        """Return the row that each blob and its manifest describe, or why there is none.

        The reason is empty if the blob does not exist any more.
        """
        slots = Semaphore(_PARALLEL_LOOKS)
        keys = [blob.key for blob in blobs]
        heads = await self._stores.blob_store(store_id).heads(keys)

        async def look(key: BlobKey, head: BlobHead | BlobMissing) -> StoredFile | Reason:
            async with slots:
                return await self._look_at(store_id, key, head, read=read)

        found = await together(*(look(*one) for one in zip(keys, heads, strict=True)))
        return dict(zip(keys, found, strict=True))

    async def _look_at(
        self, store_id: StoreId, key: BlobKey, head: BlobHead | BlobMissing, *, read: bool
    ) -> StoredFile | Reason:
        if isinstance(head, BlobMissing):
            return ""
        if head.manifest is None:
            return "the manifest is missing or unreadable"
        if head.size_bytes != head.manifest.stored_size_bytes:
            return "the blob has another size than its manifest says"
        try:
            return await self._restore.file(store_id, key, head.manifest, read=read)
        except BlobMissing:
            return ""
        except DigestMismatch:
            return "the bytes are not those that the manifest describes"
        except InvalidInput:
            return "the manifest is incomplete, because its sidecar is missing or altered"

    async def _violations(self, found: Rebuilt, report: Report) -> None:
        after: UUID | None = None
        while True:
            names, after = await self._rows.metadata_files(after)
            ids = {one for one in map(violation_of, names) if one is not None}
            restored, failed = await self._restore.violations(ids)
            found.violations += restored
            for violation_id, reason in failed.items():
                found.note(None, violation_id, reason)
            report(found.progress("violations"))
            if after is None:
                return


@define
class _Batch:
    """The rows of some blobs of one store."""

    store_id: StoreId
    files: list[StoredFile] = field(factory=list)
    further: list[StoredFile] = field(factory=list)
    unplaced: list[tuple[Listed, FileId | None, Reason]] = field(factory=list)
    known: int = 0
    unfinished: int = 0
    _new: dict[FileId, int] = field(factory=dict)

    def add(self, blob: Listed, file: StoredFile, known: StoredFile | None) -> None:
        """Add the row of a blob; `known` is the catalogue's row of the file, if it has one."""
        if known is not None:
            self._add_copy(blob, file, known)
        elif (place := self._new.get(file.file_id)) is None:
            self._new[file.file_id] = len(self.files)
            self.files.append(file)
        elif _is_same(file, self.files[place]):
            copies = (*self.files[place].replicas, *file.replicas)
            self.files[place] = evolve(self.files[place], replicas=copies)
        else:
            self.unplaced.append((blob, file.file_id, _OTHER))

    def _add_copy(self, blob: Listed, file: StoredFile, known: StoredFile) -> None:
        if known.state in {FileState.PURGING, FileState.PURGED}:
            self.unplaced.append((blob, file.file_id, "the file was destroyed"))
        elif _is_same(file, known):
            self.further.append(evolve(known, replicas=file.replicas))
        else:
            self.unplaced.append((blob, file.file_id, _OTHER))

    def entries(self, now: datetime) -> tuple[Quarantined, ...]:
        """Return entries of the quarantine for the blobs that can't be placed."""
        return tuple(
            Quarantined(
                self.store_id,
                blob.key,
                QuarantineReason.UNRECORDED,
                now,
                blob.size_bytes,
                file_id,
                reason,
            )
            for blob, file_id, reason in self.unplaced
        )

    def count_into(self, found: Rebuilt) -> None:
        """Add this batch to the result of a rebuild."""
        copies = sum(len(file.replicas) for file in (*self.files, *self.further))
        found.files += len(self.files)
        found.copies += copies - len(self.files)
        found.known += self.known
        found.unfinished += self.unfinished
        found.bytes += sum(
            file.stored.size_bytes * len(file.replicas) for file in (*self.files, *self.further)
        )
        for blob, _, reason in self.unplaced:
            found.note(self.store_id, blob.key, reason)


_OTHER: Reason = "another file has the same id"
_REMOVING: Reason = "the blob is being deleted, because it is not needed"


def _is_same(file: StoredFile, known: StoredFile) -> bool:
    """Return whether two rows describe the same bytes."""
    return (file.kind, file.coding, file.content, file.stored) == (
        known.kind,
        known.coding,
        known.content,
        known.stored,
    )
