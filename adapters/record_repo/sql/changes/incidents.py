"""`OpenIncident` and `CloseIncident` in the database."""

from traffic_storage.adapters.record_repo.sql.changes.writer import ChangeWriter
from traffic_storage.adapters.record_repo.sql.driver import Driver, Refused, Write
from traffic_storage.adapters.record_repo.sql.incidents import closing_of, opening
from traffic_storage.adapters.record_repo.sql.reading import CatalogueReader
from traffic_storage.domain.incidents import CloseIncident, OpenIncident


class OpenIncidentWriter(ChangeWriter[OpenIncident]):
    """Inserts an incident."""

    def __init__(self, driver: Driver, read: CatalogueReader) -> None:
        """Nothing is read."""

    async def write(self, change: OpenIncident) -> Write | None:
        return Write((opening(change.incident),), grows=True)

    async def refused(self, _change: OpenIncident, refused: Refused) -> bool:
        raise refused


class CloseIncidentWriter(ChangeWriter[CloseIncident]):
    """Closes an incident."""

    def __init__(self, driver: Driver, read: CatalogueReader) -> None:
        """Nothing is read."""

    async def write(self, change: CloseIncident) -> Write | None:
        return Write((closing_of(change.incident_id, change.closing),))

    async def refused(self, _change: CloseIncident, refused: Refused) -> bool:
        return refused.repeated
