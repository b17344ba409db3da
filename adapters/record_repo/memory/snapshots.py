"""Snapshots of a catalogue in memory: copies of its tables, and pins."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

from attrs import frozen

from traffic_storage.adapters.record_repo.memory.copied_tables import FORM, all_tables, kept
from traffic_storage.adapters.record_repo.memory.retention import InMemoryRetention
from traffic_storage.domain.database_backup import DatabaseForm
from traffic_storage.domain.deletion import Certificate, Deletion
from traffic_storage.domain.files import StoredFile
from traffic_storage.domain.holds import Hold
from traffic_storage.domain.identifiers import FileId, ViolationId
from traffic_storage.domain.rules_in_force import RulesRevision
from traffic_storage.domain.snapshot import PinSnapshot, SnapshotPin, UnpinSnapshot
from traffic_storage.domain.violation import StoredViolation
from traffic_storage.ports.database_backup import Write
from traffic_storage.ports.snapshots import Moment, SnapshotRecords


class InMemorySnapshots(InMemoryRetention, SnapshotRecords):
    """The rows at one moment, and pins that exist as long as this object."""

    @asynccontextmanager
    async def moment(self) -> AsyncIterator[Moment]:
        yield InMemoryMoment(
            dict(sorted(self._files.items())),
            dict(sorted(self._violations.items())),
            dict(self._deletions),
            dict(self._certificates),
            dict(sorted(self._holds.items(), key=lambda one: one[0].bytes)),
            await self.rules_in_force(),
            kept(all_tables(self)),
        )

    async def pins(self) -> Sequence[SnapshotPin]:
        return [self._pins[name] for name in sorted(self._pins)]

    def pin_snapshot(self, change: PinSnapshot) -> bool:
        """Apply `PinSnapshot`."""
        self._pins[change.pin.name] = change.pin
        return True

    def unpin_snapshot(self, change: UnpinSnapshot) -> bool:
        """Apply `UnpinSnapshot`."""
        self._pins.pop(change.name, None)
        return True


@frozen
class InMemoryMoment(Moment):
    """Copies of the tables, in the order of the ids."""

    _files: Mapping[FileId, StoredFile]
    _violations: Mapping[ViolationId, StoredViolation]
    _deletions: Mapping[FileId, Deletion]
    _certificates: Mapping[FileId, Certificate]
    _holds: Mapping[UUID, Hold]
    _rules: RulesRevision | None
    _copy: bytes

    async def files(self, after: FileId | None, limit: int) -> Sequence[StoredFile]:
        return [one for name, one in self._files.items() if name > (after or "")][:limit]

    async def violations(self, after: ViolationId | None, limit: int) -> Sequence[StoredViolation]:
        return [one for name, one in self._violations.items() if name > (after or "")][:limit]

    async def violations_by_id(
        self, violation_ids: Collection[ViolationId]
    ) -> Mapping[ViolationId, StoredViolation]:
        return {name: self._violations[name] for name in violation_ids if name in self._violations}

    async def deletions(self, file_ids: Collection[FileId]) -> Mapping[FileId, Deletion]:
        return {name: self._deletions[name] for name in file_ids if name in self._deletions}

    async def certificates(self, file_ids: Collection[FileId]) -> Mapping[FileId, Certificate]:
        return {name: self._certificates[name] for name in file_ids if name in self._certificates}

    async def holds(self, after: UUID | None, limit: int) -> Sequence[Hold]:
        found = [one for name, one in self._holds.items() if after is None or name > after]
        return found[:limit]

    async def rules_in_force(self) -> RulesRevision | None:
        return self._rules

    async def copy_database(self, write: Write) -> DatabaseForm:
        await write(self._copy)
        return FORM
