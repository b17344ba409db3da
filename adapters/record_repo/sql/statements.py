"""All statements, built once. Those of one transaction run in the order in which they stand here:
what ends or claims something first, what others refer to before what refers, counters last.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
    Column,
    ColumnElement,
    FromClause,
    Integer,
    LargeBinary,
    Table,
    Text,
    bindparam,
    case,
    cast,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    true,
    union_all,
    update,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from traffic_storage.adapters.record_repo.sql.statement import Statement
from traffic_storage.adapters.record_repo.sql.tables import (
    attempt,
    catalogue,
    file,
    replica,
    store,
    usage,
    violation,
    violation_count,
)
from traffic_storage.adapters.record_repo.sql.violation_pages import ROW
from traffic_storage.domain.files import ReplicaState

_ONE = literal_column("1", Integer)
_ZERO = literal_column("0", Integer)
_NONE = literal_column("''", Text)


def _given(name: str) -> BindParameter[Any]:
    """An argument."""
    return bindparam(name)


def _is(column: Column[str], state: ReplicaState) -> ColumnElement[bool]:
    return column == literal_column(f"'{state}'")


def _insertion(table: Table) -> Statement:
    """Insert one row; the arguments are its columns, in the order of the table."""
    names = tuple(f"new_{column.name}" for column in table.c)
    values = dict(zip(table.c.keys(), map(_given, names), strict=True))
    return Statement(insert(table).values(values), names)


# Stores.
_STORE_COLUMNS = tuple(column for column in store.c if column is not store.c.number)
_next_number = select(func.coalesce(func.max(store.c.number), _ZERO) + _ONE).scalar_subquery()
INSERT_STORE = Statement(
    insert(store).values(
        {column.name: _given(f"new_{column.name}") for column in _STORE_COLUMNS}
        | {"number": _next_number}
    ),
    tuple(f"new_{column.name}" for column in _STORE_COLUMNS),
)


def _number(name: str) -> ColumnElement[int]:
    """The number of the store whose id is an argument."""
    return select(store.c.number).where(store.c.store_id == _given(name)).scalar_subquery()


INSERT_USAGE = _insertion(usage)
# Compare-and-set on the incarnations.
EXCHANGE_STORE = Statement(
    update(store)
    .where(
        store.c.store_id == _given("id"),
        store.c.incarnation.is_not_distinct_from(_given("was_incarnation")),
        store.c.intended.is_not_distinct_from(_given("was_intended")),
    )
    .values(
        location=_given("where"),
        incarnation=_given("becomes_incarnation"),
        intended=_given("becomes_intended"),
        intended_at=_given("intended_when"),
        confirmed_at=_given("confirmed_when"),
    ),
    (
        "id",
        "was_incarnation",
        "was_intended",
        "where",
        "becomes_incarnation",
        "becomes_intended",
        "intended_when",
        "confirmed_when",
    ),
)

# Attempts.
INSERT_ATTEMPT = _insertion(attempt)
END_ATTEMPT = Statement(
    delete(attempt).where(attempt.c.attempt_id == _given("id"), ~attempt.c.condemned), ("id",)
)
FORGET_ATTEMPT = Statement(delete(attempt).where(attempt.c.attempt_id == _given("id")), ("id",))
CONDEMN = Statement(
    update(attempt)
    .where(attempt.c.attempt_id == _given("id"), ~attempt.c.condemned)
    .values(condemned=true()),
    ("id",),
)

# Units.
INSERT_FILE = _insertion(file)
# No row where the store is not there.
INSERT_REPLICA = Statement(
    insert(replica).from_select(
        list(replica.c.keys()),
        select(
            cast(_given("replica"), LargeBinary),
            cast(_given("file"), Text),
            store.c.number,
            cast(_given("in_state"), Text),
            cast(_given("at"), BigInteger),
        ).where(store.c.store_id == _given("store"), store.c.tier == _given("tier")),
    ),
    ("replica", "file", "store", "tier", "in_state", "at"),
)
INSERT_VIOLATION = _insertion(violation)


def _text(name: str) -> ColumnElement[str]:
    """An argument that is a text or NULL; PostgreSQL can't tell from the statement."""
    return cast(_given(name), Text)


COMPLETE_VIOLATION = Statement(
    update(violation)
    .where(
        violation.c.violation_id == _given("id"),
        or_(_text("image").is_(None), violation.c.image_file_id.is_(None)),
        or_(_text("video").is_(None), violation.c.video_file_id.is_(None)),
    )
    .values(
        image_file_id=func.coalesce(_text("image"), violation.c.image_file_id),
        image_path=case((_text("image").is_(None), violation.c.image_path)),
        video_file_id=func.coalesce(_text("video"), violation.c.video_file_id),
        video_path=case((_text("video").is_(None), violation.c.video_path)),
    ),
    ("id", "image", "video"),
)
MARK_REPLICA = Statement(
    update(replica)
    .where(replica.c.replica_id == _given("id"), replica.c.state == _given("was"))
    .values(state=_given("becomes"), verified_at=_given("at")),
    ("id", "was", "becomes", "at"),
)

