"""`EndPurge` in the database."""

from traffic_storage.adapters.record_repo.sql import deletion_rows as rows
from traffic_storage.adapters.record_repo.sql import deletion_statements
from traffic_storage.adapters.record_repo.sql.changes.mirror import led_violations, mirroring
from traffic_storage.adapters.record_repo.sql.changes.writer import ChangeWriter
from traffic_storage.adapters.record_repo.sql.deletions import (
    read_certificate,
    read_deletions,
    read_removals,
)
from traffic_storage.adapters.record_repo.sql.driver import Driver, Refused, Step, Write
from traffic_storage.adapters.record_repo.sql.reading import CatalogueReader
from traffic_storage.adapters.record_repo.sql.rows import micros
from traffic_storage.domain.deletion import EndPurge, remaining
from traffic_storage.domain.files import FileState
from traffic_storage.domain.purged_rows import event_of_purge


class EndPurgeWriter(ChangeWriter[EndPurge]):
    """Erases the rows of a file, and of its violation if it is its metadata file."""

    def __init__(self, driver: Driver, read: CatalogueReader) -> None:
        self._driver = driver
        self._read = read

    async def write(self, change: EndPurge) -> Write | None:
        file = await self._read.file(change.file_id)
        if (
            file is None
            or file.state is not FileState.PURGING
            or remaining(file, await read_removals(self._driver, change.file_id))
        ):
            return None
        deletion = (await read_deletions(self._driver, [file.file_id]))[file.file_id]
        row = (change.file_id, micros(change.at))
        led = await led_violations(self._read, [file])
        erased = tuple((found.violation_id, file.file_id) for found in led.values())
        return Write(
            (
                Step(deletion_statements.ERASE_FILE, (row,), 1),
                Step(deletion_statements.END_DELETION, (row,), 1),
                Step(
                    deletion_statements.INSERT_CERTIFICATE,
                    (rows.certificate_row(change.certificate),),
                ),
                *mirroring([file]),
                *([Step(deletion_statements.ERASE_VIOLATION, erased, 1)] if erased else []),
            ),
            events=(event_of_purge(change, file, deletion, led.get(file.file_id)),),
        )

    async def refused(self, change: EndPurge, refused: Refused) -> bool:
        found = await read_certificate(self._driver, change.file_id)
        return refused.repeated and found == change.certificate
