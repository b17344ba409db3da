"""The SQL statements of events, built once."""

from sqlalchemy import (
    BigInteger,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    select,
)

from traffic_storage.adapters.record_repo.sql.statement import Statement
from traffic_storage.adapters.record_repo.sql.tables import event

_NEW = ("at", "kind", "file_id", "violation_id", "details")
INSERT_EVENT = Statement(
    insert(event).inline().values({name: bindparam(f"new_{name}") for name in _NEW}),
    tuple(f"new_{name}" for name in _NEW),
)
EVENTS = Statement(
    select(event)
    .where(event.c.sequence > bindparam("after"), event.c.sequence <= bindparam("upto"))
    .order_by(event.c.sequence)
    .limit(bindparam("limit")),
    ("after", "upto", "limit"),
)
_newest = func.coalesce(
    select(func.max(event.c.sequence)).scalar_subquery(), literal_column("0", BigInteger)
)
# The newest visible event, and a transaction id: see `statements.HORIZON`.
EVENT_HORIZON = Statement(
    select(_newest, literal_column("pg_current_xact_id()::text::bigint", BigInteger)),
    (),
    on_sqlite=select(_newest, literal_column("0", BigInteger)),
)
# The first numbers; the condition leads SQLite to the key.
_old = (
    select(event.c.sequence)
    .where(event.c.sequence > 0)
    .order_by(event.c.sequence)
    .limit(bindparam("most"))
    .subquery()
)
FORGET_EVENTS = Statement(
    delete(event).where(
        event.c.sequence.in_(select(_old.c.sequence)), event.c.at < bindparam("before")
    ),
    ("before", "most"),
)
