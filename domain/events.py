"""Events: what has happened to files, violations and holds, in the order in which it happened.

An event is written in the transaction of the change that it tells of, into a table from which
notifications and the audit read it later (an outbox). It holds ids, digests, reasons and
certificates, but nothing of a file's content or of the metadata that a caller gave, so that a purge
need not erase events.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from attrs import field, frozen

from traffic_storage.domain.canonical import Json
from traffic_storage.domain.files import Replica, ReplicaState, StoredFile
from traffic_storage.domain.frozen_json import frozen_json
from traffic_storage.domain.identifiers import FileId, ViolationId
from traffic_storage.domain.ingest import Unit


class EventKind(StrEnum):
    """What has happened."""

    STORED = "stored"
    LABELLED = "labelled"
    COPIED = "copied"
    COPY_REFUTED = "copy_refuted"
    RELEASED = "released"
    CORRUPT = "corrupt"
    MISSING = "missing"
    RECOVERED = "recovered"
    HEALED = "healed"
    TOMBSTONED = "tombstoned"
    UNDELETED = "undeleted"
    PURGED = "purged"
    HOLD_PLACED = "hold_placed"
    HOLD_RELEASED = "hold_released"
    PRODUCED = "produced"
    RULES_ENTERED = "rules_entered"
    PRESSURE = "pressure"
    USAGE_ALERT = "usage_alert"
    SEALED = "sealed"
    UNSEALED = "unsealed"


@frozen
class Event:
    """Something that has happened at `at` (UTC) to a file, a violation, a hold or a store."""

    kind: EventKind
    at: datetime
    file_id: FileId | None = None
    violation_id: ViolationId | None = None
    details: Mapping[str, Json] = field(factory=dict, converter=frozen_json)


@frozen
class RecordedEvent:
    """An event with its number: a later event has a higher number; numbers may be left out."""

    sequence: int
    event: Event


_OBSERVED: Mapping[ReplicaState, EventKind] = {
    ReplicaState.CORRUPT: EventKind.CORRUPT,
    ReplicaState.MISSING: EventKind.MISSING,
    ReplicaState.PRESENT: EventKind.RECOVERED,
}


def events_of_commit(unit: Unit) -> tuple[Event, ...]:
    """Return the events when a file, or a violation with its files, is committed.

    The new files of a violation are one event.
    """
    return (
        *((_stored(unit),) if unit.files else ()),
        *(
            Event(
                EventKind.HEALED,
                _newest(file.replicas, file.created_at),
                file.file_id,
                file.violation_id,
                {"source": "upload", "replicas": [_named(copy) for copy in file.replicas]},
            )
            for file in unit.restored
        ),
    )


def event_of_observation(file: StoredFile, replica: Replica, at: datetime) -> Event:
    """Return the event when a replica of a file was found in the state that `replica` has."""
    details = {**_named(replica), "sha256": file.content.sha256}
    return Event(_OBSERVED[replica.state], at, file.file_id, file.violation_id, details)


def event_of_copy(file: StoredFile, copy: Replica, replaced: Replica | None) -> Event:
    """Return the event when a file gets a verified copy, which may replace a bad one."""
    kind = EventKind.COPIED if replaced is None else EventKind.HEALED
    details: dict[str, Json] = {**_named(copy), "sha256": file.content.sha256}
    if replaced is not None:
        details["replaced"] = str(replaced.replica_id)
    at = copy.verified_at or file.created_at
    return Event(kind, at, file.file_id, file.violation_id, details)


def event_of_refuted_copy(file: StoredFile, copy: Replica, at: datetime, found: str) -> Event:
    """Return the event when a new copy is not used, because its store holds other bytes."""
    details: dict[str, Json] = {**_named(copy), "found": found}
    return Event(EventKind.COPY_REFUTED, at, file.file_id, file.violation_id, details)


def event_of_released_copy(file: StoredFile, copy: Replica, at: datetime) -> Event:
    """Return the event when a copy goes because another one is proven good."""
    return Event(EventKind.RELEASED, at, file.file_id, file.violation_id, _named(copy))


def _stored(unit: Unit) -> Event:
    first = unit.files[0]
    violation_id = unit.names.violation or unit.completes
    if violation_id is None:
        return Event(EventKind.STORED, first.created_at, first.file_id, first.violation_id)
    names: list[Json] = [file.file_id for file in unit.files]
    return Event(EventKind.STORED, first.created_at, None, violation_id, {"files": names})


def _named(replica: Replica) -> dict[str, Json]:
    return {"store_id": replica.store_id, "replica_id": str(replica.replica_id)}


def _newest(replicas: tuple[Replica, ...], otherwise: datetime) -> datetime:
    return max((copy.verified_at for copy in replicas if copy.verified_at), default=otherwise)
