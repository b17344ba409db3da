"""The SQL statements of migrations and of the seal, built once."""

from typing import Any

from sqlalchemy import BindParameter, bindparam, delete, literal_column, select
from sqlalchemy.dialects import postgresql, sqlite

from traffic_storage.adapters.record_repo.sql.statement import Statement
from traffic_storage.adapters.record_repo.sql.tables import migration, seal

_KEY = ("source", "start_at", "end_at")
_COLUMNS = tuple(column.name for column in migration.columns)
_NAMES = tuple(f"new_{name}" for name in _COLUMNS)
_values: dict[str, BindParameter[Any]] = dict(zip(_COLUMNS, map(bindparam, _NAMES), strict=True))
_changed = [name for name in _COLUMNS if name not in _KEY]
_on_postgres = postgresql.insert(migration).values(_values)
_on_sqlite = sqlite.insert(migration).values(_values)
SET_CURSOR = Statement(
    _on_postgres.on_conflict_do_update(
        index_elements=list(_KEY), set_={name: _on_postgres.excluded[name] for name in _changed}
    ),
    _NAMES,
    on_sqlite=_on_sqlite.on_conflict_do_update(
        index_elements=list(_KEY), set_={name: _on_sqlite.excluded[name] for name in _changed}
    ),
)
_this = tuple(migration.c[name] == bindparam(f"of_{name}") for name in _KEY)
_THIS = tuple(f"of_{name}" for name in _KEY)
FORGET_CURSOR = Statement(delete(migration).where(*_this), _THIS)
CURSOR = Statement(select(migration).where(*_this), _THIS)

# Refused if there is a seal.
INSERT_SEAL = Statement(
    seal.insert().values(
        one=literal_column("1"),
        sealed_at=bindparam("new_sealed_at"),
        sealed_by=bindparam("new_sealed_by"),
        reason=bindparam("new_reason"),
    ),
    ("new_sealed_at", "new_sealed_by", "new_reason"),
)
DELETE_SEAL = Statement(delete(seal), ())
SEAL = Statement(select(seal.c.sealed_at, seal.c.sealed_by, seal.c.reason), ())
