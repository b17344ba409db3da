"""`EndLoad` in the database."""

from typing_extensions import override

from traffic_storage.adapters.record_repo.sql import backup_statements as statements
from traffic_storage.adapters.record_repo.sql.changes.writer import ChangeWriter
from traffic_storage.adapters.record_repo.sql.driver import Driver, Refused, Step, Write
from traffic_storage.adapters.record_repo.sql.reading import CatalogueReader
from traffic_storage.domain.database_backup import EndLoad


class EndLoadWriter(ChangeWriter[EndLoad]):
    """Deletes the row that says that the catalogue awaits a rebuild."""

    @override
    def __init__(self, driver: Driver, read: CatalogueReader) -> None:
        """Keep nothing: the write depends on no row."""

    @override
    async def write(self, change: EndLoad) -> Write | None:
        return Write((Step(statements.END_LOAD, ((),)),))

    @override
    async def refused(self, change: EndLoad, refused: Refused) -> bool:
        # The step expects no number of rows.
        raise refused
