"""The SQL statements of retention, built once; those of one transaction run in this order."""

from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    bindparam,
    case,
    func,
    insert,
    literal_column,
    select,
    tuple_,
    update,
)

from traffic_storage.adapters.record_repo.sql.statement import Statement
from traffic_storage.adapters.record_repo.sql.tables import (
    file,
    retention_change,
    retention_rules,
    violation,
)
from traffic_storage.domain.files import FileState, RetentionClock

BATCH = 1000
"""The number of files in a batch of a walk."""


def _given(name: str) -> BindParameter[Any]:
    return bindparam(name)


_is_available = file.c.state == literal_column(f"'{FileState.AVAILABLE}'")

# Refused if rules with this number exist.
INSERT_RULES = Statement(
    insert(retention_rules).values(
        {column.name: _given(f"new_{column.name}") for column in retention_rules.c}
    ),
    tuple(f"new_{column.name}" for column in retention_rules.c),
)
INSERT_CHANGE = Statement(
    insert(retention_change).values(
        {column.name: _given(f"new_{column.name}") for column in retention_change.c}
    ),
    tuple(f"new_{column.name}" for column in retention_change.c),
)
# Compare-and-set on the end of retention.
REGRANT = Statement(
    update(file)
    .where(file.c.file_id == _given("id"), file.c.keep_until == _given("was"), _is_available)
    .values(keep_until=_given("becomes"), retention_rule=_given("rule")),
    ("id", "was", "becomes", "rule"),
)

# Reads.
_newest = select(func.max(retention_rules.c.revision)).scalar_subquery()
RULES_IN_FORCE = Statement(select(retention_rules).where(retention_rules.c.revision == _newest), ())
CHANGE = Statement(
    select(retention_change).where(retention_change.c.change_id == _given("id")), ("id",)
)
_named_time: ColumnElement[int] = case(
    (
        file.c.retention_clock == literal_column(f"'{RetentionClock.CAPTURED}'"),
        file.c.captured_at,
    ),
    else_=file.c.created_at,
)
basis_at = func.coalesce(file.c.retention_at, _named_time)
# A constant limit, so that PostgreSQL looks the violations up instead of reading all of them.
_batch = (
    select(
        file.c.file_id,
        file.c.kind,
        file.c.device_id,
        file.c.violation_id,
        file.c.created_at,
        basis_at.label("basis_at"),
        file.c.keep_until,
        file.c.retention_rule,
        func.coalesce(file.c.stored_size_bytes, file.c.size_bytes).label("stored_bytes"),
    )
    .where(
        _is_available,
        file.c.kind == _given("of_kind"),
        tuple_(file.c.created_at, file.c.file_id) > tuple_(_given("after"), _given("after_id")),
    )
    .order_by(file.c.created_at, file.c.file_id)
    .limit(literal_column(str(BATCH)))
    .subquery()
)
RETAINED = Statement(
    select(*_batch.c, violation.c.violation_type)
    .select_from(_batch.outerjoin(violation, violation.c.violation_id == _batch.c.violation_id))
    .order_by(_batch.c.created_at, _batch.c.file_id),
    ("of_kind", "after", "after_id"),
)
