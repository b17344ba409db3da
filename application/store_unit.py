"""The only write path: journal entry → blobs → commit, for a file or a violation with its files.

Each try to store (attempt) is entered in the journal before any blob is published. A row is
committed after its blob is durable and verified. After a failure with a known outcome, the attempt
is undone at once: its blobs and its entry are deleted. If the outcome of a write or a commit is
unclear, the entry stays, and recovery undoes the attempt after its deadline.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta

from attrs import evolve, field, frozen

from traffic_storage.application.capture_doubts import CaptureDoubts
from traffic_storage.application.drafts import Draft, DraftUnit, deleted, placed
from traffic_storage.application.label_files import LabelFiles
from traffic_storage.application.operation_counters import OperationCounters
from traffic_storage.application.read_back import ReadBack
from traffic_storage.application.recompute_retention import recomputation_of
from traffic_storage.application.rules_in_force import RulesInForce
from traffic_storage.application.sealing import Sealing
from traffic_storage.application.stores import Excluded, PutSlots, Stores
from traffic_storage.domain.changes import CommitUnit
from traffic_storage.domain.copies import copy_job
from traffic_storage.domain.errors import (
    Conflict,
    NoGoodReplica,
    StorageFull,
    StorageUnavailable,
    TrafficStorageError,
)
from traffic_storage.domain.files import BlobKey, FileKind, FileState, StoredFile
from traffic_storage.domain.identifiers import AttemptId, FileId, StoreId
from traffic_storage.domain.image_checks import decoding_job
from traffic_storage.domain.ingest import Attempt, ClaimedIds, ExistingRows, Unit
from traffic_storage.domain.jobs import NewJob
from traffic_storage.domain.manifest import manifest_of
from traffic_storage.domain.retention_rules import RuleSet
from traffic_storage.domain.seal import Sealed
from traffic_storage.domain.upload_keys import BindKey
from traffic_storage.domain.violation import StoredViolation, ViolationState, with_paths
from traffic_storage.ports.catalogue import Catalogue
from traffic_storage.ports.changes import Changes
from traffic_storage.ports.clock import Clock, Ids
from traffic_storage.ports.concurrency import together
from traffic_storage.ports.errors import (
    AttemptCondemned,
    BlobConflict,
    BlobCorrupt,
    DeadlinePassed,
    IdsTaken,
    KeyTaken,
)
from traffic_storage.ports.ingest_journal import IngestJournal

logger = logging.getLogger("traffic_storage.store")

MOST_TRIES = 4
NOT_PUBLISHED = (StorageFull, BlobConflict, BlobCorrupt, DeadlinePassed)


@frozen
class StoredUnit:
    """The catalogue rows of a stored file, or of a stored violation with its files.

    `created` is False if all rows existed before. Even then the call may have restored lost
    replicas (copies in stores), and added labels: `labels_added` has their names, by file.
    """

    files: Mapping[FileId, StoredFile]
    violation: StoredViolation | None
    created: bool
    labels_added: Mapping[FileId, tuple[str, ...]] = field(factory=dict)


@frozen
class PlacedFiles:
    """The rows of files in the stores that take them first.

    `later` has the ids of the stores to which each file is to be copied afterwards, and `undecoded`
    those of the images that are to be decoded afterwards.
    """

    files: dict[FileId, StoredFile] = field(factory=dict)
    later: dict[FileId, tuple[StoreId, ...]] = field(factory=dict)
    undecoded: set[FileId] = field(factory=set)

    @property
    def rows(self) -> Collection[StoredFile]:
        """The rows of all files."""
        return self.files.values()


class PutFailed(Exception):
    """Writing a blob to a store failed for a reason that may not apply to another store."""

    def __init__(self, store_id: StoreId, error: StorageFull | StorageUnavailable) -> None:
        super().__init__(str(error))
        self.store_id = store_id
        self.error = error


class _RereadNeeded(Exception):
    """The commit was refused, and the existing rows must be read again before the next try.

    Another file or violation has one of the ids, or recovery had cancelled this store operation.
    """

    def __init__(self, error: IdsTaken | AttemptCondemned) -> None:
        super().__init__(str(error))
        self.error = error


class StoreUnit:
    """Stores a file, or a violation with its files, completely or not at all, and only once.

    It is durable when the call returns.
    """

    def __init__(
        self,
        *,
        stores: Stores,
        journal: IngestJournal,
        changes: Changes,
        catalogue: Catalogue,
        clock: Clock,
        ids: Ids,
        counters: OperationCounters,
        owner: str,
        attempt_timeout: timedelta,
        rules: RulesInForce,
        read_back: ReadBack,
        sealing: Sealing,
        label_files: LabelFiles,
    ) -> None:
        self._stores = stores
        self._journal = journal
        self._changes = changes
        self._catalogue = catalogue
        self._clock = clock
        self._ids = ids
        self._counters = counters
        self._owner = owner
        self._attempt_timeout = attempt_timeout
        self._rules = rules
        self._read_back = read_back
        self._sealing = sealing
        self._label_files = label_files
        self._doubts = CaptureDoubts()

    async def __call__(self, unit: DraftUnit) -> StoredUnit:
        """Store a file, or a violation with its files (`unit`); return the new and existing rows.

        When a store fails, the remaining stores of the strategy are tried. Labels that an existing
        file lacks are added to it (`LabelFiles`).

        Raises (nothing becomes visible, except possibly with OutcomeUnknown):
            Conflict: one of the ids has other content, or other labels (device, violation, time of
                capture, metadata).
            KeyTaken: another file was stored with the key of `unit` in the meantime.
            NoGoodReplica: a file is known but has no good replica, and the given bytes differ from
                its recorded bytes.
            Sealed: this service is read only, and lacks something of `unit`.
            StorageFull, StorageUnavailable: no store accepts a file.
            DeadlinePassed: storing took longer than the time limit.
            CopyRefuted: a store spoils the bytes of a unit of another catalogue.
            OutcomeUnknown: the database failed during the commit; a retry finds out the outcome.
        """
        try:
            await self._sealing.check()
        except Sealed:
            stored = await self._stored_already(unit)
            if stored and not lacks_labels(unit, stored.files):
                return stored
            raise
        stored = await self._stored(unit)
        if unit.key is not None and not stored.created:
            await self._changes.apply(BindKey(unit.key, unit.drafts[0].file_id, self._clock.now()))
        added: dict[FileId, tuple[str, ...]] = {}
        files = {**stored.files}
        for draft in unit.drafts:
            if draft_adds(draft, files):
                labelled = await self._label_files(draft)
                files[draft.file_id] = labelled.file
                if labelled.added:
                    added[draft.file_id] = labelled.added
        return evolve(stored, files=files, labels_added=added) if added else stored

    async def _stored(self, unit: DraftUnit) -> StoredUnit:
        excluded: dict[StoreId, StorageFull | StorageUnavailable] = {}
        reason = ""
        for _ in range(MOST_TRIES):
            try:
                return await self._try(unit, excluded)
            except PutFailed as failed:
                reason = str(failed)
                logger.warning("store %s failed: %s", failed.store_id, str(failed.error))
                excluded[failed.store_id] = failed.error
            except _RereadNeeded as needed:
                reason = str(needed)
                logger.info("storing is tried again with the existing rows read anew: %s", reason)
                await self._sealing.check(anew=True)
        raise StorageUnavailable(
            f"storing was tried {MOST_TRIES} times and failed; the last error was: {reason}",
            remedy="try again later",
        )

    async def rehearse(self, unit: DraftUnit) -> bool:
        """Return whether a call would store something of `unit` now; False if all is stored already.

        Labels that a call would add are not counted. Nothing is written. The space that it would
        take counts as used for whatever this process stores or rehearses afterwards.

        Raises: as a call, apart from what only writing shows.
        """
        try:
            await self._sealing.check()
        except Sealed:
            stored = await self._stored_already(unit)
            if stored and not lacks_labels(unit, stored.files):
                return False
            raise
        if stored := await self._stored_already(unit):
            for draft in unit.drafts:
                await self._label_files.check(draft, stored.files[draft.file_id])
            return False
        await self.place(unit, {})
        return True

    async def _try(self, unit: DraftUnit, excluded: Excluded) -> StoredUnit:
        try:
            placed_files = await self.place(unit, excluded)
        except (StorageFull, StorageUnavailable):
            if stored := await self._stored_already(unit):
                return stored
            raise
        kept: list[FileId] = []
        try:
            # Slots come before the attempt, so that its deadline does not run during the wait.
            async with AsyncExitStack() as held:
                puts = puts_of(placed_files.rows)
                slots = await held.enter_async_context(self._stores.slots(puts))
                return await self._store_placed(unit, placed_files, slots, held, kept)
        finally:
            self.end_reservations(placed_files.rows, kept)

    async def _store_placed(
        self,
        unit: DraftUnit,
        placed_files: PlacedFiles,
        slots: PutSlots,
        held: AsyncExitStack,
        kept: list[FileId],
    ) -> StoredUnit:
        """Enter a try to store (attempt) in the journal, write the missing files, and commit.

        `held` frees the slots, which the puts need. The ids of the written files are appended to
        `kept`.
        """
        attempt = self.attempt(placed_files.rows)
        existing = await self._journal.begin(attempt, _claimed_ids(unit))
        missing = await self._missing(unit, attempt, existing)
        if not missing:
            return self.existing_unit(existing)
        rows = [_row(placed_files.files[draft.file_id], existing) for draft in missing]
        await self._put_all(attempt, missing, rows, slots)
        await held.aclose()
        if unit.is_migrated:
            rows = await self._verified(attempt, rows)
        self.still_trusted(rows)
        later = self.jobs_later(rows, placed_files)
        stored = await self._commit(unit, attempt, rows, existing, later)
        kept += [file.file_id for file in rows]
        return stored

    async def place(self, unit: DraftUnit, excluded: Excluded) -> PlacedFiles:
        """Choose the stores of all files of a unit, and reserve their bytes there.

        Raises:
            StorageFull, StorageUnavailable: no store accepts a file; nothing is reserved.
        """
        # A violation and its files share one time of receipt, so that the row of its metadata file
        # gives the time of receipt of the violation too.
        if unit.violation and not unit.is_migrated:
            received_at = unit.violation.received_at
        else:
            received_at = self._clock.now()
        policy = await self._rules.policy()
        found = PlacedFiles()
        try:
            for draft in unit.drafts:
                placement = await self._stores.place(
                    draft.kind,
                    draft.body.digests.size_bytes,
                    draft.device_id,
                    excluded,
                    is_evidence=draft.violation_id is not None,
                )
                violation_type = await self._violation_type(unit, draft, policy.rules)
                found.files[draft.file_id] = placed(
                    draft, placement, received_at, self._ids, policy, violation_type
                )
                found.later[draft.file_id] = tuple(store.store_id for store in placement.later)
                if draft.is_undecoded:
                    found.undecoded.add(draft.file_id)
        except BaseException:
            self.end_reservations(found.rows, ())
            raise
        return found

    def jobs_later(self, rows: Iterable[StoredFile], placed: PlacedFiles) -> list[NewJob]:
        """Return the jobs that copy files to their further stores, and decode images."""
        jobs: list[NewJob] = []
        for row in rows:
            source, new_id = place_of(row)[0], self._ids.uuid7
            jobs += [copy_job(new_id(), row, source, one) for one in placed.later[row.file_id]]
            if row.file_id in placed.undecoded:
                jobs.append(decoding_job(new_id(), row, source))
        return jobs

    async def _violation_type(self, unit: DraftUnit, draft: Draft, rules: RuleSet) -> str | None:
        if unit.violation:
            return unit.violation.record.violation_type
        return await self._rules.type_of(draft.violation_id, rules)

    def attempt(self, files: Iterable[StoredFile]) -> Attempt:
        """Return the journal entry of a new try to store files that are placed."""
        return Attempt(
            attempt_id=AttemptId(str(self._ids.uuid7())),
            owner=self._owner,
            deadline=self._clock.now() + self._attempt_timeout,
            keys=tuple(place_of(file) for file in files),
        )

    async def _missing(
        self, unit: DraftUnit, attempt: Attempt, existing: ExistingRows
    ) -> list[Draft]:
        try:
            missing = missing_drafts(unit, existing)
        except (Conflict, NoGoodReplica):
            await self.undo(attempt, ())
            raise
        if not missing:
            await self.undo(attempt, ())
        return missing

    async def _put_all(
        self,
        attempt: Attempt,
        drafts: Sequence[Draft],
        files: Sequence[StoredFile],
        slots: PutSlots,
    ) -> None:
        # Every put is awaited, even after a failure, because a cancelled put may still publish.
        outcomes = await asyncio.gather(
            *(
                self._put(attempt, draft, file, slots)
                for draft, file in zip(drafts, files, strict=True)
            ),
            return_exceptions=True,
        )
        failures = [outcome for outcome in outcomes if outcome is not None]
        if not failures:
            return
        if all(isinstance(failure, NOT_PUBLISHED) for failure in map(_cause, failures)):
            await self.undo(attempt, files)
        raise min(failures, key=lambda failure: isinstance(failure, PutFailed))

    async def _verified(self, attempt: Attempt, files: Sequence[StoredFile]) -> list[StoredFile]:
        """Read all files back at their stores; return their rows with the verified replicas."""

        async def verified(file: StoredFile) -> StoredFile:
            copy = await self._read_back(attempt.attempt_id, file, file.replicas[0])
            return evolve(file, replicas=(copy,))

        return await together(*map(verified, files))

    async def _put(self, attempt: Attempt, draft: Draft, file: StoredFile, slots: PutSlots) -> None:
        store_id, key = place_of(file)
        async with slots[store_id]:
            try:
                await self._stores.trusted(store_id).put(
                    key, draft.body, manifest_of(file), deadline=attempt.deadline
                )
            except (StorageFull, StorageUnavailable) as error:
                raise PutFailed(store_id, error) from error

    def still_trusted(self, files: Iterable[StoredFile]) -> None:
        """Ask for trust once more: a write may have waited while its store was taken over.

        Raises:
            PutFailed: a store is not trusted any more; recovery undoes the attempt.
        """
        for file in files:
            store_id, _ = place_of(file)
            try:
                self._stores.trusted(store_id)
            except StorageUnavailable as error:
                raise PutFailed(store_id, error) from error

    async def _commit(
        self,
        unit: DraftUnit,
        attempt: Attempt,
        files: Sequence[StoredFile],
        existing: ExistingRows,
        later: Sequence[NewJob],
    ) -> StoredUnit:
        rows = rows_of(unit, files, existing)
        try:
            jobs = (*later, *await self.jobs(rows))
            change = CommitUnit(attempt.attempt_id, rows, jobs, _binding(unit, rows))
            await self._changes.apply(change)
        except IdsTaken as error:
            await self.undo(attempt, files)
            raise _RereadNeeded(error) from error
        except KeyTaken:
            await self.undo(attempt, files)
            raise
        except AttemptCondemned as error:
            # Recovery may have deleted the keys before the blobs were published.
            await self.undo(attempt, files)
            raise _RereadNeeded(error) from error
        self.count(rows, is_migrated=unit.is_migrated)
        return StoredUnit(
            files={
                **existing.files,
                **{file.file_id: file for file in _committed_files(rows, existing)},
            },
            violation=rows.violation or _completed(existing.violation, rows.files),
            created=bool(rows.files),
        )

    async def jobs(self, rows: Unit) -> tuple[NewJob, ...]:
        """Return the work that a commit causes."""
        policy = await self._rules.policy()
        if rows.violation is None or not policy.rules.needs_violation_type:
            return ()
        # Files that came before the violation were stored without its type.
        return (recomputation_of(self._ids.uuid7(), rows.violation.violation_id),)

    async def undo(self, attempt: Attempt, files: Iterable[StoredFile]) -> None:
        """Delete the blobs and the journal entry of a try to store whose writes have all ended.

        If this fails, recovery does it later.
        """
        try:
            for file in files:
                store_id, key = place_of(file)
                await self._stores.trusted(store_id).delete(key)
            await self._journal.forget(attempt.attempt_id)
        except TrafficStorageError as error:
            logger.warning(
                "the blobs of the failed store operation %s could not be deleted now; this is tried "
                "again after its deadline: %s",
                attempt.attempt_id,
                str(error),
            )

    async def _stored_already(self, unit: DraftUnit) -> StoredUnit | None:
        """Return the existing rows if everything in `unit` is stored already, else None.

        A retry thus succeeds even when no store accepts new files, or the service is sealed.
        """
        found = [await self._catalogue.file(draft.file_id) for draft in unit.drafts]
        violation = (
            await self._catalogue.violation(unit.violation.violation_id) if unit.violation else None
        )
        existing = ExistingRows({file.file_id: file for file in found if file}, violation)
        return None if missing_drafts(unit, existing) else self.existing_unit(existing)

    def existing_unit(self, existing: ExistingRows) -> StoredUnit:
        """Return the rows of a unit that is stored already, and count the retry."""
        self._counters.retries_recognised += 1
        return StoredUnit(existing.files, existing.violation, created=False)

    def end_reservations(self, files: Iterable[StoredFile], kept: Collection[FileId]) -> None:
        """End the reservations of placed files; the ids of those that were stored are `kept`."""
        for file in files:
            store_id, _ = place_of(file)
            self._stores.end_reservation(
                store_id, file.stored.size_bytes, kept=file.file_id in kept
            )

    def count(self, rows: Unit, *, is_migrated: bool = False) -> None:
        """Count what was stored, and log it."""
        self._counters.files_stored += len(rows.files)
        self._counters.bytes_stored += sum(file.content.size_bytes for file in rows.files)
        self._counters.violations_stored += rows.violation is not None
        self._counters.replicas_restored += len(rows.restored)
        for file in rows.files:
            logger.debug(
                "stored %s (%d bytes) in %s", file.file_id, file.content.size_bytes, place_of(file)
            )
            # What comes from another catalogue was told there, when it was stored.
            if not is_migrated:
                self._doubts.note(file)
        for file in rows.restored:
            logger.warning(
                "all copies of %s were corrupt or missing; it was sent again and stored anew in %s",
                file.file_id,
                place_of(file),
            )


def _claimed_ids(unit: DraftUnit) -> ClaimedIds:
    violation = unit.violation.violation_id if unit.violation else None
    return ClaimedIds(tuple(draft.file_id for draft in unit.drafts), violation)


def missing_drafts(unit: DraftUnit, existing: ExistingRows) -> list[Draft]:
    """Return the drafts (files to be stored) that are not stored yet or have no good replica left.

    Raises:
        Conflict: an id has other content or labels, or belongs to a file or violation that is not available.
        NoGoodReplica: a file has no good replica, and the draft's bytes differ from the recorded
            bytes.
    """
    mine, theirs = unit.violation, existing.violation
    _must_be_available(existing)
    if mine and theirs and mine.record_sha256 != theirs.record_sha256:
        raise Conflict("violation", mine.violation_id, _difference(mine, theirs))
    missing = []
    lost_document: NoGoodReplica | None = None
    for draft in unit.drafts:
        known = existing.files.get(draft.file_id)
        if known is None:
            missing.append(draft)
            continue
        # The metadata file of a violation is written once and never compared: its content is the
        # record, and the digests of the records were compared above.
        is_record = theirs is not None and draft.kind is FileKind.METADATA
        if not is_record:
            draft.check_same(known)
        if known.readable:
            continue
        if draft.can_replace_copies_of(known):
            missing.append(draft)
            continue
        if not is_record:
            raise _no_good_replica(
                draft,
                "restore a replica of that file from a backup, or store these bytes under another file_id",
            )
        lost_document = _no_good_replica(draft, "restore a replica of that file from a backup")
    if lost_document and not missing:
        raise lost_document
    # A lost metadata file does not prevent storing the other files of its violation.
    return missing


def lacks_labels(unit: DraftUnit, files: Mapping[FileId, StoredFile]) -> bool:
    """Return whether a stored file lacks a label that its draft gives."""
    return any(draft_adds(draft, files) for draft in unit.drafts)


def draft_adds(draft: Draft, files: Mapping[FileId, StoredFile]) -> bool:
    """Return whether a draft gives a label that its stored file lacks."""
    file = files.get(draft.file_id)
    return file is not None and bool(draft.labels.lacking_in(file).names)


def _must_be_available(existing: ExistingRows) -> None:
    """Check that the existing file and violation rows are available.

    Raises:
        Conflict: one of them is deleted.
    """
    violation = existing.violation
    if violation and violation.state is not ViolationState.AVAILABLE:
        since = violation.state_at or violation.received_at
        told = deleted(violation.state, since)
        raise Conflict("violation", violation.violation_id, told, cause="deletion")
    for file in existing.files.values():
        if file.state is not FileState.AVAILABLE:
            since = file.state_at or file.created_at
            told = deleted(file.state, since)
            raise Conflict("file", file.file_id, told, cause="deletion")


def _no_good_replica(draft: Draft, remedy: str) -> NoGoodReplica:
    return NoGoodReplica(
        f"{draft.file_id} is known, but no good copy of it is left, and the bytes sent now differ "
        "from the recorded bytes",
        remedy=remedy,
    )


def _row(placed: StoredFile, existing: ExistingRows) -> StoredFile:
    """Return the catalogue row to write for a file.

    It is `placed` for a new file; for an existing file it is the existing row with the new replica
    (copy) only.
    """
    known = existing.files.get(placed.file_id)
    return placed if known is None else evolve(known, replicas=placed.replicas[:1])


def _difference(mine: StoredViolation, theirs: StoredViolation) -> str:
    """Name the fields in which two records differ.

    Times are compared as instants, because catalogues store instants.
    """
    mine_given, theirs_given = mine.record.as_given(), theirs.record.as_given()
    names = [
        name
        for name, value in mine_given.items()
        if name != "timestamp" and theirs_given.get(name) != value
    ]
    if mine.occurred_at != theirs.occurred_at or mine.zone_assumed != theirs.zone_assumed:
        names.append("timestamp")
    return f"its record differs in {', '.join(names) or 'its canonical JSON'}"


def rows_of(unit: DraftUnit, files: Sequence[StoredFile], existing: ExistingRows) -> Unit:
    """Return the rows of these files of a unit, of which some may exist, and of its violation."""
    new = tuple(file for file in files if file.file_id not in existing.files)
    restored = tuple(file for file in files if file.file_id in existing.files)
    if unit.violation is None:
        return Unit(new, restored=restored)
    if existing.violation is None:
        return Unit(new, violation=_completed(unit.violation, new), restored=restored)
    completes = existing.violation.violation_id if new else None
    return Unit(new, completes=completes, restored=restored)


def _binding(unit: DraftUnit, rows: Unit) -> BindKey | None:
    """Return what makes the new file that of the unit's key; None without a key or a new file."""
    if unit.key is None or not rows.files:
        return None
    (file,) = rows.files
    return BindKey(unit.key, file.file_id, file.created_at)


