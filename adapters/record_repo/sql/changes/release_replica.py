"""`ReleaseReplica` in the database."""

from traffic_storage.adapters.record_repo.sql import rows, statements
from traffic_storage.adapters.record_repo.sql.changes.add_replica import departure
from traffic_storage.adapters.record_repo.sql.changes.writer import ChangeWriter
from traffic_storage.adapters.record_repo.sql.driver import Driver, Refused, Step, Write
from traffic_storage.adapters.record_repo.sql.incidents import closing_of_replica
from traffic_storage.adapters.record_repo.sql.jobs import insertion
from traffic_storage.adapters.record_repo.sql.reading import CatalogueReader
from traffic_storage.domain.copies import ReleaseReplica
from traffic_storage.domain.events import event_of_released_copy
from traffic_storage.domain.files import ReplicaState
from traffic_storage.domain.fixity import closing_by_release
from traffic_storage.domain.usage import counted_by_transition


class ReleaseReplicaWriter(ChangeWriter[ReleaseReplica]):
    """Makes a replica `gone`, and records that the one that stays was verified."""

    def __init__(self, driver: Driver, read: CatalogueReader) -> None:
        self._driver = driver
        self._read = read

    async def write(self, change: ReleaseReplica) -> Write | None:
        file = await self._read.file(change.file_id)
        goes = change.released_in(file)
        if file is None or goes is None:
            return None
        at = rows.micros(change.at)
        steps = [
            Step(statements.LOCK_AVAILABLE_FILE, ((file.file_id,),), 1),
            Step(statements.CONFIRM_REPLICA, ((change.kept.bytes, at),), 1),
            departure(goes),
        ]
        if goes.state is not ReplicaState.PRESENT:
            closing = closing_by_release(change.at)
            steps.append(closing_of_replica(file.file_id, goes.replica_id, closing))
        if change.jobs:
            steps.append(insertion(change.jobs))
        counters = counted_by_transition(file, goes, ReplicaState.GONE, change.at)
        events = (event_of_released_copy(file, goes, change.at),)
        return Write(tuple(steps), counters=counters, events=events)

    async def refused(self, change: ReleaseReplica, refused: Refused) -> bool:
        return refused.repeated and change.is_shown_by(await self._read.file(change.file_id))
