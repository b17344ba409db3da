"""`SetMigrationCursor`, `SealCatalogue` and `UnsealCatalogue` in the database."""

from typing_extensions import override

from traffic_storage.adapters.record_repo.sql import migration_statements as statements
from traffic_storage.adapters.record_repo.sql.changes.writer import ChangeWriter
from traffic_storage.adapters.record_repo.sql.driver import Driver, Refused, Step, Write
from traffic_storage.adapters.record_repo.sql.migrating import cursor_row, migration_key
from traffic_storage.adapters.record_repo.sql.reading import CatalogueReader
from traffic_storage.adapters.record_repo.sql.rows import micros
from traffic_storage.domain.migration import SetMigrationCursor
from traffic_storage.domain.seal import (
    SealCatalogue,
    UnsealCatalogue,
    event_of_seal,
    event_of_unseal,
)


class SetMigrationCursorWriter(ChangeWriter[SetMigrationCursor]):
    """Replaces or deletes the cursor of a migration."""

    @override
    def __init__(self, driver: Driver, read: CatalogueReader) -> None:
        """Keep nothing: the write depends on no row."""

    @override
    async def write(self, change: SetMigrationCursor) -> Write | None:
        if change.cursor is None:
            key = migration_key(change.migration)
            return Write((Step(statements.FORGET_CURSOR, (key,), 1),))
        return Write((Step(statements.SET_CURSOR, (cursor_row(change.cursor),)),), grows=True)

    @override
    async def refused(self, change: SetMigrationCursor, refused: Refused) -> bool:
        return refused.repeated


class SealWriter(ChangeWriter[SealCatalogue]):
    """Inserts the seal."""

    @override
    def __init__(self, driver: Driver, read: CatalogueReader) -> None:
        """Keep nothing: the write depends on no row."""

    @override
    async def write(self, change: SealCatalogue) -> Write | None:
        seal = change.seal
        row = (micros(seal.sealed_at), seal.sealed_by, seal.reason)
        step = Step(statements.INSERT_SEAL, (row,))
        return Write((step,), events=(event_of_seal(change),), grows=True)

    @override
    async def refused(self, change: SealCatalogue, refused: Refused) -> bool:
        return refused.repeated


class UnsealWriter(ChangeWriter[UnsealCatalogue]):
    """Deletes the seal."""

    @override
    def __init__(self, driver: Driver, read: CatalogueReader) -> None:
        """Keep nothing: the write depends on no row."""

    @override
    async def write(self, change: UnsealCatalogue) -> Write | None:
        step = Step(statements.DELETE_SEAL, ((),), 1)
        return Write((step,), events=(event_of_unseal(change),))

    @override
    async def refused(self, change: UnsealCatalogue, refused: Refused) -> bool:
        return refused.repeated
