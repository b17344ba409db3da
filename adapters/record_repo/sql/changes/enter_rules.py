"""`EnterRules` in the database."""

from traffic_storage.adapters.record_repo.sql import retention_statements as statements
from traffic_storage.adapters.record_repo.sql.changes.writer import ChangeWriter
from traffic_storage.adapters.record_repo.sql.driver import Driver, Refused, Step, Write
from traffic_storage.adapters.record_repo.sql.jobs import insertion
from traffic_storage.adapters.record_repo.sql.reading import CatalogueReader
from traffic_storage.adapters.record_repo.sql.retention import SqlRetention, rules_row
from traffic_storage.domain.rules_in_force import EnterRules, event_of_rules


class EnterRulesWriter(ChangeWriter[EnterRules]):
    """Inserts rules with the next number."""

    def __init__(
        self,
        driver: Driver,
        read: CatalogueReader,  # noqa: ARG002 - the write depends on no file
    ) -> None:
        self._records = SqlRetention(driver)

    async def write(self, change: EnterRules) -> Write | None:
        step = Step(statements.INSERT_RULES, (rules_row(change.entered),))
        jobs = [insertion(change.jobs)] if change.jobs else []
        return Write((step, *jobs), events=(event_of_rules(change.entered),), grows=True)

    async def refused(self, change: EnterRules, refused: Refused) -> bool:
        return refused.repeated and await self._records.rules_in_force() == change.entered
