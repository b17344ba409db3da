"""The changes of the quarantine in the database."""

from typing_extensions import override

from traffic_storage.adapters.record_repo.sql import reconciliation_statements as statements
from traffic_storage.adapters.record_repo.sql import rows
from traffic_storage.adapters.record_repo.sql.changes.writer import ChangeWriter
from traffic_storage.adapters.record_repo.sql.driver import Driver, Refused, Step, Write
from traffic_storage.adapters.record_repo.sql.reading import CatalogueReader, attempts
from traffic_storage.domain.journal import SetJournalCursor
from traffic_storage.domain.quarantine import (
    BeginRemoval,
    DoubtUndone,
    EnterQuarantine,
    LeaveQuarantine,
    NoteQuarantined,
    Quarantined,
    QuarantineState,
    UndoAttempt,
)
from traffic_storage.domain.reconcile import replica_id_of


class EnterQuarantineWriter(ChangeWriter[EnterQuarantine]):
    """Inserts entries."""

    def __init__(self, driver: Driver, read: CatalogueReader) -> None:
        """Nothing is read."""

    async def write(self, change: EnterQuarantine) -> Write | None:
        return Write((_entering(change.entries),), grows=True) if change.entries else None

    @override
    async def refused(self, change: EnterQuarantine, refused: Refused) -> bool:
        raise refused


class UndoAttemptWriter(ChangeWriter[UndoAttempt]):
    """Deletes the journal entry of an attempt, and inserts its keys as entries."""

    def __init__(self, driver: Driver, read: CatalogueReader) -> None:
        """Nothing is read."""

    async def write(self, change: UndoAttempt) -> Write | None:
        ending = Step(statements.END_CONDEMNED, ((change.attempt,),), 1)
        return Write((ending, _entering(change.entries)), grows=True)

    @override
    async def refused(self, change: UndoAttempt, refused: Refused) -> bool:
        return refused.repeated


class NoteQuarantinedWriter(ChangeWriter[NoteQuarantined]):
    """Replaces what is known of an entry."""

    def __init__(self, driver: Driver, read: CatalogueReader) -> None:
        """Nothing is read."""

    async def write(self, change: NoteQuarantined) -> Write | None:
        entry = change.entry
        row = (*_key(entry), entry.size_bytes, entry.file_id, entry.note)
        return Write((Step(statements.NOTE, (row,), 1),))

    @override
    async def refused(self, change: NoteQuarantined, refused: Refused) -> bool:
        return False


class DoubtUndoneWriter(ChangeWriter[DoubtUndone]):
    """Changes the reason of the entries of undone attempts; inserts those of the other attempts.

    An attempt that begins after the journal was read is no older one, so it need not be known.
    """

    @override
    def __init__(self, driver: Driver, read: CatalogueReader) -> None:
        self._driver = driver

    async def write(self, change: DoubtUndone) -> Write | None:
        entries = change.entries([one async for one in attempts(self._driver)])
        doubting = Step(statements.DOUBT_UNDONE, ((change.store_id,),))
        return Write((*([_entering(entries)] if entries else []), doubting), grows=bool(entries))

    @override
    async def refused(self, change: DoubtUndone, refused: Refused) -> bool:
        raise refused


class BeginRemovalWriter(ChangeWriter[BeginRemoval]):
    """Sets the state of an entry to `removing`."""

    @override
    def __init__(self, driver: Driver, read: CatalogueReader) -> None:
        self._driver = driver

    async def write(self, change: BeginRemoval) -> Write | None:
        row = (*_key(change.entry), replica_id_of(change.entry.key).bytes)
        return Write((Step(statements.BEGIN_REMOVAL, (row,), 1),))

    @override
    async def refused(self, change: BeginRemoval, refused: Refused) -> bool:
        if not refused.repeated:
            return False
        found = await self._driver.read(statements.ENTRY, [_key(change.entry)])
        states = [rows.quarantined_of(row, change.entry.store_id).state for row in found]
        return states == [QuarantineState.REMOVING]


class LeaveQuarantineWriter(ChangeWriter[LeaveQuarantine]):
    """Deletes an entry."""

    def __init__(self, driver: Driver, read: CatalogueReader) -> None:
        """Nothing is read."""

    async def write(self, change: LeaveQuarantine) -> Write | None:
        return Write((Step(statements.LEAVE, (_key(change.entry),), 1),))

    @override
    async def refused(self, change: LeaveQuarantine, refused: Refused) -> bool:
        return refused.repeated


class SetJournalCursorWriter(ChangeWriter[SetJournalCursor]):
    """Replaces the cursor of a journal."""

    def __init__(self, driver: Driver, read: CatalogueReader) -> None:
        """Nothing is read."""

    async def write(self, change: SetJournalCursor) -> Write | None:
        was, becomes = change.was, change.becomes
        row = (was.store_id, was.sequence, was.number, becomes.sequence, becomes.number)
        return Write(
            (
                Step(statements.INSERT_JOURNAL, ((was.store_id,),)),
                Step(statements.SET_JOURNAL, (row,), 1),
            ),
            grows=True,
        )

    @override
    async def refused(self, change: SetJournalCursor, refused: Refused) -> bool:
        return refused.repeated


def _entering(entries: tuple[Quarantined, ...]) -> Step:
    return Step(statements.ENTER, tuple(map(rows.quarantined_row, entries)))


def _key(entry: Quarantined) -> tuple[str, str]:
    return entry.store_id, entry.key
