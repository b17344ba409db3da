"""Holds and deletions in a database (`hold_statements`, `deletion_statements`)."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from traffic_storage.adapters.record_repo.sql import deletion_rows as rows
from traffic_storage.adapters.record_repo.sql import deletion_statements, hold_statements
from traffic_storage.adapters.record_repo.sql.driver import Driver, Reader
from traffic_storage.adapters.record_repo.sql.rows import Row, micros
from traffic_storage.adapters.record_repo.sql.statement import Args, Statement
from traffic_storage.domain.deletion import Certificate, Deletion, Removal
from traffic_storage.domain.files import FileState
from traffic_storage.domain.holds import HeldFile, HeldRange, HeldViolation, Hold, HoldReach
from traffic_storage.domain.identifiers import FileId
from traffic_storage.domain.query import Cursor, HoldsQuery, Page

_EARLIEST = -(2**63)


class SqlHolds:
    """The holds in the database of `driver`."""

    _driver: Driver

    async def hold(self, hold_id: UUID) -> Hold | None:
        found = await self._driver.read(hold_statements.HOLD, [(hold_id.bytes,)])
        return rows.hold_of(found[0]) if found else None

    async def holds(self, query: HoldsQuery) -> Page[Hold]:
        statement = hold_statements.PAGES[query.active_at is not None]
        found = await self._driver.read(statement, [rows.holds_query_row(query)])
        items = tuple(map(rows.hold_of, found[: query.limit]))
        if len(found) <= query.limit:
            return Page(items)
        return Page(items, Cursor(items[-1].placed_at, str(items[-1].hold_id)))

    async def held(self, file_ids: Collection[FileId], at: datetime) -> frozenset[FileId]:
        return await read_held(self._driver, file_ids, at)

    async def holds_on(self, file_id: FileId, at: datetime) -> Sequence[Hold]:
        found = await self._driver.read(hold_statements.HOLDS_ON, [(file_id, micros(at))])
        return [rows.hold_of(row) for row in found]

    async def hold_reach(self, hold: Hold) -> HoldReach:
        statement, args = _reach_query(hold)
        return _reach(await self._driver.read(statement, [args]))


def _reach_query(hold: Hold) -> tuple[Statement, Args]:
    match hold.scope:
        case HeldFile(file_id):
            return hold_statements.REACH_OF_FILE, (file_id,)
        case HeldViolation(violation_id):
            return hold_statements.REACH_OF_VIOLATION, (violation_id,)
        case HeldRange() as scope:
            return hold_statements.REACH_OF_RANGE, (hold.hold_id.bytes, scope.device_id)


async def read_held(
    driver: Driver, file_ids: Collection[FileId], at: datetime
) -> frozenset[FileId]:
    """Return those of these files that a hold covers that is active at `at`."""
    if not file_ids:
        return frozenset()
    asked = [(file_id, micros(at)) for file_id in file_ids]
    found = await driver.read(hold_statements.HELD, asked)
    return frozenset(FileId(file_id) for (file_id,) in found)


def _reach(found: Sequence[Row]) -> HoldReach:
    def count(state: FileState) -> int:
        return sum(number for known, number in found if known == state)

    return HoldReach(count(FileState.TOMBSTONED), count(FileState.PURGING))


class SqlDeletions:
    """The deletions in the database of `driver`."""

    _driver: Driver

    async def deletions(self, file_ids: Collection[FileId]) -> Mapping[FileId, Deletion]:
        return await read_deletions(self._driver, file_ids)

    async def due_for_purge(
        self, at: datetime, after: Cursor | None = None, limit: int = 100
    ) -> Page[Deletion]:
        begin = (micros(after.at), after.row_id) if after else (_EARLIEST, "")
        args = (micros(at), *begin, limit + 1)
        found = await self._driver.read(deletion_statements.DUE, [args])
        items = tuple(map(rows.deletion_of, found[:limit]))
        if len(found) <= limit:
            return Page(items)
        return Page(items, Cursor(items[-1].purge_after, items[-1].file_id))

    async def removals(self, file_id: FileId) -> Sequence[Removal]:
        return list((await read_removals(self._driver, file_id)).values())

    async def certificate(self, file_id: FileId) -> Certificate | None:
        return await read_certificate(self._driver, file_id)


async def read_deletions(driver: Reader, file_ids: Collection[FileId]) -> Mapping[FileId, Deletion]:
    """Return the deletions of those of these files that are deleted."""
    if not file_ids:
        return {}
    found = await driver.read(deletion_statements.DELETION, [(name,) for name in file_ids])
    return {one.file_id: one for one in map(rows.deletion_of, found)}


async def read_removals(driver: Driver, file_id: FileId) -> Mapping[UUID, Removal]:
    """Return the recorded removals of the replicas of a file, by the ids of the replicas."""
    found = await driver.read(deletion_statements.REMOVALS, [(file_id,)])
    return {one.replica_id: one for one in map(rows.removal_of, found)}


async def read_certificate(driver: Driver, file_id: FileId) -> Certificate | None:
    """Return the destruction certificate of a file; None if there is none."""
    found = await driver.read(deletion_statements.CERTIFICATE, [(file_id,)])
    return rows.certificate_of(found[0]) if found else None
