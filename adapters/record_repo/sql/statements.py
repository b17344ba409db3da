"""All SQL statements of the catalogue, built once.

The statements of one transaction run in the order of this module: first those that delete a journal
entry or insert an id, then rows before the rows that refer to them, and counters last.
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
    Column,
    ColumnElement,
    CompoundSelect,
    FromClause,
    Integer,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    case,
    cast,
    delete,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    true,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from traffic_storage.adapters.record_repo.sql.statement import Copied, LookedUp, Statement
from traffic_storage.adapters.record_repo.sql.tables import (
    attempt,
    catalogue,
    file,
    is_available,
    keyed_upload,
    replica,
    seal,
    store,
    usage_day,
    usage_delta,
    usage_device,
    usage_device_day,
    usage_fold,
    usage_received,
    usage_total,
    violation,
)
from traffic_storage.adapters.record_repo.sql.violation_pages import ROW
from traffic_storage.domain.files import FileState, ReplicaState

_ONE = literal_column("1", Integer)
_ZERO = literal_column("0", Integer)
_NONE = literal_column("''", Text)


def _given(name: str) -> BindParameter[Any]:
    """Return the bind parameter for the argument with this name."""
    return bindparam(name)


def _is(column: Column[str], state: ReplicaState) -> ColumnElement[bool]:
    return column == literal_column(f"'{state}'")


def _insertion(table: Table) -> Statement:
    """Return the statement that inserts a row; its arguments are the values in column order."""
    names = tuple(f"new_{column.name}" for column in table.c)
    values = dict(zip(table.c.keys(), map(_given, names), strict=True))
    copied = Copied(table.name, tuple(column.name for column in table.c))
    return Statement(insert(table).values(values), names, copied=copied)


# Locks until the end of the transaction. What tombstones files or begins to purge them takes the
# shared one before it looks for holds, what places a hold takes the other, so that each sees what the
# other has committed. On SQLite only one transaction writes at a time.
HOLDS_LOCK = 7203114061177452
"""The number is arbitrary; no other program may use it for an advisory lock in this database."""


def _lock(taken: Callable[..., ColumnElement[Any]]) -> Statement:
    key = cast(_given("key"), BigInteger)
    return Statement(select(taken(key)), ("key",), on_sqlite=select(key))


# In this order: a group of writes that needs both begins with the stronger.
LOCK_HOLDS = _lock(func.pg_advisory_xact_lock)
LOCK_HOLDS_SHARED = _lock(func.pg_advisory_xact_lock_shared)

# Stores.
_OWN_COLUMNS = frozenset({"number", "pressure", "usage_alert"})
_STORE_COLUMNS = tuple(column for column in store.c if column.name not in _OWN_COLUMNS)
_next_number = select(func.coalesce(func.max(store.c.number), _ZERO) + _ONE).scalar_subquery()
INSERT_STORE = Statement(
    insert(store).values(
        {column.name: _given(f"new_{column.name}") for column in _STORE_COLUMNS}
        | {"number": _next_number, "pressure": _ZERO, "usage_alert": literal_column("false")}
    ),
    tuple(f"new_{column.name}" for column in _STORE_COLUMNS),
)


def _number(name: str) -> ColumnElement[int]:
    """Return the subquery for the number of the store whose id is an argument."""
    return select(store.c.number).where(store.c.store_id == _given(name)).scalar_subquery()


# Changes no row where the level is the same, or at most `above`.
NOTE_PRESSURE = Statement(
    update(store)
    .where(
        store.c.store_id == _given("id"),
        store.c.pressure != _given("level"),
        store.c.pressure > _given("above"),
    )
    .values(pressure=_given("level")),
    ("id", "level", "above"),
)
NOTE_USAGE_ALERT = Statement(
    update(store)
    .where(store.c.store_id == _given("id"), store.c.usage_alert != _given("raised"))
    .values(usage_alert=_given("raised")),
    ("id", "raised"),
)
# Compare-and-set on the incarnations (the random tokens of stores).
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

# Attempts: the journal entries of unfinished store operations.
INSERT_ATTEMPT = _insertion(attempt)
END_ATTEMPT = Statement(
    delete(attempt).where(attempt.c.attempt_id == _given("id"), ~attempt.c.condemned), ("id",)
)
# The same for a unit that is stored: nothing is while the catalogue is sealed.
END_STORE = Statement(
    delete(attempt).where(
        attempt.c.attempt_id == _given("id"),
        ~attempt.c.condemned,
        ~exists().where(seal.c.one == _ONE),
    ),
    ("id",),
)
FORGET_ATTEMPT = Statement(delete(attempt).where(attempt.c.attempt_id == _given("id")), ("id",))
CONDEMN = Statement(
    update(attempt)
    .where(attempt.c.attempt_id == _given("id"), ~attempt.c.condemned)
    .values(condemned=true()),
    ("id",),
)

# Locks the row of an available file until the end of the transaction, so that statements after this
# one see what other transactions did to its replicas. SQLite has one writer at a time.
_available_file = (
    file.c.file_id == _given("id"),
    file.c.state == literal_column(f"'{FileState.AVAILABLE}'"),
)
LOCK_AVAILABLE_FILE = Statement(
    select(_ONE).where(*_available_file).with_for_update(key_share=True),
    ("id",),
    on_sqlite=update(file).where(*_available_file).values(state=file.c.state),
)

# Files, replicas and violations.
INSERT_FILE = _insertion(file)
STORE_NUMBER = Statement(
    select(store.c.number).where(store.c.store_id == _given("id"), store.c.tier == _given("tier")),
    ("id", "tier"),
)
# Inserts no row if the store is not registered.
INSERT_REPLICA = Statement(
    insert(replica).from_select(
        list(replica.c.keys()),
        select(
            cast(_given("replica"), replica.c.replica_id.type),
            cast(_given("file"), Text),
            store.c.number,
            cast(_given("in_state"), Text),
            cast(_given("at"), BigInteger),
        ).where(store.c.store_id == _given("store"), store.c.tier == _given("tier")),
    ),
    ("replica", "file", "store", "tier", "in_state", "at"),
    copied=Copied(
        replica.name,
        tuple(column.name for column in replica.c),
        looked_up=LookedUp(STORE_NUMBER, 2, 4),
    ),
)
_there = replica.alias("there")
# Inserts no row if the store is not registered, or if the file has a present replica in it.
INSERT_COPY = Statement(
    insert(replica).from_select(
        list(replica.c.keys()),
        select(
            cast(_given("replica"), replica.c.replica_id.type),
            cast(_given("file"), Text),
            store.c.number,
            cast(_given("in_state"), Text),
            cast(_given("at"), BigInteger),
        ).where(
            store.c.store_id == _given("store"),
            store.c.tier == _given("tier"),
            ~exists().where(
                _there.c.file_id == cast(_given("file"), Text),
                # The sum keeps SQLite from an index of all replicas of the store.
                _there.c.store + _ZERO == store.c.number,
                _is(_there.c.state, ReplicaState.PRESENT),
            ),
        ),
    ),
    ("replica", "file", "store", "tier", "in_state", "at"),
)
INSERT_VIOLATION = _insertion(violation)


def _text(name: str) -> ColumnElement[str]:
    """Return the parameter for a text or NULL, with the type text, which PostgreSQL can't infer."""
    return cast(_given(name), Text)


