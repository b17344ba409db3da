"""The SQL statements of events, built once."""

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
)

from traffic_storage.adapters.record_repo.sql.statement import Copied, Statement
from traffic_storage.adapters.record_repo.sql.tables import event, journal, store
from traffic_storage.domain.journal import JOURNALED

_NEW = ("at", "kind", "file_id", "violation_id", "details")
INSERT_EVENT = Statement(
    insert(event).inline().values({name: bindparam(f"new_{name}") for name in _NEW}),
    tuple(f"new_{name}" for name in _NEW),
    copied=Copied(event.name, _NEW),
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
# The last one of the next events that is old enough.
_next = (
    select(event.c.sequence, event.c.at)
    .where(event.c.sequence > bindparam("begin"))
    .order_by(event.c.sequence)
    .limit(bindparam("most"))
    .subquery()
)
OLD_EVENTS = Statement(
    select(func.max(_next.c.sequence)).where(_next.c.at < bindparam("before")),
    ("begin", "most", "before"),
)
_JOURNALED: list[ColumnElement[str]] = [literal_column(f"'{kind}'") for kind in sorted(JOURNALED)]
# Up to here the journal beside the blobs of each registered store has come; one may have none yet.
_exported = select(func.min(func.coalesce(journal.c.sequence, literal_column("0")))).select_from(
    store.outerjoin(journal, journal.c.store_id == store.c.store_id)
)
FORGET_EVENTS = Statement(
    delete(event).where(
        event.c.sequence > bindparam("begin"),
        event.c.sequence <= bindparam("last"),
        event.c.at < bindparam("before"),
        or_(
            event.c.kind.not_in(_JOURNALED),
            event.c.sequence <= _exported.scalar_subquery(),
        ),
    ),
    ("begin", "last", "before"),
)
