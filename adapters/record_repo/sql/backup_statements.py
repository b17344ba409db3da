"""The SQL statements that make a loaded backup a catalogue that awaits a rebuild, built once."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnClause, bindparam, delete, literal_column, or_, select, update

from traffic_storage.adapters.record_repo.sql.rows import micros
from traffic_storage.adapters.record_repo.sql.statement import Args, Statement
from traffic_storage.adapters.record_repo.sql.tables import (
    attempt,
    file,
    hold,
    loaded,
    rebuild,
    store,
    violation,
)
from traffic_storage.domain.database_backup import Loading

_ONE: ColumnClause[Any] = literal_column("1")

# Gives a row if the catalogue is not empty.
IS_USED = Statement(
    select(_ONE).where(
        or_(*(select(_ONE).select_from(one).exists() for one in (file, violation, hold, attempt)))
    ),
    (),
)
LOADED = Statement(select(loaded.c.backup_at, loaded.c.loaded_at), ())
END_LOAD = Statement(delete(loaded), ())
_INSERT_LOADED = Statement(
    loaded.insert().values(
        one=_ONE, backup_at=bindparam("new_backup_at"), loaded_at=bindparam("new_loaded_at")
    ),
    ("new_backup_at", "new_loaded_at"),
)
# What was in flight belongs to processes that this catalogue does not know any more. Its blobs are
# found by the rebuild; an entry would hide them from it.
_FORGET_ATTEMPTS = Statement(delete(attempt), ())
# A rebuild that was interrupted before the backup would pass over what was stored since.
_FORGET_REBUILDS = Statement(delete(rebuild), ())
_DISTRUST = Statement(
    update(store)
    .where(or_(store.c.incarnation.is_not(None), store.c.intended.is_not(None)))
    .values(incarnation=bindparam("no_incarnation"), intended=None),
    ("no_incarnation",),
)


def of_loading(loading: Loading) -> Sequence[tuple[Statement, Args]]:
    """Return the statements that follow the rows of a backup, with their arguments."""
    times = micros(loading.backup_at), micros(loading.loaded_at)
    return (
        (_FORGET_ATTEMPTS, ()),
        (_FORGET_REBUILDS, ()),
        (_DISTRUST, (loading.incarnation,)),
        (END_LOAD, ()),
        (_INSERT_LOADED, times),
    )
