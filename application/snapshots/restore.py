"""RestoreSnapshot: brings what a snapshot has into a catalogue and its stores.

1. Files that the catalogue lacks are stored, with their rows as they were (`RestoreFile`).
2. Violations that it lacks are inserted.
3. Deletions, purges, holds and retention rules are applied as events (`ApplyEvents`).

What exists stays as it is, and so does what was decided after the snapshot was made. So a restore
that was interrupted goes on when it is started again.
"""

import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from attrs import define, evolve, field

from traffic_storage.application.apply_events import ApplyEvents, Replay
from traffic_storage.application.restore_file import RestoreFile
from traffic_storage.application.snapshots.location import SnapshotLocation
from traffic_storage.application.stores import Stores
from traffic_storage.domain.events import EventKind, RecordedEvent
from traffic_storage.domain.files import FileState, StoredFile
from traffic_storage.domain.identifiers import FileId, ViolationId
from traffic_storage.domain.jobs import Progress
from traffic_storage.domain.journal import Note
from traffic_storage.domain.rebuild import ImportRows
from traffic_storage.domain.snapshot import Fate, Part, PartKind, SnapshotManifest, fate
from traffic_storage.domain.snapshot_rows import file_in, naming, violation_in
from traffic_storage.domain.violation import StoredViolation, ViolationState
from traffic_storage.ports.changes import Changes
from traffic_storage.ports.concurrency import together
from traffic_storage.ports.errors import BlobCorrupt, BlobMissing, IdsTaken
from traffic_storage.ports.reconciliation import Reconciliation
from traffic_storage.ports.retention import RetentionRecords

logger = logging.getLogger("traffic_storage.snapshots")

Destroyed = Callable[[Collection[StoredFile]], Awaitable[Collection[FileId]]]
"""Returns the ids of those of these files that a catalogue has purged."""

Report = Callable[[Progress], None]

T = TypeVar("T")

_BATCH = 500
_MOST_RACES = 3
_MOST_EXAMPLES = 1000


@define
class Restored:
    """What a restore has done; with `dry_run`, what it would do.

    Attributes:
        files, size_bytes: files that were restored, and their stored bytes.
        copies: files that existed without a good copy, and got one.
        present: files that existed.
        destroyed: files that were purged since, and stay destroyed.
        others: files whose ids belong to other files in the target.
        damaged: files whose bytes the snapshot does not have intact.
        violations, violations_present: violations that were restored, and that existed.
        unplaced: violations whose metadata file is not there.
        examples: the first 1,000 ids of what was not restored, each with the reason.
        replay: the events that were applied: of holds, deletions, purges and rules.
    """

    manifest: SnapshotManifest
    dry_run: bool
    files: int = 0
    size_bytes: int = 0
    copies: int = 0
    present: int = 0
    destroyed: int = 0
    others: int = 0
    damaged: int = 0
    violations: int = 0
    violations_present: int = 0
    unplaced: int = 0
    examples: list[tuple[str, str]] = field(factory=list)
    replay: Replay = field(factory=Replay)

    @property
    def is_whole(self) -> bool:
        """Whether everything was restored that is not destroyed."""
        return not (self.others or self.damaged or self.unplaced)

    def note(self, name: str, reason: str) -> None:
        """Note what was not restored."""
        if len(self.examples) < _MOST_EXAMPLES:
            self.examples.append((name, reason))

    def progress(self) -> Progress:
        """Return how far the restore has come with the files."""
        done = sum(
            (self.files, self.copies, self.present, self.destroyed, self.others, self.damaged)
        )
        return Progress(done, self.manifest.files, self.size_bytes)