def _committed_files(rows: Unit, existing: ExistingRows) -> Iterable[StoredFile]:
    """Yield the rows of the files that were committed, as the catalogue has them now."""
    yield from rows.files
    for file in rows.restored:
        there = existing.files[file.file_id]
        yield evolve(there, replicas=there.replicas + file.replicas)


def _completed(
    violation: StoredViolation | None, files: Sequence[StoredFile]
) -> StoredViolation | None:
    if violation is None:
        return None
    ids = {file.kind: file.file_id for file in files}
    image = ids.get(FileKind.IMAGE, violation.image_file_id)
    video = ids.get(FileKind.VIDEO, violation.video_file_id)
    record = with_paths(violation.record, image or "", video or "")
    return evolve(violation, record=record, image_file_id=image, video_file_id=video)


def place_of(file: StoredFile) -> tuple[StoreId, BlobKey]:
    """Return the store of the first replica of a file, and its key there."""
    first = file.replicas[0]
    return first.store_id, first.key


def puts_of(files: Iterable[StoredFile]) -> Mapping[StoreId, int]:
    """Return how many of these files go to each store first."""
    return Counter(place_of(file)[0] for file in files)


def _cause(failure: BaseException) -> BaseException:
    return failure.error if isinstance(failure, PutFailed) else failure
