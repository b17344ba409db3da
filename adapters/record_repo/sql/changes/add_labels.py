"""`AddLabels` in the database."""

from traffic_storage.adapters.record_repo.sql import hold_statements, label_statements, statements
from traffic_storage.adapters.record_repo.sql.changes.writer import ChangeWriter
from traffic_storage.adapters.record_repo.sql.driver import Driver, Refused, Step, Write
from traffic_storage.adapters.record_repo.sql.jobs import insertion
from traffic_storage.adapters.record_repo.sql.reading import CatalogueReader
from traffic_storage.adapters.record_repo.sql.rows import labelling_row
from traffic_storage.domain.labels import AddLabels, event_of_labels
from traffic_storage.domain.usage import counted_by_labels
from traffic_storage.ports.errors import AttemptCondemned


class AddLabelsWriter(ChangeWriter[AddLabels]):
    """Sets labels of a file that lacks them, under the lock of holds, and ends the attempt."""

    def __init__(self, driver: Driver, read: CatalogueReader) -> None:  # noqa: ARG002
        self._read = read

    async def write(self, change: AddLabels) -> Write | None:
        file = await self._read.file(change.file_id)
        if file is None or not change.may_apply(file):
            return None
        labelled = change.applied(file)
        # What tombstones files takes the shared lock. So none is judged by its retention and its
        # holds of before, and then tombstoned with the labels.
        steps = [Step(hold_statements.LOCK, hold_statements.LOCK_ARGS)]
        if change.attempt is not None:
            steps.append(Step(statements.END_STORE, ((change.attempt,),), 1))
        steps += [
            Step(statements.LOCK_AVAILABLE_FILE, ((file.file_id,),), 1),
            Step(label_statements.ADD_LABELS, (labelling_row(file, labelled),), 1),
        ]
        if change.jobs:
            steps.append(insertion(change.jobs))
        return Write(
            tuple(steps),
            counters=counted_by_labels(file, labelled, change.at),
            events=(event_of_labels(change, labelled),),
            grows=True,
        )

    async def refused(self, change: AddLabels, refused: Refused) -> bool:
        if refused.repeated and change.is_shown_by(await self._read.file(change.file_id)):
            return True
        if refused.statement is statements.END_STORE:
            raise AttemptCondemned(
                f"the addition of labels to {change.file_id} took too long and was cancelled, or the "
                "catalogue is sealed"
            ) from refused
        return False