class RestoreSnapshot:
    """Restores snapshots into the catalogue and the stores of one configuration. Safe to repeat."""

    def __init__(
        self,
        *,
        stores: Stores,
        rows: Reconciliation,
        records: RetentionRecords,
        changes: Changes,
        restore_file: RestoreFile,
        apply_events: ApplyEvents,
    ) -> None:
        self._stores = stores
        self._rows = rows
        self._records = records
        self._changes = changes
        self._restore_file = restore_file
        self._apply_events = apply_events

    async def __call__(
        self,
        location: SnapshotLocation,
        name: str,
        report: Report = lambda _progress: None,
        *,
        destroyed: Destroyed,
        dry_run: bool = False,
        only: Collection[FileId] | None = None,
    ) -> Restored:
        """Restore a snapshot; with `dry_run`, only compare it with the catalogue.

        `destroyed` tells what was purged since the snapshot was made, in the catalogue of which it
        is; what this catalogue has purged is never restored. With `only`, these files and their
        violations are restored, and no events are applied.

        Raises (what was restored stays; a repeated call goes on):
            InvalidInput: `name` is not the name of a snapshot.
            NotFound: there is no complete snapshot with this name.
            SnapshotDamaged: the manifest, or a part of the rows, is missing or altered.
            StorageUnavailable, StorageFull: a store takes no files, or the location can't be reached.
            CatalogueUnavailable: the database can't be reached.
        """
        manifest = await location.manifest(name)
        found = Restored(manifest, dry_run)
        for part in manifest.parts_of(PartKind.FILES):
            files = [file_in(line) for line in await location.lines(part)]
            for batch in _batches([one for one in files if only is None or one.file_id in only]):
                await self._files(batch, location, destroyed, found)
                report(found.progress())
        for part in manifest.parts_of(PartKind.VIOLATIONS):
            violations = [violation_in(line) for line in await location.lines(part)]
            wanted = [one for one in violations if only is None or one.metadata_file_id in only]
            for some in _batches(wanted):
                await self._violations(some, found)
        if not dry_run:
            if only is None:
                await self._events(manifest.parts_of(PartKind.EVENTS), location, found)
            await self._stores.recount()
        return found

    async def _files(
        self,
        files: Sequence[StoredFile],
        location: SnapshotLocation,
        destroyed: Destroyed,
        found: Restored,
    ) -> None:
        known = await self._rows.files_by_id([file.file_id for file in files])
        purged = frozenset(await destroyed(files))

        async def restore(file: StoredFile) -> None:
            own = known.get(file.file_id)
            what = fate(file, own, is_destroyed=file.file_id in purged)
            await self._one(file, own, what, location, found)

        await together(*map(restore, files))

    async def _one(
        self,
        file: StoredFile,
        known: StoredFile | None,
        what: Fate,
        location: SnapshotLocation,
        found: Restored,
    ) -> None:
        if what in {Fate.RESTORE, Fate.COPY} and not found.dry_run:
            what = await self._restored(file, known, what, location)
        match what:
            case Fate.RESTORE:
                found.files += 1
                found.size_bytes += file.stored.size_bytes
            case Fate.COPY:
                found.copies += 1
            case Fate.PRESENT:
                found.present += 1
            case Fate.DESTROYED:
                found.destroyed += 1
                found.note(file.file_id, "it was destroyed, and stays so")
            case Fate.OTHER:
                found.others += 1
                found.note(file.file_id, "another file has this id")
            case Fate.DAMAGED:
                found.damaged += 1
                found.note(file.file_id, "the snapshot does not have its bytes intact")

    async def _restored(
        self,
        file: StoredFile,
        known: StoredFile | None,
        what: Fate,
        location: SnapshotLocation,
    ) -> Fate:
        try:
            if await self._restore_file(file, location.body(file), known):
                return what
        except (BlobCorrupt, BlobMissing) as error:
            logger.warning("%s can't be restored: %s", file.file_id, str(error))
            return Fate.DAMAGED
        # Another process was first.
        now = (await self._rows.files_by_id([file.file_id])).get(file.file_id)
        return Fate.PRESENT if now is None else fate(file, now, is_destroyed=False)

    async def _violations(self, violations: Sequence[StoredViolation], found: Restored) -> None:
        if found.dry_run:
            known = await self._rows.violations_by_id([one.violation_id for one in violations])
            found.violations += len(violations) - len(known)
            found.violations_present += len(known)
            return
        for left in reversed(range(_MOST_RACES)):
            rows, known = await self._missing(violations)
            try:
                if rows != ImportRows():
                    await self._changes.apply(rows)
            except IdsTaken:
                # Another process stored or completed one of them meanwhile.
                if not left:
                    raise
                continue
            found.violations += len(rows.violations)
            found.violations_present += len(known)
            restored = {one.violation_id for one in rows.violations}
            for one in violations:
                if one.violation_id not in known and one.violation_id not in restored:
                    found.unplaced += 1
                    found.note(one.violation_id, "its metadata file was not restored")
            return

    async def _missing(
        self, violations: Sequence[StoredViolation]
    ) -> tuple[ImportRows, Mapping[ViolationId, StoredViolation]]:
        """Return the rows to write, and the violations that exist."""
        known = await self._rows.violations_by_id([one.violation_id for one in violations])
        names = {name for one in violations for name in _named(one)}
        files = await self._rows.files_by_id(sorted(names))
        new = [
            naming(one, files)
            for one in violations
            if one.violation_id not in known and one.metadata_file_id in files
        ]
        lacking = (
            _lacking(known[one.violation_id], naming(one, files))
            for one in violations
            if one.violation_id in known
        )
        completed = tuple(one for one in lacking if one[1] or one[2])
        return ImportRows(violations=tuple(new), completed=completed), known

    async def _events(
        self, parts: Iterable[Part], location: SnapshotLocation, found: Restored
    ) -> None:
        in_force = await self._records.rules_in_force()
        # Rules that somebody has entered here are newer than those of the snapshot.
        takes_rules = in_force is None or in_force.change_id is None
        for part in parts:
            note = Note.from_text(await location.part(part))
            events = await self._due(note.events, takes_rules=takes_rules)
            await self._apply_events(evolve(note, events=events), found.replay)
        await self._apply_events.follow_rules(found.replay)

    async def _due(
        self, events: Sequence[RecordedEvent], *, takes_rules: bool
    ) -> tuple[RecordedEvent, ...]:
        """Leave out what was decided otherwise after the snapshot was made."""
        deleted = [
            one.event.file_id
            for one in events
            if one.event.kind is EventKind.TOMBSTONED and one.event.file_id is not None
        ]
        known = await self._rows.files_by_id(deleted)

        def is_due(one: RecordedEvent) -> bool:
            event = one.event
            if event.kind is EventKind.RULES_ENTERED:
                return takes_rules
            if event.kind is not EventKind.TOMBSTONED or event.file_id is None:
                return True
            file = known.get(event.file_id)
            if file is None or file.state is not FileState.AVAILABLE:
                return False
            # A file that was undeleted since is available since that time.
            return file.state_at is None or file.state_at < event.at

        return tuple(filter(is_due, events))


