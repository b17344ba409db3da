"""`Undelete` in the database."""

from itertools import chain

from traffic_storage.adapters.record_repo.sql import deletion_statements
from traffic_storage.adapters.record_repo.sql.changes.mirror import led_violations, mirroring
from traffic_storage.adapters.record_repo.sql.changes.writer import ChangeWriter
from traffic_storage.adapters.record_repo.sql.driver import Driver, Refused, Step, Write
from traffic_storage.adapters.record_repo.sql.reading import CatalogueReader
from traffic_storage.adapters.record_repo.sql.rows import micros
from traffic_storage.domain.deletion import REGRANTED_RULE, Undelete, events_of_undelete
from traffic_storage.domain.files import FileState
from traffic_storage.domain.usage import counted_by_visibility


class UndeleteWriter(ChangeWriter[Undelete]):
    """Makes tombstoned files available, and removes the records of their deletion."""

    def __init__(self, driver: Driver, read: CatalogueReader) -> None:  # noqa: ARG002
        self._read = read

    async def write(self, change: Undelete) -> Write | None:
        files = await self._read.files(change.file_ids)
        if len(files) < len(change.file_ids) or any(
            file.state is not FileState.TOMBSTONED for file in files
        ):
            return None
        violations = await led_violations(self._read, files)
        ids = [file.file_id for file in files]
        floor = micros(change.keep_until)
        return Write(
            (
                Step(
                    deletion_statements.UNDELETE,
                    tuple((name, micros(change.at), floor, REGRANTED_RULE) for name in ids),
                    len(ids),
                ),
                Step(deletion_statements.DELETE_DELETION, tuple((name,) for name in ids)),
                *mirroring(files),
            ),
            counters=tuple(
                chain.from_iterable(
                    counted_by_visibility(file, violations.get(file.file_id), 1, change.at)
                    for file in files
                )
            ),
            events=events_of_undelete(change, map(change.applied, files)),
        )

    async def refused(self, change: Undelete, refused: Refused) -> bool:
        files = await self._read.files(change.file_ids)
        return refused.repeated and all(
            file.state is FileState.AVAILABLE and file.state_at == change.at for file in files
        )
