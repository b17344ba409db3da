"""ReplayJournal: applies the journal beside the blobs to a catalogue that lacks what it tells.

The notes behind the catalogue's cursor are applied: all of them to an empty catalogue, those of the
lost time to one that was restored from a backup. Each store has a copy of the journal; the most
advanced one is read.
"""

import logging
from collections.abc import AsyncGenerator
from datetime import datetime

from attrs import define, evolve

from traffic_storage.application.apply_events import ApplyEvents, Replay
from traffic_storage.application.stores import Stores
from traffic_storage.domain.errors import InvalidInput, StorageUnavailable
from traffic_storage.domain.identifiers import CatalogueId, StoreId
from traffic_storage.domain.journal import (
    Note,
    SetJournalCursor,
    note_name,
)
from traffic_storage.ports.blob_store import closing
from traffic_storage.ports.changes import Changes
from traffic_storage.ports.concurrency import together
from traffic_storage.ports.reconciliation import Reconciliation
from traffic_storage.ports.store_identity import MarkedBlobStore

logger = logging.getLogger("traffic_storage.journal")

_LOOKED_AHEAD = 100
"""So many numbers behind a missing note are looked up, to tell a lost note from the end."""


@define
class _Reach:
    """How far the copy of a catalogue's events in one store reaches."""

    store_id: StoreId
    sequence: int
    begun_at: datetime


class ReplayJournal:
    """Applies what the journals of the stores tell. Safe to repeat."""

    def __init__(
        self,
        *,
        stores: Stores,
        rows: Reconciliation,
        changes: Changes,
        apply: ApplyEvents,
    ) -> None:
        self._stores = stores
        self._rows = rows
        self._changes = changes
        self._apply = apply

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
        damaged = {store_id for store_id, _ in found.unreadable}
        for catalogue_id in sorted(reach, key=lambda one: reach[one].begun_at):
            first = reach[catalogue_id].store_id
            # What a damaged copy lacks is in another one; what was applied has no effect again.
            others = [one for one in last if one != first] if first in damaged else []
            for store_id in (first, *others):
                await self._apply_all(store_id, catalogue_id, found)
        await self._apply.follow_rules(found)
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
                if note is None or note.catalogue_id != catalogue_id:
                    continue
                if not await self._apply(note, found):
                    damaged = store_id, note.name
                    found.unreadable += [] if damaged in found.unreadable else [damaged]

    async def _notes(self, store_id: StoreId) -> AsyncGenerator[tuple[int, Note | None], None]:
        """Yield the notes behind the cursor; None instead of one that is unreadable or missing."""
        store = self._stores.trusted(store_id)
        number = (await self._rows.journal_cursor(store_id)).number + 1
        while True:
            if (text := await store.note(note_name(number))) is not None:
                yield number, _parsed(text, note_name(number), store_id)
            elif await self._has_notes_behind(store, number):
                logger.warning("the note %s of %s is missing", note_name(number), store_id)
                yield number, None
            else:
                return
            number += 1

    async def _has_notes_behind(self, store: MarkedBlobStore, number: int) -> bool:
        names = [note_name(number + ahead) for ahead in range(1, _LOOKED_AHEAD + 1)]
        return any(text is not None for text in await together(*map(store.note, names)))

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