class FindDestroyed:
    """Finds files of a snapshot that a catalogue has purged."""

    def __init__(self, *, rows: Reconciliation) -> None:
        self._rows = rows

    async def __call__(self, files: Collection[StoredFile]) -> Collection[FileId]:
        """Return the ids of those of these files that are purged or being purged.

        Raises:
            CatalogueUnavailable: the database can't be reached.
        """
        known = await self._rows.files_by_id([file.file_id for file in files])
        return [file.file_id for file in files if _is_purged(file, known.get(file.file_id))]


async def nothing_destroyed(_files: Collection[StoredFile]) -> Collection[FileId]:
    """Return nothing: what was purged since is restored, too."""
    return ()


def _is_purged(file: StoredFile, known: StoredFile | None) -> bool:
    if known is None or known.state not in {FileState.PURGING, FileState.PURGED}:
        return False
    return (file.content.sha256, file.created_at) == (known.content.sha256, known.created_at)


def _named(violation: StoredViolation) -> Iterable[FileId]:
    yield violation.metadata_file_id
    if violation.image_file_id is not None:
        yield violation.image_file_id
    if violation.video_file_id is not None:
        yield violation.video_file_id


def _lacking(
    known: StoredViolation, own: StoredViolation
) -> tuple[ViolationId, FileId | None, FileId | None]:
    """Return the image and the video that a known violation lacks."""
    if known.state is not ViolationState.AVAILABLE:
        return known.violation_id, None, None
    image = own.image_file_id if known.image_file_id is None else None
    video = own.video_file_id if known.video_file_id is None else None
    return known.violation_id, image, video


def _batches(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    for begin in range(0, len(rows), _BATCH):
        yield rows[begin : begin + _BATCH]
