"""Backups of a database: copies that its driver makes and loads."""

from collections.abc import AsyncIterator

from traffic_storage.adapters.record_repo.sql import backup_statements as statements
from traffic_storage.adapters.record_repo.sql.driver import Driver
from traffic_storage.adapters.record_repo.sql.rows import moment
from traffic_storage.domain.database_backup import DatabaseForm, Loaded, Loading
from traffic_storage.ports.database_backup import DatabaseBackup


class SqlDatabaseBackup(DatabaseBackup):
    """Loads copies into the database of `driver`."""

    _driver: Driver

    @property
    def form(self) -> DatabaseForm:
        return self._driver.form

    async def is_blank(self) -> bool:
        return await self._driver.is_blank()

    async def load_database(self, chunks: AsyncIterator[bytes], loading: Loading) -> None:
        await self._driver.load(chunks, loading)

    async def loaded(self) -> Loaded | None:
        found = await self._driver.read(statements.LOADED, [()])
        return Loaded(moment(found[0][0]), moment(found[0][1])) if found else None
