"""The SQL statements of snapshots, built once: pins, and pages of all rows along primary keys."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Table,
    bindparam,
    cast,
    delete,
    insert,
    literal_column,
    or_,
    select,
)

from traffic_storage.adapters.record_repo.sql.statement import Statement
from traffic_storage.adapters.record_repo.sql.statements import COPIES, with_copies
from traffic_storage.adapters.record_repo.sql.tables import (
    certificate,
    file,
    hold,
    snapshot_pin,
    violation,
)
from traffic_storage.adapters.record_repo.sql.violation_pages import ROW

DELETE_PIN = Statement(
    delete(snapshot_pin).where(snapshot_pin.c.name == bindparam("pinned_by")), ("pinned_by",)
)
_PIN = tuple(snapshot_pin.c.keys())
INSERT_PIN = Statement(
    insert(snapshot_pin).values({name: bindparam(f"new_{name}") for name in _PIN}),
    tuple(f"new_{name}" for name in _PIN),
)
PINS = Statement(select(snapshot_pin).order_by(snapshot_pin.c.name), ())


def is_pinned(at: ColumnElement[int]) -> ColumnElement[bool]:
    """Return the condition that a snapshot pins a row of `file`: `SnapshotPin.covers` in SQL."""
    newest = snapshot_pin.c.newest
    return (
        select(literal_column("1"))
        .where(snapshot_pin.c.until > at, or_(newest.is_(None), newest >= file.c.created_at))
        .correlate(file)
        .exists()
    )


def _after(table: Table, key: Column[Any], *columns: ColumnElement[Any]) -> Statement:
    found = (
        select(*(columns or table.c))
        .where(key > cast(bindparam("after"), key.type))
        .order_by(key)
        .limit(cast(bindparam("limit"), BigInteger))
    )
    return Statement(found, ("after", "limit"))


_page = (
    select(file)
    .where(file.c.file_id > cast(bindparam("after"), file.c.file_id.type))
    .order_by(file.c.file_id)
    .limit(cast(bindparam("limit"), BigInteger))
    .subquery("page")
)
FILES = Statement(
    select(_page, *COPIES).select_from(with_copies(_page)).order_by(_page.c.file_id),
    ("after", "limit"),
)
VIOLATIONS = _after(violation, violation.c.violation_id, *ROW)
HOLDS = _after(hold, hold.c.hold_id)
CERTIFICATES = Statement(
    select(certificate).where(certificate.c.file_id == bindparam("id")), ("id",)
)
