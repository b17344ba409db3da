"""The events in a database (`event_statements`)."""

from collections.abc import Sequence
from datetime import datetime

from traffic_storage.adapters.record_repo.sql import event_statements as statements
from traffic_storage.adapters.record_repo.sql import rows
from traffic_storage.adapters.record_repo.sql.driver import Driver, Step, Write
from traffic_storage.adapters.record_repo.sql.statements import OLDEST_RUNNING
from traffic_storage.domain.events import RecordedEvent


class SqlOutbox:
    """The events in the database of `driver`.

    On PostgreSQL an event with a lower number may become visible after one with a higher number.
    Events are therefore returned up to a number below which no transaction can add any more.
    """

    _driver: Driver

    def __init__(self) -> None:
        # The newest event that was visible, and the transactions that must have ended since.
        self._noted = (0, 0)
        self._settled = 0
        # Up to here old events were forgotten, or looked at and kept.
        self._forgotten = 0

    async def events(self, after: int = 0, limit: int = 100) -> Sequence[RecordedEvent]:
        upto = await self.last_event()
        found = await self._driver.read(statements.EVENTS, [(after, upto, limit)])
        return [rows.event_of(row) for row in found]

    async def last_event(self) -> int:
        ((newest, transaction),) = await self._driver.read(statements.EVENT_HORIZON, [()])
        before, self._noted = self._noted, (newest, transaction)
        ((oldest,),) = await self._driver.read(OLDEST_RUNNING, [()])
        for number, running in (before, (newest, transaction)):
            if oldest >= running:
                self._settled = max(self._settled, number)
        return self._settled

    async def forget_events(self, before: datetime, limit: int = 1000) -> None:
        begin, at = self._forgotten, rows.micros(before)
        ((last,),) = await self._driver.read(statements.OLD_EVENTS, [(begin, limit, at)])
        if last is not None:
            step = Step(statements.FORGET_EVENTS, ((begin, last, at),))
            await self._driver.write(Write((step,)))
        self._forgotten = last or 0
