"""`NotePressure` and `NoteUsageAlert` in the database."""

from traffic_storage.adapters.record_repo.sql import statements
from traffic_storage.adapters.record_repo.sql.changes.writer import ChangeWriter
from traffic_storage.adapters.record_repo.sql.driver import Driver, Refused, Step, Write
from traffic_storage.adapters.record_repo.sql.reading import CatalogueReader
from traffic_storage.domain.pressure import NotePressure, NoteUsageAlert


class NotePressureWriter(ChangeWriter[NotePressure]):
    """Records the level of the pressure on a store, and the event."""

    def __init__(self, driver: Driver, read: CatalogueReader) -> None:
        """Nothing is read: the statement compares the recorded level."""

    async def write(self, change: NotePressure) -> Write | None:
        level = change.pressure.level.value
        row = (change.store_id, level, level if change.only_lowers else -1)
        return Write((Step(statements.NOTE_PRESSURE, (row,), 1),), events=(change.event,))

    async def refused(self, _change: NotePressure, refused: Refused) -> bool:
        return refused.repeated


class NoteUsageAlertWriter(ChangeWriter[NoteUsageAlert]):
    """Records whether the usage alert of a store is raised, and the event."""

    def __init__(self, driver: Driver, read: CatalogueReader) -> None:
        """Nothing is read: the statement compares what is recorded."""

    async def write(self, change: NoteUsageAlert) -> Write | None:
        row = (change.store_id, change.is_raised)
        return Write((Step(statements.NOTE_USAGE_ALERT, (row,), 1),), events=(change.event,))

    async def refused(self, _change: NoteUsageAlert, refused: Refused) -> bool:
        return refused.repeated
