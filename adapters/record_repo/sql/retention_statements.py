"""The SQL statements of retention, built once; those of one transaction run in this order."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    bindparam,
    case,
    cast,
    delete,
    func,
    insert,
    literal_column,
    select,
    tuple_,
    update,
)
from sqlalchemy.sql.selectable import Subquery

from traffic_storage.adapters.record_repo.sql.hold_statements import is_held
from traffic_storage.adapters.record_repo.sql.statement import Statement
from traffic_storage.adapters.record_repo.sql.tables import (
    file,
    replica,
    retention_change,
    retention_plan,
    retention_rules,
    store,
    violation,
)
from traffic_storage.domain.files import OCCUPYING, FileState, RetentionClock, Tier

BATCH = 1000
"""The number of files in a batch of a walk."""
DUE_BATCH = 500
"""The number of files in a batch of due files: what one transaction deletes."""


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
INSERT_PLAN = Statement(
    insert(retention_plan).values(
        {column.name: _given(f"new_{column.name}") for column in retention_plan.c}
    ),
    tuple(f"new_{column.name}" for column in retention_plan.c),
)
# Compare-and-set on the end of retention.
REGRANT = Statement(
    update(file)
    .where(file.c.file_id == _given("id"), file.c.keep_until == _given("was"), _is_available)
    .values(keep_until=_given("becomes"), retention_rule=_given("rule")),
    ("id", "was", "becomes", "rule"),
)
_entered = select(retention_rules.c.change_id).where(retention_rules.c.change_id.is_not(None))
FORGET_CHANGES = Statement(
    delete(retention_change).where(
        retention_change.c.staged_at < _given("before"),
        retention_change.c.change_id.not_in(_entered),
    ),
    ("before",),
)
FORGET_PLANS = Statement(
    delete(retention_plan).where(retention_plan.c.as_of < _given("before")), ("before",)
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
_retained = (
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


def _batch(
    *columns: ColumnElement[Any], order: ColumnElement[int], size: int, where: ColumnElement[bool]
) -> Subquery:
    """Return a batch of available files behind a position in an order by a time, then by id."""
    # A constant limit, so that PostgreSQL looks the violations up instead of reading all of them.
    return (
        select(*_retained, *columns)
        .where(
            _is_available,
            where,
            tuple_(order, file.c.file_id) > tuple_(_given("after"), _given("after_id")),
        )
        .order_by(order, file.c.file_id)
        .limit(literal_column(str(size)))
        .subquery()
    )


def _with_type(batch: Subquery, order: str, names: tuple[str, ...]) -> Statement:
    return Statement(
        select(*batch.c, violation.c.violation_type)
        .select_from(batch.outerjoin(violation, violation.c.violation_id == batch.c.violation_id))
        .order_by(batch.c[order], batch.c.file_id),
        names,
    )


RETAINED = _with_type(
    _batch(order=file.c.created_at, size=BATCH, where=file.c.kind == _given("of_kind")),
    "created_at",
    ("of_kind", "after", "after_id"),
)
_occupying = replica.c.state.in_([literal_column(f"'{state}'") for state in sorted(OCCUPYING)])


def _copies(tier: Tier) -> ColumnElement[int]:
    """Return the number of copies of a file that occupy a store of a tier."""
    of_tier = store.c.tier == literal_column(f"'{tier}'")
    return (
        select(func.count())
        .select_from(replica.join(store, store.c.number == replica.c.store))
        .where(replica.c.file_id == file.c.file_id, _occupying, of_tier)
        .correlate(file)
        .scalar_subquery()
    )


DUE = _with_type(
    _batch(
        _copies(Tier.LOCAL).label("local_copies"),
        _copies(Tier.CLOUD).label("cloud_copies"),
        is_held(cast(_given("now"), BigInteger)).label("is_held"),
        order=file.c.keep_until,
        size=DUE_BATCH,
        where=file.c.keep_until <= _given("as_of"),
    ),
    "keep_until",
    ("as_of", "after", "after_id", "now"),
)
PLAN = Statement(select(retention_plan).where(retention_plan.c.plan_id == _given("id")), ("id",))
