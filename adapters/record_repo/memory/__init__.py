"""The catalogue in the memory of this process; contract suites compare other adapters with it."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType
from typing import Any
from uuid import uuid4

from attrs import evolve

from traffic_storage.adapters.record_repo.memory.copies import InMemoryCopies
from traffic_storage.adapters.record_repo.memory.database_backup import InMemoryDatabaseBackup
from traffic_storage.adapters.record_repo.memory.fixity import InMemoryFixity
from traffic_storage.adapters.record_repo.memory.jobs import InMemoryJobs
from traffic_storage.adapters.record_repo.memory.keyed_uploads import InMemoryKeyedUploads
from traffic_storage.adapters.record_repo.memory.migrations import InMemoryMigrations
from traffic_storage.adapters.record_repo.memory.readings import InMemoryReadings
from traffic_storage.adapters.record_repo.memory.reconciliation import InMemoryReconciliation
from traffic_storage.adapters.record_repo.memory.samples import InMemorySamples
from traffic_storage.adapters.record_repo.memory.violation_table import InMemoryViolationTable
from traffic_storage.domain.changes import Change, CommitUnit, CommitUnits, ObserveReplica
from traffic_storage.domain.copies import AddReplica, RefuteCopy, ReleaseReplica
from traffic_storage.domain.database_backup import EndLoad
from traffic_storage.domain.deletion import (
    BeginPurge,
    EndPurge,
    RemoveReplicas,
    Tombstone,
    Undelete,
)
from traffic_storage.domain.events import (
    event_of_copy,
    event_of_observation,
    event_of_released_copy,
    events_of_commit,
)
from traffic_storage.domain.files import (
    OCCUPYING,
    FileKind,
    FileState,
    Replica,
    ReplicaState,
    StoredFile,
    Tier,
)
from traffic_storage.domain.fixity import RecordVerifications, closing_by_fixity, closing_by_release
from traffic_storage.domain.holds import PlaceHold, ReleaseHold
from traffic_storage.domain.identifiers import (
    AttemptId,
    CatalogueId,
    DeviceId,
    FileId,
    StoreId,
    ViolationId,
)
from traffic_storage.domain.identity import RegisteredStore
from traffic_storage.domain.incidents import CloseIncident, OpenIncident
from traffic_storage.domain.ingest import (
    Attempt,
    ClaimedIds,
    ExistingRows,
    Unit,
)
from traffic_storage.domain.jobs import Run, RunEnd
from traffic_storage.domain.journal import SetJournalCursor
from traffic_storage.domain.labels import AddLabels, event_of_labels
from traffic_storage.domain.migration import SetMigrationCursor
from traffic_storage.domain.pressure import NotePressure, NoteUsageAlert
from traffic_storage.domain.production import RecordProduction
from traffic_storage.domain.purged_rows import RestorePurged
from traffic_storage.domain.quarantine import (
    BeginRemoval,
    DoubtUndone,
    EnterQuarantine,
    LeaveQuarantine,
    NoteQuarantined,
    UndoAttempt,
)
from traffic_storage.domain.query import MAX_LIMIT, Cursor, FilesQuery, Page, ViolationQuery
from traffic_storage.domain.rebuild import ImportRows
from traffic_storage.domain.retention_plans import RecordPlan
from traffic_storage.domain.rules_in_force import EnterRules, Regrant, StageRules
from traffic_storage.domain.seal import SealCatalogue, UnsealCatalogue
from traffic_storage.domain.snapshot import PinSnapshot, UnpinSnapshot
from traffic_storage.domain.times import EARLIEST
from traffic_storage.domain.upload_keys import BindKey
from traffic_storage.domain.usage import (
    CatalogueUsage,
    Counted,
    DailyUsage,
    counted_by_addition,
    counted_by_commit,
    counted_by_import,
    counted_by_labels,
    counted_by_transition,
)
from traffic_storage.domain.violation import StoredViolation, ViolationState
from traffic_storage.ports.errors import AttemptCondemned, IdsTaken
from traffic_storage.ports.record_repo import RecordRepo

_MOST_FILES = 1000


def _now() -> datetime:
    return datetime.now(UTC)


class InMemoryRecordRepo(
    InMemoryCopies,
    InMemoryJobs,
    InMemoryReconciliation,
    InMemoryDatabaseBackup,
    InMemoryFixity,
    InMemoryReadings,
    InMemorySamples,
    InMemoryMigrations,
    InMemoryKeyedUploads,
    InMemoryViolationTable,
    RecordRepo,
):
    """A catalogue that exists as long as this object. Usable from one event loop; no call waits."""

    def __init__(
        self, catalogue_id: CatalogueId | None = None, now: Callable[[], datetime] = _now
    ) -> None:
        InMemoryJobs.__init__(self, now)
        InMemoryReconciliation.__init__(self)
        InMemoryFixity.__init__(self)
        InMemoryDatabaseBackup.__init__(self)
        InMemoryReadings.__init__(self)
        InMemoryMigrations.__init__(self)
        InMemoryKeyedUploads.__init__(self)
        self._catalogue_id = catalogue_id or CatalogueId(str(uuid4()))
        self._attempts: dict[AttemptId, Attempt] = {}
        self._condemned: set[AttemptId] = set()
        self._stores: dict[StoreId, RegisteredStore] = {}
        self._appliers: Mapping[type, Callable[[Any], bool]] = {
            CommitUnit: self._commit,
            CommitUnits: self._commit_all,
            AddLabels: self._label,
            BindKey: self.bind_key,
            ObserveReplica: self._observe,
            AddReplica: self._add,
            ReleaseReplica: self._release,
            EnterQuarantine: self.enter_quarantine,
            UndoAttempt: self.undo_attempt,
            NoteQuarantined: self.note_quarantined,
            BeginRemoval: self.begin_removal,
            DoubtUndone: self.doubt_undone,
            LeaveQuarantine: self.leave_quarantine,
            ImportRows: self._import,
            SetJournalCursor: self.set_journal_cursor,
            PlaceHold: self.place_hold,
            ReleaseHold: self.release_hold,
            Tombstone: self._tombstone,
            Undelete: self.undelete,
            BeginPurge: self.begin_purge,
            RemoveReplicas: self.remove_replicas,
            EndPurge: self.end_purge,
            RestorePurged: self._restore_purged,
            RecordVerifications: self.record_verifications,
            RecordProduction: self.record_production,
            OpenIncident: self.open,
            CloseIncident: self.close,
            EnterRules: self.enter_rules,
            StageRules: self.stage_rules,
            Regrant: self.regrant,
            NotePressure: self._note_pressure,
            NoteUsageAlert: self._note_pressure,
            RecordPlan: self.record_plan,
            RefuteCopy: self._refute_copy,
            SetMigrationCursor: self.set_migration_cursor,
            SealCatalogue: self.seal_catalogue,
            UnsealCatalogue: self.unseal_catalogue,
            PinSnapshot: self.pin_snapshot,
            UnpinSnapshot: self.unpin_snapshot,
            EndLoad: self.end_load,
        }

    async def begin(self, attempt: Attempt, ids: ClaimedIds) -> ExistingRows:
        self._attempts.setdefault(attempt.attempt_id, attempt)
        return self._held(ids)

    async def apply(self, change: Change) -> bool:
        is_applied = self._appliers[type(change)](change)
        self.insert(getattr(change, "jobs", ()) if is_applied else ())
        return is_applied

    async def finish(self, run: Run, end: RunEnd, effect: Change | None = None) -> None:
        self.check_held(run)
        if effect is not None:
            await self.apply(effect)
        self.end(run, end)

    async def condemn(self, now: datetime, limit: int = 100) -> Sequence[Attempt]:
        live = [one for name, one in self._attempts.items() if name not in self._condemned]
        late = sorted((one for one in live if one.deadline <= now), key=_by_deadline)
        self._condemned |= {one.attempt_id for one in late[:limit]}
        return sorted((self._attempts[name] for name in self._condemned), key=_by_deadline)[:limit]

    async def forget(self, attempt: AttemptId) -> None:
        self._attempts.pop(attempt, None)
        self._condemned.discard(attempt)

    async def file(self, file_id: FileId) -> StoredFile | None:
        return self._files.get(file_id)

    async def files_of(self, violation_id: ViolationId) -> Sequence[StoredFile]:
        files = [file for file in self._files.values() if file.violation_id == violation_id]
        return sorted(files, key=lambda file: (file.created_at, file.file_id))[:_MOST_FILES]

    async def files_of_each(
        self, violation_ids: Collection[ViolationId]
    ) -> Mapping[ViolationId, Sequence[StoredFile]]:
        return {one: await self.files_of(one) for one in violation_ids}

    async def violation(self, violation_id: ViolationId) -> StoredViolation | None:
        return self._violations.get(violation_id)

    async def violations(self, query: ViolationQuery) -> Page[StoredViolation]:
        found = sorted(
            (violation for violation in self._violations.values() if _meets(violation, query)),
            key=_place_in_order,
        )
        items = tuple(found[: query.limit])
        if len(found) <= query.limit:
            return Page(items)
        return Page(items, Cursor(items[-1].occurred_at, items[-1].violation_id))

    async def files(self, query: FilesQuery) -> Page[StoredFile]:
        found = sorted(
            (file for file in self._files.values() if _is_asked(file, query)),
            key=lambda file: (file.created_at, file.file_id),
            reverse=True,
        )
        items = tuple(found[: query.limit])
        if len(found) <= query.limit:
            return Page(items)
        return Page(items, Cursor(items[-1].created_at, items[-1].file_id))

    async def usage(self) -> CatalogueUsage:
        return CatalogueUsage.of(self._recounted())

    def _recounted(self) -> Iterable[Counted]:
        """Yield the counts and bytes of all files, replicas and violations, from their rows."""
        for file in self._files.values():
            if file.state is FileState.AVAILABLE:
                yield None, file.kind, 1, file.stored.size_bytes
            for replica in file.replicas:
                if replica.state in OCCUPYING:
                    yield replica.store_id, file.kind, 1, file.stored.size_bytes
        for violation in self._violations.values():
            if violation.state is ViolationState.AVAILABLE:
                yield None, None, 1, 0

    async def daily_usage(
        self, first: date, last: date, device_id: DeviceId | None = None
    ) -> Sequence[DailyUsage]:
        asked = [
            change
            for change in self._changes
            if first <= change.day <= last and device_id in (None, change.device_id)
        ]
        days = sorted({change.day for change in asked})
        found = (
            DailyUsage(day, CatalogueUsage.of(one.counted for one in asked if one.day == day))
            for day in days
        )
        return [one for one in found if one.change != CatalogueUsage()]

    async def fold_counters(self) -> None:
        """Do nothing: this catalogue has no totals to maintain."""

    async def catalogue_id(self) -> CatalogueId:
        return self._catalogue_id

    async def register(self, store: RegisteredStore) -> None:
        self._stores.setdefault(store.store_id, store)

    async def registered(self, store_id: StoreId) -> RegisteredStore | None:
        return self._stores.get(store_id)

    async def registered_at(self, tier: Tier, location: str) -> Sequence[RegisteredStore]:
        there = [
            (store.confirmed_at, store)
            for store in self._stores.values()
            if (store.tier, store.location) == (tier, location) and store.confirmed_at is not None
        ]
        return [store for _, store in sorted(there, key=lambda one: (one[0], one[1].store_id))]

    async def retarget(
        self,
        store_id: StoreId,
        kept: Collection[StoreId],
        target_id: StoreId,
        limit: int = MAX_LIMIT,
    ) -> bool:
        clouds = {one.store_id for one in self._stores.values() if one.tier is Tier.CLOUD}
        return self.change_targets(store_id, clouds - set(kept), target_id, limit)

    async def exchange(self, was: RegisteredStore, becomes: RegisteredStore) -> bool:
        held = self._stores.get(was.store_id)
        if held is None or not held.agrees_with(was):
            return held is not None and held.agrees_with(becomes)
        self._stores[was.store_id] = becomes
        return True

    async def upgrade(self, *, slow: bool = False) -> None:
        """Do nothing: this catalogue has no tables."""

    async def pending(self) -> Sequence[str]:
        """Return nothing: this catalogue has no tables to migrate."""
        return ()

    async def ping(self) -> None:
        """Do nothing: this catalogue can always be reached."""

    async def aclose(self) -> None:
        """Do nothing: the catalogue can be used afterwards."""

    def _commit(self, change: CommitUnit) -> bool:
        attempt, unit = change.attempt, change.unit
        if attempt not in self._attempts and unit.is_shown_by(self._held(unit.affected_ids)):
            return False
        if attempt not in self._attempts or attempt in self._condemned or self._seal:
            raise AttemptCondemned(
                f"the store operation {attempt} took too long and was cancelled before its commit, "
                "or the catalogue is sealed"
            )
        self._check_free(name for name in unit.names.files if name in self._files)
        self._check_there(attempt, unit)
        self._check_free(name for name in [unit.names.violation] if name in self._violations)
        completed = self._completed(unit)
        if change.key:
            self.bind_key(change.key)
        del self._attempts[attempt]
        self._files |= {file.file_id: _in_order(file) for file in unit.files}
        for file in unit.restored:
            self._files[file.file_id] = _with_more(self._files[file.file_id], file.replicas)
        if unit.violation:
            self._violations[unit.violation.violation_id] = unit.violation
        if completed:
            self._violations[completed.violation_id] = completed
        self._changes += counted_by_commit(unit)
        self.record(events_of_commit(unit))
        return True

    def _commit_all(self, change: CommitUnits) -> bool:
        attempt = self._attempts.get(change.attempt)
        if attempt is None or change.attempt in self._condemned or self._seal:
            return self._commit(CommitUnit(change.attempt, change.files))
        names = change.files.names.files
        self._check_free(name for name in names if name in self._files)
        self._check_there(change.attempt, change.files)
        ids = (violation.violation_id for violation in change.violations)
        self._check_free(name for name in ids if name in self._violations)
        for unit in change.units:
            self._attempts[change.attempt] = attempt
            self._commit(CommitUnit(change.attempt, unit))
        return True

    def _label(self, change: AddLabels) -> bool:
        file, attempt = self._files.get(change.file_id), change.attempt
        if file is None or not change.may_apply(file):
            return False
        if attempt is not None:
            if attempt not in self._attempts or attempt in self._condemned or self._seal:
                raise AttemptCondemned(
                    f"the addition of labels to {change.file_id} took too long and was cancelled, or "
                    "the catalogue is sealed"
                )
            del self._attempts[attempt]
        labelled = change.applied(file)
        self._files[change.file_id] = labelled
        self._changes += counted_by_labels(file, labelled, change.at)
        self.record([event_of_labels(change, labelled)])
        return True

    def _observe(self, change: ObserveReplica) -> bool:
        file = self._files.get(change.file_id)
        found = change.expected_in(file)
        if file is None or found is None:
            return False
        becomes = found.become(change.state, verified_at=change.at)
        self._changes += counted_by_transition(file, found, change.state, change.at)
        self._replace(change.file_id, found, becomes)
        self.record([event_of_observation(file, becomes, change.at)])
        if incident := change.incident(becomes):
            self.open(OpenIncident(incident))
        else:
            self.close_of_replica(change.file_id, change.replica_id, closing_by_fixity(change.at))
        return True

    def _exported(self) -> int:
        sequences = [
            self._journals[name].sequence if name in self._journals else 0 for name in self._stores
        ]
        return min(sequences, default=0)

    def _restore_purged(self, change: RestorePurged) -> bool:
        copies = tuple(copy for copy in change.file.replicas if copy.store_id in self._stores)
        return self.restore_purged(evolve(change, file=evolve(change.file, replicas=copies)))

    def _import(self, change: ImportRows) -> bool:
        unit = change.unit
        self._check_free(file.file_id for file in change.files if file.file_id in self._files)
        known = (one.violation_id for one in change.violations)
        self._check_free(name for name in known if name in self._violations)
        self._check_copies(unit)
        completed = [self._with_files(*one) for one in change.completed]
        if not self.readmit((copy.store_id, copy.key) for _, copy in unit.replicas):
            raise IdsTaken("the blob of a restored copy is being deleted")
        self._files |= {file.file_id: _in_order(file) for file in change.files}
        for file in change.further:
            self._files[file.file_id] = _with_more(self._files[file.file_id], file.replicas)
        found = (*change.violations, *completed)
        self._violations |= {one.violation_id: one for one in found}
        self._changes += counted_by_import(change)
        self.set_cursor(change.cursor)
        return True

    def _check_copies(self, unit: Unit) -> None:
        known = {copy.replica_id for file in self._files.values() for copy in file.replicas}
        self._check_free(copy.key for _, copy in unit.replicas if copy.replica_id in known)
        if any(file.file_id not in self._files for file in unit.restored):
            raise IdsTaken("a file that is to get another copy does not exist")
        if any(copy.store_id not in self._stores for _, copy in unit.replicas):
            raise IdsTaken("a restored copy is in a store that is not registered")

    def _with_files(
        self, violation_id: ViolationId, image: FileId | None, video: FileId | None
    ) -> StoredViolation:
        violation = self._violations.get(violation_id)
        if violation is None:
            raise IdsTaken(f"the violation {violation_id} does not exist")
        for kind, file_id in ((FileKind.IMAGE, image), (FileKind.VIDEO, video)):
            if file_id is not None:
                violation = _with_file(violation, kind, file_id)
        return violation

    def _tombstone(self, change: Tombstone) -> bool:
        is_applied = self.tombstone(change)
        self.insert(change.jobs if is_applied else ())
        return is_applied

    def _add(self, change: AddReplica) -> bool:
        file = self._files.get(change.file_id)
        if change.is_shown_by(file):
            return False
        is_live = change.attempt in self._attempts and change.attempt not in self._condemned
        place = (change.replica.store_id, change.replica.tier)
        is_registered = any(place == (one.store_id, one.tier) for one in self._stores.values())
        if file is None or not (is_live and is_registered and change.is_allowed_for(file)):
            raise AttemptCondemned(
                f"the copy of {change.file_id} took too long and was cancelled, or the file is not "
                "available or has a good copy in that store already"
            )
        del self._attempts[change.attempt]
        replaced = change.replaced_in(file)
        self._changes += counted_by_addition(file, change.replica, replaced)
        if replaced is not None:
            self._replace(change.file_id, replaced, replaced.become(ReplicaState.GONE))
            self.note_healed(file, replaced, change.replica)
        self._files[change.file_id] = _with_more(self._files[change.file_id], [change.replica])
        self.record([event_of_copy(file, change.replica, replaced)])
        self.insert(change.jobs)
        return True

    def _release(self, change: ReleaseReplica) -> bool:
        file = self._files.get(change.file_id)
        goes = change.released_in(file)
        kept = None if file is None else change.kept_in(file)
        if file is None or goes is None or kept is None:
            return False
        self._changes += counted_by_transition(file, goes, ReplicaState.GONE, change.at)
        self._replace(change.file_id, goes, goes.become(ReplicaState.GONE))
        if goes.state is not ReplicaState.PRESENT:
            self.close_of_replica(file.file_id, goes.replica_id, closing_by_release(change.at))
        self._replace(change.file_id, kept, evolve(kept, verified_at=change.at))
        self.record([event_of_released_copy(file, goes, change.at)])
        self.insert(change.jobs)
        return True

    def _refute_copy(self, change: RefuteCopy) -> bool:
        if change.attempt not in self._attempts or change.attempt in self._condemned:
            return False
        self._condemned.add(change.attempt)
        self.record([change.event])
        return True

    def _note_pressure(self, change: NotePressure | NoteUsageAlert) -> bool:
        if not self.note(change):
            return False
        self.record([change.event])
        return True

    def _held(self, names: ClaimedIds) -> ExistingRows:
        taken = {name: self._files[name] for name in names.files if name in self._files}
        violation = self._violations.get(names.violation) if names.violation else None
        return ExistingRows(MappingProxyType(taken), violation)

    def _completed(self, unit: Unit) -> StoredViolation | None:
        """Return the violation to which `unit` adds an image or video, with these files.

        None if it adds nothing to an existing violation.
        """
        if unit.completes is None:
            return None
        violation = self._violations.get(unit.completes)
        if violation is None or violation.state is not ViolationState.AVAILABLE:
            raise IdsTaken(
                f"the violation {unit.completes}, which was to get a file, does not exist or was "
                "deleted"
            )
        for kind in (FileKind.IMAGE, FileKind.VIDEO):
            if file := unit.of_kind(kind):
                violation = _with_file(violation, kind, file.file_id)
        return violation

    @staticmethod
    def _check_free(taken: Iterable[str]) -> None:
        if names := ", ".join(taken):
            raise IdsTaken(f"another file or violation has the ids {names}")

    def _check_there(self, attempt: AttemptId, unit: Unit) -> None:
        there = {name for name, file in self._files.items() if file.state is FileState.AVAILABLE}
        if any(file.file_id not in there for file in unit.restored):
            raise AttemptCondemned(
                f"the store operation {attempt} restores a file that was deleted since"
            )
        used = {(replica.store_id, replica.tier) for _, replica in unit.replicas}
        known = {(store.store_id, store.tier) for store in self._stores.values()}
        if gone := ", ".join(store_id for store_id, _ in used - known):
            raise AttemptCondemned(
                f"the store operation {attempt} names a store that is not registered: {gone}"
            )


def _by_deadline(attempt: Attempt) -> tuple[datetime, AttemptId]:
    return attempt.deadline, attempt.attempt_id


def _in_order(file: StoredFile) -> StoredFile:
    order = sorted(file.replicas, key=lambda r: (r.tier is not Tier.LOCAL, r.store_id, r.key))
    return evolve(file, replicas=tuple(order))


def _with_more(file: StoredFile, replicas: Iterable[Replica]) -> StoredFile:
    return _in_order(evolve(file, replicas=(*file.replicas, *replicas)))


def _with_file(violation: StoredViolation, kind: FileKind, file_id: FileId) -> StoredViolation:
    slot = violation.image_file_id if kind is FileKind.IMAGE else violation.video_file_id
    if slot is not None:
        raise IdsTaken(f"the violation {violation.violation_id} already has its {kind}")
    if kind is FileKind.IMAGE:
        record = evolve(violation.record, image_path=file_id)
        return evolve(violation, record=record, image_file_id=file_id)
    record = evolve(violation.record, video_path=file_id)
    return evolve(violation, record=record, video_file_id=file_id)


def _place_in_order(violation: StoredViolation) -> tuple[timedelta, ViolationId]:
    return EARLIEST - violation.occurred_at, violation.violation_id


def _meets(violation: StoredViolation, query: ViolationQuery) -> bool:
    record = violation.record
    at = violation.occurred_at
    return (
        violation.state is ViolationState.AVAILABLE
        and _is(query.device_id, record.device_id)
        and _is(query.violation_type, record.violation_type)
        and _is(query.vehicle_class, record.vehicle_class)
        and (query.min_confidence is None or query.min_confidence <= record.confidence)
        and (query.max_confidence is None or record.confidence <= query.max_confidence)
        and (query.start_time is None or query.start_time <= at)
        and (query.end_time is None or at < query.end_time)
        and (query.after is None or _is_after(violation, query.after))
    )


def _is(wanted: str | None, value: str | None) -> bool:
    return wanted is None or wanted == value


def _is_after(violation: StoredViolation, cursor: Cursor) -> bool:
    if violation.occurred_at != cursor.at:
        return violation.occurred_at < cursor.at
    return violation.violation_id > cursor.row_id


def _is_asked(file: StoredFile, query: FilesQuery) -> bool:
    return (
        file.state is query.state
        and _is(query.kind, file.kind)
        and _is(query.device_id, file.device_id)
        and _is(query.violation_id, file.violation_id)
        and (query.start_time is None or query.start_time <= file.created_at)
        and (query.end_time is None or file.created_at < query.end_time)
        and (
            query.after is None
            or (file.created_at, file.file_id) < (query.after.at, query.after.row_id)
        )
    )
