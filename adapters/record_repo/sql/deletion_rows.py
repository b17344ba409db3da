"""Converts holds, deletions and certificates to rows and back."""

from datetime import UTC, datetime
from uuid import UUID

from traffic_storage.adapters.record_repo.sql.rows import Row, micros, moment
from traffic_storage.adapters.record_repo.sql.statement import Args
from traffic_storage.domain.deletion import Certificate, Deletion, Removal, Tombstone
from traffic_storage.domain.files import FileKind
from traffic_storage.domain.holds import HeldFile, HeldRange, HeldViolation, Hold, HoldScope
from traffic_storage.domain.identifiers import DeviceId, FileId, ViolationId
from traffic_storage.domain.query import HoldsQuery
from traffic_storage.domain.times import EARLIEST

_LATEST = 2**63 - 1
_BEHIND_ALL_UUIDS = b"\xff" * 16
_END = datetime.max.replace(tzinfo=UTC)


def _micros_or_none(at: datetime | None) -> int | None:
    return None if at is None else micros(at)


def hold_row(hold: Hold) -> Args:
    """Return the row of a hold."""
    scope = hold.scope
    held = scope if isinstance(scope, HeldRange) else None
    return (
        hold.hold_id.bytes,
        micros(hold.placed_at),
        _micros_or_none(hold.until),
        _micros_or_none(hold.released_at),
        micros(held.start_time) if held else None,
        micros(held.end_time) if held else None,
        held.include_future if held else True,
        scope.file_id if isinstance(scope, HeldFile) else None,
        scope.violation_id if isinstance(scope, HeldViolation) else None,
        held.device_id if held else None,
        held.kind.value if held and held.kind else None,
        held.violation_type if held else None,
        hold.case_reference,
        hold.reason,
        hold.placed_by,
        hold.released_by,
        hold.release_reason,
    )


def hold_of(row: Row) -> Hold:
    """Return the hold of a row; where a time is damaged, the hold covers more, never less."""
    hold_id, placed_at, until, released_at, start_time, end_time, include_future = row[:7]
    file_id, violation_id, device_id, kind, violation_type = row[7:12]
    case_reference, reason, placed_by, released_by, release_reason = row[12:]
    scope: HoldScope
    if file_id is not None:
        scope = HeldFile(FileId(file_id))
    elif violation_id is not None:
        scope = HeldViolation(ViolationId(violation_id))
    else:
        is_readable = isinstance(start_time, int) and isinstance(end_time, int)
        scope = HeldRange(
            DeviceId(device_id),
            moment(start_time) if is_readable else EARLIEST,
            moment(end_time) if is_readable else _END,
            bool(include_future),
            FileKind(kind) if kind else None,
            violation_type,
        )
    return Hold(
        hold_id=UUID(bytes=hold_id),
        scope=scope,
        case_reference=case_reference,
        reason=reason,
        placed_by=placed_by,
        placed_at=moment(placed_at),
        until=moment(until) if isinstance(until, int) else None,
        released_at=None if released_at is None else moment(released_at),
        released_by=released_by,
        release_reason=release_reason,
    )


def holds_query_row(query: HoldsQuery) -> Args:
    """Return the arguments of a page of holds."""
    at = _LATEST if query.after is None else micros(query.after.at)
    after = _BEHIND_ALL_UUIDS if query.after is None else UUID(query.after.row_id).bytes
    return _micros_or_none(query.active_at), at, after, query.limit + 1


def deletion_args(change: Tombstone, file_id: FileId) -> Args:
    """Return the arguments of the insertion of a deletion."""
    return (
        file_id,
        change.deletion_id.bytes,
        micros(change.at),
        micros(change.purge_after),
        change.override,
        change.reason,
        change.actor,
        change.rule,
    )


def deletion_row(deletion: Deletion) -> Args:
    """Return the row of a deletion."""
    return (
        deletion.file_id,
        deletion.deletion_id.bytes,
        micros(deletion.tombstoned_at),
        micros(deletion.purge_after),
        _micros_or_none(deletion.purged_at),
        deletion.override,
        deletion.reason,
        deletion.actor,
        deletion.rule,
    )


def deletion_of(row: Row) -> Deletion:
    """Return the deletion of a row."""
    file_id, deletion_id, tombstoned_at, purge_after, purged_at, override, reason, actor, rule = row
    return Deletion(
        FileId(file_id),
        UUID(bytes=deletion_id),
        moment(tombstoned_at),
        # Damaged, which is possible on SQLite alone: the grace does not end.
        moment(purge_after) if isinstance(purge_after, int) else _END,
        reason,
        actor,
        rule,
        bool(override),
        None if purged_at is None else moment(purged_at),
    )


def removal_of(row: Row) -> Removal:
    """Return the removal of a row."""
    replica_id, _, at, answer = row
    return Removal(UUID(bytes=replica_id), moment(at), answer)


def certificate_row(certificate: Certificate) -> Args:
    """Return the row of a certificate."""
    return (
        certificate.file_id,
        micros(certificate.at),
        bytes.fromhex(certificate.sha256),
        certificate.document,
    )


def certificate_of(row: Row) -> Certificate:
    """Return the certificate of a row."""
    file_id, at, _, document = row
    return Certificate(FileId(file_id), moment(at), document)
