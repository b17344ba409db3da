"""Ballast: disk space that is reserved, and released when the disk is full.

On a full disk every transaction fails, also one that only deletes. Removing a file of a few
megabytes frees the space that deleting transactions need.
"""

import errno
import os
from contextlib import suppress
from pathlib import Path


class Ballast:
    """A file at `path` whose only purpose is to occupy `size_bytes` of disk space."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self._path = path
        self._size_bytes = size_bytes

    @property
    def is_reserved(self) -> bool:
        """Return whether the ballast file exists, so that its disk space is reserved."""
        try:
            return os.stat(self._path).st_size >= self._size_bytes
        except OSError:
            return False

    def reserve(self) -> bool:
        """Create the ballast file if it does not exist. Return False if the disk is too full for it."""
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
        """Remove the ballast file, which frees its disk space."""
        with suppress(OSError):
            os.unlink(self._path)
