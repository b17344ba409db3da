"""`RecordVerifications` in the database."""

from datetime import timedelta

from attrs import frozen

from traffic_storage.adapters.record_repo.sql import fixity_statements, rows, statements
from traffic_storage.adapters.record_repo.sql.changes.writer import ChangeWriter
from traffic_storage.adapters.record_repo.sql.driver import Driver, Refused, Step, Write
from traffic_storage.adapters.record_repo.sql.fixity import addition
from traffic_storage.adapters.record_repo.sql.incidents import closing_of_replica, opening
from traffic_storage.adapters.record_repo.sql.reading import CatalogueReader
from traffic_storage.domain.events import Event, event_of_observation
from traffic_storage.domain.files import Replica, ReplicaState, StoredFile
from traffic_storage.domain.fixity import (
    FoundReplica,
    RecordVerifications,
    closing_by_fixity,
    replaced_by,
)
from traffic_storage.domain.usage import CounterChange, counted_by_transition, day_of

_TRIES = 5
_BATCHES_KEPT = timedelta(days=1)


@frozen
class _Transition:
    """A copy whose recorded state is replaced by the one in which it was found."""

    file: StoredFile
    replica: Replica
    found: FoundReplica


class RecordVerificationsWriter(ChangeWriter[RecordVerifications]):
    """Records the results of verifying copies in one store."""

    def __init__(self, driver: Driver, read: CatalogueReader) -> None:
        self._driver = driver
        self._read = read

    async def write(self, change: RecordVerifications) -> Write | None:
        return await self._write(change)

    async def refused(self, change: RecordVerifications, refused: Refused) -> bool:
        for _ in range(_TRIES):
            if refused.statement is fixity_statements.CLAIM_BATCH:
                # Recorded before; also if an earlier run of this write had an unknown outcome.
                return refused.repeated
            # The state of a copy has changed since it was read.
            try:
                await self._driver.write(await self._write(change))
            except Refused as again:
                refused = again
            else:
                return True
        raise refused

    async def _write(self, change: RecordVerifications) -> Write:
        files = {
            file.file_id: file
            for file in await self._read.files([found.file_id for found in change.found])
        }
        transitions = [
            _Transition(files[found.file_id], replica, found)
            for found in change.found
            if (replica := replaced_by(found, files.get(found.file_id))) is not None
        ]
        return _write(change, transitions)


def _write(change: RecordVerifications, transitions: list[_Transition]) -> Write:
    at = rows.micros(change.at)
    steps = [
        Step(fixity_statements.CLAIM_BATCH, ((change.batch_id.bytes, at),), 1),
        Step(fixity_statements.FORGET_BATCHES, ((rows.micros(change.at - _BATCHES_KEPT),),)),
        addition(day_of(change.at), change.store_id, change.counts),
    ]
    if change.verified:
        verified = tuple((replica_id.bytes, at) for replica_id in change.verified)
        steps.append(Step(fixity_statements.VERIFY_REPLICA, verified))
    if change.incidents:
        steps.append(opening(*change.incidents))
    counters: list[CounterChange] = []
    events: list[Event] = []
    for one in transitions:
        steps += _marks(change, one)
        counters += counted_by_transition(one.file, one.replica, one.found.state, change.at)
        becomes = one.replica.become(one.found.state, verified_at=change.at)
        events.append(event_of_observation(one.file, becomes, change.at))
    return Write(tuple(steps), counters=counters, events=events, grows=True)


def _marks(change: RecordVerifications, one: _Transition) -> list[Step]:
    states = one.replica.state.value, one.found.state.value
    row = (one.found.replica_id.bytes, *states, rows.micros(change.at))
    steps = [Step(statements.MARK_REPLICA, (row,), 1)]
    if one.found.state is ReplicaState.PRESENT:
        closing = closing_by_fixity(change.at)
        steps.append(closing_of_replica(one.found.file_id, one.found.replica_id, closing))
    return steps
