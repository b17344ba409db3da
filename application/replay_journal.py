"""ReplayJournal: applies the journal beside the blobs to a catalogue that lacks what it tells.

The notes behind the catalogue's cursor are applied: all of them to an empty catalogue, those of the
lost time to one that was restored from a backup. Each store has a copy of the journal; the most
advanced one is read.
"""

import logging
from collections.abc import AsyncGenerator
from datetime import datetime, timedelta

from attrs import define, evolve, field

from traffic_storage.application.stores import Stores
from traffic_storage.domain.deletion import Tombstone
from traffic_storage.domain.errors import InvalidInput, StorageUnavailable
from traffic_storage.domain.files import FileState
from traffic_storage.domain.holds import PlaceHold, ReleaseHold
from traffic_storage.domain.identifiers import CatalogueId, StoreId
from traffic_storage.domain.journal import Note, SetJournalCursor, note_name, replayed
from traffic_storage.ports.blob_store import closing
from traffic_storage.ports.changes import Changes
from traffic_storage.ports.clock import Clock
from traffic_storage.ports.reconciliation import Reconciliation

logger = logging.getLogger("traffic_storage.journal")

GRACE = timedelta(days=1)
"""Nothing is purged so soon after it was marked as deleted again: holds and undeletes follow."""


@define
class Replay:
    """What was applied: changes of holds, and deletions and undeletes of files.

    `unreadable` has the notes that are damaged, each with its store.
    """

    holds: int = 0
    deletions: int = 0
    unreadable: list[tuple[StoreId, str]] = field(factory=list)


@define
class _Reach:
    """How far the copy of a catalogue's events in one store reaches."""

    store_id: StoreId
    sequence: int
    begun_at: datetime


class ReplayJournal:
    """Applies what the journals of the stores tell. Safe to repeat."""

    def __init__(
        self, *, stores: Stores, rows: Reconciliation, changes: Changes, clock: Clock
    ) -> None:
        self._stores = stores
        self._rows = rows
        self._changes = changes
        self._clock = clock

    async def __call__(self) -> Replay:
        """Apply the notes that this catalogue does not know, in their order.

        Raises:
            StorageUnavailable: a store can't be reached.
            CatalogueUnavailable: the database can't be reached.
        """
        found = Replay()
        reach: dict[CatalogueId, _Reach] = {}
        last: dict[StoreId, int] = {}
        for bound in self._stores:
            if bound.store_id is not None and bound.trusted:
                last[bound.store_id] = await self._survey(bound.store_id, reach, found)
        for catalogue_id in sorted(reach, key=lambda one: reach[one].begun_at):
            await self._apply_all(reach[catalogue_id].store_id, catalogue_id, found)
        for store_id, number in last.items():
            await self._pass_over(store_id, number)
        return found

    async def _survey(
        self, store_id: StoreId, reach: dict[CatalogueId, _Reach], found: Replay
    ) -> int:
        """Find out which store has most of each catalogue's events; return the last number."""
        number = (await self._rows.journal_cursor(store_id)).number
        async with closing(self._notes(store_id)) as notes:
            async for number, note in notes:
                if note is None:
                    found.unreadable.append((store_id, note_name(number)))
                elif note.events:
                    first, last = note.events[0], note.events[-1]
                    known = reach.setdefault(
                        note.catalogue_id, _Reach(store_id, last.sequence, first.event.at)
                    )
                    if last.sequence > known.sequence:
                        known.store_id, known.sequence = store_id, last.sequence
        return number

    async def _apply_all(self, store_id: StoreId, catalogue_id: CatalogueId, found: Replay) -> None:
        async with closing(self._notes(store_id)) as notes:
            async for _, note in notes:
                if note is not None and note.catalogue_id == catalogue_id:
                    await self._apply(note, found)

    async def _notes(self, store_id: StoreId) -> AsyncGenerator[tuple[int, Note | None], None]:
        """Yield the notes behind the cursor; None instead of one that is unreadable."""
        store = self._stores.trusted(store_id)
        number = (await self._rows.journal_cursor(store_id)).number + 1
        while (text := await store.note(note_name(number))) is not None:
            yield number, _parsed(text, note_name(number), store_id)
            number += 1

    async def _apply(self, note: Note, found: Replay) -> None:
        for recorded in note.events:
            change = replayed(recorded.event)
            if change is None:
                continue
            if isinstance(change, Tombstone):
                found.deletions += await self._delete(change)
            elif isinstance(change, PlaceHold | ReleaseHold):
                found.holds += await self._changes.apply(change)
            else:
                found.deletions += await self._changes.apply(change)

    async def _delete(self, change: Tombstone) -> bool:
        """Mark a file as deleted, if the catalogue has it, whatever its retention is by now."""
        (file_id,) = change.file_ids
        file = (await self._rows.files_by_id([file_id])).get(file_id)
        if file is None or file.state is not FileState.AVAILABLE:
            return False
        earliest = self._clock.now() + GRACE
        later = evolve(change, purge_after=max(change.purge_after, earliest))
        if await self._changes.apply(later):
            return True
        return await self._changes.apply(evolve(later, override=True))

    async def _pass_over(self, store_id: StoreId, number: int) -> None:
        """Record that the notes up to a number were applied."""
        cursor = await self._rows.journal_cursor(store_id)
        if number > cursor.number:
            becomes = evolve(cursor, number=number)
            if not await self._changes.apply(SetJournalCursor(cursor, becomes)):
                raise StorageUnavailable(
                    f"another process writes the journal of {store_id}", remedy="rebuild again"
                )


def _parsed(text: bytes, name: str, store_id: StoreId) -> Note | None:
    try:
        return Note.from_text(text)
    except InvalidInput as error:
        logger.warning("the note %s of %s is damaged: %s", name, store_id, str(error))
        return None
