"""Storing many units with one journal entry and one commit: the write path of bulk loads.

Only what is new and goes well is stored together. A unit of which something is stored already, and all
units of a try that failed, are stored one by one by `StoreUnit`, which decides what becomes of each.
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import TypeAlias

from attrs import frozen

from traffic_storage.application.drafts import Draft, DraftUnit
from traffic_storage.application.sealing import Sealing
from traffic_storage.application.store_unit import (
    NOT_PUBLISHED,
    PlacedFiles,
    StoredUnit,
    StoreUnit,
    lacks_labels,
    missing_drafts,
    place_of,
    rows_of,
)
from traffic_storage.application.stores import PutSlots, Stores
from traffic_storage.domain.changes import CommitUnits
from traffic_storage.domain.errors import (
    StorageFull,
    StorageUnavailable,
    TrafficStorageError,
)
from traffic_storage.domain.files import StoredFile
from traffic_storage.domain.identifiers import FileId, StoreId
from traffic_storage.domain.ingest import Attempt, ClaimedIds, ExistingRows, Unit
from traffic_storage.domain.manifest import manifest_of
from traffic_storage.domain.seal import Sealed
from traffic_storage.ports.blob_store import NewBlob
from traffic_storage.ports.changes import Changes
from traffic_storage.ports.errors import AttemptCondemned, CatalogueUnavailable, IdsTaken
from traffic_storage.ports.ingest_journal import IngestJournal
from traffic_storage.ports.reconciliation import Reconciliation

MOST_BLOBS_A_WRITE = 64
"""The number of blobs that one write of a store takes at most."""
_WRITES_AT_ONCE = 4

UnitResult: TypeAlias = StoredUnit | TrafficStorageError


class _NotTogether(Exception):
    """The units could not be stored together; nothing of them is visible."""


@frozen
class _Together:
    """The new units of one try, with the rows of their files."""

    units: Sequence[DraftUnit]
    placed: PlacedFiles
    rows: Sequence[Unit]

    @property
    def files(self) -> Sequence[StoredFile]:
        """The rows of all files."""
        return [file for unit in self.rows for file in unit.files]

    @property
    def drafts(self) -> Iterable[Draft]:
        """What is stored, file by file."""
        return (draft for unit in self.units for draft in unit.drafts)


class StoreUnits:
    """Stores many files and violations; each completely or not at all, and only once.

    What is stored is durable when the call returns. No two of the units have an id in common.
    """

    def __init__(
        self,
        *,
        store_unit: StoreUnit,
        stores: Stores,
        journal: IngestJournal,
        changes: Changes,
        recorded: Reconciliation,
        sealing: Sealing,
    ) -> None:
        self._store_unit = store_unit
        self._stores = stores
        self._journal = journal
        self._changes = changes
        self._recorded = recorded
        self._sealing = sealing

    async def __call__(self, units: Sequence[DraftUnit]) -> Sequence[UnitResult]:
        """Store units; return for each, in their order, its rows, or why it was refused.

        Raises (any of the units may be stored; a repetition finds out):
            CatalogueUnavailable: the database can't be reached.
            StorageFull: the database has no space.
        """
        results: dict[int, UnitResult] = {}
        existing = await self._existing(units)
        new: list[int] = []
        single: list[int] = []
        for number, (unit, known) in enumerate(zip(units, existing, strict=True)):
            if not known:
                new.append(number)
            elif result := self._known(unit, known):
                results[number] = result
            else:
                single.append(number)
        try:
            stored = await self._new([units[number] for number in new])
            results |= dict(zip(new, stored, strict=True))
        except (_NotTogether, Sealed):
            single += new
        for number in sorted(single):
            results[number] = await self._alone(units[number])
        return [results[number] for number in range(len(units))]

    async def _existing(self, units: Sequence[DraftUnit]) -> Sequence[ExistingRows]:
        files, violations = await asyncio.gather(
            self._recorded.files_by_id([draft.file_id for unit in units for draft in unit.drafts]),
            self._recorded.violations_by_id(
                [unit.violation.violation_id for unit in units if unit.violation]
            ),
        )
        return [
            ExistingRows(
                {one.file_id: files[one.file_id] for one in unit.drafts if one.file_id in files},
                violations.get(unit.violation.violation_id) if unit.violation else None,
            )
            for unit in units
        ]

    def _known(self, unit: DraftUnit, existing: ExistingRows) -> UnitResult | None:
        """Return the result of a unit that is stored already, or in conflict; None if it lacks some.

        What it lacks may be labels.
        """
        try:
            missing = missing_drafts(unit, existing)
        except TrafficStorageError as error:
            return error
        if missing or lacks_labels(unit, existing.files):
            return None
        return self._store_unit.existing_unit(existing)

    async def _alone(self, unit: DraftUnit) -> UnitResult:
        try:
            return await self._store_unit(unit)
        except CatalogueUnavailable:
            raise
        except TrafficStorageError as error:
            return error

    async def _new(self, units: Sequence[DraftUnit]) -> Sequence[UnitResult]:
        """Store units of which nothing is stored yet; return a result for each.

        Raises:
            _NotTogether, Sealed: nothing of them was stored.
        """
        if not units:
            return ()
        await self._sealing.check()
        placed: list[PlacedFiles | TrafficStorageError] = []
        kept: Collection[FileId] = ()
        try:
            for unit in units:
                placed += [await self._placed(unit)]
            pairs = zip(units, placed, strict=True)
            together = _together([(u, one) for u, one in pairs if isinstance(one, PlacedFiles)])
            await self._store(together)
            kept = together.placed.files.keys()
        finally:
            for one in placed:
                if isinstance(one, PlacedFiles):
                    self._store_unit.end_reservations(one.rows, kept)
        rows = iter(together.rows)
        return [
            one if isinstance(one, TrafficStorageError) else _stored(next(rows)) for one in placed
        ]

    async def _placed(self, unit: DraftUnit) -> PlacedFiles | TrafficStorageError:
        try:
            return await self._store_unit.place(unit, {})
        except (StorageFull, StorageUnavailable) as error:
            return error

    async def _store(self, together: _Together) -> None:
        """Enter an attempt for all units in the journal, write their files, and commit."""
        files = together.files
        if not files:
            return
        async with AsyncExitStack() as held:
            # Slots come before the attempt, so that its deadline does not run during the wait.
            writes = _writes_of(together)
            slots = await held.enter_async_context(
                self._stores.slots({store: len(own) for store, own in writes.items()})
            )
            attempt = self._store_unit.attempt(files)
            await self._journal.begin(attempt, ClaimedIds(()))
            await self._put_all(attempt, files, writes, slots)
        await self._commit(attempt, together)

    async def _put_all(
        self,
        attempt: Attempt,
        files: Sequence[StoredFile],
        writes: Mapping[StoreId, Sequence[Sequence[NewBlob]]],
        slots: PutSlots,
    ) -> None:
        # Every put is awaited, even after a failure, because a cancelled put may still publish.
        outcomes = await asyncio.gather(
            *(
                self._put(attempt, store_id, blobs, slots)
                for store_id, own in writes.items()
                for blobs in own
            ),
            return_exceptions=True,
        )
        failures = [outcome for outcome in outcomes if outcome is not None]
        if not failures:
            return
        if all(isinstance(failure, NOT_PUBLISHED) for failure in failures):
            await self._store_unit.undo(attempt, files)
        for failure in failures:
            if not isinstance(failure, TrafficStorageError):
                raise failure
        raise _NotTogether from failures[0]

    async def _put(
        self, attempt: Attempt, store_id: StoreId, blobs: Sequence[NewBlob], slots: PutSlots
    ) -> None:
        async with slots[store_id]:
            store = self._stores.trusted(store_id)
            await store.put_all(blobs, deadline=attempt.deadline)

    async def _commit(self, attempt: Attempt, together: _Together) -> None:
        try:
            for store_id in {place_of(file)[0] for file in together.files}:
                self._stores.trusted(store_id)
        except StorageUnavailable as error:
            raise _NotTogether from error
        jobs = self._store_unit.jobs_later(together.files, together.placed)
        for unit in together.rows:
            jobs += await self._store_unit.jobs(unit)
        try:
            change = CommitUnits(attempt.attempt_id, tuple(together.rows), tuple(jobs))
            await self._changes.apply(change)
        except (IdsTaken, AttemptCondemned) as error:
            await self._store_unit.undo(attempt, together.files)
            await self._sealing.check(anew=True)
            raise _NotTogether from error
        for unit in together.rows:
            self._store_unit.count(unit)


def _together(chosen: Sequence[tuple[DraftUnit, PlacedFiles]]) -> _Together:
    files: dict[FileId, StoredFile] = {}
    later: dict[FileId, tuple[StoreId, ...]] = {}
    undecoded: set[FileId] = set()
    for _, placed in chosen:
        files |= placed.files
        later |= placed.later
        undecoded |= placed.undecoded
    return _Together(
        [unit for unit, _ in chosen],
        PlacedFiles(files, later, undecoded),
        [rows_of(unit, tuple(placed.rows), ExistingRows()) for unit, placed in chosen],
    )


def _stored(rows: Unit) -> StoredUnit:
    return StoredUnit({file.file_id: file for file in rows.files}, rows.violation, created=True)


def _writes_of(together: _Together) -> Mapping[StoreId, Sequence[Sequence[NewBlob]]]:
    """Return by store the blobs of each of its writes: few writes, that use its slots evenly."""
    blobs: defaultdict[StoreId, list[NewBlob]] = defaultdict(list)
    for draft in together.drafts:
        file = together.placed.files[draft.file_id]
        store_id, key = place_of(file)
        blobs[store_id].append(NewBlob(key, draft.body, manifest_of(file)))
    return {store_id: _divided(own) for store_id, own in blobs.items()}


def _divided(blobs: Sequence[NewBlob]) -> Sequence[Sequence[NewBlob]]:
    size = min(MOST_BLOBS_A_WRITE, -(-len(blobs) // _WRITES_AT_ONCE))
    return [blobs[at : at + size] for at in range(0, len(blobs), size)]