def _completion(*conditions: ColumnElement[bool]) -> Statement:
    return Statement(
        update(violation)
        .where(
            violation.c.violation_id == _given("id"),
            *conditions,
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


COMPLETE_VIOLATION = _completion(is_available)
# With a file that was purged; the violation may be purged too.
COMPLETE_ANY_VIOLATION = _completion()
MARK_REPLICA = Statement(
    update(replica)
    .where(replica.c.replica_id == _given("id"), replica.c.state == _given("was"))
    .values(state=_given("becomes"), verified_at=_given("at")),
    ("id", "was", "becomes", "at"),
)
# Changes no row if the replica was never verified, or was verified after this time.
CONFIRM_REPLICA = Statement(
    update(replica)
    .where(
        replica.c.replica_id == _given("id"),
        _is(replica.c.state, ReplicaState.PRESENT),
        replica.c.verified_at <= _given("at"),
    )
    .values(verified_at=_given("at")),
    ("id", "at"),
)

# Keys of uploads, after the rows of files: in a group, one write may store the file that has the
# derived id of a key, and another one bind that key. The lock lets no two transactions do that at once, each
# without seeing the row of the other.
LOCK_KEY = _lock(func.pg_advisory_xact_lock)
_keyed = keyed_upload.c.derived_id == _given("derived")
# Inserts no row if a file has the derived id.
BIND_KEY = Statement(
    insert(keyed_upload).from_select(
        list(keyed_upload.c.keys()),
        select(
            cast(_given("derived"), Text),
            cast(_given("file"), Text),
            cast(_given("at"), BigInteger),
        ).where(~exists().where(file.c.file_id == cast(_given("derived"), Text))),
    ),
    ("derived", "file", "at"),
)
# Gives a row, or on SQLite changes one, if the key is not bound. The file with the derived id is there.
CHECK_UNBOUND = Statement(
    select(_ONE).where(~exists().where(_keyed)),
    ("derived",),
    on_sqlite=update(file)
    .where(file.c.file_id == _given("derived"), ~exists().where(_keyed))
    .values(added_labels=file.c.added_labels),
)

# Counters.
_AMOUNTS = ("items", "bytes")
ADD_USAGE = Statement(
    insert(usage_delta)
    .inline()
    .values(
        day=_given("new_day"),
        store=func.coalesce(_number("of_store"), _ZERO),
        kind=_given("new_kind"),
        device=_given("new_device"),
        items=_given("new_items"),
        bytes=_given("new_bytes"),
        moved=_given("new_moved"),
    ),
    ("new_day", "of_store", "new_kind", "new_device", "new_items", "new_bytes", "new_moved"),
)


def _sum(column: ColumnElement[int]) -> ColumnElement[int]:
    # A sum of BIGINT is NUMERIC on PostgreSQL.
    return cast(func.coalesce(func.sum(column), _ZERO), BigInteger)


_folded = (usage_delta.c.delta_id > _given("watermark"), usage_delta.c.delta_id <= _given("upto"))


def _fold_into(table: Table, *conditions: ColumnElement[bool]) -> Statement:
    """Return the statement that adds recorded counter changes to a table of totals.

    The changes are those in a range of ids that meet the conditions; they are summed by the primary
    key of the table.
    """
    keys = [column.name for column in table.primary_key]
    columns = [usage_delta.c[key] for key in keys]
    changes = (
        select(*columns, *(_sum(usage_delta.c[name]) for name in _AMOUNTS))
        .where(*_folded, *conditions)
        .group_by(*columns)
        # Two transactions lock the same rows in the same order.
        .order_by(*columns)
    )
    names = [*keys, *_AMOUNTS]
    core = postgresql.insert(table).from_select(names, changes)
    on_sqlite = sqlite.insert(table).from_select(names, changes)
    return Statement(
        core.on_conflict_do_update(
            index_elements=keys,
            set_={name: table.c[name] + core.excluded[name] for name in _AMOUNTS},
        ),
        ("watermark", "upto"),
        on_sqlite=on_sqlite.on_conflict_do_update(
            index_elements=keys,
            set_={name: table.c[name] + on_sqlite.excluded[name] for name in _AMOUNTS},
        ),
    )


# Compare-and-set on the watermark: each delta is folded once.
CLAIM_FOLD = Statement(
    update(usage_fold)
    .where(usage_fold.c.watermark == _given("was"))
    .values(watermark=_given("becomes")),
    ("was", "becomes"),
)
FOLD_TOTALS = _fold_into(usage_total)
FOLD_DAYS = _fold_into(usage_day)
FOLD_DEVICE_DAYS = _fold_into(usage_device_day)
# What moved to another device was received before.
_is_addition = and_(usage_delta.c["items"] > _ZERO, ~usage_delta.c.moved)
FOLD_RECEIVED = _fold_into(usage_received, _is_addition)
FOLD_DEVICES = _fold_into(usage_device)
DELETE_FOLDED = Statement(delete(usage_delta).where(*_folded), ("watermark", "upto"))

# Reads.
IS_UNWRITABLE = "traffic_storage_is_unwritable"
"""The function that the driver for SQLite adds to connections that read: whether the file is read-only."""
# Whether a transaction that begins now can't write: on a standby, or in a read-only database.
IS_READ_ONLY = Statement(
    select(func.current_setting(literal_column("'transaction_read_only'")) == "on"),
    (),
    on_sqlite=select(getattr(func, IS_UNWRITABLE)()),
)
# The file to which a key is bound, or the one that has its derived id; else NULL.
FILE_OF_KEY = Statement(
    select(
        func.coalesce(
            select(keyed_upload.c.file_id).where(_keyed).scalar_subquery(),
            select(file.c.file_id).where(file.c.file_id == _given("derived")).scalar_subquery(),
        )
    ),
    ("derived",),
)
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


def with_copies(files: FromClause, file_id: ColumnElement[str] | None = None) -> FromClause:
    """Return the query that joins rows of files with `COPIES`; `file_id` is their column."""
    named = files.c.file_id if file_id is None else file_id
    return files.outerjoin(replica, replica.c.file_id == named).outerjoin(
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


_watermark = select(usage_fold.c.watermark).scalar_subquery()
_unfolded = usage_delta.c.delta_id > _watermark


def _usage(counted: CompoundSelect[Any], *by: str) -> Select[Any]:
    """Return the query for the sums by `by`, store and kind, ordered by these, without zero sums."""
    found = counted.subquery()
    store_id = func.coalesce(store.c.store_id, _NONE)
    items, size = (_sum(found.c[name]) for name in _AMOUNTS)
    keys = [*(found.c[name] for name in by), store_id, found.c.kind]
    return (
        select(*keys, items, size)
        .select_from(found.outerjoin(store, store.c.number == found.c.store))
        .group_by(*keys)
        .having(or_(items != _ZERO, size != _ZERO))
        .order_by(*keys)
    )


def _columns(table: Table, *names: str) -> list[ColumnElement[Any]]:
    return [table.c[name] for name in (*names, "store", "kind", *_AMOUNTS)]


# Each is one statement, so that the totals and the changes not yet added to them are of one moment.
USAGE = Statement(
    _usage(
        union_all(select(*_columns(usage_total)), select(*_columns(usage_delta)).where(_unfolded))
    ),
    (),
)


def _days(table: Table, *conditions: ColumnElement[bool]) -> Select[Any]:
    day = table.c.day
    return select(*_columns(table, "day")).where(
        day >= _given("first"), day <= _given("last"), *conditions
    )


DAYS = Statement(
    _usage(union_all(_days(usage_day), _days(usage_delta, _unfolded)), "day"), ("first", "last")
)
DEVICE_DAYS = Statement(
    _usage(
        union_all(
            *(
                _days(table, table.c.device == _given("of_device"), *conditions)
                for table, conditions in ((usage_device_day, ()), (usage_delta, (_unfolded,)))
            )
        ),
        "day",
    ),
    ("first", "last", "of_device"),
)
RECEIVED = Statement(
    _usage(union_all(_days(usage_received), _days(usage_delta, _unfolded, _is_addition)), "day"),
    ("first", "last"),
)
DEVICES = Statement(
    _usage(
        union_all(
            select(*_columns(usage_device, "device")),
            select(*_columns(usage_delta, "device")).where(_unfolded),
        ),
        "device",
    ),
    (),
)
WATERMARK = Statement(select(usage_fold.c.watermark), ())
# The newest visible delta, and a transaction id. On PostgreSQL every transaction that has drawn a
# lower delta id and is still running has a lower transaction id; on SQLite none is running.
_newest = select(func.max(usage_delta.c.delta_id)).where(_unfolded).scalar_subquery()
_newest_or_none = func.coalesce(_newest, _watermark)
HORIZON = Statement(
    select(_newest_or_none, literal_column("pg_current_xact_id()::text::bigint", BigInteger)),
    (),
    on_sqlite=select(_newest_or_none, _ZERO),
)
OLDEST_RUNNING = Statement(
    select(literal_column("pg_snapshot_xmin(pg_current_snapshot())::text::bigint", BigInteger)),
    (),
    on_sqlite=select(_ZERO),
)


# Violations; `violation_pages` has the statements for pages.
VIOLATION = Statement(select(*ROW).where(violation.c.violation_id == _given("id")), ("id",))
