"""`Tombstone` in the database."""

from collections.abc import Sequence
from itertools import chain

from traffic_storage.adapters.record_repo.sql import deletion_rows as rows
from traffic_storage.adapters.record_repo.sql import deletion_statements, hold_statements
from traffic_storage.adapters.record_repo.sql.changes.mirror import led_violations, mirroring
from traffic_storage.adapters.record_repo.sql.changes.writer import ChangeWriter
from traffic_storage.adapters.record_repo.sql.deletions import read_deletions, read_held
from traffic_storage.adapters.record_repo.sql.driver import Driver, Refused, Step, Write
from traffic_storage.adapters.record_repo.sql.jobs import insertion
from traffic_storage.adapters.record_repo.sql.reading import CatalogueReader
from traffic_storage.adapters.record_repo.sql.rows import micros
from traffic_storage.domain.deletion import Tombstone, events_of_tombstone
from traffic_storage.domain.files import StoredFile
from traffic_storage.domain.usage import counted_by_visibility


class TombstoneWriter(ChangeWriter[Tombstone]):
    """Marks files as deleted. The transaction looks for holds once more, under the lock of holds."""

    def __init__(self, driver: Driver, read: CatalogueReader) -> None:
        self._driver = driver
        self._read = read

    async def write(self, change: Tombstone) -> Write | None:
        files = await self._deletable(change)
        if not files or (change.whole and len(files) < len(set(change.file_ids))):
            return None
        violations = await led_violations(self._read, files)
        ids = [file.file_id for file in files]
        return Write(
            (
                Step(hold_statements.LOCK_SHARED, hold_statements.LOCK_ARGS),
                Step(
                    deletion_statements.INSERT_DELETION,
                    tuple(rows.deletion_args(change, file_id) for file_id in ids),
                    len(ids),
                ),
                Step(
                    deletion_statements.TOMBSTONE,
                    tuple((file_id, micros(change.at)) for file_id in ids),
                    len(ids),
                ),
                *mirroring(files),
                *([insertion(change.jobs)] if change.jobs else []),
            ),
            counters=tuple(
                chain.from_iterable(
                    counted_by_visibility(file, violations.get(file.file_id), -1, change.at)
                    for file in files
                )
            ),
            events=events_of_tombstone(change, files),
        )

    async def refused(self, change: Tombstone, refused: Refused) -> bool:
        found = await read_deletions(self._driver, change.file_ids)
        return refused.repeated and any(
            one.deletion_id == change.deletion_id for one in found.values()
        )

    async def _deletable(self, change: Tombstone) -> Sequence[StoredFile]:
        files = await self._read.files(tuple(dict.fromkeys(change.file_ids)))
        held = await read_held(self._driver, change.file_ids, change.at)
        return [file for file in files if change.may_delete(file, is_held=file.file_id in held)]
