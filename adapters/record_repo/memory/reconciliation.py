"""The quarantine and the scans of reconcile in the memory of this process."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from uuid import UUID

from attrs import evolve

from traffic_storage.domain.files import BlobKey, FileKind, ReplicaState, StoredFile
from traffic_storage.domain.identifiers import (
    AttemptId,
    FileId,
    StoreId,
    ViolationId,
)
from traffic_storage.domain.ingest import Attempt
from traffic_storage.domain.journal import JournalCursor, SetJournalCursor
from traffic_storage.domain.quarantine import (
    BeginRemoval,
    DoubtUndone,
    EnterQuarantine,
    LeaveQuarantine,
    NoteQuarantined,
    Quarantined,
    QuarantineReason,
    QuarantineState,
    UndoAttempt,
)
from traffic_storage.domain.rebuild import RebuildCursor
from traffic_storage.domain.reconcile import Recorded, RecordedPage, replica_id_of
from traffic_storage.domain.violation import StoredViolation


class InMemoryReconciliation:
    """Entries of the quarantine, and scans of the rows of the class that inherits this one."""

    _attempts: dict[AttemptId, Attempt]
    _condemned: set[AttemptId]
    _files: dict[FileId, StoredFile]
    _violations: dict[ViolationId, StoredViolation]

    def __init__(self) -> None:
        self._quarantine: dict[tuple[StoreId, BlobKey], Quarantined] = {}
        self._cursors: dict[StoreId, RebuildCursor] = {}
        self._journals: dict[StoreId, JournalCursor] = {}

    async def recorded(
        self, store_id: StoreId, after: UUID | None = None, limit: int = 1000
    ) -> RecordedPage:
        page, last = self._range(after, limit)
        return RecordedPage(tuple(one for place, one in page if place == store_id), last)

    async def replicas(self, replica_ids: Collection[UUID]) -> Mapping[UUID, Recorded]:
        return {
            one.replica_id: one for _, one in self._all_recorded() if one.replica_id in replica_ids
        }

    async def metadata_files(
        self, after: UUID | None = None, limit: int = 1000
    ) -> tuple[Sequence[FileId], UUID | None]:
        page, last = self._range(after, limit)
        suffix = f"~{FileKind.METADATA}"
        return [one.file_id for _, one in page if one.file_id.endswith(suffix)], last

    async def files_by_id(self, file_ids: Collection[FileId]) -> Mapping[FileId, StoredFile]:
        return {name: self._files[name] for name in file_ids if name in self._files}

    async def violations_by_id(
        self, violation_ids: Collection[ViolationId]
    ) -> Mapping[ViolationId, StoredViolation]:
        known = self._violations
        return {name: known[name] for name in violation_ids if name in known}

    async def attempted(self, store_id: StoreId, keys: Collection[BlobKey]) -> Collection[BlobKey]:
        tried = {one for attempt in self._attempts.values() for one in attempt.keys}
        return {key for key in keys if (store_id, key) in tried}

    async def quarantined(
        self, store_id: StoreId, after: BlobKey | None = None, limit: int = 1000
    ) -> Sequence[Quarantined]:
        keys = sorted(key for place, key in self._quarantine if place == store_id)
        further = [key for key in keys if after is None or key > after]
        return [self._quarantine[store_id, key] for key in further[:limit]]

    async def quarantine_entries(
        self, store_id: StoreId, keys: Collection[BlobKey]
    ) -> Mapping[BlobKey, Quarantined]:
        found = ((key, self._quarantine.get((store_id, key))) for key in keys)
        return {key: entry for key, entry in found if entry is not None}

    async def rebuild_cursors(self) -> Mapping[StoreId, RebuildCursor]:
        return dict(self._cursors)

    async def journal_cursor(self, store_id: StoreId) -> JournalCursor:
        return self._journals.get(store_id, JournalCursor(store_id))

    def set_journal_cursor(self, change: SetJournalCursor) -> bool:
        """Apply this change."""
        store_id = change.was.store_id
        if self._journals.get(store_id, JournalCursor(store_id)) != change.was:
            return False
        self._journals[store_id] = change.becomes
        return True

    def enter_quarantine(self, change: EnterQuarantine) -> bool:
        """Apply this change."""
        return self._enter(change.entries)

    def undo_attempt(self, change: UndoAttempt) -> bool:
        """Apply this change."""
        if change.attempt not in self._condemned:
            return False
        del self._attempts[change.attempt]
        self._condemned.discard(change.attempt)
        self._enter(change.entries)
        return True

    def note_quarantined(self, change: NoteQuarantined) -> bool:
        """Apply this change."""
        entry = change.entry
        held = self._quarantine.get((entry.store_id, entry.key))
        if held is None:
            return False
        self._quarantine[entry.store_id, entry.key] = evolve(
            held, size_bytes=entry.size_bytes, file_id=entry.file_id, note=entry.note
        )
        return True

    def doubt_undone(self, change: DoubtUndone) -> bool:
        """Apply this change."""
        held = {
            place: evolve(entry, reason=QuarantineReason.UNRECORDED)
            for place, entry in self._quarantine.items()
            if entry.store_id == change.store_id
            and (entry.reason, entry.state) == (QuarantineReason.UNDONE, QuarantineState.HELD)
        }
        self._quarantine |= held
        self._enter(change.entries(self._attempts.values()))
        return True

    def begin_removal(self, change: BeginRemoval) -> bool:
        """Apply this change."""
        place = change.entry.store_id, change.entry.key
        held = self._quarantine.get(place)
        if held is None or held.state is not QuarantineState.HELD or self._has_replica(place[1]):
            return False
        self._quarantine[place] = evolve(held, state=QuarantineState.REMOVING)
        return True

    def leave_quarantine(self, change: LeaveQuarantine) -> bool:
        """Apply this change."""
        return self._quarantine.pop((change.entry.store_id, change.entry.key), None) is not None

    def readmit(self, keys: Iterable[tuple[StoreId, BlobKey]]) -> bool:
        """Delete the entries with these keys; return False, and change nothing, if one is removing."""
        held = [place for place in keys if place in self._quarantine]
        if any(self._quarantine[place].state is QuarantineState.REMOVING for place in held):
            return False
        for place in held:
            del self._quarantine[place]
        return True

    def set_cursor(self, cursor: RebuildCursor | None) -> None:
        """Record how far a rebuild has come."""
        if cursor is not None:
            self._cursors[cursor.store_id] = cursor

    def _enter(self, entries: Iterable[Quarantined]) -> bool:
        new = [
            entry
            for entry in entries
            if (entry.store_id, entry.key) not in self._quarantine
            and not self._has_replica(entry.key)
        ]
        self._quarantine |= {(entry.store_id, entry.key): entry for entry in new}
        return bool(new)

    def _has_replica(self, key: BlobKey) -> bool:
        number = replica_id_of(key)
        return any(
            one.replica_id == number and one.state is not ReplicaState.GONE
            for _, one in self._all_recorded()
        )

    def _all_recorded(self) -> Iterable[tuple[StoreId, Recorded]]:
        for file in self._files.values():
            for copy in file.replicas:
                yield (
                    copy.store_id,
                    Recorded(
                        copy.replica_id, file.file_id, copy.key, copy.state, file.stored.size_bytes
                    ),
                )

    def _range(
        self, after: UUID | None, limit: int
    ) -> tuple[list[tuple[StoreId, Recorded]], UUID | None]:
        ordered = sorted(self._all_recorded(), key=lambda one: one[1].replica_id)
        page = [one for one in ordered if after is None or one[1].replica_id > after][:limit]
        return page, page[-1][1].replica_id if len(page) == limit else None
