"""`Regrant` in the database."""

from traffic_storage.adapters.record_repo.sql import retention_statements as statements
from traffic_storage.adapters.record_repo.sql.changes.writer import ChangeWriter
from traffic_storage.adapters.record_repo.sql.driver import Driver, Refused, Step, Write
from traffic_storage.adapters.record_repo.sql.jobs import insertion
from traffic_storage.adapters.record_repo.sql.reading import CatalogueReader
from traffic_storage.adapters.record_repo.sql.retention import regrant_row
from traffic_storage.domain.rules_in_force import Regrant


class RegrantWriter(ChangeWriter[Regrant]):
    """Records until when files are kept."""

    def __init__(self, driver: Driver, read: CatalogueReader) -> None:
        """Keep nothing: the write compares the rows itself."""

    async def write(self, change: Regrant) -> Write | None:
        steps = []
        if change.files:
            steps.append(Step(statements.REGRANT, tuple(map(regrant_row, change.files))))
        if change.jobs:
            steps.append(insertion(change.jobs))
        return Write(tuple(steps), grows=bool(change.jobs)) if steps else None

    async def refused(
        self,
        change: Regrant,  # noqa: ARG002 - no step can be refused
        refused: Refused,
    ) -> bool:
        raise refused
