"""`RefuteCopy` in the database."""

from traffic_storage.adapters.record_repo.sql import statements
from traffic_storage.adapters.record_repo.sql.changes.writer import ChangeWriter
from traffic_storage.adapters.record_repo.sql.driver import Driver, Refused, Step, Write
from traffic_storage.adapters.record_repo.sql.reading import CatalogueReader
from traffic_storage.domain.copies import RefuteCopy


class RefuteCopyWriter(ChangeWriter[RefuteCopy]):
    """Condemns the attempt, and inserts the event."""

    def __init__(self, driver: Driver, read: CatalogueReader) -> None:
        """Nothing is read: the statement finds the attempt."""

    async def write(self, change: RefuteCopy) -> Write | None:
        condemned = Step(statements.CONDEMN, ((change.attempt,),), 1)
        return Write((condemned,), events=(change.event,), grows=True)

    async def refused(self, _change: RefuteCopy, refused: Refused) -> bool:
        return refused.repeated
