"""`RestorePurged` in the database."""

from collections.abc import Sequence

from traffic_storage.adapters.record_repo.sql import (
    deletion_rows,
    deletion_statements,
    reconciliation_statements,
    rows,
    statements,
)
from traffic_storage.adapters.record_repo.sql.changes.writer import ChangeWriter
from traffic_storage.adapters.record_repo.sql.deletions import read_certificate, read_removals
from traffic_storage.adapters.record_repo.sql.driver import Driver, Refused, Step, Write
from traffic_storage.adapters.record_repo.sql.reading import CatalogueReader
from traffic_storage.adapters.record_repo.sql.rows import micros
from traffic_storage.domain.errors import WrongState
from traffic_storage.domain.files import FileState, ReplicaState, StoredFile
from traffic_storage.domain.identifiers import FileId
from traffic_storage.domain.purged_rows import RestorePurged
from traffic_storage.domain.usage import (
    CounterChange,
    counted_by_transition,
    counted_by_visibility,
)
from traffic_storage.domain.violation import StoredViolation, ViolationState


class RestorePurgedWriter(ChangeWriter[RestorePurged]):
    """Inserts or erases the row of a file, with its deletion, removals and certificate."""

    def __init__(self, driver: Driver, read: CatalogueReader) -> None:
        self._driver = driver
        self._read = read

    async def write(self, change: RestorePurged) -> Write | None:
        known = await self._read.file(change.file.file_id)
        if known is not None and (known.state is FileState.PURGED or not change.concerns(known)):
            return None
        removed = await read_removals(self._driver, change.file.file_id)
        violation = await self._read.violation(change.file.violation_id)
        row = change.inserted(await self._named(change))
        file_id = change.file.file_id
        steps = (
            *(_insertion(change.file) if known is None else _erasure(known, change)),
            *_violation_steps(change, violation, row),
            Step(deletion_statements.DELETE_DELETION, ((file_id,),)),
            Step(
                deletion_statements.RESTORE_DELETION,
                (deletion_rows.deletion_row(change.deletion),),
            ),
            Step(
                deletion_statements.INSERT_REMOVAL,
                tuple(
                    (one.replica_id.bytes, file_id, micros(one.at), one.answer)
                    for one in change.removals
                    if one.replica_id not in removed
                ),
            ),
            Step(
                deletion_statements.INSERT_CERTIFICATE,
                (deletion_rows.certificate_row(change.certificate),),
            ),
        )
        counters = () if known is None else _counters(known, violation, change)
        return Write(
            tuple(step for step in steps if step.rows),
            counters=counters,
            events=(change.event,),
            grows=True,
        )

    async def _named(self, change: RestorePurged) -> frozenset[FileId]:
        """Return which of the image and video of the violation exist."""
        row = change.violation
        named = [one for one in (row.image_file_id, row.video_file_id) if one] if row else []
        return frozenset(file.file_id for file in await self._read.files(named))

    async def refused(self, change: RestorePurged, refused: Refused) -> bool:
        if await read_certificate(self._driver, change.file.file_id) is None:
            raise WrongState(
                f"{change.file.file_id} was changed while its purge was being restored",
                remedy="repeat it while no other process changes the catalogue",
            ) from refused
        # This change, in its first run, or another process.
        return refused.repeated


def _insertion(file: StoredFile) -> Sequence[Step]:
    return [
        Step(statements.INSERT_FILE, (rows.file_row(file),)),
        Step(
            reconciliation_statements.INSERT_IMPORTED_REPLICA,
            tuple((*rows.replica_row(file.file_id, copy), copy.key) for copy in file.replicas),
        ),
    ]


def _erasure(known: StoredFile, change: RestorePurged) -> Sequence[Step]:
    leaving = (copy for copy in known.replicas if copy.state is not ReplicaState.GONE)
    marked = tuple((copy.replica_id.bytes, copy.state.value) for copy in leaving)
    return [
        Step(deletion_statements.REMOVE_REPLICA, marked, len(marked)),
        Step(
            deletion_statements.PURGE_AGAIN,
            ((known.file_id, known.state.value, micros(change.certificate.at)),),
            1,
        ),
    ]


def _violation_steps(
    change: RestorePurged, known: StoredViolation | None, row: StoredViolation | None
) -> Sequence[Step]:
    file_id = change.file.file_id
    steps = []
    if row is not None and known is None:
        steps.append(Step(statements.INSERT_VIOLATION, (rows.violation_row(row),)))
    elif row is not None:
        steps.append(Step(deletion_statements.ERASE_VIOLATION, ((row.violation_id, file_id),), 1))
    elif completed := change.completed(known):
        is_image = completed.image_file_id == file_id
        parts = (file_id, None) if is_image else (None, file_id)
        steps.append(
            Step(statements.COMPLETE_ANY_VIOLATION, ((completed.violation_id, *parts),), 1)
        )
    named = (file_id, row.image_file_id, row.video_file_id) if row else (file_id,)
    ids = tuple((name,) for name in named if name is not None)
    return [*steps, Step(deletion_statements.MIRROR_STATE, ids)]


def _counters(
    known: StoredFile, violation: StoredViolation | None, change: RestorePurged
) -> tuple[CounterChange, ...]:
    at = change.certificate.at
    found = [
        one
        for copy in known.replicas
        for one in counted_by_transition(known, copy, ReplicaState.GONE, at)
    ]
    if known.state is FileState.AVAILABLE:
        is_led = (
            change.violation is not None
            and violation is not None
            and violation.state is ViolationState.AVAILABLE
        )
        found += counted_by_visibility(known, violation if is_led else None, -1, at)
    return tuple(found)
