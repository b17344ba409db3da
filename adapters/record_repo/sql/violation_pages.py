"""Pages of violations: the statement and the arguments for a query.

A page costs the same whatever is asked for, because each statement reads rows that match, or few
others, in the order of the page:

* Device, type and vehicle class, alone or two of them: an index begins with these columns and goes
  on in the order of the page.
* A range of confidence: an index has the *confidence band* before the time, so the range is
  the merge of one ordered range for each band. Rows that don't match lie only in its first and its
  last band. The same indexes exist with device, type or vehicle class in front.
* A range of confidence that few violations lie in (`most_rare`): all of them are read from the
  index by confidence, and sorted.
* A range of confidence together with two or three other filters: the index of two of them, whose
  entries hold the confidence. This is the one case that may pass over many entries.

PostgreSQL uses one generic plan for each statement, so each statement admits one good plan. SQLite
keeps no statistics here; its statements name their index.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from math import isqrt
from typing import Any

from attrs import frozen
from sqlalchemy import (
    BindParameter,
    ColumnElement,
    CompoundSelect,
    Select,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    union_all,
)
from sqlalchemy.sql.selectable import CTE

from traffic_storage.adapters.record_repo.sql import rows
from traffic_storage.adapters.record_repo.sql.statement import Args, Reads, Statement
from traffic_storage.adapters.record_repo.sql.tables import (
    CONFIDENCE_BANDS,
    confidence_band,
    is_available,
    violation,
    whole_range,
)
from traffic_storage.domain.query import MAX_LIMIT, ViolationQuery

_EARLIEST, _LATEST = -(2**63), 2**63 - 1
_NAMES = (
    *("device", "type", "class", "low", "high"),
    *("earliest", "latest", "after", "limit"),
)
_ORDER = (violation.c.occurred_at.desc(), violation.c.violation_id)
ROW = tuple(column for column in violation.c if column is not violation.c.confidence_band)
"""The columns of a violation that `rows.violations_of` takes."""

_MERGES = (1, 2, 4, 8, 16, CONFIDENCE_BANDS)
"""The numbers of confidence bands for which there is a statement; fewer start faster."""

_SPREAD = 64
_LEAST_RARE = 500
_MOST_RARE = 50_000
# Literal limits: PostgreSQL plans for a tenth of all rows if a limit is a parameter.
_FEW: ColumnElement[int] = literal_column(str(2 * _MOST_RARE))
"""A limit that a range counted as rare can't exceed by the rows added before its page is read."""
_LONGEST: ColumnElement[int] = literal_column(str(MAX_LIMIT + 1))


@frozen
class Equalities:
    """The columns that a query compares with a value."""

    device: bool = False
    type: bool = False
    vehicle_class: bool = False

    @property
    def count(self) -> int:
        """Return the number of columns that the query compares with a value."""
        return self.device + self.type + self.vehicle_class

    def conditions(self, table: Any = violation.c) -> Iterable[ColumnElement[bool]]:  # noqa: ANN401
        """Yield one SQL condition for each column that the query compares with a value."""
        if self.device:
            yield table.device_id == _given("device")
        if self.type:
            yield table.violation_type == _given("type")
        if self.vehicle_class:
            yield table.vehicle_class == _given("class")


_ALL = tuple(Equalities(*given) for given in product((False, True), repeat=3))

IN_TIME: Mapping[Equalities, str] = {
    Equalities(): "violation_time_idx",
    Equalities(device=True): "violation_device_time_idx",
    Equalities(type=True): "violation_type_time_idx",
    Equalities(device=True, type=True): "violation_device_type_time_idx",
    Equalities(device=True, vehicle_class=True): "violation_device_class_time_idx",
    Equalities(type=True, vehicle_class=True): "violation_type_class_time_idx",
    Equalities(True, True, True): "violation_device_type_time_idx",
}
"""The indexes that give a page of these equalities in order."""

