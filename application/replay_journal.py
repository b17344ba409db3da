"""ReplayJournal: applies the journal beside the blobs to a catalogue that lacks what it tells.

The notes behind the catalogue's cursor are applied: all of them to an empty catalogue, those of the
lost time to one that was restored from a backup. Each store has a copy of the journal; the most
advanced one is read.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime, timedelta
from itertools import groupby

from attrs import define, evolve, field

from traffic_storage.application.rules_in_force import recomputation
from traffic_storage.application.stores import Stores
from traffic_storage.domain.deletion import Tombstone, Undelete, is_named_by
from traffic_storage.domain.errors import InvalidInput, StorageUnavailable
from traffic_storage.domain.events import Event
from traffic_storage.domain.files import FileState, StoredFile
from traffic_storage.domain.holds import PlaceHold, ReleaseHold
from traffic_storage.domain.identifiers import CatalogueId, FileId, StoreId
from traffic_storage.domain.journal import (
    Note,
    SetJournalCursor,
    note_name,
    replayed,
    retention_then,
)
from traffic_storage.domain.purged_rows import RestorePurged
from traffic_storage.domain.rules_in_force import EnterRules, Regrant, Regranted, RulesRevision
from traffic_storage.ports.blob_store import closing
from traffic_storage.ports.changes import Changes
from traffic_storage.ports.clock import Clock, Ids
from traffic_storage.ports.concurrency import together
from traffic_storage.ports.reconciliation import Reconciliation
from traffic_storage.ports.retention import RetentionRecords
from traffic_storage.ports.store_identity import MarkedBlobStore

logger = logging.getLogger("traffic_storage.journal")

GRACE = timedelta(days=1)
"""Nothing is purged so soon after it was marked as deleted again: holds and undeletes follow."""


_AT_ONCE = 64
_LOOKED_AHEAD = 100
"""So many numbers behind a missing note are looked up, to tell a lost note from the end."""


@define
class Replay:
    """What was applied: changes of holds, deletions and undeletes of files, purges, rules.

    `unreadable` has the notes that are damaged or missing, each with its store; `others` the ids of
    files that were left alone because a deletion concerns another file with their id.
    """

    holds: int = 0
    deletions: int = 0
    purged: int = 0
    rules: int = 0
    unreadable: list[tuple[StoreId, str]] = field(factory=list)
    others: list[FileId] = field(factory=list)
    last_rules: RulesRevision | None = None


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
        records: RetentionRecords,
        changes: Changes,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._stores = stores
        self._rows = rows
        self._records = records
        self._changes = changes
        self._clock = clock
        self._ids = ids

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
        await self._follow_rules(found)
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
                await self._apply(note, store_id, found)

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

    async def _apply(self, note: Note, store_id: StoreId, found: Replay) -> None:
        """Apply the events of a note: neighbours of one kind at the same time, in their order if
        they concern the same violation. So the database writes them as groups.
        """
        slots = asyncio.Semaphore(_AT_ONCE)

        async def apply(events: Sequence[Event]) -> None:
            for event in events:
                async with slots:
                    try:
                        await self._apply_one(event, found)
                    except InvalidInput as error:
                        logger.warning("the note %s of %s: %s", note.name, store_id, str(error))
                        if (store_id, note.name) not in found.unreadable:
                            found.unreadable.append((store_id, note.name))

        for _, neighbours in groupby((one.event for one in note.events), lambda one: one.kind):
            by_subject: defaultdict[str | None, list[Event]] = defaultdict(list)
            for event in neighbours:
                by_subject[event.violation_id or event.file_id].append(event)
            ended = await asyncio.gather(*map(apply, by_subject.values()), return_exceptions=True)
            for error in ended:
                if error is not None:
                    raise error

    async def _apply_one(self, event: Event, found: Replay) -> None:
        # A count is read after the wait, because others count meanwhile.
        match change := replayed(event):
            case Tombstone():
                is_applied = await self._delete(change, event, found)
                found.deletions += is_applied
            case Undelete():
                is_applied = await self._undelete(change, event, found)
                found.deletions += is_applied
            case RestorePurged():
                is_applied = await self._changes.apply(change)
                found.purged += is_applied
                if not is_applied:
                    await self._note_other(change, found)
            case EnterRules():
                found.last_rules = change.entered
                is_applied = await self._enter(change)
                found.rules += is_applied
            case PlaceHold() | ReleaseHold():
                is_applied = await self._changes.apply(change)
                found.holds += is_applied
            case None:
                pass

    async def _enter(self, change: EnterRules) -> bool:
        """Put rules in force, unless the catalogue has rules with this or a higher number."""
        known = await self._records.rules_in_force()
        if known is not None and known.revision >= change.entered.revision:
            return False
        return await self._changes.apply(change)

    async def _follow_rules(self, found: Replay) -> None:
        """Let all files follow the last rules in the journal, or newer ones of this catalogue.

        A manifest has the retention of the time at which its file was stored. The first rules of a
        new catalogue are those of its settings, and not necessarily the first ones in the journal.
        """
        last, known = found.last_rules, await self._records.rules_in_force()
        if last is None:
            return
        if known is None or (known.revision <= last.revision and known.rules != last.rules):
            number = known.revision + 1 if known else last.revision
            last = evolve(last, revision=number)
            found.rules += await self._changes.apply(EnterRules(last))
            known = last
        job = recomputation(self._ids.uuid7(), known.revision)
        await self._changes.apply(Regrant((), (job,)))

    async def _undelete(self, change: Undelete, event: Event, found: Replay) -> bool:
        if await self._named(event, found) is None:
            return False
        is_applied = await self._changes.apply(change)
        file = await self._named(event, found)
        # Not applied: perhaps before an interruption that the retention was not granted after.
        if file is not None and (is_applied or file.state_at == change.at):
            await self._regrant(file.file_id, event)
        return is_applied

    async def _regrant(self, file_id: FileId, event: Event) -> None:
        """Give an available file the retention that it had when the event was recorded."""
        file = (await self._rows.files_by_id([file_id])).get(file_id)
        keep_until, rule = retention_then(event)
        if file is not None and (file.keep_until, file.retention_rule) != (keep_until, rule):
            regranted = Regranted(file_id, file.keep_until, keep_until, rule)
            await self._changes.apply(Regrant((regranted,)))

    async def _named(self, event: Event, found: Replay) -> StoredFile | None:
        """Return the file that an event of a deletion or an undelete concerns, if there is one."""
        if event.file_id is None:
            return None
        file = (await self._rows.files_by_id([event.file_id])).get(event.file_id)
        if file is None:
            return None
        try:
            is_named = is_named_by(event, file)
        except LookupError as error:
            raise InvalidInput.of(
                "note", f"an event {event.kind} is incomplete: {error}"
            ) from error
        if not is_named:
            self._leave(file.file_id, found)
            return None
        return file

    async def _note_other(self, change: RestorePurged, found: Replay) -> None:
        """Note a file that has the id of a purged one, and is another."""
        known = (await self._rows.files_by_id([change.file.file_id])).get(change.file.file_id)
        if known is not None and known.state is not FileState.PURGED:
            self._leave(known.file_id, found)

    def _leave(self, file_id: FileId, found: Replay) -> None:
        if file_id not in found.others:
            logger.warning(
                "the journal tells of a deletion of another file with the id %s; this one stays",
                file_id,
            )
            found.others.append(file_id)

    async def _delete(self, change: Tombstone, event: Event, found: Replay) -> bool:
        """Mark a file as deleted, if the catalogue has it, whatever its retention is by now."""
        file = await self._named(event, found)
        if file is None or file.state is not FileState.AVAILABLE:
            return False
        await self._regrant(file.file_id, event)
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
