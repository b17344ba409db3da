"""Holds and deletions in the memory of this process; the rules are those of the domain."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from attrs import evolve

from traffic_storage.adapters.record_repo.memory.outbox import InMemoryOutbox
from traffic_storage.domain.deletion import (
    BeginPurge,
    Certificate,
    Deletion,
    EndPurge,
    Removal,
    RemoveReplicas,
    Tombstone,
    Undelete,
    erased_file,
    erased_violation,
    events_of_tombstone,
    events_of_undelete,
    leads,
    mirrored,
    recorded_by,
    remaining,
)
from traffic_storage.domain.files import FileState, ReplicaState, StoredFile
from traffic_storage.domain.holds import (
    Hold,
    HoldReach,
    PlaceHold,
    ReleaseHold,
    covers,
    event_of_release,
    events_of_hold,
    reach,
)
from traffic_storage.domain.identifiers import FileId, ViolationId
from traffic_storage.domain.purged_rows import RestorePurged, event_of_purge
from traffic_storage.domain.query import Cursor, HoldsQuery, Page
from traffic_storage.domain.snapshot import SnapshotPin
from traffic_storage.domain.usage import (
    CounterChange,
    counted_by_transition,
    counted_by_visibility,
)
from traffic_storage.domain.violation import StoredViolation


class InMemoryDeletions(InMemoryOutbox):
    """Holds and deletions that exist as long as this object."""

    def __init__(self) -> None:
        super().__init__()
        self._files: dict[FileId, StoredFile] = {}
        self._violations: dict[ViolationId, StoredViolation] = {}
        self._changes: list[CounterChange] = []
        self._holds: dict[UUID, Hold] = {}
        self._deletions: dict[FileId, Deletion] = {}
        self._removals: dict[FileId, list[Removal]] = {}
        self._certificates: dict[FileId, Certificate] = {}
        self._pins: dict[str, SnapshotPin] = {}

    # Holds.

    async def hold(self, hold_id: UUID) -> Hold | None:
        return self._holds.get(hold_id)

    async def holds(self, query: HoldsQuery) -> Page[Hold]:
        after = None if query.after is None else (query.after.at, query.after.row_id)
        found = sorted(
            (
                hold
                for hold in self._holds.values()
                if (query.active_at is None or hold.is_active(query.active_at))
                and (after is None or (hold.placed_at, str(hold.hold_id)) < after)
            ),
            key=lambda hold: (hold.placed_at, str(hold.hold_id)),
            reverse=True,
        )
        items = tuple(found[: query.limit])
        if len(found) <= query.limit:
            return Page(items)
        return Page(items, Cursor(items[-1].placed_at, str(items[-1].hold_id)))

    async def held(self, file_ids: Collection[FileId], at: datetime) -> frozenset[FileId]:
        return frozenset(
            name for name in file_ids if name in self._files and self._holds_on(name, at)
        )

    async def holds_on(self, file_id: FileId, at: datetime) -> Sequence[Hold]:
        return self._holds_on(file_id, at) if file_id in self._files else []

    async def hold_reach(self, hold: Hold) -> HoldReach:
        return reach(hold, ((file, self._violation_of(file)) for file in self._files.values()))

    def _holds_on(self, file_id: FileId, at: datetime) -> Sequence[Hold]:
        file = self._files[file_id]
        violation = self._violation_of(file)
        found = [
            hold
            for hold in self._holds.values()
            if hold.is_active(at) and covers(hold, file, violation)
        ]
        return sorted(found, key=lambda hold: (hold.placed_at, str(hold.hold_id)))

    def place_hold(self, change: PlaceHold) -> bool:
        """Apply `PlaceHold`."""
        if change.hold.hold_id in self._holds:
            return False
        self._holds[change.hold.hold_id] = change.hold
        self.record(events_of_hold(change.hold))
        return True

    def release_hold(self, change: ReleaseHold) -> bool:
        """Apply `ReleaseHold`."""
        hold = self._holds.get(change.hold_id)
        if hold is None or hold.released_at is not None:
            return False
        self._holds[change.hold_id] = hold.released(change)
        self.record([event_of_release(hold, change)])
        return True

    # Deletions.

    async def deletions(self, file_ids: Collection[FileId]) -> Mapping[FileId, Deletion]:
        return {name: self._deletions[name] for name in file_ids if name in self._deletions}

    async def due_for_purge(
        self, at: datetime, after: Cursor | None = None, limit: int = 100
    ) -> Page[Deletion]:
        begin = None if after is None else (after.at, after.row_id)
        found = sorted(
            (
                one
                for one in self._deletions.values()
                if one.purged_at is None
                and one.purge_after <= at
                and (begin is None or (one.purge_after, one.file_id) > begin)
            ),
            key=lambda one: (one.purge_after, one.file_id),
        )
        items = tuple(found[:limit])
        if len(found) <= limit:
            return Page(items)
        return Page(items, Cursor(items[-1].purge_after, items[-1].file_id))

    async def removals(self, file_id: FileId) -> Sequence[Removal]:
        found = self._removals.get(file_id, [])
        return sorted(found, key=lambda removal: removal.replica_id.bytes)

    async def certificate(self, file_id: FileId) -> Certificate | None:
        return self._certificates.get(file_id)

    def tombstone(self, change: Tombstone) -> bool:
        """Apply `Tombstone`, but for its jobs."""
        names = dict.fromkeys(change.file_ids)
        files = [
            file
            for file in (self._files[name] for name in names if name in self._files)
            if change.may_delete(file, is_held=bool(self._holds_on(file.file_id, change.at)))
        ]
        if not files or (change.whole and len(files) < len(names)):
            return False
        self._count(files, -1, change.at)
        for file in files:
            self._become(file.become(FileState.TOMBSTONED, at=change.at))
            self._deletions[file.file_id] = change.of(file.file_id)
        self.record(events_of_tombstone(change, files))
        return True

    def undelete(self, change: Undelete) -> bool:
        """Apply `Undelete`."""
        files = [self._files.get(name) for name in change.file_ids]
        deleted = [file for file in files if file and file.state is FileState.TOMBSTONED]
        if len(deleted) < len(files):
            return False
        self._count(deleted, 1, change.at)
        for file in deleted:
            self._become(change.applied(file))
            del self._deletions[file.file_id]
        self.record(events_of_undelete(change, map(change.applied, deleted)))
        return True

    def begin_purge(self, change: BeginPurge) -> bool:
        """Apply `BeginPurge`."""
        files = [
            file
            for file in (self._files.get(name) for name in change.file_ids)
            if file is not None
            and change.may_begin(
                file,
                self._deletions.get(file.file_id),
                is_held=bool(self._holds_on(file.file_id, change.at)),
            )
            and not any(pin.covers(file, change.at) for pin in self._pins.values())
        ]
        for file in files:
            self._become(file.become(FileState.PURGING, at=change.at))
        return bool(files)

    def remove_replicas(self, change: RemoveReplicas) -> bool:
        """Apply `RemoveReplicas`."""
        file = self._files.get(change.file_id)
        if file is None or file.state is not FileState.PURGING:
            return False
        removed = recorded_by(file, change, self._removed(change.file_id))
        noted = [one for one in change.removals if one.replica_id in removed]
        for one in noted:
            self._changes += counted_by_transition(
                file, removed[one.replica_id], ReplicaState.GONE, one.at
            )
        replicas = tuple(
            copy.become(ReplicaState.GONE)
            if copy.replica_id in removed and copy.state is not ReplicaState.GONE
            else copy
            for copy in file.replicas
        )
        self._files[file.file_id] = evolve(file, replicas=replicas)
        self._removals.setdefault(file.file_id, []).extend(noted)
        return bool(noted)

    def end_purge(self, change: EndPurge) -> bool:
        """Apply `EndPurge`."""
        file = self._files.get(change.file_id)
        if (
            file is None
            or file.state is not FileState.PURGING
            or remaining(file, self._removed(change.file_id))
        ):
            return False
        self._become(erased_file(file, change.at))
        violation = self._violation_of(file)
        led = violation if leads(file, violation) else None
        if led is not None:
            self._violations[led.violation_id] = erased_violation(led)
        deletion = self._deletions[file.file_id]
        self._deletions[file.file_id] = evolve(deletion, purged_at=change.at)
        self._certificates[file.file_id] = change.certificate
        self.record([event_of_purge(change, file, deletion, led)])
        return True

    def restore_purged(self, change: RestorePurged) -> bool:
        """Apply `RestorePurged`."""
        file = change.file
        known = self._files.get(file.file_id)
        if known is not None and (known.state is FileState.PURGED or not change.concerns(known)):
            return False
        if known is not None:
            if known.state is FileState.AVAILABLE:
                self._count([known], -1, change.certificate.at)
            for copy in known.replicas:
                self._changes += counted_by_transition(
                    known, copy, ReplicaState.GONE, change.certificate.at
                )
        if change.violation is not None:
            violation_id = change.violation.violation_id
            found = self._violations.get(violation_id)
            row = erased_violation(found) if found else change.inserted(self._files)
            self._violations[violation_id] = row or change.violation
        elif completed := change.completed(self._violation_of(file)):
            self._violations[completed.violation_id] = completed
        self._become(file)
        violation = self._violation_of(file)
        for name in (violation.image_file_id, violation.video_file_id) if violation else ():
            if name in self._files:
                self._become(self._files[name])
        self._deletions[file.file_id] = change.deletion
        self._removals[file.file_id] = list(change.removals)
        self._certificates[file.file_id] = change.certificate
        self.record([change.event])
        return True

    def _removed(self, file_id: FileId) -> frozenset[UUID]:
        return frozenset(one.replica_id for one in self._removals.get(file_id, []))

    def _violation_of(self, file: StoredFile) -> StoredViolation | None:
        return self._violations.get(file.violation_id) if file.violation_id else None

    def _count(self, files: Sequence[StoredFile], more: int, at: datetime) -> None:
        for file in files:
            violation = self._violation_of(file)
            led = violation if leads(file, violation) else None
            self._changes += counted_by_visibility(file, led, more, at)

    def _become(self, file: StoredFile) -> None:
        """Replace a file; its violation gets its state."""
        self._files[file.file_id] = file
        if violation := self._violation_of(file):
            self._violations[violation.violation_id] = mirrored(violation, file)
