"""`AddReplica` in the database."""

from traffic_storage.adapters.record_repo.sql import rows, statements
from traffic_storage.adapters.record_repo.sql.changes.writer import ChangeWriter
from traffic_storage.adapters.record_repo.sql.driver import Driver, Refused, Step, Write
from traffic_storage.adapters.record_repo.sql.fixity import addition
from traffic_storage.adapters.record_repo.sql.incidents import closing_of_replica
from traffic_storage.adapters.record_repo.sql.jobs import insertion
from traffic_storage.adapters.record_repo.sql.reading import CatalogueReader
from traffic_storage.domain.copies import AddReplica
from traffic_storage.domain.events import event_of_copy
from traffic_storage.domain.files import Replica, ReplicaState, StoredFile
from traffic_storage.domain.fixity import FixityCounts, closing_by_healing
from traffic_storage.domain.usage import counted_by_addition, day_of
from traffic_storage.ports.errors import AttemptCondemned


class AddReplicaWriter(ChangeWriter[AddReplica]):
    """Inserts the row of a copy and deletes the entry of its attempt."""

    def __init__(self, driver: Driver, read: CatalogueReader) -> None:
        self._driver = driver
        self._read = read

    async def write(self, change: AddReplica) -> Write | None:
        file = await self._read.file(change.file_id)
        if change.is_shown_by(file):
            return None
        if file is None or not change.is_allowed_for(file):
            raise _refusal(change)
        return _addition(change, file)

    async def refused(self, change: AddReplica, refused: Refused) -> bool:
        if change.is_shown_by(await self._read.file(change.file_id)):
            return False
        raise _refusal(change) from refused


def _addition(change: AddReplica, file: StoredFile) -> Write:
    copy = rows.replica_row(file.file_id, change.replica)
    steps = [
        Step(statements.END_ATTEMPT, ((change.attempt,),), 1),
        Step(statements.LOCK_AVAILABLE_FILE, ((file.file_id,),), 1),
        Step(statements.INSERT_REPLICA if change.remakes else statements.INSERT_COPY, (copy,), 1),
    ]
    replaced = change.replaced_in(file)
    if replaced is not None:
        steps += [departure(replaced), *_healing(file, replaced, change.replica)]
    if change.jobs:
        steps.append(insertion(change.jobs))
    counters = counted_by_addition(file, change.replica, replaced)
    events = (event_of_copy(file, change.replica, replaced),)
    return Write(tuple(steps), counters=counters, events=events, grows=True)


def _healing(file: StoredFile, replaced: Replica, copy: Replica) -> list[Step]:
    at = copy.verified_at or file.created_at
    healed = addition(day_of(at), replaced.store_id, FixityCounts(healed=1))
    closing = closing_by_healing(at, copy)
    return [healed, closing_of_replica(file.file_id, replaced.replica_id, closing)]


def departure(replica: Replica) -> Step:
    """Return the step that makes a replica `gone`; it is refused if its state is another now."""
    verified_at = None if replica.verified_at is None else rows.micros(replica.verified_at)
    row = (replica.replica_id.bytes, replica.state.value, ReplicaState.GONE.value, verified_at)
    return Step(statements.MARK_REPLICA, (row,), 1)


def _refusal(change: AddReplica) -> AttemptCondemned:
    return AttemptCondemned(
        f"the copy of {change.file_id} took too long and was cancelled, or the file is not available "
        "or has a good copy in that store already"
    )
