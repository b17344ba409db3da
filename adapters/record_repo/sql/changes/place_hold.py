"""`PlaceHold` in the database."""

from traffic_storage.adapters.record_repo.sql import deletion_rows as rows
from traffic_storage.adapters.record_repo.sql import hold_statements
from traffic_storage.adapters.record_repo.sql.changes.writer import ChangeWriter
from traffic_storage.adapters.record_repo.sql.driver import Driver, Refused, Step, Write
from traffic_storage.adapters.record_repo.sql.reading import CatalogueReader
from traffic_storage.domain.holds import PlaceHold, events_of_hold


class PlaceHoldWriter(ChangeWriter[PlaceHold]):
    """Inserts a hold while no other transaction tombstones files or begins to purge them."""

    def __init__(self, driver: Driver, read: CatalogueReader) -> None:
        """Nothing needs to be read."""

    async def write(self, change: PlaceHold) -> Write | None:
        return Write(
            (
                Step(hold_statements.LOCK, hold_statements.LOCK_ARGS),
                Step(hold_statements.INSERT_HOLD, (rows.hold_row(change.hold),)),
            ),
            events=events_of_hold(change.hold),
            grows=True,
        )

    async def refused(self, change: PlaceHold, refused: Refused) -> bool:  # noqa: ARG002
        # A hold with this id exists: an earlier run of this change placed it.
        return refused.repeated
