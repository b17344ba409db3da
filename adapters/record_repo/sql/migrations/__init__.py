"""The versions of the tables: one alembic step from each to the next.

A new step is a module in `versions`, named for its number, and `HEAD` is that number; `tables`
is changed alike (a test compares the two). A step that takes long on a large catalogue sets
`quick = False`: a service does not start while it is pending. An index on a table with many rows
is built by `build_index`, in a step of its own.
"""

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from runpy import run_path

from sqlalchemy import Connection

from traffic_storage.domain.errors import ConfigurationError

HEAD = "0003"
"""The version of the tables that this code works with."""

CURRENT = "SELECT version_num FROM alembic_version"
"""Gives the version of the tables that are there."""

_HERE = Path(__file__).parent
_ONE_AT_A_TIME = threading.Lock()
"""Alembic keeps what it works on in global names."""

_log = logging.getLogger("traffic_storage.catalogue")


def refuse_newer(found: str | None) -> None:
    """Raise if the tables have a version that this program does not know.

    Raises:
        ConfigurationError: a newer version of this program made the tables.
    """
    if found is not None and not any(_HERE.glob(f"versions/v{found}_*.py")):
        raise ConfigurationError.of(
            "database",
            f"its tables are of version {found}, newer than this program, which knows {HEAD}",
            "run the version of traffic-storage that made them, or name another database",
        )


def pending(found: str | None) -> list[str]:
    """Return the names of the steps from version `found` to `HEAD`.

    Raises:
        ConfigurationError: the tables are newer than this code.
    """
    refuse_newer(found)
    steps = sorted(step.stem for step in _HERE.glob("versions/v*.py"))
    return [step for step in steps if step[1:].partition("_")[0] > (found or "")]


def refuse_slow(found: str | None) -> None:
    """Raise if a migration is pending that takes long on a large catalogue.

    The module of such a migration sets `quick = False`. Without tables, all migrations are quick.

    Raises:
        ConfigurationError: such a migration is pending.
    """
    if slow := slow_pending(found):
        raise ConfigurationError.of(
            "database",
            f"the migration {slow[0]} is pending, which takes long on a large catalogue",
            "run `traffic-storage db upgrade`, and start the service when it is done",
        )


def slow_pending(found: str | None) -> list[str]:
    """Return the names of the pending steps that take long; none without tables."""
    return [] if found is None else [name for name in pending(found) if not _is_quick(name)]


def _is_quick(name: str) -> bool:
    return bool(run_path(str(_HERE / "versions" / f"{name}.py")).get("quick", True))


def upgrade(connection: Connection, found: str | None) -> None:
    """Bring tables of version `found` to `HEAD`.

    If the connection has a transaction open, all steps belong to it; else each step is a
    transaction together with its version, and an upgrade that stops midway goes on with the next
    call. The caller holds a lock that keeps others from doing the same, and calls from a thread
    that may wait: of several databases in one process one is upgraded at a time.

    Raises:
        ConfigurationError: the tables are newer than this code.
    """
    refuse_newer(found)
    if found == HEAD:
        return
    # Takes 0.2 s to import, and mostly there is nothing for it to do.
    from alembic import command
    from alembic.config import Config

    _log.info("upgrading the catalogue's tables from %s to %s", found or "nothing", HEAD)
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    with _ONE_AT_A_TIME:
        command.upgrade(config, HEAD)


def build_index(name: str, table: str, columns: Sequence[str]) -> None:
    """Build an index while others write to the table. For a step that does nothing else.

    On PostgreSQL the index is built concurrently, outside a transaction. If the process stops
    midway, the server keeps an unusable index of this name; the next run of the step replaces it.
    On SQLite the index is built in the open transaction, and writers wait.
    """
    from alembic import op

    if op.get_context().dialect.name != "postgresql":
        op.create_index(name, table, columns)
        return
    with op.get_context().autocommit_block():
        op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)
        op.create_index(name, table, columns, postgresql_concurrently=True)
