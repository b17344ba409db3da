"""`PinSnapshot` and `UnpinSnapshot` in the database."""

from traffic_storage.adapters.record_repo.sql import hold_statements
from traffic_storage.adapters.record_repo.sql import snapshot_statements as statements
from traffic_storage.adapters.record_repo.sql.changes.writer import ChangeWriter
from traffic_storage.adapters.record_repo.sql.driver import Driver, Refused, Step, Write
from traffic_storage.adapters.record_repo.sql.reading import CatalogueReader
from traffic_storage.adapters.record_repo.sql.snapshots import pin_row
from traffic_storage.domain.snapshot import PinSnapshot, UnpinSnapshot


class PinSnapshotWriter(ChangeWriter[PinSnapshot]):
    """Replaces a pin while no other transaction begins purges, under the lock of holds."""

    def __init__(self, driver: Driver, read: CatalogueReader) -> None:
        """Nothing needs to be read."""

    async def write(self, change: PinSnapshot) -> Write | None:
        return Write(
            (
                Step(hold_statements.LOCK, hold_statements.LOCK_ARGS),
                Step(statements.DELETE_PIN, ((change.pin.name,),)),
                Step(statements.INSERT_PIN, (pin_row(change.pin),)),
            ),
            grows=True,
        )

    async def refused(self, change: PinSnapshot, refused: Refused) -> bool:  # noqa: ARG002
        # Only another process that pins under the same name at the same time.
        raise refused


class UnpinSnapshotWriter(ChangeWriter[UnpinSnapshot]):
    """Deletes a pin."""

    def __init__(self, driver: Driver, read: CatalogueReader) -> None:
        """Nothing needs to be read."""

    async def write(self, change: UnpinSnapshot) -> Write | None:
        return Write((Step(statements.DELETE_PIN, ((change.name,),)),))

    async def refused(self, change: UnpinSnapshot, refused: Refused) -> bool:  # noqa: ARG002
        # No step expects a number of rows.
        raise refused
