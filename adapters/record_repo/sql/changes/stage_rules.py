"""`StageRules` in the database."""

from traffic_storage.adapters.record_repo.sql import retention_statements as statements
from traffic_storage.adapters.record_repo.sql.changes.writer import ChangeWriter
from traffic_storage.adapters.record_repo.sql.driver import Driver, Refused, Step, Write
from traffic_storage.adapters.record_repo.sql.reading import CatalogueReader
from traffic_storage.adapters.record_repo.sql.retention import change_row
from traffic_storage.domain.rules_in_force import StageRules


class StageRulesWriter(ChangeWriter[StageRules]):
    """Inserts a staged change."""

    def __init__(self, driver: Driver, read: CatalogueReader) -> None:
        """Keep nothing: the write depends on no row."""

    async def write(self, change: StageRules) -> Write | None:
        return Write((Step(statements.INSERT_CHANGE, (change_row(change.staged),)),), grows=True)

    async def refused(
        self,
        change: StageRules,  # noqa: ARG002 - its id is new, unless the write is repeated
        refused: Refused,
    ) -> bool:
        return refused.repeated
