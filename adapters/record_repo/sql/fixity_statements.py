"""All SQL statements of the verification of copies, built once."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Integer,
    Select,
    and_,
    bindparam,
    case,
    cast,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from traffic_storage.adapters.record_repo.sql.statement import Statement
from traffic_storage.adapters.record_repo.sql.tables import (
    file,
    fixity_batch,
    fixity_day,
    replica,
    store,
)
from traffic_storage.domain.files import ReplicaState
from traffic_storage.domain.fixity import MOST_COUNTED
from traffic_storage.domain.query import MAX_LIMIT

_ONE = literal_column("1", Integer)
_ZERO = literal_column("0", Integer)
_RESULTS = ("checked", "corrupted", "missing", "altered", "unknown", "healed", "bytes")


def _given(name: str) -> BindParameter[Any]:
    return bindparam(name)


def _micros(name: str) -> ColumnElement[int]:
    return cast(_given(name), BigInteger)


def _number(name: str) -> ColumnElement[int]:
    return select(store.c.number).where(store.c.store_id == _given(name)).scalar_subquery()


# Refused if the batch was recorded before.
CLAIM_BATCH = Statement(
    insert(fixity_batch).values(batch_id=_given("batch"), recorded_at=_given("at")),
    ("batch", "at"),
)
FORGET_BATCHES = Statement(
    delete(fixity_batch).where(fixity_batch.c.recorded_at < _given("before")), ("before",)
)
_is_present = replica.c.state == literal_column(f"'{ReplicaState.PRESENT}'")
VERIFY_REPLICA = Statement(
    update(replica)
    .where(
        replica.c.replica_id == _given("id"),
        _is_present,
        or_(replica.c.verified_at.is_(None), replica.c.verified_at < _given("at")),
    )
    .values(verified_at=_given("at")),
    ("id", "at"),
)


def _addition(insertion: Any) -> Any:  # noqa: ANN401 - the dialects' classes share no base
    added = insertion(fixity_day).values(
        day=_given("on_day"),
        store=_number("in_store"),
        **{name: _given(f"new_{name}") for name in _RESULTS},
    )
    return added.on_conflict_do_update(
        index_elements=[fixity_day.c.day, fixity_day.c.store],
        set_={name: fixity_day.c[name] + added.excluded[name] for name in _RESULTS},
    )


ADD_RESULTS = Statement(
    _addition(postgresql.insert),
    ("on_day", "in_store", *(f"new_{name}" for name in _RESULTS)),
    on_sqlite=_addition(sqlite.insert),
)

# Pages of copies. The innermost selection follows an index; a constant limit tells PostgreSQL that
# few rows are joined.
_DOUBTFUL: ColumnElement[bool] = literal_column(
    f"replica.state IN ('{ReplicaState.CORRUPT}', '{ReplicaState.MISSING}')"
)


def _copies(*conditions: ColumnElement[bool], by: tuple[ColumnElement[Any], ...]) -> Statement:
    page = (
        select(replica)
        .where(replica.c.store == _number("in_store"), *conditions)
        .order_by(*by)
        .limit(_given("limit"))
        .subquery()
    )
    few = select(page).limit(literal_column(str(MAX_LIMIT))).subquery()
    return Statement(
        _with_files(few).order_by(*(few.c[column.name] for column in by)),
        ("in_store", "before", "after_at", "after_file", "after_id", "limit"),
    )


def _with_files(copies: Any) -> Select[Any]:  # noqa: ANN401 - a subquery's columns are untyped
    return select(
        file,
        copies.c.replica_id,
        store.c.store_id,
        store.c.tier,
        copies.c.state.label("replica_state"),
        copies.c.verified_at,
    ).select_from(
        copies.join(file, file.c.file_id == copies.c.file_id).join(
            store, store.c.number == copies.c.store
        )
    )


_by_time = (replica.c.verified_at, replica.c.replica_id)
NEVER_VERIFIED = _copies(
    _is_present,
    replica.c.verified_at.is_(None),
    replica.c.replica_id > _given("after_id"),
    by=_by_time,
)
VERIFIED_BEFORE = _copies(
    _is_present,
    replica.c.verified_at < _micros("before"),
    replica.c.verified_at >= _micros("after_at"),
    or_(
        replica.c.verified_at > _micros("after_at"),
        replica.c.replica_id > _given("after_id"),
    ),
    by=_by_time,
)
DOUBTFUL = _copies(
    _DOUBTFUL,
    replica.c.file_id >= _given("after_file"),
    or_(replica.c.file_id > _given("after_file"), replica.c.replica_id > _given("after_id")),
    by=(replica.c.file_id, replica.c.replica_id),
)


# Coverage.
def _count(*conditions: ColumnElement[bool]) -> ColumnElement[int]:
    rows = (
        select(_ONE)
        .where(replica.c.store == store.c.number, *conditions)
        .limit(literal_column(str(MOST_COUNTED)))
        .correlate(store)
        .subquery()
    )
    return select(func.count()).select_from(rows).scalar_subquery()


def _bad(state: ReplicaState) -> ColumnElement[int]:
    is_in_state = replica.c.state == literal_column(f"'{state}'")
    return (
        select(func.coalesce(func.sum(case((is_in_state, _ONE), else_=_ZERO)), _ZERO))
        .where(replica.c.store == store.c.number, _DOUBTFUL)
        .correlate(store)
        .scalar_subquery()
    )


COVERAGE = Statement(
    select(
        store.c.store_id,
        _bad(ReplicaState.CORRUPT),
        _bad(ReplicaState.MISSING),
        _count(_is_present, replica.c.verified_at.is_(None)),
        _count(_is_present, replica.c.verified_at < _micros("before")),
        select(func.min(replica.c.verified_at))
        .where(and_(replica.c.store == store.c.number, _is_present))
        .correlate(store)
        .scalar_subquery(),
    ).order_by(store.c.store_id),
    ("before",),
)


def _sampled(rows: Any, *conditions: ColumnElement[bool]) -> Any:  # noqa: ANN401
    is_overdue = or_(rows.c.verified_at.is_(None), rows.c.verified_at < _micros("before"))
    is_present = rows.c.state == literal_column(f"'{ReplicaState.PRESENT}'")
    return (
        select(store.c.store_id, func.count(), func.sum(case((is_overdue, _ONE), else_=_ZERO)))
        .select_from(rows.join(store, store.c.number == rows.c.store))
        .where(is_present, *conditions)
        .group_by(store.c.store_id)
    )


# As `sample_statements` draw them: pages on PostgreSQL, the copies of drawn files on SQLite.
_drawn = select(file.c.file_id).where(
    literal_column("file.rowid", BigInteger).in_(
        select(literal_column("value")).select_from(func.json_each(_given("numbers")))
    )
)
SAMPLED_COVERAGE = Statement(
    _sampled(
        replica.tablesample(func.system(_given("percent")), seed=literal_column("0"), name="some")
    ),
    ("before", "percent", "numbers"),
    on_sqlite=_sampled(replica, replica.c.file_id.in_(_drawn)),
)
HISTORY = Statement(
    select(fixity_day.c.day, store.c.store_id, *(fixity_day.c[name] for name in _RESULTS))
    .join(store, store.c.number == fixity_day.c.store)
    .where(fixity_day.c.day >= _given("first"), fixity_day.c.day <= _given("last"))
    .order_by(fixity_day.c.day, store.c.store_id),
    ("first", "last"),
)
