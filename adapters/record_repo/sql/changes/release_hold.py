"""`ReleaseHold` in the database."""

from traffic_storage.adapters.record_repo.sql import deletion_rows as rows
from traffic_storage.adapters.record_repo.sql import hold_statements
from traffic_storage.adapters.record_repo.sql.changes.writer import ChangeWriter
from traffic_storage.adapters.record_repo.sql.driver import Driver, Refused, Step, Write
from traffic_storage.adapters.record_repo.sql.reading import CatalogueReader
from traffic_storage.adapters.record_repo.sql.rows import micros
from traffic_storage.domain.holds import Hold, ReleaseHold, event_of_release


class ReleaseHoldWriter(ChangeWriter[ReleaseHold]):
    """Notes when, by whom and why a hold was released."""

    def __init__(self, driver: Driver, read: CatalogueReader) -> None:  # noqa: ARG002
        self._driver = driver

    async def write(self, change: ReleaseHold) -> Write | None:
        hold = await self._hold(change)
        if hold is None or hold.released_at is not None:
            return None
        row = (change.hold_id.bytes, micros(change.at), change.by, change.reason)
        return Write(
            (Step(hold_statements.RELEASE_HOLD, (row,), 1),),
            events=(event_of_release(hold, change),),
        )

    async def refused(self, change: ReleaseHold, refused: Refused) -> bool:
        now = await self._hold(change)
        return refused.repeated and now is not None and now == now.released(change)

    async def _hold(self, change: ReleaseHold) -> Hold | None:
        found = await self._driver.read(hold_statements.HOLD, [(change.hold_id.bytes,)])
        return rows.hold_of(found[0]) if found else None
