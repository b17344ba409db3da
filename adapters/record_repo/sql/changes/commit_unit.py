"""`CommitUnit` in the database."""

from traffic_storage.adapters.record_repo.sql import rows, statements
from traffic_storage.adapters.record_repo.sql.changes.writer import ChangeWriter
from traffic_storage.adapters.record_repo.sql.driver import Driver, Refused, Step, Write
from traffic_storage.adapters.record_repo.sql.jobs import insertion
from traffic_storage.adapters.record_repo.sql.keyed_uploads import BINDING, binding
from traffic_storage.adapters.record_repo.sql.reading import CatalogueReader
from traffic_storage.domain.changes import CommitUnit, CommitUnits
from traffic_storage.domain.events import events_of_commit
from traffic_storage.domain.files import FileKind
from traffic_storage.domain.identifiers import AttemptId
from traffic_storage.domain.ingest import Unit
from traffic_storage.domain.usage import counted_by_commit
from traffic_storage.ports.errors import AttemptCondemned, IdsTaken, KeyTaken


class CommitUnitWriter(ChangeWriter[CommitUnit]):
    """Inserts the rows of a unit and deletes the entry of its attempt."""

    def __init__(self, driver: Driver, read: CatalogueReader) -> None:
        self._driver = driver
        self._read = read

    async def write(self, change: CommitUnit) -> Write | None:
        return _commitment(change)

    async def refused(self, change: CommitUnit, refused: Refused) -> bool:
        return await _refused(self._read, change.attempt, change.unit, refused)


class CommitUnitsWriter(ChangeWriter[CommitUnits]):
    """Inserts the rows of many units and deletes the entry of their attempt."""

    def __init__(self, driver: Driver, read: CatalogueReader) -> None:
        self._driver = driver
        self._read = read

    async def write(self, change: CommitUnits) -> Write | None:
        return _commitments(change)

    async def refused(self, change: CommitUnits, refused: Refused) -> bool:
        return await _refused(self._read, change.attempt, change.files, refused)


async def _refused(read: CatalogueReader, attempt: AttemptId, unit: Unit, refused: Refused) -> bool:
    if refused.statement is statements.END_STORE:
        if unit.is_shown_by(await read.existing(unit.affected_ids)):
            return False
        raise AttemptCondemned(
            f"the store operation {attempt} took too long and was cancelled before its commit, "
            "or the catalogue is sealed"
        ) from refused
    if refused.statement is statements.LOCK_AVAILABLE_FILE:
        raise AttemptCondemned(
            f"the store operation {attempt} restores a file that was deleted since"
        ) from refused
    if refused.statement is statements.INSERT_REPLICA:
        raise AttemptCondemned(
            f"the store operation {attempt} names a store that is not registered, or restores "
            "a file that no longer exists"
        ) from refused
    if refused.statement in BINDING:
        raise KeyTaken(
            f"another file was stored with the key of {', '.join(unit.names.files)}"
        ) from refused
    if refused.dangling:
        # The caller made a unit of a violation without its files, which is a defect.
        raise refused.__cause__ or refused from None
    raise IdsTaken(
        "another call was first to store one of these files or their violation, or the violation "
        f"was deleted: {', '.join(unit.names.files)}"
    ) from refused


def _commitments(change: CommitUnits) -> Write:
    attempt, together = change.attempt, change.files
    copies = tuple(rows.replica_row(file.file_id, copy) for file, copy in together.replicas)
    steps = [
        Step(statements.END_STORE, ((attempt,),), 1),
        Step(statements.INSERT_FILE, tuple(map(rows.file_row, together.files))),
        Step(statements.INSERT_REPLICA, copies, len(copies)),
    ]
    if violations := change.violations:
        steps.append(Step(statements.INSERT_VIOLATION, tuple(map(rows.violation_row, violations))))
    if change.jobs:
        steps.append(insertion(change.jobs))
    return Write(
        tuple(steps),
        counters=[one for unit in change.units for one in counted_by_commit(unit)],
        events=[one for unit in change.units for one in events_of_commit(unit)],
        grows=True,
    )


def _commitment(change: CommitUnit) -> Write:
    attempt, unit = change.attempt, change.unit
    steps = [Step(statements.END_STORE, ((attempt,),), 1)]
    if unit.restored:
        restored = tuple((file.file_id,) for file in unit.restored)
        steps.append(Step(statements.LOCK_AVAILABLE_FILE, restored, len(restored)))
    if unit.files:
        steps.append(
            Step(statements.INSERT_FILE, tuple(rows.file_row(file) for file in unit.files))
        )
    if copies := tuple(rows.replica_row(file.file_id, copy) for file, copy in unit.replicas):
        steps.append(Step(statements.INSERT_REPLICA, copies, len(copies)))
    if unit.violation:
        steps.append(Step(statements.INSERT_VIOLATION, (rows.violation_row(unit.violation),)))
    if unit.completes:
        image, video = unit.of_kind(FileKind.IMAGE), unit.of_kind(FileKind.VIDEO)
        row = (
            unit.completes,
            image.file_id if image else None,
            video.file_id if video else None,
        )
        steps.append(Step(statements.COMPLETE_VIOLATION, (row,), 1))
    if change.key:
        steps += binding(change.key)
    if change.jobs:
        steps.append(insertion(change.jobs))
    return Write(
        tuple(steps),
        counters=counted_by_commit(unit),
        events=events_of_commit(unit),
        grows=True,
    )
