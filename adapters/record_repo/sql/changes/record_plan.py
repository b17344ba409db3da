"""`RecordPlan` in the database."""

from traffic_storage.adapters.record_repo.sql import retention_statements as statements
from traffic_storage.adapters.record_repo.sql.changes.writer import ChangeWriter
from traffic_storage.adapters.record_repo.sql.driver import Driver, Refused, Step, Write
from traffic_storage.adapters.record_repo.sql.reading import CatalogueReader
from traffic_storage.adapters.record_repo.sql.retention import plan_row
from traffic_storage.domain.retention_plans import RecordPlan


class RecordPlanWriter(ChangeWriter[RecordPlan]):
    """Inserts a plan."""

    def __init__(self, driver: Driver, read: CatalogueReader) -> None:
        """Keep nothing: the write depends on no row."""

    async def write(self, change: RecordPlan) -> Write | None:
        return Write((Step(statements.INSERT_PLAN, (plan_row(change.plan),)),), grows=True)

    async def refused(
        self,
        change: RecordPlan,  # noqa: ARG002 - its id is new, unless the write is repeated
        refused: Refused,
    ) -> bool:
        return refused.repeated
