"""`ImportRows` in the database."""

from typing_extensions import override

from traffic_storage.adapters.record_repo.sql import reconciliation_statements, rows, statements
from traffic_storage.adapters.record_repo.sql.changes.writer import ChangeWriter
from traffic_storage.adapters.record_repo.sql.driver import Driver, Refused, Step, Write
from traffic_storage.adapters.record_repo.sql.reading import CatalogueReader
from traffic_storage.domain.rebuild import ImportRows
from traffic_storage.domain.usage import counted_by_import
from traffic_storage.ports.errors import IdsTaken


class ImportRowsWriter(ChangeWriter[ImportRows]):
    """Inserts rows that were restored from the stores."""

    def __init__(self, driver: Driver, read: CatalogueReader) -> None:
        """Nothing is read."""

    async def write(self, change: ImportRows) -> Write | None:
        steps = tuple(step for step in _steps(change) if step.rows)
        return Write(steps, counters=counted_by_import(change), grows=True) if steps else None

    @override
    async def refused(self, change: ImportRows, refused: Refused) -> bool:
        raise IdsTaken(
            "files, copies or violations with the ids of restored ones were stored meanwhile, or the "
            "blob of one is being deleted"
        ) from refused


def _steps(change: ImportRows) -> list[Step]:
    copies = tuple(change.unit.replicas)
    return [
        Step(statements.INSERT_FILE, tuple(map(rows.file_row, change.files))),
        Step(statements.INSERT_VIOLATION, tuple(map(rows.violation_row, change.violations))),
        Step(statements.COMPLETE_VIOLATION, change.completed, len(change.completed)),
        Step(
            reconciliation_statements.READMIT,
            tuple((copy.store_id, copy.key) for _, copy in copies),
        ),
        Step(
            reconciliation_statements.INSERT_IMPORTED_REPLICA,
            tuple((*rows.replica_row(file.file_id, copy), copy.key) for file, copy in copies),
            len(copies),
        ),
        Step(
            reconciliation_statements.SET_CURSOR,
            (rows.cursor_row(change.cursor),) if change.cursor else (),
        ),
    ]
