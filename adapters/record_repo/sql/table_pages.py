"""Pages of the violations as a table: the statements and the arguments for a query.

There are two statements for each set of filters and columns. One gives values. The other, for
PostgreSQL's COPY, gives texts that need no change: COPY then writes CSV as fast as the server can
(`python -m benchmarks.export`), and no row passes through Python. The index of the filters gives
the rows of both in order.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    TIMESTAMP,
    ColumnElement,
    Select,
    Text,
    and_,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    or_,
    select,
)

from traffic_storage.adapters.record_repo.sql import rows
from traffic_storage.adapters.record_repo.sql.statement import Args, Statement
from traffic_storage.adapters.record_repo.sql.tables import is_available, violation
from traffic_storage.adapters.record_repo.sql.violation_pages import (
    IN_TIME,
    Equalities,
    by_index,
    range_args,
)
from traffic_storage.domain.query import Cursor, ViolationQuery
from traffic_storage.domain.tabular import FORMULA_STARTS, CellType, Column, TableForm

_NAMES = ("device", "type", "earliest", "latest", "after")
_READ_NAMES = (*_NAMES, "limit")
_RENDER_NAMES = (*_NAMES, "last_at", "last_id")
_ORDER = (violation.c.occurred_at.desc(), violation.c.violation_id)
_KEY = (violation.c.occurred_at, violation.c.violation_id)


def _state(file_id: ColumnElement[Any], state: ColumnElement[Any]) -> ColumnElement[Any]:
    # NULL stands for available; without a file there is no state.
    return case((file_id.is_not(None), func.coalesce(state, "available")))


def _stored_json(column: ColumnElement[Any]) -> ColumnElement[Any]:
    # A text with a long integer begins with a tab: see `rows`. A comparison is cheaper than ltrim.
    return case((column < literal_column("' '"), func.ltrim(column, "\t")), else_=column)


_VALUES: Mapping[str, ColumnElement[Any]] = {
    "violation_id": violation.c.violation_id,
    "device_id": violation.c.device_id,
    "violation_type": violation.c.violation_type,
    "timestamp": violation.c.occurred_at,
    "zone_assumed": violation.c.zone_assumed,
    "vehicle_bbox": violation.c.vehicle_bbox,
    "vehicle_class": violation.c.vehicle_class,
    "confidence": violation.c.confidence,
    "image_path": violation.c.image_file_id,
    "video_path": violation.c.video_file_id,
    "camera_info": _stored_json(violation.c.camera_info),
    "processing_time_ms": violation.c.processing_time_ms,
    "model_versions": violation.c.model_versions,
    "received_at": violation.c.received_at,
    "incomplete": violation.c.image_file_id.is_(None),
    "image_state": _state(violation.c.image_file_id, violation.c.image_state),
    "video_state": _state(violation.c.video_file_id, violation.c.video_state),
}
"""The value of each column of `domain.tabular.VIOLATION_COLUMNS`, as `domain.tabular.Cell`."""


def values_page(
    query: ViolationQuery, columns: Sequence[Column], limit: int
) -> tuple[Statement, Args]:
    """Return the statement and the arguments that read the key and the values of rows."""
    return _values(_equalities(query), tuple(columns)), (*_args(query), limit)


def key_at(query: ViolationQuery, place: int) -> tuple[Statement, Args]:
    """Return the statement and the arguments that read the key of the row at a place, from 1 on."""
    return _key(_equalities(query)), (*_args(query), place - 1)


def rendered_page(
    query: ViolationQuery, columns: Sequence[Column], last: Cursor | None, form: TableForm
) -> tuple[Statement, Args]:
    """Return the statement and the arguments that read rows as texts, up to `last` or the end."""
    bound: Args = (-(2**63), "") if last is None else (rows.micros(last.at), last.row_id)
    statement = _rendered(_equalities(query), tuple(columns), form)
    return statement, (*_args(query), *bound)


@lru_cache(64)
def _values(given: Equalities, columns: tuple[Column, ...]) -> Statement:
    cells = [_VALUES[column.name].label(f"c_{column.name}") for column in columns]
    selected = _in_order(given, select(*_KEY, *cells))
    return Statement(selected.limit(bindparam("limit")), _READ_NAMES)


@lru_cache(8)
def _key(given: Equalities) -> Statement:
    selected = _in_order(given, select(*_KEY)).limit(literal_column("1"))
    return Statement(selected.offset(bindparam("place")), (*_NAMES, "place"))


@lru_cache(64)
def _rendered(given: Equalities, columns: tuple[Column, ...], form: TableForm) -> Statement:
    cells = [_text(column, form).label(column.name) for column in columns]
    at, last_id = violation.c.occurred_at, violation.c.violation_id
    upto = and_(
        at >= bindparam("last_at"), or_(at > bindparam("last_at"), last_id <= bindparam("last_id"))
    )
    return Statement(_in_order(given, select(*cells)).where(upto), _RENDER_NAMES)


def _in_order(given: Equalities, selected: Select[Any]) -> Select[Any]:
    table = violation.c
    where: Iterable[ColumnElement[bool]] = (
        *given.conditions(),
        table.occurred_at >= bindparam("earliest"),
        table.occurred_at <= bindparam("latest"),
        or_(table.occurred_at < bindparam("latest"), table.violation_id > bindparam("after")),
        is_available,
    )
    return by_index(selected.where(*where).order_by(*_ORDER), IN_TIME[given])


def _text(column: Column, form: TableForm) -> ColumnElement[Any]:
    """Return the text of a cell as COPY writes it unchanged: `domain.tabular.cell_texts`."""
    value = _VALUES[column.name]
    if column.type is CellType.TIME:
        return _time_text(value, utc=form.zone.key == UTC)
    if column.type is CellType.FLAG:
        return case((value, "true"), else_="false")
    if column.type is CellType.TEXT and form.neutralise and column.name in _FREE:
        return _neutral(value)
    return value


UTC = "UTC"
_FREE = frozenset(
    {"violation_id", "device_id", "violation_type", "vehicle_class", "image_path", "video_path"}
)
"""The texts that a caller chooses. Zones and states begin with letters."""

_EPOCH: ColumnElement[Any] = literal_column("'epoch'::timestamp")
_NO_OFFSET: ColumnElement[Any] = literal_column("'+00:00'")


def _time_text(micros: ColumnElement[Any], *, utc: bool) -> ColumnElement[Any]:
    """Return a time as `domain.tabular.time_text` writes it, in the zone of the session.

    In UTC this takes a third of the time, because the server looks up no zone.
    """
    since = micros * literal_column("interval '1 microsecond'")
    if utc:
        at, offset = _EPOCH + since, _NO_OFFSET
    else:
        moment: ColumnElement[Any] = literal_column("'epoch'::timestamptz") + since
        at, offset = cast(moment, TIMESTAMP), func.to_char(moment, "TZH:TZM")
    return func.replace(cast(at, Text), " ", "T").op("||")(offset)


def _neutral(text: ColumnElement[Any]) -> ColumnElement[Any]:
    # The first condition is quick and excludes most texts: those that begin with a letter.
    quick = or_(text < literal_column("'A'"), text >= literal_column("U&'\\FF00'"))
    starts: ColumnElement[Any] = literal_column("'{}'".format("".join(FORMULA_STARTS)))
    dangerous = and_(quick, func.strpos(starts, func.left(text, literal_column("1"))) > 0)
    return case((dangerous, literal_column("''''").op("||")(text)), else_=text)


def _equalities(query: ViolationQuery) -> Equalities:
    return Equalities(query.device_id is not None, query.violation_type is not None)


def _args(query: ViolationQuery) -> Args:
    return (query.device_id, query.violation_type, *range_args(query))
