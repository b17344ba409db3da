"""Translates errors of SQLite."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from traffic_storage.domain.errors import StorageFull, TrafficStorageError
from traffic_storage.ports.errors import CatalogueUnavailable

_PRIMARY = 0xFF
"""The lower byte of an extended result code is the primary code."""

_REMEDIES = {
    sqlite3.SQLITE_BUSY: ("another process holds it locked", "end the process that holds it"),
    sqlite3.SQLITE_LOCKED: ("it is locked", "try again"),
    sqlite3.SQLITE_PROTOCOL: ("it is locked", "try again"),
    sqlite3.SQLITE_READONLY: ("it is read-only", "make the file and its folder writable"),
    sqlite3.SQLITE_PERM: ("access is denied", "give this user access to the file"),
    sqlite3.SQLITE_CANTOPEN: (
        "it can't be opened",
        "give this user access to the file and its folder; `traffic-storage db upgrade` makes it",
    ),
    sqlite3.SQLITE_NOTADB: ("it is no SQLite database", "name the right file, or restore a backup"),
    sqlite3.SQLITE_CORRUPT: ("it is damaged", "restore a backup, or rebuild it from the stores"),
    sqlite3.SQLITE_IOERR: ("the disk fails", "check the disk"),
    sqlite3.SQLITE_NOMEM: ("memory is short", "give the process more memory"),
}


def code_of(error: sqlite3.Error) -> int:
    """Return the primary result code of an error; 0 if it has none (the binding raised it)."""
    return getattr(error, "sqlite_errorcode", 0) & _PRIMARY


def is_full(error: sqlite3.Error) -> bool:
    """Return whether the error means that the disk is full."""
    return code_of(error) == sqlite3.SQLITE_FULL


def full(path: Path) -> StorageFull:
    """Return the port's error for a full disk below the database file."""
    return StorageFull(f"the disk of the catalogue {path} is full", remedy="free space there")


def translated(error: sqlite3.Error, path: Path) -> TrafficStorageError | None:
    """Return the port's error for a failure of the database; None if the error is a defect here."""
    if is_full(error):
        return full(path)
    if code_of(error) in _REMEDIES:
        cause, remedy = _REMEDIES[code_of(error)]
        return CatalogueUnavailable(f"the catalogue {path}: {cause} ({error})", remedy=remedy)
    if str(error).startswith("no such table"):
        return CatalogueUnavailable(
            f"the catalogue {path} has no tables yet", remedy="run `traffic-storage db upgrade`"
        )
    return None


def _translated_system(error: OSError, path: Path) -> TrafficStorageError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return full(path)
    return CatalogueUnavailable(
        f"the catalogue {path} can't be opened or made: {error.strerror}",
        remedy="give its folder to the user that runs this, or choose another local_base_path",
    )


@contextmanager
def translating(path: Path) -> Iterator[None]:
    """Raise errors of SQLite and the file system as the port's; those of a defect pass unchanged."""
    try:
        yield
    except TrafficStorageError:  # Some are OSErrors too, and say already what is wrong.
        raise
    except OSError as error:
        raise _translated_system(error, path) from error
    except sqlite3.Error as error:
        if (known := translated(error, path)) is None:
            raise
        raise known from error
