"""Backups of a SQLite catalogue: a file of SQLite, copied and loaded by its online backup API.

The functions run in threads. A copy is made in a folder of its own below the spool; one that a
killed process has left is removed by the next.
"""

import fcntl
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from traffic_storage.adapters.files.owners import make_folder
from traffic_storage.adapters.record_repo.sql import backup_statements as statements
from traffic_storage.adapters.record_repo.sql import migrations
from traffic_storage.adapters.record_repo.sql.sqlite_errors import full
from traffic_storage.adapters.record_repo.sql.statement import Args, Statement
from traffic_storage.domain.database_backup import Loading
from traffic_storage.ports.database_backup import NotBlank, UnusableBackup
from traffic_storage.ports.errors import CatalogueUnavailable

CHUNK_BYTES = 1024 * 1024
_PREFIX = "database-"
_ROOM = 2.2
"""The free space that a copy takes for a moment, in sizes of the database."""

Execute = Callable[[sqlite3.Connection, Statement, Args], sqlite3.Cursor]


@contextmanager
def folder_of_copy(parent: Path) -> Iterator[Path]:
    """Return a context with an empty folder, which is removed at its end."""
    make_folder(parent)
    _remove_left(parent)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def copied(connection: sqlite3.Connection, path: Path, folder: Path) -> Path:
    """Copy the database as the transaction of `connection` sees it; return the file.

    Writers go on: the transaction reads an older state of the write-ahead log. The copy is written
    anew, so that pages with rows that were erased are not in it.

    Raises:
        StorageFull: there is too little space.
    """
    room = os.statvfs(folder)
    if room.f_bavail * room.f_frsize < _ROOM * _size_bytes(connection):
        raise full(path)
    first, second = folder / "first", folder / "copy"
    with closing(_bare(first)) as copy:
        connection.backup(copy)
        copy.execute("VACUUM INTO ?", (str(second),))
    first.unlink()
    return second


def check(path: Path) -> None:
    """Check that a file is a whole catalogue of this version.

    Raises:
        UnusableBackup: it is not.
    """
    try:
        with closing(_bare(path)) as connection:
            if path.stat().st_size != _size_bytes(connection):
                raise UnusableBackup("it is cut off")
            problems = [row[0] for row in connection.execute("PRAGMA integrity_check(3)")]
            if problems != ["ok"]:
                raise UnusableBackup("; ".join(map(str, problems)))
            if connection.execute("PRAGMA foreign_key_check").fetchone() is not None:
                raise UnusableBackup("a row refers to one that is not there")
            (version,) = connection.execute(migrations.CURRENT).fetchone()
    except (sqlite3.Error, TypeError) as error:
        raise UnusableBackup(str(error)) from error
    if version != migrations.HEAD:
        raise UnusableBackup(f"its tables are of version {version}")


def prepare(path: Path, loading: Loading, execute: Execute) -> None:
    """Make a copy a catalogue that awaits a rebuild."""
    with closing(_bare(path)) as connection:
        connection.execute("BEGIN")
        for statement, args in statements.of_loading(loading):
            execute(connection, statement, args)
        connection.execute("COMMIT")


def load(copy: Path, path: Path, execute: Execute) -> None:
    """Replace the content of an empty catalogue by that of a copy, in one transaction.

    Raises:
        NotBlank: the catalogue is not empty.
        CatalogueUnavailable: another process has it open.
    """
    with closing(_bare(copy)) as source, closing(sqlite3.connect(path, timeout=0.0)) as target:
        target.isolation_level = None
        try:
            # Until it is closed, no other process gets in: neither between the check and the copy, nor
            # with rows of the old content in its memory.
            target.execute("PRAGMA locking_mode=EXCLUSIVE")
            target.execute("PRAGMA synchronous=FULL")
            target.execute("BEGIN EXCLUSIVE")
            is_used = is_used_in(target, execute)
            target.execute("COMMIT")
            if is_used:
                raise NotBlank(f"the catalogue {path}")
            source.backup(target)
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            raise CatalogueUnavailable(
                f"the catalogue {path} is in use by another process",
                remedy="stop the services and commands that use it, then try again",
            ) from error


def is_used_in(connection: sqlite3.Connection, execute: Execute) -> bool:
    """Return whether there are files, violations, holds or unfinished store operations."""
    try:
        return execute(connection, statements.IS_USED, ()).fetchone() is not None
    except sqlite3.OperationalError as error:
        if str(error).startswith("no such table"):
            return False
        raise


def _size_bytes(connection: sqlite3.Connection) -> int:
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    return int(pages * page_bytes)


def _bare(path: Path) -> sqlite3.Connection:
    """Open a file that only this process knows: it needs no log and no flushes."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("PRAGMA journal_mode=MEMORY")
    return connection


def _remove_left(parent: Path) -> None:
    """Remove the folders of processes that have ended."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
