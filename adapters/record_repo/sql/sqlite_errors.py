"""Translates errors of SQLite into errors of the catalogue port."""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from traffic_storage.domain.errors import StorageFull, TrafficStorageError
from traffic_storage.ports.errors import CatalogueReadOnly, CatalogueUnavailable

_PRIMARY = 0xFF
"""The lower byte of an extended result code is the primary code."""

# What SQLite reports for a file or folder that can't be written.
_OF_READ_ONLY = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PERM})

_REMEDIES = {
    sqlite3.SQLITE_BUSY: ("another process has locked it", "end the process that holds the lock"),
    sqlite3.SQLITE_LOCKED: ("it is locked", "try again"),
    sqlite3.SQLITE_PROTOCOL: ("it is locked", "try again"),
    sqlite3.SQLITE_PERM: ("access is denied", "give this user access to the file"),
    sqlite3.SQLITE_CANTOPEN: (
        "it can't be opened",
        "give this user access to the file and its folder; `traffic-storage db upgrade` creates it",
    ),
    sqlite3.SQLITE_NOTADB: ("it is not a SQLite database", "configure another file or restore it"),
    sqlite3.SQLITE_CORRUPT: ("it is damaged", "restore a backup, or rebuild it from the stores"),
    sqlite3.SQLITE_IOERR: ("the disk reported an error", "check the disk"),
    sqlite3.SQLITE_NOMEM: ("there is too little memory", "give the process more memory"),
}


def code_of(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code of an error; 0 if Python's module raised the error."""
    return getattr(error, "sqlite_errorcode", 0) & _PRIMARY


def is_full(error: sqlite3.Error) -> bool:
    """Return whether the error means that the disk of the database file is full."""
    return code_of(error) == sqlite3.SQLITE_FULL


def is_read_only(path: Path) -> bool:
    """Return whether this process can't write to the database file or make files beside it."""
    try:
        if os.statvfs(path.parent).f_flag & os.ST_RDONLY:
            return True
    except OSError:
        return False
    return os.path.exists(path) and not (
        os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    )


def full(path: Path) -> StorageFull:
    """Return the catalogue port's error for a full disk of the database file."""
    return StorageFull(f"the disk of the catalogue {path} is full", remedy="free space there")


def translated(error: sqlite3.Error, path: Path) -> TrafficStorageError | None:
    """Return the catalogue port's error for a failure of the database file.

    None if the error is caused by a defect of this library.
    """
    if is_full(error):
        return full(path)
    if code_of(error) == sqlite3.SQLITE_READONLY or (
        code_of(error) in _OF_READ_ONLY and is_read_only(path)
    ):
        return CatalogueReadOnly(
            f"the catalogue {path} is read-only ({error})",
            remedy="mount its disk writable, and give this user the right to write the file and its "
            "folder",
        )
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
        f"the catalogue {path} can't be opened or created: {error.strerror}",
        remedy="give the user of this process access to its folder, or change local_base_path",
    )


@contextmanager
def translating(path: Path) -> Iterator[None]:
    """Return a context that raises errors of SQLite and the file system as the catalogue port's.

    An error caused by a defect of this library is raised unchanged.
    """
    try:
        yield
    except TrafficStorageError:  # Some are also an OSError; their message is already complete.
        raise
    except OSError as error:
        raise _translated_system(error, path) from error
    except sqlite3.Error as error:
        if (known := translated(error, path)) is None:
            raise
        raise known from error
