"""`RefuteCopy` in the database."""

from traffic_storage.adapters.record_repo.sql.changes.writer import ChangeWriter
from traffic_storage.adapters.record_repo.sql.driver import Driver, Refused, Write
from traffic_storage.adapters.record_repo.sql.reading import CatalogueReader
from traffic_storage.domain.copies import RefuteCopy


class RefuteCopyWriter(ChangeWriter[RefuteCopy]):
    """Inserts the event."""

    def __init__(self, driver: Driver, read: CatalogueReader) -> None:
        """Nothing needs to be read."""

    async def write(self, change: RefuteCopy) -> Write | None:
        return Write((), events=(change.event,), grows=True)

    async def refused(self, _change: RefuteCopy, refused: Refused) -> bool:
        raise refused  # An event is never refused.
