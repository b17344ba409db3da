"""The SQL statement that adds labels to a file, built once."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
    Boolean,
    ColumnElement,
    Text,
    bindparam,
    cast,
    func,
    literal_column,
    select,
    update,
)

from traffic_storage.adapters.record_repo.sql.statement import Statement
from traffic_storage.adapters.record_repo.sql.tables import file, replica
from traffic_storage.domain.files import OCCUPYING, FileState


def _given(name: str) -> BindParameter[Any]:
    return bindparam(name)


def _text(name: str) -> ColumnElement[str]:
    return cast(_given(name), Text)


def _number(name: str) -> ColumnElement[int]:
    return cast(_given(name), BigInteger)


_occupying: list[ColumnElement[str]] = [literal_column(f"'{state}'") for state in sorted(OCCUPYING)]
_copies = (
    select(func.count())
    .select_from(replica)
    .where(replica.c.file_id == file.c.file_id, replica.c.state.in_(_occupying))
    .correlate(file)
    .scalar_subquery()
)
# Compare-and-set on the labels, the end of retention and the number of copies that are counted. The
# row of the file is locked by an earlier statement, so that the copies are those of now.
ADD_LABELS = Statement(
    update(file)
    .where(
        file.c.file_id == _given("id"),
        file.c.state == literal_column(f"'{FileState.AVAILABLE}'"),
        file.c.keep_until == _given("was"),
        file.c.device_id.is_not_distinct_from(_text("was_device")),
        file.c.violation_id.is_not_distinct_from(_text("was_violation")),
        file.c.captured_at.is_not_distinct_from(_number("was_captured")),
        file.c.added_labels.is_not_distinct_from(_text("was_added")),
        _copies == _number("copies"),
    )
    .values(
        device_id=_text("device"),
        violation_id=_text("violation"),
        captured_at=_number("captured"),
        historic=cast(_given("is_historic"), Boolean),
        added_labels=_text("added"),
        keep_until=_given("becomes"),
        retention_rule=_given("rule"),
        retention_at=_number("basis_at"),
        retention_clock=_given("clock"),
        retention_reason=_text("reason"),
    ),
    (
        *("id", "was", "was_device", "was_violation", "was_captured", "was_added", "copies"),
        *("device", "violation", "captured", "is_historic", "added", "becomes", "rule"),
        *("basis_at", "clock", "reason"),
    ),
)
