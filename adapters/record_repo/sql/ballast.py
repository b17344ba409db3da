"""Ballast: a file that reserves disk space beside the database; it is deleted on a full disk.

On a full disk every transaction fails, also one that only deletes. Deleting a file of a few
megabytes frees the space that deleting transactions need.
"""

import errno
import os
from contextlib import suppress
from pathlib import Path

from traffic_storage.adapters.files.owners import give_new


class Ballast:
    """A file at `path` whose only purpose is to occupy `size_bytes` of disk space."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self._path = path
        self._size_bytes = size_bytes

    @property
    def is_reserved(self) -> bool:
        """Return whether the file that reserves disk space exists in its full size."""
        try:
            return os.lstat(self._path).st_size >= self._size_bytes
        except OSError:
            return False

    def reserve(self) -> bool:
        """Create the file that reserves disk space, if it does not exist in its full size.

        Return False if the disk is too full for it.
        """
        if not self._size_bytes or self.is_reserved:
            return True
        try:
            self._allocate()
        except FileExistsError:  # Another process reserves it.
            return True
        except OSError as error:
            self.release()
            # If the folder is missing or read-only, opening the database reports it.
            return error.errno not in (errno.ENOSPC, errno.EDQUOT)
        return True

    def _allocate(self) -> None:
        # A file that others can reach by a link is neither filled nor given away.
        self.release()
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            give_new(descriptor, self._path)
            os.posix_fallocate(descriptor, 0, self._size_bytes)
        finally:
            os.close(descriptor)

    def release(self) -> None:
        """Delete the file that reserves disk space, so that deleting transactions can use it."""
        with suppress(OSError):
            os.unlink(self._path)
