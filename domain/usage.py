"""Usage: counters of files, replicas, violations and stored bytes, in total and by day."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Self, TypeAlias

from attrs import frozen

from traffic_storage.domain.files import OCCUPYING, FileKind, Replica, ReplicaState, StoredFile
from traffic_storage.domain.identifiers import DeviceId, StoreId
from traffic_storage.domain.ingest import Unit

Counted: TypeAlias = tuple[StoreId | None, FileKind | None, int, int]
"""Store, kind, items and bytes of one counter; see `CounterChange`."""


@frozen
class CounterChange:
    """By how much one change of the catalogue moves one counter.

    With a store, `items` are replicas that occupy it (`present` or `corrupt`). Without one they
    are files, each once however many replicas it has, or violations where `kind` is None.
    `bytes` are stored bytes. `day` (UTC) is that of receipt for files and violations, of writing
    for new replicas, and of the observation for replicas that change their state.
    """

    day: date
    store_id: StoreId | None
    kind: FileKind | None
    device_id: DeviceId | None
    items: int
    bytes: int

    @property
    def counted(self) -> Counted:
        """This change without its day and device."""
        return self.store_id, self.kind, self.items, self.bytes


@frozen
class StoreUsage:
    """Replicas of one kind that occupy one store, and their bytes."""

    store_id: StoreId
    kind: FileKind
    replicas: int
    bytes: int


@frozen
class FileUsage:
    """Files of one kind and their stored bytes, each file once."""

    kind: FileKind
    files: int
    bytes: int


@frozen
class CatalogueUsage:
    """Totals of the counters, or their changes on one day (which may be negative).

    `stores` has one row per store and kind that is not zero, in this order; `files` one per kind.
    """

    stores: tuple[StoreUsage, ...] = ()
    files: tuple[FileUsage, ...] = ()
    violations: int = 0

    @classmethod
    def of(cls, counted: Iterable[Counted]) -> Self:
        """The sums of counters."""
        sums: dict[tuple[StoreId | None, FileKind | None], tuple[int, int]] = {}
        for store_id, kind, items, size in counted:
            known = sums.get((store_id, kind), (0, 0))
            sums[store_id, kind] = known[0] + items, known[1] + size
        stores = [
            StoreUsage(store_id, kind, *sums[store_id, kind])
            for store_id, kind in sums
            if store_id is not None and kind is not None and any(sums[store_id, kind])
        ]
        files = [
            FileUsage(kind, *sums[None, kind])
            for store_id, kind in sums
            if store_id is None and kind is not None and any(sums[None, kind])
        ]
        return cls(
            tuple(sorted(stores, key=lambda row: (row.store_id, row.kind))),
            tuple(sorted(files, key=lambda row: row.kind)),
            sums.get((None, None), (0, 0))[0],
        )


@frozen
class DailyUsage:
    """The change of the counters on one day (UTC)."""

    day: date
    change: CatalogueUsage = CatalogueUsage()


def counted_by_commit(unit: Unit) -> Sequence[CounterChange]:
    """How the commit of a unit moves the counters."""
    changes = [
        CounterChange(day_of(file.created_at), None, file.kind, file.device_id, 1, _size(file))
        for file in unit.files
    ]
    for file, replica in unit.replicas:
        changes += _moved(file, replica, None, replica.state, replica.written_on)
    if found := unit.violation:
        device_id = DeviceId(found.record.device_id)
        changes.append(CounterChange(day_of(found.received_at), None, None, device_id, 1, 0))
    return changes


def counted_by_transition(
    file: StoredFile, replica: Replica, after: ReplicaState, at: datetime
) -> Sequence[CounterChange]:
    """How a replica's step to another state moves the counters."""
    return _moved(file, replica, replica.state, after, day_of(at))


def day_of(at: datetime) -> date:
    """The day (UTC) of an instant."""
    return at.astimezone(UTC).date()


def _moved(
    file: StoredFile, replica: Replica, before: ReplicaState | None, after: ReplicaState, day: date
) -> Sequence[CounterChange]:
    more = (after in OCCUPYING) - (before in OCCUPYING)
    if not more:
        return ()
    size = more * _size(file)
    return (CounterChange(day, replica.store_id, file.kind, file.device_id, more, size),)


def _size(file: StoredFile) -> int:
    return file.stored.size_bytes
