"""File descriptors that are closed when the last reference to them is deleted."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

_LOCKS_NO_FOLDER = frozenset({errno.EBADF, errno.ENOLCK, errno.ENOTSUP})


class Descriptor:
    """An open file or folder, closed when the last reference to this object is deleted.

    So one thread may remove it from a table while another thread still uses it.
    """

    __slots__ = ("_identity", "_owner", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._identity: tuple[int, int] | None = None
        self._owner: tuple[int, int] | None = None

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode of the open file or folder."""
        if self._identity is None:
            self._identity = identity_of(os.fstat(self.fd))
        return self._identity

    @property
    def owner(self) -> tuple[int, int]:
        """User and group of the open file or folder, as they were at the first call."""
        if self._owner is None:
            found = os.fstat(self.fd)
            self._owner = found.st_uid, found.st_gid
        return self._owner

    def __del__(self) -> None:
        os.close(self.fd)


def identity_of(found: os.stat_result) -> tuple[int, int]:
    """Return the device and inode numbers, which identify a file or folder."""
    return found.st_dev, found.st_ino


def open_folder(name: str, parent: Descriptor | None = None) -> Descriptor:
    """Open a folder; with `parent`, raise OSError if `name` is a symbolic link."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    if parent is None:
        return Descriptor(os.open(name, flags))
    return Descriptor(os.open(name, flags | os.O_NOFOLLOW, dir_fd=parent.fd))


@contextmanager
def locked(folder: Descriptor) -> Iterator[None]:
    """Hold an exclusive lock on the folder against other threads and processes; wait for it."""
    # The lock belongs to an open file description; threads would share that of `folder.fd`.
    fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder.fd)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
        except OSError as error:
            # A network file system may not lock folders: then hosts do not exclude each other.
            if error.errno not in _LOCKS_NO_FOLDER:
                raise
        yield
    finally:
        os.close(fd)


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of `data`, in as many system calls as it takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def read_all(fd: int, size_bytes: int, start: int = 0) -> bytes:
    """Return `size_bytes` bytes from `start` on, fewer if the file ends before."""
    data = os.pread(fd, size_bytes, start)
    if len(data) == size_bytes or not data:
        return data
    parts = [data]
    missing = size_bytes - len(data)
    while missing and (data := os.pread(fd, missing, start + size_bytes - missing)):
        parts.append(data)
        missing -= len(data)
    return b"".join(parts)
