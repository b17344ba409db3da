"""Usage: counters of files, replicas (copies in stores), violations and bytes, total and daily."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Self, TypeAlias

from attrs import frozen

from traffic_storage.domain.files import OCCUPYING, FileKind, Replica, ReplicaState, StoredFile
from traffic_storage.domain.identifiers import DeviceId, StoreId
from traffic_storage.domain.ingest import Unit
from traffic_storage.domain.rebuild import ImportRows
from traffic_storage.domain.violation import StoredViolation

Counted: TypeAlias = tuple[StoreId | None, FileKind | None, int, int]
"""The fields `store_id`, `kind`, `items` and `bytes` of a `CounterChange`."""


@frozen
class CounterChange:
    """The amounts by which one change of the catalogue increases one counter; may be negative.

    If `store_id` is set, `items` counts the replicas (copies of files) that use space in this store
    (`present` or `corrupt`). If only `kind` is set, `items` counts available files, each once
    regardless of its replicas. If both are None, `items` counts available violations. `bytes`
    counts stored bytes. `day` (UTC) is the day of receipt for new files and violations, the day of
    writing for new replicas, and otherwise the day of the change of the state. `moved`: what is
    counted was there before, under another device; so it is nothing that was received.
    """

    day: date
    store_id: StoreId | None
    kind: FileKind | None
    device_id: DeviceId | None
    items: int
    bytes: int
    moved: bool = False

    @property
    def counted(self) -> Counted:
        """The store, kind, items and bytes of this change, without its day and device."""
        return self.store_id, self.kind, self.items, self.bytes


@frozen
class StoreUsage:
    """The number and bytes of the replicas (copies of files) of one kind in one store."""

    store_id: StoreId
    kind: FileKind
    replicas: int
    bytes: int


@frozen
class FileUsage:
    """The number and stored bytes of the files of one kind; each file counts once."""

    kind: FileKind
    files: int
    bytes: int


@frozen
class CatalogueUsage:
    """The totals of all counters, or the changes of all counters on one day (may be negative).

    `stores` has one entry for each store and kind, sorted by store, then kind. `files` has one
    entry for each kind, sorted. Entries in which all numbers are zero are omitted.
    """

    stores: tuple[StoreUsage, ...] = ()
    files: tuple[FileUsage, ...] = ()
    violations: int = 0

    @classmethod
    def of(cls, counted: Iterable[Counted]) -> Self:
        """Return the sums of all items with the same store and kind."""
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
    """The changes of all counters on one day (UTC)."""

    day: date
    change: CatalogueUsage = CatalogueUsage()


@frozen
class DeviceUsage:
    """The totals of the counters of one device; None: of files that name no device."""

    device_id: DeviceId | None
    usage: CatalogueUsage


def counted_by_commit(unit: Unit) -> Sequence[CounterChange]:
    """Return the changes of the counters when a file, or a violation with its files, is committed."""
    changes = [
        CounterChange(day_of(file.created_at), None, file.kind, file.device_id, 1, _size(file))
        for file in unit.files
    ]
    for file, replica in unit.replicas:
        changes += _replica_changes(file, replica, None, replica.state, replica.written_on)
    if found := unit.violation:
        device_id = DeviceId(found.record.device_id)
        changes.append(CounterChange(day_of(found.received_at), None, None, device_id, 1, 0))
    return changes


def counted_by_import(rows: ImportRows) -> Sequence[CounterChange]:
    """Return the changes of the counters when rows restored from the stores are inserted."""
    changes = [*counted_by_commit(rows.unit)]
    for violation in rows.violations:
        changes += counted_by_commit(Unit((), violation))
    return changes


def counted_by_addition(
    file: StoredFile, replica: Replica, replaced: Replica | None
) -> Sequence[CounterChange]:
    """Return the changes of the counters when a stored file gets a further replica.

    `replaced` is the replica that becomes `gone` at the same time, if any.
    """
    day = replica.written_on
    added = _replica_changes(file, replica, None, replica.state, day)
    if replaced is None:
        return added
    return [*added, *_replica_changes(file, replaced, replaced.state, ReplicaState.GONE, day)]


def counted_by_transition(
    file: StoredFile, replica: Replica, after: ReplicaState, at: datetime
) -> Sequence[CounterChange]:
    """Return the changes of the counters when a replica of `file` gets the state `after`."""
    return _replica_changes(file, replica, replica.state, after, day_of(at))


def counted_by_visibility(
    file: StoredFile, violation: StoredViolation | None, more: int, at: datetime
) -> Sequence[CounterChange]:
    """Return the changes of the counters when a file appears (`more` 1) or disappears (-1).

    `violation` is the one whose metadata file it is, if any: it appears or disappears with it.
    """
    day = day_of(at)
    changes = [CounterChange(day, None, file.kind, file.device_id, more, more * _size(file))]
    if violation is not None:
        device_id = DeviceId(violation.record.device_id)
        changes.append(CounterChange(day, None, None, device_id, more, 0))
    return changes


def counted_by_labels(
    before: StoredFile, after: StoredFile, at: datetime
) -> Sequence[CounterChange]:
    """Return the changes of the counters when an available file gets labels: a device, perhaps."""
    if before.device_id == after.device_id:
        return ()
    copies = [copy.store_id for copy in before.replicas if copy.state in OCCUPYING]
    return [
        CounterChange(
            day_of(at), place, file.kind, file.device_id, more, more * _size(file), moved=True
        )
        for file, more in ((before, -1), (after, 1))
        for place in (None, *copies)
    ]


def day_of(at: datetime) -> date:
    """Return the day (UTC) of an instant."""
    return at.astimezone(UTC).date()


def _replica_changes(
    file: StoredFile, replica: Replica, before: ReplicaState | None, after: ReplicaState, day: date
) -> Sequence[CounterChange]:
    more = (after in OCCUPYING) - (before in OCCUPYING)
    if not more:
        return ()
    size = more * _size(file)
    return (CounterChange(day, replica.store_id, file.kind, file.device_id, more, size),)


def _size(file: StoredFile) -> int:
    return file.stored.size_bytes
