"""Cursors of migrations, and the seal, in a database: each call runs one SQL statement."""

from traffic_storage.adapters.record_repo.sql import migration_statements as statements
from traffic_storage.adapters.record_repo.sql.driver import Driver
from traffic_storage.adapters.record_repo.sql.rows import micros, moment
from traffic_storage.adapters.record_repo.sql.statement import Args
from traffic_storage.domain.migration import MigrationCursor, MigrationId
from traffic_storage.domain.query import Cursor
from traffic_storage.domain.seal import Seal
from traffic_storage.ports.migrations import Migrations


class SqlMigrations(Migrations):
    """The migrations into the database of `driver`."""

    _driver: Driver

    async def migration_cursor(self, migration: MigrationId) -> MigrationCursor | None:
        found = await self._driver.read(statements.CURSOR, [migration_key(migration)])
        if not found:
            return None
        after_at, after_id, records, files, size = found[0][3:]
        return MigrationCursor(migration, Cursor(moment(after_at), after_id), records, files, size)

    async def seal(self) -> Seal | None:
        found = await self._driver.read(statements.SEAL, [()])
        if not found:
            return None
        sealed_at, sealed_by, reason = found[0]
        return Seal(moment(sealed_at), sealed_by, reason)


def migration_key(migration: MigrationId) -> Args:
    """Return the key of a migration's row."""
    return migration.source, micros(migration.start), micros(migration.end)


def cursor_row(cursor: MigrationCursor) -> Args:
    """Return the row of a migration."""
    return (
        *migration_key(cursor.migration),
        micros(cursor.after.at),
        cursor.after.row_id,
        cursor.records,
        cursor.files,
        cursor.bytes,
    )
