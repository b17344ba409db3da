"""ExportJournal: copies events about holds and deletions into the stores, beside the blobs."""

import asyncio
import logging

from attrs import evolve

from traffic_storage.application.stores import Stores
from traffic_storage.application.worker import Outcome, Report
from traffic_storage.domain.errors import InvalidInput, StorageUnavailable, TrafficStorageError
from traffic_storage.domain.events import RecordedEvent
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.jobs import Done, JobKind, Progress, Run
from traffic_storage.domain.journal import (
    JOURNALED,
    MAX_NOTE_BYTES,
    JournalCursor,
    Note,
    SetJournalCursor,
)
from traffic_storage.ports.changes import Changes
from traffic_storage.ports.errors import BlobConflict
from traffic_storage.ports.outbox import Outbox
from traffic_storage.ports.reconciliation import Reconciliation
from traffic_storage.ports.store_registry import StoreRegistry

logger = logging.getLogger("traffic_storage.journal")

JOURNAL = JobKind("journal")
BATCH = 500
_SECONDS = 5.0


class ExportJournal:
    """Writes new events into the journal of a store. Concurrent and repeated runs do no harm."""

    def __init__(
        self,
        *,
        stores: Stores,
        rows: Reconciliation,
        outbox: Outbox,
        registry: StoreRegistry,
        changes: Changes,
    ) -> None:
        self._stores = stores
        self._rows = rows
        self._outbox = outbox
        self._registry = registry
        self._changes = changes

    async def __call__(self, store_id: StoreId) -> int:
        """Write all events that the journal of a store lacks; return their number.

        Raises:
            StorageUnavailable: the store is not trusted or can't be reached, or its journal has notes
                that were not applied to this catalogue.
            StorageFull: the store or the database has no space.
            CatalogueUnavailable: the database can't be reached.
        """
        await self._stores.confirm(store_id)
        exported = 0
        while True:
            cursor = await self._rows.journal_cursor(store_id)
            events = await self._outbox.events(cursor.sequence, BATCH)
            if not events:
                return exported
            wanted = tuple(one for one in events if one.event.kind in JOURNALED)
            becomes = evolve(cursor, sequence=events[-1].sequence)
            if wanted:
                becomes = await self._write(becomes, wanted)
            if await self._changes.apply(SetJournalCursor(cursor, becomes)):
                exported += sum(one.sequence <= becomes.sequence for one in wanted)

    async def everywhere(self) -> None:
        """Write the journals of all stores of this process, as far as that succeeds in a few seconds.

        What is left is written by the next job.
        """
        for bound in self._stores:
            if bound.store_id is None or not bound.trusted:
                continue
            try:
                async with asyncio.timeout(_SECONDS):
                    await self(bound.store_id)
            except (TimeoutError, TrafficStorageError) as error:
                logger.warning(
                    "the journal of %s can't be written now; this is tried again: %s",
                    bound.store.location,
                    str(error) or "it takes too long",
                )

    async def run(self, run: Run, _report: Report) -> Outcome:
        """Do a job of the kind `JOURNAL`, for the store in its argument `store_id`."""
        return Outcome(Done(Progress(await self(StoreId(str(run.arguments["store_id"]))))))

    async def _write(
        self, cursor: JournalCursor, events: tuple[RecordedEvent, ...]
    ) -> JournalCursor:
        """Write a note under the next number, with as many events as it can hold; return the cursor
        behind the last of them, or behind all events if it has them all.

        A note that exists is one that this catalogue has written, before a crash or just now. Any
        other one was not applied to this catalogue, and passing over it would lose what it tells:
        nothing is written before a rebuild has applied it.
        """
        store = self._stores.trusted(cursor.store_id)
        catalogue_id = await self._registry.catalogue_id()
        number = cursor.number + 1
        note = Note(number, catalogue_id, events)
        while len(text := note.to_text()) > MAX_NOTE_BYTES and len(note.events) > 1:
            note = evolve(note, events=note.events[: len(note.events) // 2])
            cursor = evolve(cursor, sequence=note.events[-1].sequence)
        try:
            await store.put_note(note.name, text)
        except BlobConflict as error:
            known = _parsed(await store.note(note.name))
            if known is None or not (known.is_begin_of(note) or note.is_begin_of(known)):
                raise StorageUnavailable(
                    f"the journal of {cursor.store_id} has the note {note.name}, which was not applied "
                    "to this catalogue",
                    remedy="run `traffic-storage rebuild`, which applies it",
                ) from error
            return evolve(cursor, sequence=known.events[-1].sequence, number=number)
        return evolve(cursor, number=number)


def _parsed(text: bytes | None) -> Note | None:
    try:
        return None if text is None else Note.from_text(text)
    except InvalidInput:
        return None