BY_BAND: Mapping[Equalities, str] = {
    Equalities(): "violation_band_time_idx",
    Equalities(device=True): "violation_device_band_time_idx",
    Equalities(type=True): "violation_type_band_time_idx",
    Equalities(vehicle_class=True): "violation_class_band_time_idx",
}
"""The indexes that give a page of these equalities in order within each confidence band."""


def most_rare(limit: int, violations: int) -> int:
    """Return the largest number of violations in a range of confidence that a page reads and sorts.

    With r of n violations in the range, sorting reads r rows; merging passes over about
    n × limit ÷ r entries in the two outer bands, divided by the number of bands. The costs are equal
    at a multiple of √(limit × n).
    """
    return min(max(_LEAST_RARE, isqrt(limit * violations // _SPREAD)), _MOST_RARE)


def page(query: ViolationQuery, *, is_rare: bool = False) -> tuple[Statement, Args]:
    """Return the statement and the arguments that read a page and one more violation.

    `is_rare` is whether at most `most_rare` violations lie in the query's range of confidence.
    """
    given = _equalities(query)
    args = _args(query, query.limit + 1)
    if is_rare:
        return RARE[given], args
    if _is_merged(query, given):
        bands = _bands(query)
        size = next(size for size in _MERGES if size >= len(bands))
        return MERGED[given, size], (*args, *bands, *(None,) * (size - len(bands)))
    return IN_ORDER[given, has_range(query)], args


def has_range(query: ViolationQuery) -> bool:
    """Return whether the query's range of confidence excludes any violation."""
    return _range(query) != (0.0, 1.0)


def range_size_args(query: ViolationQuery, most: int) -> Args:
    """Return the arguments of `RANGE_SIZE`, which counts violations in the query's range up to `most`."""
    return _args(query, most)


def _is_merged(query: ViolationQuery, given: Equalities) -> bool:
    return given in BY_BAND and (has_range(query) or given not in IN_TIME)


def _range(query: ViolationQuery) -> tuple[float, float]:
    low = 0.0 if query.min_confidence is None else query.min_confidence
    high = 1.0 if query.max_confidence is None else query.max_confidence
    return float(low), float(high)


def _bands(query: ViolationQuery) -> Sequence[int]:
    low, high = _range(query)
    return range(confidence_band(low), confidence_band(high) + 1) or (0,)


def _equalities(query: ViolationQuery) -> Equalities:
    return Equalities(
        query.device_id is not None,
        query.violation_type is not None,
        query.vehicle_class is not None,
    )


def _args(query: ViolationQuery, limit: int) -> Args:
    return (
        *(query.device_id, query.violation_type, query.vehicle_class),
        *_range(query),
        *range_args(query),
        limit,
    )


def range_args(query: ViolationQuery) -> Args:
    """Return the earliest and the latest time of the query, and the id behind which it begins."""
    earliest = _EARLIEST if query.start_time is None else rows.micros(query.start_time)
    latest = _LATEST if query.end_time is None else rows.micros(query.end_time) - 1
    after = ""
    if query.after and rows.micros(query.after.at) <= latest:
        latest, after = rows.micros(query.after.at), query.after.row_id
    return earliest, latest, after


def _given(name: str) -> BindParameter[Any]:
    return bindparam(name)


def _after(table: Any = violation.c) -> Iterable[ColumnElement[bool]]:  # noqa: ANN401
    """Yield the conditions for the time range of the query and the rows after its cursor."""
    yield table.occurred_at >= _given("earliest")
    yield table.occurred_at <= _given("latest")
    yield or_(table.occurred_at < _given("latest"), table.violation_id > _given("after"))


def _in_range() -> Iterable[ColumnElement[bool]]:
    yield violation.c.confidence >= _given("low")
    yield violation.c.confidence <= _given("high")


def by_index(selected: Select[Any], index: str) -> Select[Any]:
    """Return the query with a hint by which SQLite uses this index of the violations."""
    return selected.with_hint(violation, f"INDEXED BY {index}", "sqlite")


def _in_order(given: Equalities, *, ranged: bool) -> Statement:
    conditions = [*given.conditions(), *_after(), *(_in_range() if ranged else ())]
    selected = (
        select(*ROW).where(*conditions, is_available).order_by(*_ORDER).limit(_given("limit"))
    )
    return Statement(by_index(selected, IN_TIME[given]), _NAMES)


def _merged(given: Equalities, size: int) -> Statement:
    names = tuple(f"band_{place}" for place in range(size))
    branches = [_of_band(given, name) for name in names]
    # SQLite merges the branches of an ordered union; PostgreSQL does so when each is ordered.
    limited = [branch.order_by(*_ORDER).limit(_given("limit")) for branch in branches]
    if size == 1:
        return Statement(limited[0], (*_NAMES, *names))
    return Statement(
        _page_of(union_all(*limited)),
        (*_NAMES, *names),
        on_sqlite=_page_of(union_all(*branches)),
    )


def _of_band(given: Equalities, name: str) -> Select[Any]:
    band = violation.c.confidence_band == _given(name)
    selected = select(*ROW).where(*given.conditions(), band, *_in_range(), *_after(), is_available)
    return by_index(selected, BY_BAND[given])


def _page_of(union: CompoundSelect[Any]) -> CompoundSelect[Any]:
    columns = union.selected_columns
    return union.order_by(columns.occurred_at.desc(), columns.violation_id).limit(_given("limit"))


def _rare(given: Equalities) -> Statement:
    few = _few(given)
    keys = (
        select(few.c.violation_id)
        .where(*given.conditions(few.c), *_after(few.c))
        .order_by(few.c.occurred_at.desc(), few.c.violation_id)
        .limit(_given("limit"))
        .subquery()
    )
    page_of_keys = select(keys).limit(_LONGEST).subquery()
    of_key = violation.c.violation_id == page_of_keys.c.violation_id
    found = select(*ROW).select_from(page_of_keys.join(violation, of_key))
    return Statement(found.order_by(*_ORDER), _NAMES)


def _few(given: Equalities) -> CTE:
    """Return the subquery for the keys of all violations in the range, with the compared columns.

    The outer query has the other conditions: here they would make another index look cheaper.
    """
    compared = [
        column
        for column, is_compared in (
            (violation.c.device_id, given.device),
            (violation.c.violation_type, given.type),
            (violation.c.vehicle_class, given.vehicle_class),
        )
        if is_compared
    ]
    selected = (
        select(violation.c.violation_id, violation.c.occurred_at, *compared)
        .where(*_in_range(), whole_range, is_available)
        .order_by(violation.c.confidence)
        .limit(_FEW)
    )
    return by_index(selected, "violation_confidence_idx").cte("few").prefix_with("MATERIALIZED")


def _range_size() -> Statement:
    # SQLite begins at the first lower bound that it meets, so `whole_range` comes last.
    counted: Select[Any] = (
        select(literal_column("1"))
        .select_from(violation)
        .where(*_in_range(), whole_range, is_available)
        # Along the index, or PostgreSQL first marks all rows in the range.
        .order_by(violation.c.confidence)
        .limit(_given("limit"))
    )
    limited = by_index(counted, "violation_confidence_idx").subquery()
    return Statement(select(func.count()).select_from(limited), _NAMES)


RANGE_SIZE = _range_size()
"""How many violations lie in a range of confidence, counted no further than `limit`."""

IN_ORDER = Reads(
    (
        (given, ranged)
        for given, ranged in product(IN_TIME, (False, True))
        if not ranged or given not in BY_BAND
    ),
    lambda key: _in_order(key[0], ranged=key[1]),
)
MERGED = Reads(product(BY_BAND, _MERGES), lambda key: _merged(*key))
RARE = Reads(_ALL, _rare)
