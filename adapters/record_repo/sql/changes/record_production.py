"""`RecordProduction` in the database."""

from traffic_storage.adapters.record_repo.sql import statements
from traffic_storage.adapters.record_repo.sql.changes.writer import ChangeWriter
from traffic_storage.adapters.record_repo.sql.driver import Driver, Refused, Step, Write
from traffic_storage.adapters.record_repo.sql.reading import CatalogueReader
from traffic_storage.domain.production import RecordProduction


class RecordProductionWriter(ChangeWriter[RecordProduction]):
    """Inserts the event, while the file is available."""

    def __init__(self, driver: Driver, read: CatalogueReader) -> None:
        self._driver = driver
        self._read = read

    async def write(self, change: RecordProduction) -> Write | None:
        event = change.event_of(await self._read.file(change.file_id))
        if event is None:
            return None
        lock = Step(statements.LOCK_AVAILABLE_FILE, ((change.file_id,),), 1)
        return Write((lock,), events=(event,), grows=True)

    async def refused(self, _change: RecordProduction, _refused: Refused) -> bool:
        return False
