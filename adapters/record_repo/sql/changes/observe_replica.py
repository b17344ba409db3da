"""`ObserveReplica` in the database."""

from traffic_storage.adapters.record_repo.sql import rows, statements
from traffic_storage.adapters.record_repo.sql.changes.writer import ChangeWriter
from traffic_storage.adapters.record_repo.sql.driver import Driver, Refused, Step, Write
from traffic_storage.adapters.record_repo.sql.incidents import closing_of_replica, opening
from traffic_storage.adapters.record_repo.sql.reading import CatalogueReader
from traffic_storage.domain.changes import ObserveReplica
from traffic_storage.domain.events import event_of_observation
from traffic_storage.domain.files import Replica, StoredFile
from traffic_storage.domain.fixity import closing_by_fixity
from traffic_storage.domain.usage import counted_by_transition


class ObserveReplicaWriter(ChangeWriter[ObserveReplica]):
    """Records the state in which a replica was found."""

    def __init__(self, driver: Driver, read: CatalogueReader) -> None:
        self._driver = driver
        self._read = read
        self._becomes: Replica | None = None

    async def write(self, change: ObserveReplica) -> Write | None:
        file = await self._read.file(change.file_id)
        found = change.expected_in(file)
        if file is None or found is None:
            return None
        self._becomes = found.become(change.state, verified_at=change.at)
        return _observation(file, found, self._becomes, change)

    async def refused(self, change: ObserveReplica, refused: Refused) -> bool:
        now = await self._read.file(change.file_id)
        return refused.repeated and now is not None and self._becomes in now.replicas


def _observation(
    file: StoredFile, found: Replica, becomes: Replica, change: ObserveReplica
) -> Write:
    states = found.state.value, change.state.value
    row = (found.replica_id.bytes, *states, rows.micros(change.at))
    incident = change.incident(becomes)
    closing = closing_by_fixity(change.at)
    told = (
        closing_of_replica(file.file_id, found.replica_id, closing)
        if incident is None
        else opening(incident)
    )
    return Write(
        (Step(statements.MARK_REPLICA, (row,), 1), told),
        counters=counted_by_transition(file, found, change.state, change.at),
        events=(event_of_observation(file, becomes, change.at),),
    )
