"""Converts errors of the operating system to errors of the ports."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from traffic_storage.domain.errors import TrafficStorageError
from traffic_storage.ports.errors import StorageFull, StorageUnavailable

_FULL = {
    errno.ENOSPC: "no space or no inode is left",
    errno.EDQUOT: "the disk quota is used up",
}
_REFUSED = {
    errno.EROFS: (
        "is read-only",
        "mount it writable; check the disk, since errors cause read-only remounts",
    ),
    errno.EACCES: ("does not admit this user", "give the service's user rights on the folder"),
    errno.EPERM: (
        "refuses the operation",
        "check the owner, attributes and type of the file system",
    ),
    errno.ELOOP: (
        "contains a symbolic link, which is not followed",
        "replace the link with a folder",
    ),
    errno.ENOTDIR: (
        "contains a file or a symbolic link where a folder must be",
        "put a folder in its place; mount that of another disk there (mount --bind)",
    ),
    errno.EMFILE: ("can't be used: too many open files", "raise the limit of open files"),
    errno.ENFILE: ("can't be used: too many open files", "raise the limit of open files"),
    errno.ENOENT: ("lacks a folder", "mount the file system, or restore the folder"),
}
# Only a bug in this code causes these: raised unchanged.
_BUGS = frozenset({errno.EBADF, errno.EFAULT, errno.EINVAL})


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Convert errors of the operating system to `StorageFull` and `StorageUnavailable`."""
    try:
        yield
    except OSError as error:
        # Some TrafficStorageErrors are subclasses of OSError.
        if isinstance(error, TrafficStorageError) or error.errno in _BUGS:
            raise
        raise _port_error(error, place) from error


def _port_error(error: OSError, place: str) -> StorageFull | StorageUnavailable:
    if error.errno in _FULL:
        return StorageFull(
            f"{place} is full: {_FULL[error.errno]}",
            remedy="free space on the medium, or raise its quota",
        )
    what, remedy = _REFUSED.get(
        error.errno or 0, (f"failed: {error.strerror or error}", "check the disk and its mount")
    )
    return StorageUnavailable(f"{place} {what}", remedy=remedy)
