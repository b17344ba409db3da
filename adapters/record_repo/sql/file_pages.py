"""Pages of files: one statement for each set of filters, and the arguments of a query.

Each index that leads to a page has `kind` before the time, so a query without a kind merges the
ranges of all kinds; the databases read in each only as many entries as the page needs.
"""

from collections.abc import Iterable
from itertools import product
from typing import Any

from attrs import frozen
from sqlalchemy import (
    BindParameter,
    ColumnElement,
    CompoundSelect,
    Select,
    bindparam,
    literal_column,
    or_,
    select,
    union_all,
)
from sqlalchemy.sql.selectable import Subquery

from traffic_storage.adapters.record_repo.sql import rows
from traffic_storage.adapters.record_repo.sql.statement import Args, Reads, Statement
from traffic_storage.adapters.record_repo.sql.statements import COPIES, with_copies
from traffic_storage.adapters.record_repo.sql.tables import file
from traffic_storage.domain.files import FileKind, FileState
from traffic_storage.domain.query import MAX_LIMIT, FilesQuery

_NAMES = (
    *("of_kind", "device", "violation", "in_state"),
    *("earliest", "latest", "after", "limit"),
)
_EARLIEST, _LATEST = -(2**63), 2**63 - 1
_BEHIND_ALL_IDS = "\U0010ffff"


@frozen
class _Filters:
    """The columns that a query filters by. `available`: the query selects available files."""

    kind: bool
    device: bool
    violation: bool
    available: bool


def page(query: FilesQuery) -> tuple[Statement, list[Args]]:
    """Return the statement and arguments that read a page and one more file, with all replicas."""
    filters = _Filters(
        kind=query.kind is not None,
        device=query.device_id is not None,
        violation=query.violation_id is not None,
        available=query.state is FileState.AVAILABLE,
    )
    return _PAGES[filters], [_args(query)]


def _args(query: FilesQuery) -> Args:
    earliest = _EARLIEST if query.start_time is None else rows.micros(query.start_time)
    latest = _LATEST if query.end_time is None else rows.micros(query.end_time) - 1
    after = _BEHIND_ALL_IDS
    if query.after and rows.micros(query.after.at) <= latest:
        latest, after = rows.micros(query.after.at), query.after.row_id
    kind = None if query.kind is None else query.kind.value
    return (
        *(kind, query.device_id, query.violation_id, query.state.value),
        *(earliest, latest, after, query.limit + 1),
    )


def _page(filters: _Filters) -> Statement:
    if filters.kind or filters.violation:
        return Statement(
            _with_replicas(_ordered(select(file).where(*_conditions(filters)))), _NAMES
        )
    kinds = (file.c.kind == literal_column(f"'{kind}'") for kind in FileKind)
    ranges = [select(file).where(*_conditions(filters), kind) for kind in kinds]
    # SQLite merges the branches of an ordered union; PostgreSQL does so when each is ordered.
    return Statement(
        _with_replicas(_merged(map(_ordered, ranges))),
        _NAMES,
        on_sqlite=_with_replicas(_merged(ranges)),
    )


def _with_replicas(page_of_files: Select[Any] | CompoundSelect[Any]) -> Select[Any]:
    found = _few(page_of_files.subquery())
    return (
        select(found, *COPIES)
        .select_from(with_copies(found))
        .order_by(found.c.created_at.desc(), found.c.file_id.desc())
    )


def _ordered(selected: Select[Any]) -> Select[Any]:
    newest_first = selected.order_by(file.c.created_at.desc(), file.c.file_id.desc())
    return newest_first.limit(bindparam("limit"))


def _merged(branches: Iterable[Select[Any]]) -> CompoundSelect[Any]:
    union = union_all(*branches)
    columns = union.selected_columns
    newest_first = union.order_by(columns.created_at.desc(), columns.file_id.desc())
    return newest_first.limit(bindparam("limit"))


def _few(found: Subquery) -> Subquery:
    # PostgreSQL takes an unknown limit for a tenth of the table; a constant one lets it look the
    # replicas up instead of reading all of them.
    return select(found).limit(literal_column(str(MAX_LIMIT + 1))).subquery()


def _conditions(filters: _Filters) -> Iterable[ColumnElement[bool]]:
    latest: BindParameter[int] = bindparam("latest")
    yield file.c.created_at >= bindparam("earliest")
    yield file.c.created_at <= latest
    yield or_(file.c.created_at < latest, file.c.file_id < bindparam("after"))
    available: ColumnElement[str] = literal_column(f"'{FileState.AVAILABLE}'")
    if filters.available:
        yield file.c.state == available
    else:
        yield file.c.state == bindparam("in_state")
    if filters.violation:
        yield file.c.violation_id == bindparam("violation")
    elif not filters.available:
        # The condition of the partial indexes.
        yield file.c.state != available
    if filters.kind:
        yield _column(file.c.kind, filters) == bindparam("of_kind")
    if filters.device:
        yield _column(file.c.device_id, filters) == bindparam("device")


def _column(column: ColumnElement[str], filters: _Filters) -> ColumnElement[str]:
    """Return a column, or an expression of it that no index has if a violation is given.

    A violation has few files, so its index is always the best.
    """
    return column.concat(literal_column("''")) if filters.violation else column


_PAGES = Reads((_Filters(*given) for given in product((False, True), repeat=4)), _page)
