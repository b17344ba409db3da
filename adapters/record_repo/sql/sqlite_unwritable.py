"""Reads a database file that can't be written: on a read-only or full disk, or of another user.

SQLite keeps two files beside the database while it is open, also for reading. Where it can't make
them, a file without a write-ahead log can be read as one that nobody changes. The state of the
files is then compared before each read.
"""

import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

from attrs import frozen

from traffic_storage.adapters.record_repo.sql.sqlite_errors import is_read_only
from traffic_storage.ports.errors import CatalogueReadOnly

_BARE_MINIMUM = 256 * 1024
"""With fewer free bytes on the disk, SQLite can't even create the files that a reader needs."""


@frozen
class FileState:
    """What changes when a process writes to the database: its size and time, and those of the log."""

    database: tuple[int, int]
    log: tuple[int, int]

    @classmethod
    def of(cls, path: Path) -> "FileState":
        """Return the present state of a database file and its write-ahead log."""
        return cls(_state(path), _state(path.with_name(f"{path.name}-wal")))


def disk_is_full(path: Path) -> bool:
    """Return whether the disk of a database file has no space for the files of a reader."""
    try:
        room = os.statvfs(path.parent)
    except OSError:
        return False
    return room.f_bavail * room.f_frsize < _BARE_MINIMUM


def opened(path: Path, timeout_seconds: float) -> sqlite3.Connection | None:
    """Open a database file that can't be written; None if it is missing or can be written.

    Raises:
        CatalogueReadOnly: it has a write-ahead log, which can't be read there.
    """
    if not os.path.exists(path) or not (is_read_only(path) or disk_is_full(path)):
        return None
    state = FileState.of(path)
    if not state.log[0]:
        return _connected(path, "immutable=1", timeout_seconds)
    try:
        # Possible beside a process that writes, or with the files that it left.
        return _connected(path, "mode=ro", timeout_seconds)
    except sqlite3.OperationalError as error:
        raise CatalogueReadOnly(
            f"the catalogue {path} can't be written, and its newest rows are in its write-ahead log, "
            "which can't be read there",
            remedy="copy the folder to a disk that can be written, and read it there",
        ) from error


def _connected(path: Path, option: str, timeout_seconds: float) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?{option}",
        uri=True,
        timeout=timeout_seconds,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
    try:
        connection.execute("PRAGMA temp_store=MEMORY")
        connection.execute("PRAGMA schema_version").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _state(path: Path) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns
