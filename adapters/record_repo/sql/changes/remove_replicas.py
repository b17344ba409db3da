"""`RemoveReplicas` in the database."""

from itertools import chain

from traffic_storage.adapters.record_repo.sql import deletion_statements
from traffic_storage.adapters.record_repo.sql.changes.writer import ChangeWriter
from traffic_storage.adapters.record_repo.sql.deletions import read_removals
from traffic_storage.adapters.record_repo.sql.driver import Driver, Refused, Step, Write
from traffic_storage.adapters.record_repo.sql.reading import CatalogueReader
from traffic_storage.adapters.record_repo.sql.rows import micros
from traffic_storage.domain.deletion import RemoveReplicas, recorded_by
from traffic_storage.domain.files import FileState, ReplicaState
from traffic_storage.domain.usage import counted_by_transition


class RemoveReplicasWriter(ChangeWriter[RemoveReplicas]):
    """Records that replicas are gone, and what their stores answered."""

    def __init__(self, driver: Driver, read: CatalogueReader) -> None:
        self._driver = driver
        self._read = read

    async def write(self, change: RemoveReplicas) -> Write | None:
        file = await self._read.file(change.file_id)
        if file is None or file.state is not FileState.PURGING:
            return None
        removed = recorded_by(file, change, await read_removals(self._driver, change.file_id))
        noted = [one for one in change.removals if one.replica_id in removed]
        if not noted:
            return None
        leaving = [one for one in removed.values() if one.state is not ReplicaState.GONE]
        marked = tuple((copy.replica_id.bytes, copy.state.value) for copy in leaving)
        return Write(
            (
                *(
                    [Step(deletion_statements.REMOVE_REPLICA, marked, len(marked))]
                    if marked
                    else []
                ),
                Step(
                    deletion_statements.INSERT_REMOVAL,
                    tuple(
                        (one.replica_id.bytes, change.file_id, micros(one.at), one.answer)
                        for one in noted
                    ),
                ),
            ),
            counters=tuple(
                chain.from_iterable(
                    counted_by_transition(file, removed[one.replica_id], ReplicaState.GONE, one.at)
                    for one in noted
                )
            ),
        )

    async def refused(self, change: RemoveReplicas, refused: Refused) -> bool:
        removed = await read_removals(self._driver, change.file_id)
        return refused.repeated and all(
            removed.get(one.replica_id) == one for one in change.removals
        )
