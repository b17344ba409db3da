"""The replicas of a store by their age, from a database."""

from collections.abc import Sequence
from uuid import UUID

from traffic_storage.adapters.record_repo.sql import copy_statements, rows
from traffic_storage.adapters.record_repo.sql.driver import Driver
from traffic_storage.domain.files import StoredFile
from traffic_storage.domain.identifiers import StoreId

_BEFORE_ALL = UUID(int=0)


class SqlCopies:
    """Reads the replicas of a store in the database of a driver."""

    _driver: Driver

    async def oldest_in(
        self, store_id: StoreId, after: UUID | None = None, limit: int = 100
    ) -> Sequence[StoredFile]:
        args = (store_id, (after or _BEFORE_ALL).bytes, limit)
        return rows.files_of(await self._driver.read(copy_statements.OLDEST_IN, [args]))