# Counters.
ADD_USAGE = Statement(
    update(usage)
    .where(
        usage.c.store_id == _given("store"),
        usage.c.kind == _given("of"),
        usage.c.shard == _given("spread"),
    )
    .values(
        files=usage.c.files + _given("more_files"),
        bytes=usage.c.bytes + _given("more_bytes"),
    ),
    ("store", "of", "spread", "more_files", "more_bytes"),
)
ADD_VIOLATIONS = Statement(
    update(violation_count)
    .where(violation_count.c.shard == _given("spread"))
    .values(violations=violation_count.c.violations + _given("more")),
    ("spread", "more"),
)

# Reads.
PING = Statement(select(_ONE), ())
CATALOGUE_ID = Statement(select(catalogue.c.catalogue_id), ())
STORE = Statement(select(*_STORE_COLUMNS).where(store.c.store_id == _given("id")), ("id",))
STORES_AT = Statement(
    select(*_STORE_COLUMNS)
    .where(
        store.c.tier == _given("of_tier"),
        store.c.location == _given("where"),
        store.c.confirmed_at.is_not(None),
    )
    .order_by(store.c.confirmed_at, store.c.store_id),
    ("of_tier", "where"),
)
_oldest_first = (attempt.c.deadline, attempt.c.attempt_id)
LATE = Statement(
    select(attempt.c.attempt_id)
    .where(~attempt.c.condemned, attempt.c.deadline <= _given("now"))
    .order_by(*_oldest_first)
    .limit(_given("limit")),
    ("now", "limit"),
)
CONDEMNED = Statement(
    select(attempt).where(attempt.c.condemned).order_by(*_oldest_first).limit(_given("limit")),
    ("limit",),
)
COPIES = (
    replica.c.replica_id,
    store.c.store_id,
    store.c.tier,
    replica.c.state.label("replica_state"),
    replica.c.verified_at,
)


def with_copies(files: FromClause) -> FromClause:
    """Rows of files joined with `COPIES`."""
    return files.outerjoin(replica, replica.c.file_id == files.c.file_id).outerjoin(
        store, store.c.number == replica.c.store
    )


FILE = Statement(
    select(file, *COPIES).select_from(with_copies(file)).where(file.c.file_id == _given("id")),
    ("id",),
)
_named = (
    select(file)
    .where(file.c.violation_id == _given("violation"))
    .order_by(file.c.created_at, file.c.file_id)
    .limit(_given("limit"))
    .subquery()
)
FILES_OF = Statement(
    select(_named, *COPIES)
    .select_from(with_copies(_named))
    .order_by(_named.c.created_at, _named.c.file_id),
    ("violation", "limit"),
)


def _sum(column: Column[int]) -> ColumnElement[int]:
    # A sum of BIGINT is NUMERIC on PostgreSQL.
    return cast(func.coalesce(func.sum(column), _ZERO), BigInteger)


USAGE = Statement(
    # One statement, so that all counters are of one moment; the violations come first.
    union_all(
        select(
            _NONE.label("store_id"),
            _NONE.label("kind"),
            _sum(violation_count.c.violations).label("files"),
            _ZERO.label("bytes"),
        ),
        select(usage.c.store_id, usage.c.kind, _sum(usage.c.files), _sum(usage.c.bytes))
        .group_by(usage.c.store_id, usage.c.kind)
        .having(func.sum(usage.c.files) != _ZERO),
    ).order_by("store_id", "kind"),
    (),
)


class NoIndex(ColumnElement[Any]):
    """A column whose indexes SQLite does not use (a planner hint)."""

    inherit_cache = True

    def __init__(self, column: Column[Any]) -> None:
        self.column = column
        self.type = column.type


@compiles(NoIndex)
def _compile_no_index(element: NoIndex, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ANN401
    return compiler.process(element.column, **kw)


@compiles(NoIndex, "sqlite")
def _compile_no_index_in_sqlite(element: NoIndex, compiler: SQLCompiler, **kw: Any) -> str:  # noqa: ANN401
    return f"+{compiler.process(element.column, **kw)}"


# Violations; `violation_pages` has the statements for pages.
VIOLATION = Statement(select(*ROW).where(violation.c.violation_id == _given("id")), ("id",))
