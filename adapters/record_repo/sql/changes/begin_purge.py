"""`BeginPurge` in the database."""

from traffic_storage.adapters.record_repo.sql import deletion_statements, hold_statements
from traffic_storage.adapters.record_repo.sql.changes.mirror import mirroring
from traffic_storage.adapters.record_repo.sql.changes.writer import ChangeWriter
from traffic_storage.adapters.record_repo.sql.deletions import read_deletions, read_held
from traffic_storage.adapters.record_repo.sql.driver import Driver, Refused, Step, Write
from traffic_storage.adapters.record_repo.sql.reading import CatalogueReader
from traffic_storage.adapters.record_repo.sql.rows import micros
from traffic_storage.adapters.record_repo.sql.snapshot_statements import PINS
from traffic_storage.adapters.record_repo.sql.snapshots import pin_of
from traffic_storage.domain.deletion import BeginPurge


class BeginPurgeWriter(ChangeWriter[BeginPurge]):
    """Begins purges. The transaction looks for holds and pins once more, under the lock of holds."""

    def __init__(self, driver: Driver, read: CatalogueReader) -> None:
        self._driver = driver
        self._read = read

    async def write(self, change: BeginPurge) -> Write | None:
        found = await self._read.files(tuple(dict.fromkeys(change.file_ids)))
        held = await read_held(self._driver, change.file_ids, change.at)
        deletions = await read_deletions(self._driver, change.file_ids)
        pins = [pin_of(row) for row in await self._driver.read(PINS, [()])]
        files = [
            file
            for file in found
            if change.may_begin(file, deletions.get(file.file_id), is_held=file.file_id in held)
            and not any(pin.covers(file, change.at) for pin in pins)
        ]
        if not files:
            return None
        rows = tuple((file.file_id, micros(change.at)) for file in files)
        return Write(
            (
                Step(hold_statements.LOCK_SHARED, hold_statements.LOCK_ARGS),
                Step(deletion_statements.BEGIN_PURGE, rows),
                *mirroring(files),
            )
        )

    async def refused(self, change: BeginPurge, refused: Refused) -> bool:  # noqa: ARG002
        # No step expects a number of rows.
        raise refused
