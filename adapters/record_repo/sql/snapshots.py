"""Snapshots of a database: all rows as they are in one transaction, and pins."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

from traffic_storage.adapters.record_repo.sql import deletion_rows, retention_statements, rows
from traffic_storage.adapters.record_repo.sql import snapshot_statements as statements
from traffic_storage.adapters.record_repo.sql.deletions import read_deletions
from traffic_storage.adapters.record_repo.sql.driver import Driver, MomentReader
from traffic_storage.adapters.record_repo.sql.retention import revision_of
from traffic_storage.adapters.record_repo.sql.rows import Row, micros, moment
from traffic_storage.adapters.record_repo.sql.statement import Args
from traffic_storage.adapters.record_repo.sql.statements import CATALOGUE_ID, VIOLATION
from traffic_storage.domain.database_backup import DatabaseForm
from traffic_storage.domain.deletion import Certificate, Deletion
from traffic_storage.domain.files import StoredFile
from traffic_storage.domain.holds import Hold
from traffic_storage.domain.identifiers import FileId, ViolationId
from traffic_storage.domain.rules_in_force import RulesRevision
from traffic_storage.domain.snapshot import SnapshotPin
from traffic_storage.domain.violation import StoredViolation
from traffic_storage.ports.database_backup import Write
from traffic_storage.ports.snapshots import Moment, SnapshotRecords

_FIRST = UUID(int=0)


class SqlSnapshots(SnapshotRecords):
    """The rows of the database of `driver` at one moment."""

    _driver: Driver

    @asynccontextmanager
    async def moment(self) -> AsyncIterator[Moment]:
        async with self._driver.at_one_moment() as reader:
            # The first query takes the moment.
            await reader.read(CATALOGUE_ID, [()])
            yield SqlMoment(reader)

    async def pins(self) -> Sequence[SnapshotPin]:
        return [pin_of(row) for row in await self._driver.read(statements.PINS, [()])]


class SqlMoment(Moment):
    """The rows that one transaction sees; `reader` reads in it."""

    def __init__(self, reader: MomentReader) -> None:
        self._reader = reader

    async def files(self, after: FileId | None, limit: int) -> Sequence[StoredFile]:
        return rows.files_of(await self._reader.read(statements.FILES, [(after or "", limit)]))

    async def violations(self, after: ViolationId | None, limit: int) -> Sequence[StoredViolation]:
        found = await self._reader.read(statements.VIOLATIONS, [(after or "", limit)])
        return rows.violations_of(found)

    async def violations_by_id(
        self, violation_ids: Collection[ViolationId]
    ) -> Mapping[ViolationId, StoredViolation]:
        if not violation_ids:
            return {}
        found = await self._reader.read(VIOLATION, [(one,) for one in violation_ids])
        return {one.violation_id: one for one in rows.violations_of(found)}

    async def deletions(self, file_ids: Collection[FileId]) -> Mapping[FileId, Deletion]:
        return await read_deletions(self._reader, file_ids)

    async def certificates(self, file_ids: Collection[FileId]) -> Mapping[FileId, Certificate]:
        if not file_ids:
            return {}
        found = await self._reader.read(statements.CERTIFICATES, [(one,) for one in file_ids])
        return {one.file_id: one for one in map(deletion_rows.certificate_of, found)}

    async def holds(self, after: UUID | None, limit: int) -> Sequence[Hold]:
        args = ((after or _FIRST).bytes, limit)
        return [
            deletion_rows.hold_of(row) for row in await self._reader.read(statements.HOLDS, [args])
        ]

    async def rules_in_force(self) -> RulesRevision | None:
        found = await self._reader.read(retention_statements.RULES_IN_FORCE, [()])
        return revision_of(found[0]) if found else None

    async def copy_database(self, write: Write) -> DatabaseForm:
        return await self._reader.copy_database(write)


def pin_row(pin: SnapshotPin) -> Args:
    """Return the row of a pin."""
    newest = None if pin.newest is None else micros(pin.newest)
    return pin.name, micros(pin.begun_at), micros(pin.until), newest, pin.location


def pin_of(row: Row) -> SnapshotPin:
    """Return the pin of a row."""
    name, begun_at, until, newest, location = row
    return SnapshotPin(
        name,
        location,
        moment(begun_at),
        moment(until),
        None if newest is None else moment(newest),
    )
