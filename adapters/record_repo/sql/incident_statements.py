"""All SQL statements of incidents, built once."""

from itertools import product
from typing import Any

from attrs import frozen
from sqlalchemy import BigInteger, ColumnElement, bindparam, cast, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from traffic_storage.adapters.record_repo.sql.statement import Reads, Statement
from traffic_storage.adapters.record_repo.sql.tables import incident
from traffic_storage.domain.incidents import IncidentKind

_NAMES = tuple(f"new_{column.name}" for column in incident.c)
_values: dict[str, Any] = {
    column.name: bindparam(name) for column, name in zip(incident.c, _NAMES, strict=True)
}
# Left out where the id exists, or an open incident concerns the same.
OPEN_INCIDENT = Statement(
    postgresql.insert(incident).values(_values).on_conflict_do_nothing(),
    _NAMES,
    on_sqlite=sqlite.insert(incident).values(_values).on_conflict_do_nothing(),
)
_is_open = incident.c.closed_at.is_(None)
_closing: dict[str, Any] = {
    "closed_at": bindparam("at"),
    "closed_by": bindparam("by"),
    "resolution": bindparam("why"),
}
CLOSE_INCIDENT = Statement(
    update(incident).where(incident.c.incident_id == bindparam("id"), _is_open).values(_closing),
    ("id", "at", "by", "why"),
)
CLOSE_INCIDENTS_OF_REPLICA = Statement(
    update(incident)
    .where(
        # As `Incident.ends_with`: that no copy was good ends with each that is.
        or_(
            incident.c.replica_id == bindparam("replica"),
            incident.c.kind == IncidentKind.BLOCKED_EVIDENCE,
        ),
        incident.c.file_id == bindparam("of_file"),
        _is_open,
    )
    .values(_closing),
    ("replica", "of_file", "at", "by", "why"),
)
INCIDENT = Statement(select(incident).where(incident.c.incident_id == bindparam("id")), ("id",))


@frozen
class Filters:
    """The filters of a page; `is_open` None: open and closed incidents."""

    is_open: bool | None
    file: bool


def _page(filters: Filters) -> Statement:
    return Statement(
        select(incident)
        .where(*_conditions(filters))
        .order_by(incident.c.opened_at.desc(), incident.c.incident_id.desc())
        .limit(bindparam("limit")),
        ("of_file", "latest", "after", "limit"),
    )


def _conditions(filters: Filters) -> list[ColumnElement[bool]]:
    latest = cast(bindparam("latest"), BigInteger)
    conditions = [
        incident.c.opened_at <= latest,
        or_(incident.c.opened_at < latest, incident.c.incident_id < bindparam("after")),
    ]
    if filters.file:
        conditions.append(incident.c.file_id == bindparam("of_file"))
    if filters.is_open is not None:
        conditions.append(_is_open if filters.is_open else incident.c.closed_at.is_not(None))
    return conditions


PAGES = Reads(
    (Filters(is_open, file) for is_open, file in product((None, True, False), (False, True))),
    _page,
)
