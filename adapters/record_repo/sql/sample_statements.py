"""The SQL statements that read samples, built once.

PostgreSQL draws pages of a table (`TABLESAMPLE SYSTEM`), of which `samples` keeps few rows each, so
that rows of one page are seldom kept together. SQLite has no such clause: `samples` draws numbers of
rows, of which those of deleted rows find nothing.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    FromClause,
    Select,
    Table,
    Text,
    bindparam,
    cast,
    func,
    literal_column,
    select,
)

from traffic_storage.adapters.record_repo.sql.statement import Statement
from traffic_storage.adapters.record_repo.sql.tables import file, violation
from traffic_storage.domain.files import FileState

_NAMES = ("of_kind", "numbers", "percent", "seed")
_available: ColumnElement[str] = literal_column(f"'{FileState.AVAILABLE}'")
_drawn: Select[Any] = select(literal_column("value")).select_from(
    func.json_each(bindparam("numbers"))
)


def _sample(table: Table) -> FromClause:
    return table.tablesample(func.system(bindparam("percent")), seed=bindparam("seed"))


def _ids(name: str, rows: FromClause, *conditions: ColumnElement[bool]) -> Any:  # noqa: ANN401
    return select(rows.c[name]).where(rows.c.state == _available, *conditions)


def _is_drawn(table: Table) -> ColumnElement[bool]:
    return literal_column(f"{table.name}.rowid", BigInteger).in_(_drawn)


_files = _sample(file)
_of_kind: ColumnElement[str] = cast(bindparam("of_kind"), Text)
# The sum keeps SQLite from an index of all rows of the kind.
SAMPLED_FILES = Statement(
    _ids("file_id", _files, _files.c.kind == _of_kind),
    _NAMES,
    on_sqlite=_ids("file_id", file, _is_drawn(file), file.c.kind.concat("") == _of_kind),
)
SAMPLED_VIOLATIONS = Statement(
    _ids("violation_id", _sample(violation)),
    _NAMES,
    on_sqlite=_ids("violation_id", violation, _is_drawn(violation)),
)

FILES_OF_KIND = Statement(
    select(file.c.file_id)
    .where(file.c.kind == bindparam("of_kind"), file.c.state == _available)
    .order_by(file.c.created_at.desc(), file.c.file_id.desc())
    .limit(bindparam("limit")),
    ("of_kind", "limit"),
)
"""All files of a kind that has few, from an index alone."""


def _last_number(table: Table) -> Statement:
    """Return the statement for the highest number of a row on SQLite, 0 on PostgreSQL."""
    zero = literal_column("0", BigInteger)
    highest: ColumnElement[int] = func.coalesce(func.max(literal_column("rowid")), zero)
    return Statement(select(zero), (), on_sqlite=select(highest).select_from(table))


LAST_FILE = _last_number(file)
LAST_VIOLATION = _last_number(violation)

_newest: tuple[Column[Any], ...] = (file.c.created_at, file.c.file_id)
NEWEST_CONTENTS = Statement(
    select(
        file.c.file_id,
        file.c.device_id,
        file.c.sha256,
        func.coalesce(file.c.stored_size_bytes, file.c.size_bytes),
    )
    .where(file.c.kind == bindparam("of_kind"), file.c.state == _available)
    .order_by(*(column.desc() for column in _newest))
    .limit(bindparam("limit")),
    ("of_kind", "limit"),
)
