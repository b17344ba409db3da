"""The SQL statements of legal holds, built once; `is_held` is `domain.holds.covers` in SQL."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
    Boolean,
    ColumnElement,
    Select,
    and_,
    bindparam,
    func,
    insert,
    literal_column,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from traffic_storage.adapters.record_repo.sql import statements
from traffic_storage.adapters.record_repo.sql.statement import Statement
from traffic_storage.adapters.record_repo.sql.tables import file, hold, is_unreleased, violation
from traffic_storage.domain.files import FileState

# Defined in a module that comes first, because a transaction begins with them.
LOCK, LOCK_SHARED = statements.LOCK_HOLDS, statements.LOCK_HOLDS_SHARED
LOCK_ARGS = ((statements.HOLDS_LOCK,),)


class Unreadable(ColumnElement[bool]):
    """Whether a column has no number: it is NULL, or a damaged value, which only SQLite can hold."""

    inherit_cache = True
    type = Boolean()

    def __init__(self, column: ColumnElement[Any]) -> None:
        self.column = column


@compiles(Unreadable, "postgresql")
def _in_postgres(element: Unreadable, compiler: SQLCompiler, **more: Any) -> str:  # noqa: ANN401
    return f"{compiler.process(element.column, **more)} IS NULL"


@compiles(Unreadable, "sqlite")
def _in_sqlite(element: Unreadable, compiler: SQLCompiler, **more: Any) -> str:  # noqa: ANN401
    return f"typeof({compiler.process(element.column, **more)}) != 'integer'"


def _given(name: str) -> BindParameter[Any]:
    return bindparam(name)


_of = violation.alias("of_file")


def _of_violation(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return a column of the violation that a file names; NULL if there is none."""
    found = select(column).where(_of.c.violation_id == file.c.violation_id)
    return found.correlate(file).scalar_subquery()


def is_active(at: ColumnElement[int]) -> ColumnElement[bool]:
    """Return the condition that a hold prevents deletions at a time."""
    return and_(is_unreleased, or_(Unreadable(hold.c.until), hold.c.until > at))


def _lies_in(at: ColumnElement[Any]) -> ColumnElement[bool]:
    return and_(hold.c.start_time <= at, at < hold.c.end_time)


def _is_in_range() -> ColumnElement[bool]:
    """Return the condition that a file meets all of a range but the device."""
    other_type = (
        select(literal_column("1"))
        .where(
            _of.c.violation_id == file.c.violation_id,
            _of.c.violation_type != hold.c.violation_type,
        )
        .correlate(file, hold)
        .exists()
    )
    return and_(
        or_(hold.c.include_future, file.c.created_at <= hold.c.placed_at),
        or_(hold.c.kind.is_(None), hold.c.kind == file.c.kind),
        or_(hold.c.violation_type.is_(None), ~other_type),
        or_(
            Unreadable(hold.c.start_time),
            Unreadable(hold.c.end_time),
            _lies_in(file.c.created_at),
            _lies_in(file.c.captured_at),
            _lies_in(file.c.retention_at),
        ),
    )


_device_of_violation = _of_violation(_of.c.device_id)
_is_of_device = or_(hold.c.device_id == file.c.device_id, hold.c.device_id == _device_of_violation)
_has_no_device = and_(
    file.c.device_id.is_(None), _device_of_violation.is_(None), hold.c.device_id.is_not(None)
)


def _scopes() -> Iterable[ColumnElement[bool]]:
    """Yield the conditions of which one is met when a hold covers a file."""
    yield hold.c.file_id == file.c.file_id
    yield hold.c.violation_id == file.c.violation_id
    yield and_(_is_of_device, _is_in_range())
    yield and_(_has_no_device, _is_in_range())


def is_held(at: ColumnElement[int]) -> ColumnElement[bool]:
    """Return the condition that an active hold covers the row of `file`.

    It is a probe of an index for each scope; files without a device pass over all active ranges.
    """
    return or_(
        *(
            select(literal_column("1"))
            .where(covered, is_active(at))
            .correlate(file)
            .select_from(hold)
            .exists()
            for covered in _scopes()
        )
    )


INSERT_HOLD = Statement(
    insert(hold).values({column.name: _given(f"new_{column.name}") for column in hold.c}),
    tuple(f"new_{column.name}" for column in hold.c),
)
RELEASE_HOLD = Statement(
    update(hold)
    .where(hold.c.hold_id == _given("id"), is_unreleased)
    .values(released_at=_given("at"), released_by=_given("by"), release_reason=_given("why")),
    ("id", "at", "by", "why"),
)

# Reads.
HOLD = Statement(select(hold).where(hold.c.hold_id == _given("id")), ("id",))
HELD = Statement(
    select(file.c.file_id).where(file.c.file_id == _given("id"), is_held(_given("at"))),
    ("id", "at"),
)
_on_file = union_all(
    *(
        select(hold.c.hold_id)
        .select_from(file.join(hold, covered))
        .where(file.c.file_id == _given("id"), is_active(_given("at")))
        for covered in _scopes()
    )
)
# Each scope has an index of its own.
HOLDS_ON = Statement(
    select(hold).where(hold.c.hold_id.in_(_on_file)).order_by(hold.c.placed_at, hold.c.hold_id),
    ("id", "at"),
)


def _page(*, active: bool) -> Statement:
    latest = _given("latest")
    selected = select(hold).where(
        hold.c.placed_at <= latest,
        or_(hold.c.placed_at < latest, hold.c.hold_id < _given("after")),
    )
    if active:
        selected = selected.where(is_active(_given("at")))
    newest_first = selected.order_by(hold.c.placed_at.desc(), hold.c.hold_id.desc())
    return Statement(newest_first.limit(_given("limit")), ("at", "latest", "after", "limit"))


PAGES = {active: _page(active=active) for active in (False, True)}

# How many deleted files a hold covers, by state.
_is_deleted = and_(
    file.c.state != literal_column(f"'{FileState.AVAILABLE}'"),
    file.c.state.in_(
        [literal_column(f"'{state}'") for state in (FileState.TOMBSTONED, FileState.PURGING)]
    ),
)


def _deleted(*conditions: ColumnElement[bool]) -> Select[Any]:
    return (
        select(file.c.state, func.count().cast(BigInteger))
        .where(_is_deleted, *conditions)
        .group_by(file.c.state)
    )


REACH_OF_FILE = Statement(_deleted(file.c.file_id == _given("id")), ("id",))
REACH_OF_VIOLATION = Statement(_deleted(file.c.violation_id == _given("id")), ("id",))
_in_range = (hold.c.hold_id == _given("id"), _is_in_range())
REACH_OF_RANGE = Statement(
    union_all(
        _deleted(file.c.device_id == _given("device"), file.c.device_id.is_not(None), *_in_range),
        _deleted(
            file.c.device_id.is_(None),
            or_(_device_of_violation.is_(None), _device_of_violation == hold.c.device_id),
            *_in_range,
        ),
    ),
    ("id", "device"),
)
