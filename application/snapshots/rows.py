"""WriteRows: writes all rows of the catalogue, as they are at one moment, into a snapshot location."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from attrs import define, field, frozen

from traffic_storage.domain.database_backup import DatabaseForm
from traffic_storage.domain.deletion import leads
from traffic_storage.domain.digests import sha256_of
from traffic_storage.domain.events import Event, RecordedEvent
from traffic_storage.domain.files import FileState, StoredFile
from traffic_storage.domain.identifiers import CatalogueId, FileId, ViolationId
from traffic_storage.domain.journal import Note
from traffic_storage.domain.rules_in_force import event_of_rules
from traffic_storage.domain.snapshot import MOST_PART_BYTES, Part, PartKind
from traffic_storage.domain.snapshot_rows import (
    event_of_deletion,
    events_of_holds,
    file_line,
    has_bytes,
    is_kept,
    violation_line,
)
from traffic_storage.domain.violation import StoredViolation
from traffic_storage.ports.clock import Clock
from traffic_storage.ports.compressor import Compressor
from traffic_storage.ports.snapshot_store import SnapshotTexts, TextFolder
from traffic_storage.ports.snapshots import Moment, SnapshotRecords
from traffic_storage.ports.spool import Spool
from traffic_storage.ports.store_registry import StoreRegistry

_PAGE = 500
_EVENTS_A_NOTE = 200
_PIECE_BYTES = 2 * 1024 * 1024


@frozen
class WrittenRows:
    """The rows of one moment, as they were written.

    Attributes:
        newest: the latest time of receipt of a file; None if there is no file.
        size_bytes: the stored bytes of all files that have bytes in the snapshot.
    """

    catalogue_id: CatalogueId
    cut_at: datetime
    parts: tuple[Part, ...]
    files: int
    violations: int
    size_bytes: int
    newest: datetime | None
    database: DatabaseForm | None


class WriteRows:
    """Reads the rows in one transaction, and writes them as parts. Parts that exist are reused.

    With `with_database`, a backup of the database, of the same moment, becomes parts too.
    """

    def __init__(
        self,
        *,
        texts: SnapshotTexts,
        records: SnapshotRecords,
        registry: StoreRegistry,
        compressor: Compressor,
        spool: Spool,
        clock: Clock,
        with_database: bool,
    ) -> None:
        self._texts = texts
        self._records = records
        self._registry = registry
        self._compressor = compressor
        self._spool = spool
        self._with_database = with_database
        self._clock = clock

    async def __call__(self) -> WrittenRows:
        """Write the rows as they are now.

        Raises:
            StorageUnavailable: the location can't be reached.
            StorageFull: it has no space.
            CatalogueUnavailable: the database can't be reached.
        """
        catalogue_id = await self._registry.catalogue_id()
        async with self._records.moment() as moment:
            writing = _Writing(moment, self._texts, catalogue_id, self._clock.now())
            await writing.files()
            await writing.violations()
            await writing.decisions()
            if self._with_database:
                await writing.database(self._compressor, self._spool)
        return writing.written()


@define
class _Parts:
    """Lines of one kind, which become parts."""

    texts: SnapshotTexts
    kind: PartKind
    written: list[Part] = field(factory=list)
    _lines: list[bytes] = field(factory=list)
    _size_bytes: int = 0

    async def add(self, line: bytes) -> None:
        self._lines.append(line)
        self._size_bytes += len(line) + 1
        if self._size_bytes >= MOST_PART_BYTES:
            await self.flush()

    async def flush(self) -> None:
        if self._lines:
            lines, self._lines, self._size_bytes = self._lines, [], 0
            await self.put(b"\n".join(lines) + b"\n")

    async def put(self, text: bytes) -> None:
        part = Part(self.kind, sha256_of(text), len(text))
        await self.texts.put_text(TextFolder.ROWS, part.sha256, text)
        self.written.append(part)


@define
class _Pieces:
    """Bytes of one stream, which become compressed parts: `zstd -d` expands all of them together."""

    texts: SnapshotTexts
    compressor: Compressor
    spool: Spool
    written: list[Part] = field(factory=list)
    _buffer: bytearray = field(factory=bytearray)

    async def add(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= _PIECE_BYTES:
            await self._put(bytes(self._buffer[:_PIECE_BYTES]))
            del self._buffer[:_PIECE_BYTES]

    async def flush(self) -> None:
        if self._buffer:
            await self._put(bytes(self._buffer))
            self._buffer.clear()

    async def _put(self, content: bytes) -> None:
        whole = (await self.spool.wrap(content)).digests
        body = await self.compressor.compress(content)
        part = Part(PartKind.DATABASE, body.digests.sha256, body.digests.size_bytes, whole)
        await self.texts.put_text(TextFolder.ROWS, part.sha256, body.data)
        self.written.append(part)


@define
class _Writing:
    """The rows of one moment while they are written."""

    moment: Moment
    texts: SnapshotTexts
    catalogue_id: CatalogueId
    cut_at: datetime
    file_count: int = 0
    violation_count: int = 0
    size_bytes: int = 0
    newest: datetime | None = None
    parts: list[Part] = field(factory=list)
    _events: list[Event] = field(factory=list)
    _notes: list[Part] = field(factory=list)
    _database: DatabaseForm | None = None

    async def files(self) -> None:
        """Write the lines of files, and the events of those that are deleted."""
        lines = _Parts(self.texts, PartKind.FILES)
        after: FileId | None = None
        while page := await self.moment.files(after, _PAGE):
            for file in filter(has_bytes, page):
                await lines.add(file_line(file))
                self._count(file)
            await self._tell(await self._deletions(page))
            after = page[-1].file_id
        await lines.flush()
        self.parts += lines.written

    async def violations(self) -> None:
        """Write the lines of violations."""
        lines = _Parts(self.texts, PartKind.VIOLATIONS)
        after: ViolationId | None = None
        while page := await self.moment.violations(after, _PAGE):
            for violation in filter(is_kept, page):
                await lines.add(violation_line(violation))
                self.violation_count += 1
            after = page[-1].violation_id
        await lines.flush()
        self.parts += lines.written

    async def decisions(self) -> None:
        """Write the events of holds and rules; those of deletions come before them.

        A file that was held after its deletion could not be deleted while it is held.
        """
        after = None
        while page := await self.moment.holds(after, _PAGE):
            await self._tell(events_of_holds(page))
            after = page[-1].hold_id
        rules = await self.moment.rules_in_force()
        await self._tell([] if rules is None else [event_of_rules(rules)])
        await self._flush_events()
        self.parts += self._notes

    async def database(self, compressor: Compressor, spool: Spool) -> None:
        """Write the pieces of a backup of the database."""
        pieces = _Pieces(self.texts, compressor, spool)
        self._database = await self.moment.copy_database(pieces.add)
        await pieces.flush()
        self.parts += pieces.written

    def written(self) -> WrittenRows:
        """Return what was written."""
        return WrittenRows(
            self.catalogue_id,
            self.cut_at,
            tuple(self.parts),
            self.file_count,
            self.violation_count,
            self.size_bytes,
            self.newest,
            self._database,
        )

    def _count(self, file: StoredFile) -> None:
        self.file_count += 1
        self.size_bytes += file.stored.size_bytes
        self.newest = max(self.newest or file.created_at, file.created_at)

    async def _deletions(self, page: Iterable[StoredFile]) -> Sequence[Event]:
        deleted = [file for file in page if file.state is not FileState.AVAILABLE]
        names = [file.file_id for file in deleted]
        deletions = await self.moment.deletions(names)
        certificates = await self.moment.certificates(names)
        violations = await self._violations_of(deleted)
        told = (
            event_of_deletion(
                file,
                deletions.get(file.file_id),
                certificates.get(file.file_id),
                _led(file, violations),
            )
            for file in deleted
        )
        return [event for event in told if event is not None]

    async def _violations_of(
        self, files: Iterable[StoredFile]
    ) -> Mapping[ViolationId, StoredViolation]:
        named = {file.violation_id for file in files if file.violation_id is not None}
        return await self.moment.violations_by_id(sorted(named))

    async def _tell(self, events: Sequence[Event]) -> None:
        self._events += events
        if len(self._events) >= _EVENTS_A_NOTE:
            await self._flush_events()

    async def _flush_events(self) -> None:
        notes = _Parts(self.texts, PartKind.EVENTS)
        events, self._events = self._events, []
        for begin in range(0, len(events), _EVENTS_A_NOTE):
            number = len(self._notes) + len(notes.written) + 1
            part = events[begin : begin + _EVENTS_A_NOTE]
            numbered = tuple(RecordedEvent(place, one) for place, one in enumerate(part, 1))
            await notes.put(Note(number, self.catalogue_id, numbered).to_text())
        self._notes += notes.written


def _led(
    file: StoredFile, violations: Mapping[ViolationId, StoredViolation]
) -> StoredViolation | None:
    """Return the violation whose metadata file a file is."""
    violation = violations.get(file.violation_id) if file.violation_id else None
    return violation if leads(file, violation) else None
