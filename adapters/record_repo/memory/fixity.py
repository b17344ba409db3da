"""Verification of copies and incidents in the memory of this process."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from uuid import UUID

from attrs import evolve

from traffic_storage.domain.events import Event, event_of_observation
from traffic_storage.domain.files import Replica, ReplicaState, StoredFile
from traffic_storage.domain.fixity import (
    DuePosition,
    FixityCounts,
    FixityDay,
    FoundReplica,
    RecordVerifications,
    StoreCoverage,
    closing_by_fixity,
    closing_by_healing,
    replaced_by,
    single,
)
from traffic_storage.domain.identifiers import FileId, StoreId
from traffic_storage.domain.incidents import (
    CloseIncident,
    Closing,
    Incident,
    IncidentsQuery,
    OpenIncident,
)
from traffic_storage.domain.production import RecordProduction
from traffic_storage.domain.query import Cursor, Page
from traffic_storage.domain.usage import CounterChange, counted_by_transition, day_of
from traffic_storage.ports.fixity import FixityRecords
from traffic_storage.ports.incidents import Incidents

_DOUBTFUL = (ReplicaState.CORRUPT, ReplicaState.MISSING)


class InMemoryFixity(FixityRecords, Incidents):
    """What verification needs and records, for the files of a catalogue in memory."""

    _files: dict[FileId, StoredFile]
    _changes: list[CounterChange]

    def __init__(self) -> None:
        self._batches: set[UUID] = set()
        self._results: dict[tuple[date, StoreId], FixityCounts] = {}
        self._incidents: dict[UUID, Incident] = {}

    @abstractmethod
    def record(self, events: Iterable[Event]) -> None:
        """Add events at the end of the outbox."""

    async def due_replicas(
        self, store_id: StoreId, before: datetime, after: DuePosition | None, limit: int
    ) -> Sequence[StoredFile]:
        found = sorted(
            (
                copy
                for copy in self._copies(store_id, ReplicaState.PRESENT)
                if copy.replicas[0].verified_at is None or copy.replicas[0].verified_at < before
            ),
            key=lambda copy: _order(DuePosition.behind(copy.replicas[0])),
        )
        return [
            copy
            for copy in found
            if after is None or _order(DuePosition.behind(copy.replicas[0])) > _order(after)
        ][:limit]

    async def doubtful_replicas(
        self, store_id: StoreId, after: StoredFile | None, limit: int
    ) -> Sequence[StoredFile]:
        found = sorted(self._copies(store_id, *_DOUBTFUL), key=_by_file)
        return [copy for copy in found if after is None or _by_file(copy) > _by_file(after)][:limit]

    async def coverage(self, overdue_before: datetime) -> Sequence[StoreCoverage]:
        stores = {copy.store_id for file in self._files.values() for copy in file.replicas}
        found = (self._coverage(store_id, overdue_before) for store_id in sorted(stores))
        return [store for store in found if store.replicas]

    async def fixity_days(self, first: date, last: date) -> Sequence[FixityDay]:
        return [
            FixityDay(day, store_id, counts)
            for (day, store_id), counts in sorted(self._results.items(), key=lambda row: row[0])
            if first <= day <= last
        ]

    async def incident(self, incident_id: UUID) -> Incident | None:
        return self._incidents.get(incident_id)

    async def incidents(self, query: IncidentsQuery) -> Page[Incident]:
        found = sorted(
            (one for one in self._incidents.values() if _is_asked(one, query)),
            key=lambda one: (one.opened_at, one.incident_id),
            reverse=True,
        )
        items = tuple(found[: query.limit])
        if len(found) <= query.limit:
            return Page(items)
        return Page(items, Cursor(items[-1].opened_at, str(items[-1].incident_id)))

    def record_verifications(self, change: RecordVerifications) -> bool:
        """Apply a `RecordVerifications`."""
        if change.batch_id in self._batches:
            return False
        self._batches.add(change.batch_id)
        self._add_results(day_of(change.at), change.store_id, change.counts)
        verified = frozenset(change.verified)
        for file in list(self._files.values()):
            copies = tuple(_verified(copy, verified, change.at) for copy in file.replicas)
            self._files[file.file_id] = evolve(file, replicas=copies)
        for found in change.found:
            self._note(found, change.at)
        for incident in change.incidents:
            self.open(OpenIncident(incident))
        return True

    def _note(self, found: FoundReplica, at: datetime) -> None:
        row = self._files.get(found.file_id)
        replica = replaced_by(found, row)
        if row is None or replica is None:
            return
        self._changes += counted_by_transition(row, replica, found.state, at)
        becomes = replica.become(found.state, verified_at=at)
        self._replace(row.file_id, replica, becomes)
        self.record([event_of_observation(row, becomes, at)])
        if found.state is ReplicaState.PRESENT:
            self.close_of_replica(row.file_id, found.replica_id, closing_by_fixity(at))

    def note_healed(self, file: StoredFile, replaced: Replica, copy: Replica) -> None:
        """Count a copy that was replaced by another one, and close its incidents."""
        at = copy.verified_at or file.created_at
        self._add_results(day_of(at), replaced.store_id, FixityCounts(healed=1))
        self.close_of_replica(file.file_id, replaced.replica_id, closing_by_healing(at, copy))

    def _add_results(self, day: date, store_id: StoreId, counts: FixityCounts) -> None:
        known = self._results.get((day, store_id), FixityCounts())
        self._results[day, store_id] = known + counts

    def record_production(self, change: RecordProduction) -> bool:
        """Apply a `RecordProduction`."""
        event = change.event_of(self._files.get(change.file_id))
        if event is not None:
            self.record([event])
        return event is not None

    def open(self, change: OpenIncident) -> bool:
        """Apply an `OpenIncident`."""
        known = (one for one in self._incidents.values() if one.is_open)
        if any(one.concerns(change.incident) for one in known):
            return False
        self._incidents.setdefault(change.incident.incident_id, change.incident)
        return True

    def close(self, change: CloseIncident) -> bool:
        """Apply a `CloseIncident`."""
        incident = self._incidents.get(change.incident_id)
        if incident is None or not incident.is_open:
            return False
        self._incidents[change.incident_id] = incident.closed(change.closing)
        return True

    def close_of_replica(self, file_id: FileId, replica_id: UUID, closing: Closing) -> None:
        """Close the open incidents of a copy that is good or replaced, and of its file."""
        for incident in list(self._incidents.values()):
            if incident.is_open and incident.ends_with(file_id, replica_id):
                self._incidents[incident.incident_id] = incident.closed(closing)

    def _replace(self, file_id: FileId, old: Replica, new: Replica) -> None:
        file = self._files[file_id]
        replicas = tuple(new if replica == old else replica for replica in file.replicas)
        self._files[file_id] = evolve(file, replicas=replicas)

    def _copies(self, store_id: StoreId, *states: ReplicaState) -> Iterator[StoredFile]:
        for file in self._files.values():
            for copy in file.replicas:
                if copy.store_id == store_id and copy.state in states:
                    yield single(file, copy)

    def _coverage(self, store_id: StoreId, overdue_before: datetime) -> StoreCoverage:
        present = [copy.replicas[0] for copy in self._copies(store_id, ReplicaState.PRESENT)]
        times = [copy.verified_at for copy in present]
        known = [at for at in times if at is not None]
        corrupt = len(list(self._copies(store_id, ReplicaState.CORRUPT)))
        missing = len(list(self._copies(store_id, ReplicaState.MISSING)))
        return StoreCoverage(
            store_id,
            replicas=len(present) + corrupt + missing,
            corrupt=corrupt,
            missing=missing,
            overdue=sum(at is None or at < overdue_before for at in times),
            oldest_at=min(known) if known and len(known) == len(times) else None,
        )


def _order(position: DuePosition) -> tuple[bool, float, bytes]:
    at = position.verified_at
    return at is not None, 0.0 if at is None else at.timestamp(), position.replica_id.bytes


def _by_file(copy: StoredFile) -> tuple[str, bytes]:
    return copy.file_id, copy.replicas[0].replica_id.bytes


def _verified(copy: Replica, verified: frozenset[UUID], at: datetime) -> Replica:
    if copy.state is not ReplicaState.PRESENT or copy.replica_id not in verified:
        return copy
    if copy.verified_at is not None and copy.verified_at >= at:
        return copy
    return evolve(copy, verified_at=at)


def _is_asked(incident: Incident, query: IncidentsQuery) -> bool:
    return (
        query.is_open in (None, incident.is_open)
        and query.file_id in (None, incident.file_id)
        and (
            query.after is None
            or (incident.opened_at, str(incident.incident_id))
            < (query.after.at, query.after.row_id)
        )
    )
