"""The statements of the quarantine, of reconcile and of the rebuild, built once."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Text,
    bindparam,
    cast,
    delete,
    exists,
    func,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from traffic_storage.adapters.record_repo.sql.statement import Statement
from traffic_storage.adapters.record_repo.sql.tables import (
    attempt,
    file,
    journal,
    quarantine,
    rebuild,
    replica,
    store,
)
from traffic_storage.domain.files import FileKind, ReplicaState
from traffic_storage.domain.quarantine import QuarantineReason, QuarantineState

_GONE: ColumnElement[str] = literal_column(f"'{ReplicaState.GONE}'")
_HELD: ColumnElement[str] = literal_column(f"'{QuarantineState.HELD}'")
_REMOVING: ColumnElement[str] = literal_column(f"'{QuarantineState.REMOVING}'")


def _number(name: str) -> ColumnElement[int]:
    """Return the subquery for the number of the store whose id is an argument."""
    return select(store.c.number).where(store.c.store_id == bindparam(name)).scalar_subquery()


def _has_replica(name: str) -> ColumnElement[bool]:
    """Return the condition that a replica with an id, an argument, exists and is not gone."""
    return exists().where(
        replica.c.replica_id == cast(bindparam(name), replica.c.replica_id.type),
        replica.c.state != _GONE,
    )


_this_entry = (quarantine.c.store == _number("of_store"), quarantine.c.key == bindparam("of_key"))

# Changes; in the order in which one transaction runs them.
_ENTRY = ("store_id", "new_key", "seen", "size", "why", "becomes", "of_file", "words", "replica")
_entry = select(
    store.c.number,
    cast(bindparam("new_key"), Text),
    cast(bindparam("seen"), BigInteger),
    cast(bindparam("size"), BigInteger),
    cast(bindparam("why"), Text),
    cast(bindparam("becomes"), Text),
    cast(bindparam("of_file"), Text),
    cast(bindparam("words"), Text),
).where(store.c.store_id == bindparam("store_id"), ~_has_replica("replica"))
_columns = list(quarantine.c.keys())
# Inserts no row if an entry or a replica has the key.
ENTER = Statement(
    postgresql.insert(quarantine).from_select(_columns, _entry).on_conflict_do_nothing(),
    _ENTRY,
    on_sqlite=sqlite.insert(quarantine).from_select(_columns, _entry).on_conflict_do_nothing(),
)
# Only a condemned attempt: its process can't commit any more.
END_CONDEMNED = Statement(
    delete(attempt).where(attempt.c.attempt_id == bindparam("id"), attempt.c.condemned), ("id",)
)
NOTE = Statement(
    update(quarantine)
    .where(*_this_entry)
    .values(size_bytes=bindparam("size"), file_id=bindparam("of_file"), note=bindparam("words")),
    ("of_store", "of_key", "size", "of_file", "words"),
)
DOUBT_UNDONE = Statement(
    update(quarantine)
    .where(
        quarantine.c.store == _number("of_store"),
        quarantine.c.reason == literal_column(f"'{QuarantineReason.UNDONE}'"),
        quarantine.c.state == _HELD,
    )
    .values(reason=literal_column(f"'{QuarantineReason.UNRECORDED}'")),
    ("of_store",),
)
BEGIN_REMOVAL = Statement(
    update(quarantine)
    .where(*_this_entry, quarantine.c.state == _HELD, ~_has_replica("replica"))
    .values(state=_REMOVING),
    ("of_store", "of_key", "replica"),
)
LEAVE = Statement(delete(quarantine).where(*_this_entry), ("of_store", "of_key"))
# Locks the entry, so that of a removal and a recording only one happens.
READMIT = Statement(
    delete(quarantine).where(*_this_entry, quarantine.c.state == _HELD), ("of_store", "of_key")
)
# Inserts no row if the store is not registered, or the blob is being deleted.
INSERT_IMPORTED_REPLICA = Statement(
    replica.insert().from_select(
        list(replica.c.keys()),
        select(
            cast(bindparam("replica"), replica.c.replica_id.type),
            cast(bindparam("of_file"), Text),
            store.c.number,
            cast(bindparam("in_state"), Text),
            cast(bindparam("at"), BigInteger),
        ).where(
            store.c.store_id == bindparam("store_id"),
            store.c.tier == bindparam("tier"),
            ~exists().where(
                quarantine.c.store == store.c.number, quarantine.c.key == bindparam("of_key")
            ),
        ),
    ),
    ("replica", "of_file", "store_id", "tier", "in_state", "at", "of_key"),
)
_CURSOR = ("new_store_id", "new_after", "new_is_done")
_cursor_values: dict[str, BindParameter[Any]] = dict(
    zip(rebuild.c.keys(), map(bindparam, _CURSOR), strict=True)
)
_on_postgres = postgresql.insert(rebuild).values(_cursor_values)
_on_sqlite = sqlite.insert(rebuild).values(_cursor_values)
SET_CURSOR = Statement(
    _on_postgres.on_conflict_do_update(
        index_elements=["store_id"],
        set_={name: _on_postgres.excluded[name] for name in ("after", "is_done")},
    ),
    _CURSOR,
    on_sqlite=_on_sqlite.on_conflict_do_update(
        index_elements=["store_id"],
        set_={name: _on_sqlite.excluded[name] for name in ("after", "is_done")},
    ),
)

_on_postgres_journal = postgresql.insert(journal).values(
    store_id=bindparam("new_store_id"), sequence=literal_column("0"), number=literal_column("0")
)
_on_sqlite_journal = sqlite.insert(journal).values(
    store_id=bindparam("new_store_id"), sequence=literal_column("0"), number=literal_column("0")
)
INSERT_JOURNAL = Statement(
    _on_postgres_journal.on_conflict_do_nothing(),
    ("new_store_id",),
    on_sqlite=_on_sqlite_journal.on_conflict_do_nothing(),
)
# Compare-and-set.
SET_JOURNAL = Statement(
    update(journal)
    .where(
        journal.c.store_id == bindparam("of_store"),
        journal.c.sequence == bindparam("was_sequence"),
        journal.c.number == bindparam("was_number"),
    )
    .values(sequence=bindparam("becomes_sequence"), number=bindparam("becomes_number")),
    ("of_store", "was_sequence", "was_number", "becomes_sequence", "becomes_number"),
)

# Reads. A page is a range of all replicas, whatever their stores: an index by store would cost each
# insertion more than it saves the few reads.
_page = (
    select(replica)
    .where(replica.c.replica_id > cast(bindparam("after"), replica.c.replica_id.type))
    .order_by(replica.c.replica_id)
    .limit(bindparam("limit"))
    .subquery()
)
# The last id of the range, and the replicas of the store.
RANGE_END = Statement(
    select(_page.c.replica_id)
    .order_by(_page.c.replica_id)
    .offset(bindparam("skipped"))
    .limit(literal_column("1")),
    ("after", "limit", "skipped"),
)
_recorded = (
    replica.c.replica_id,
    replica.c.file_id,
    file.c.kind,
    func.coalesce(file.c.stored_sha256, file.c.sha256),
    replica.c.state,
    func.coalesce(file.c.stored_size_bytes, file.c.size_bytes),
)
RECORDED = Statement(
    select(*_recorded)
    .select_from(replica.join(file, file.c.file_id == replica.c.file_id))
    .where(
        replica.c.replica_id > cast(bindparam("after"), replica.c.replica_id.type),
        replica.c.replica_id <= cast(bindparam("upto"), replica.c.replica_id.type),
        replica.c.store == _number("of_store"),
    )
    .order_by(replica.c.replica_id),
    ("after", "upto", "of_store"),
)
REPLICA = Statement(
    select(*_recorded)
    .select_from(replica.join(file, file.c.file_id == replica.c.file_id))
    .where(replica.c.replica_id == cast(bindparam("id"), replica.c.replica_id.type)),
    ("id",),
)
METADATA_FILES = Statement(
    select(replica.c.file_id)
    .select_from(replica.join(file, file.c.file_id == replica.c.file_id))
    .where(
        replica.c.replica_id > cast(bindparam("after"), replica.c.replica_id.type),
        replica.c.replica_id <= cast(bindparam("upto"), replica.c.replica_id.type),
        file.c.kind == literal_column(f"'{FileKind.METADATA}'"),
        # The id of a violation's file, as `evidence_file_id` returns it.
        file.c.file_id.endswith(literal_column(f"'~{FileKind.METADATA}'")),
    )
    .order_by(replica.c.replica_id),
    ("after", "upto"),
)
ATTEMPTS = Statement(
    select(attempt)
    .where(attempt.c.attempt_id > bindparam("after"))
    .order_by(attempt.c.attempt_id)
    .limit(bindparam("limit")),
    ("after", "limit"),
)
QUARANTINED = Statement(
    select(quarantine)
    .where(quarantine.c.store == _number("of_store"), quarantine.c.key > bindparam("after"))
    .order_by(quarantine.c.key)
    .limit(bindparam("limit")),
    ("of_store", "after", "limit"),
)
ENTRY = Statement(select(quarantine).where(*_this_entry), ("of_store", "of_key"))
CURSORS = Statement(select(rebuild), ())
JOURNAL = Statement(
    select(journal).where(journal.c.store_id == bindparam("of_store")), ("of_store",)
)
