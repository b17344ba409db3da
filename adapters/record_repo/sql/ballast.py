"""Ballast: disk space that is reserved, and released when the disk is full.

A full disk takes no transaction at all, not even one that deletes. A file of a few megabytes,
removed in time, makes the room in which the catalogue can shrink.
"""

import errno
import os
from contextlib import suppress
from pathlib import Path


class Ballast:
    """The file `path` of `size_bytes`, allocated and otherwise meaningless."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self._path = path
        self._size_bytes = size_bytes

    @property
    def is_reserved(self) -> bool:
        """Whether the space is reserved now."""
        try:
            return os.stat(self._path).st_size >= self._size_bytes
        except OSError:
            return False

    def reserve(self) -> bool:
        """Reserve the space unless it is reserved; False when the disk has no room for it."""
        if not self._size_bytes or self.is_reserved:
            return True
        try:
            self._allocate()
        except OSError as error:
            self.release()
            # A folder that is away or read-only is for whoever uses it to report.
            return error.errno not in (errno.ENOSPC, errno.EDQUOT)
        return True

    def _allocate(self) -> None:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, self._size_bytes)
        finally:
            os.close(descriptor)

    def release(self) -> None:
        """Free the reserved space."""
        with suppress(OSError):
            os.unlink(self._path)
