"""The SQL statements of deletions, built once; those of one transaction run in this order."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
    Boolean,
    Column,
    ColumnElement,
    Text,
    bindparam,
    case,
    cast,
    delete,
    func,
    insert,
    literal_column,
    null,
    or_,
    select,
    update,
)

from traffic_storage.adapters.record_repo.sql.hold_statements import is_held
from traffic_storage.adapters.record_repo.sql.snapshot_statements import is_pinned
from traffic_storage.adapters.record_repo.sql.statement import Statement
from traffic_storage.adapters.record_repo.sql.tables import (
    certificate,
    deletion,
    file,
    removal,
    replica,
    violation,
)
from traffic_storage.domain.files import FileState, ReplicaState


def _given(name: str) -> BindParameter[Any]:
    return bindparam(name)


def _number(name: str) -> ColumnElement[int]:
    return cast(_given(name), BigInteger)


def _text(name: str) -> ColumnElement[str]:
    return cast(_given(name), Text)


def _word(state: FileState | ReplicaState) -> ColumnElement[str]:
    return literal_column(f"'{state}'", Text)


def _is(column: Column[str], state: FileState | ReplicaState) -> ColumnElement[bool]:
    return column == _word(state)


# Inserts no row if the file is not available, held, or inside its retention without an override.
# The file's id first: rows of a step are ordered by it.
INSERT_DELETION = Statement(
    insert(deletion).from_select(
        list(deletion.c.keys()),
        select(
            file.c.file_id,
            cast(_given("deletion"), deletion.c.deletion_id.type),
            _number("at"),
            _number("purge_after"),
            cast(null(), BigInteger),
            cast(_given("override"), Boolean),
            _text("reason"),
            _text("actor"),
            _text("rule"),
        ).where(
            file.c.file_id == _given("id"),
            _is(file.c.state, FileState.AVAILABLE),
            or_(cast(_given("override"), Boolean), file.c.keep_until <= _number("at")),
            ~is_held(_number("at")),
        ),
    ),
    ("id", "deletion", "at", "purge_after", "override", "reason", "actor", "rule"),
)
TOMBSTONE = Statement(
    update(file)
    .where(file.c.file_id == _given("id"), _is(file.c.state, FileState.AVAILABLE))
    .values(state=_word(FileState.TOMBSTONED), state_at=_given("when")),
    ("id", "when"),
)
_floor = _number("floor")
UNDELETE = Statement(
    update(file)
    .where(file.c.file_id == _given("id"), _is(file.c.state, FileState.TOMBSTONED))
    .values(
        state=_word(FileState.AVAILABLE),
        state_at=_given("when"),
        retention_rule=case(
            (file.c.keep_until < _floor, _text("rule")), else_=file.c.retention_rule
        ),
        keep_until=case((file.c.keep_until < _floor, _floor), else_=file.c.keep_until),
    ),
    ("id", "when", "floor", "rule"),
)
DELETE_DELETION = Statement(delete(deletion).where(deletion.c.file_id == _given("id")), ("id",))
_grace_has_ended = (
    select(literal_column("1"))
    .where(deletion.c.file_id == file.c.file_id, deletion.c.purge_after <= _number("at"))
    .correlate(file)
    .exists()
)
BEGIN_PURGE = Statement(
    update(file)
    .where(
        file.c.file_id == _given("id"),
        _is(file.c.state, FileState.TOMBSTONED),
        _grace_has_ended,
        ~is_held(_number("at")),
        ~is_pinned(_number("at")),
    )
    .values(state=_word(FileState.PURGING), state_at=_number("at")),
    ("id", "at"),
)
REMOVE_REPLICA = Statement(
    update(replica)
    .where(replica.c.replica_id == _given("id"), replica.c.state == _given("was"))
    .values(state=_word(ReplicaState.GONE)),
    ("id", "was"),
)
_REMOVAL = tuple(removal.c.keys())
INSERT_REMOVAL = Statement(
    insert(removal).values({name: _given(f"new_{name}") for name in _REMOVAL}),
    tuple(f"new_{name}" for name in _REMOVAL),
)
_is_removed = (
    select(literal_column("1"))
    .where(removal.c.replica_id == replica.c.replica_id)
    .correlate(replica)
    .exists()
)
_has_a_replica = (
    select(literal_column("1"))
    .where(replica.c.file_id == file.c.file_id, ~_is_removed)
    .correlate(file)
    .exists()
)
ERASE_FILE = Statement(
    update(file)
    .where(file.c.file_id == _given("id"), _is(file.c.state, FileState.PURGING), ~_has_a_replica)
    .values(
        state=_word(FileState.PURGED),
        state_at=_given("when"),
        metadata=null(),
        original_name=null(),
        added_labels=null(),
        segments=null(),
        stored_segments=null(),
    ),
    ("id", "when"),
)
_DELETION = tuple(deletion.c.keys())
# As it was recorded elsewhere; the one before is deleted in the same transaction.
RESTORE_DELETION = Statement(
    insert(deletion).values({name: _given(f"new_{name}") for name in _DELETION}),
    tuple(f"new_{name}" for name in _DELETION),
)
# Whatever state the file is in, as long as it is still the given one.
PURGE_AGAIN = Statement(
    update(file)
    .where(file.c.file_id == _given("id"), file.c.state == _given("known"))
    .values(
        state=_word(FileState.PURGED),
        state_at=_given("when"),
        metadata=null(),
        original_name=null(),
        added_labels=null(),
        segments=null(),
        stored_segments=null(),
    ),
    ("id", "known", "when"),
)
END_DELETION = Statement(
    update(deletion).where(deletion.c.file_id == _given("id")).values(purged_at=_given("when")),
    ("id", "when"),
)
_CERTIFICATE = tuple(certificate.c.keys())
INSERT_CERTIFICATE = Statement(
    insert(certificate).values({name: _given(f"new_{name}") for name in _CERTIFICATE}),
    tuple(f"new_{name}" for name in _CERTIFICATE),
)


def _of_file(column: Column[Any]) -> ColumnElement[Any]:
    return select(column).where(file.c.file_id == _given("id")).scalar_subquery()


def _state_if(own: Column[str], column: Column[Any], new: ColumnElement[Any]) -> ColumnElement[Any]:
    return case((own == _given("id"), new), else_=column)


_state = _of_file(file.c.state)
_state_or_null = func.nullif(_state, _word(FileState.AVAILABLE))
# The state of a file, as it is now, in the row of its violation.
MIRROR_STATE = Statement(
    update(violation)
    .where(
        violation.c.violation_id == _of_file(file.c.violation_id),
        or_(
            violation.c.metadata_file_id == _given("id"),
            violation.c.image_file_id == _given("id"),
            violation.c.video_file_id == _given("id"),
        ),
    )
    .values(
        state=_state_if(violation.c.metadata_file_id, violation.c.state, _state),
        state_at=_state_if(
            violation.c.metadata_file_id, violation.c.state_at, _of_file(file.c.state_at)
        ),
        image_state=_state_if(violation.c.image_file_id, violation.c.image_state, _state_or_null),
        video_state=_state_if(violation.c.video_file_id, violation.c.video_state, _state_or_null),
    ),
    ("id",),
)
_NO_BOX = "[0.0,0.0,0.0,0.0]"
ERASE_VIOLATION = Statement(
    update(violation)
    .where(violation.c.metadata_file_id == _given("file"), violation.c.violation_id == _given("id"))
    .values(
        vehicle_bbox=literal_column(f"'{_NO_BOX}'", Text),
        vehicle_class=literal_column("''", Text),
        confidence=literal_column("0.0"),
        confidence_band=literal_column("0"),
        processing_time_ms=literal_column("0.0"),
        image_path=null(),
        video_path=null(),
        camera_info=literal_column("'{}'", Text),
        model_versions=literal_column("'{}'", Text),
    ),
    ("id", "file"),
)

# Reads.
DELETION = Statement(select(deletion).where(deletion.c.file_id == _given("id")), ("id",))
DUE = Statement(
    select(deletion)
    .where(
        deletion.c.purged_at.is_(None),
        deletion.c.purge_after <= _given("at"),
        deletion.c.purge_after >= _given("from"),
        or_(deletion.c.purge_after > _given("from"), deletion.c.file_id > _given("after")),
    )
    .order_by(deletion.c.purge_after, deletion.c.file_id)
    .limit(_given("limit")),
    ("at", "from", "after", "limit"),
)
REMOVALS = Statement(
    select(removal).where(removal.c.file_id == _given("id")).order_by(removal.c.replica_id),
    ("id",),
)
CERTIFICATE = Statement(select(certificate).where(certificate.c.file_id == _given("id")), ("id",))
