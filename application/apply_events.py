"""ApplyEvents: applies events of holds, deletions, purges, labels and retention rules to a catalogue.

The events come from the journal beside the blobs (`ReplayJournal`), or from a snapshot. Each change
is compare-and-set, so that it does no harm to apply an event again.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from itertools import groupby

from attrs import define, evolve, field

from traffic_storage.application.rules_in_force import recomputation
from traffic_storage.domain.deletion import Tombstone, Undelete, is_named_by
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.events import Event
from traffic_storage.domain.files import FileState, StoredFile
from traffic_storage.domain.holds import PlaceHold, ReleaseHold
from traffic_storage.domain.identifiers import FileId, StoreId
from traffic_storage.domain.journal import Note, replayed, retention_then
from traffic_storage.domain.labels import AddedLabels
from traffic_storage.domain.purged_rows import RestorePurged
from traffic_storage.domain.rules_in_force import EnterRules, Regrant, Regranted, RulesRevision
from traffic_storage.ports.changes import Changes
from traffic_storage.ports.clock import Clock, Ids
from traffic_storage.ports.errors import CatalogueUnavailable
from traffic_storage.ports.reconciliation import Reconciliation
from traffic_storage.ports.retention import RetentionRecords

logger = logging.getLogger("traffic_storage.journal")

GRACE = timedelta(days=1)
"""Nothing is purged so soon after it was marked as deleted again: holds and undeletes follow."""

_AT_ONCE = 64
_MOST_RACES = 20


@define
class Replay:
    """What was applied: changes of holds, deletions and undeletes of files, purges, labels, rules.

    `unreadable` has the notes that are damaged or missing, each with its store; `others` the ids of
    files that were left alone because a deletion or a label concerns another file with their id.
    """

    holds: int = 0
    deletions: int = 0
    purged: int = 0
    rules: int = 0
    labels: int = 0
    unreadable: list[tuple[StoreId, str]] = field(factory=list)
    others: list[FileId] = field(factory=list)
    last_rules: RulesRevision | None = None


class ApplyEvents:
    """Applies events to the catalogue. Safe to repeat."""

    def __init__(
        self,
        *,
        rows: Reconciliation,
        records: RetentionRecords,
        changes: Changes,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._rows = rows
        self._records = records
        self._changes = changes
        self._clock = clock
        self._ids = ids

    async def __call__(self, note: Note, found: Replay) -> bool:
        """Apply the events of a note; return whether all of them could be read.

        Neighbours of one kind are applied at the same time, in their order if they concern the same
        violation. So the database writes them as groups.

        Raises:
            CatalogueUnavailable: the database can't be reached.
        """
        slots = asyncio.Semaphore(_AT_ONCE)
        unreadable: list[Event] = []

        async def apply(events: Sequence[Event]) -> None:
            for event in events:
                async with slots:
                    try:
                        await self._apply_one(event, found)
                    except InvalidInput as error:
                        logger.warning("the note %s: %s", note.name, str(error))
                        unreadable.append(event)

        for _, neighbours in groupby((one.event for one in note.events), lambda one: one.kind):
            by_subject: defaultdict[str | None, list[Event]] = defaultdict(list)
            for event in neighbours:
                by_subject[event.violation_id or event.file_id].append(event)
            ended = await asyncio.gather(*map(apply, by_subject.values()), return_exceptions=True)
            for error in ended:
                if error is not None:
                    raise error
        return not unreadable

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
            case AddedLabels():
                is_applied = await self._label(change, event, found)
                found.labels += is_applied
            case EnterRules():
                found.last_rules = change.entered
                is_applied = await self._enter(change)
                found.rules += is_applied
            case PlaceHold() | ReleaseHold():
                is_applied = await self._changes.apply(change)
                found.holds += is_applied
            case None:
                pass

    async def _label(self, told: AddedLabels, event: Event, found: Replay) -> bool:
        """Add labels to a file that lacks them, if the catalogue has it."""
        for _ in range(_MOST_RACES):
            file = await self._named(event, found)
            change = told.change(file) if file is not None else None
            if change is None:
                return False
            # False: its other labels, told of by another event, are added at the same time.
            if await self._changes.apply(change):
                return True
        raise CatalogueUnavailable(
            f"other changes of {told.file_id} came first each time", remedy="try again"
        )

    async def _enter(self, change: EnterRules) -> bool:
        """Put rules in force, unless the catalogue has rules with this or a higher number."""
        known = await self._records.rules_in_force()
        if known is not None and known.revision >= change.entered.revision:
            return False
        return await self._changes.apply(change)

    async def follow_rules(self, found: Replay) -> None:
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
        """Return the file that an event of a deletion, an undelete or a label concerns, if any."""
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
                "the journal tells of another file with the id %s; this one stays as it is",
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
