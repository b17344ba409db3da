"""Reads for reconcile and for the rebuild: ordered scans, and lookups by many keys."""

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from traffic_storage.adapters.record_repo.sql import reconciliation_statements as statements
from traffic_storage.adapters.record_repo.sql import rows
from traffic_storage.adapters.record_repo.sql.driver import Driver, looked_up
from traffic_storage.adapters.record_repo.sql.reading import attempts
from traffic_storage.adapters.record_repo.sql.statements import FILE, VIOLATION
from traffic_storage.domain.files import BlobKey, StoredFile
from traffic_storage.domain.identifiers import FileId, StoreId, ViolationId
from traffic_storage.domain.journal import JournalCursor
from traffic_storage.domain.quarantine import Quarantined
from traffic_storage.domain.rebuild import RebuildCursor
from traffic_storage.domain.reconcile import Recorded, RecordedPage
from traffic_storage.domain.violation import StoredViolation

_FIRST, _LAST = UUID(int=0), UUID(int=2**128 - 1)
_PAGE = 1000


class SqlReconciliation:
    """What is compared with the listing of a store, in the database of `driver`."""

    _driver: Driver

    async def recorded(
        self, store_id: StoreId, after: UUID | None = None, limit: int = _PAGE
    ) -> RecordedPage:
        first, last = await self._range(after, limit)
        args = (first.bytes, (last or _LAST).bytes, store_id)
        found = await self._driver.read(statements.RECORDED, [args])
        return RecordedPage(tuple(map(rows.recorded_of, found)), last)

    async def replicas(self, replica_ids: Collection[UUID]) -> Mapping[UUID, Recorded]:
        if not replica_ids:
            return {}
        ids = [(one.bytes,) for one in replica_ids]
        found = await looked_up(self._driver, statements.REPLICA, ids)
        return {one.replica_id: one for one in map(rows.recorded_of, found)}

    async def metadata_files(
        self, after: UUID | None = None, limit: int = _PAGE
    ) -> tuple[Sequence[FileId], UUID | None]:
        first, last = await self._range(after, limit)
        args = (first.bytes, (last or _LAST).bytes)
        found = await self._driver.read(statements.METADATA_FILES, [args])
        return [FileId(file_id) for (file_id,) in found], last

    async def files_by_id(self, file_ids: Collection[FileId]) -> Mapping[FileId, StoredFile]:
        if not file_ids:
            return {}
        found = rows.files_of(await looked_up(self._driver, FILE, [(one,) for one in file_ids]))
        return {file.file_id: file for file in found}

    async def violations_by_id(
        self, violation_ids: Collection[ViolationId]
    ) -> Mapping[ViolationId, StoredViolation]:
        if not violation_ids:
            return {}
        found = await looked_up(self._driver, VIOLATION, [(one,) for one in violation_ids])
        return {one.violation_id: one for one in rows.violations_of(found)}

    async def attempted(self, store_id: StoreId, keys: Collection[BlobKey]) -> Collection[BlobKey]:
        asked, tried = {(store_id, key) for key in keys}, set[BlobKey]()
        async for attempt in attempts(self._driver):
            tried |= {key for place, key in attempt.keys if (place, key) in asked}
        return tried

    async def quarantined(
        self, store_id: StoreId, after: BlobKey | None = None, limit: int = _PAGE
    ) -> Sequence[Quarantined]:
        args = (store_id, after or "", limit)
        found = await self._driver.read(statements.QUARANTINED, [args])
        return [rows.quarantined_of(row, store_id) for row in found]

    async def quarantine_entries(
        self, store_id: StoreId, keys: Collection[BlobKey]
    ) -> Mapping[BlobKey, Quarantined]:
        if not keys:
            return {}
        found = await self._driver.read(statements.ENTRY, [(store_id, key) for key in keys])
        return {one.key: one for one in (rows.quarantined_of(row, store_id) for row in found)}

    async def rebuild_cursors(self) -> Mapping[StoreId, RebuildCursor]:
        found = await self._driver.read(statements.CURSORS, [()])
        return {one.store_id: one for one in map(rows.cursor_of, found)}

    async def journal_cursor(self, store_id: StoreId) -> JournalCursor:
        found = await self._driver.read(statements.JOURNAL, [(store_id,)])
        return JournalCursor(store_id, *found[0][1:]) if found else JournalCursor(store_id)

    async def _range(self, after: UUID | None, limit: int) -> tuple[UUID, UUID | None]:
        """Return the limits of a page of all replicas; the second is None if it is the last page."""
        first = after or _FIRST
        found = await self._driver.read(statements.RANGE_END, [(first.bytes, limit, limit - 1)])
        return first, UUID(bytes=found[0][0]) if found else None
