"""What the operating system refuses, in the words of the ports."""

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
    errno.EROFS: ("is read-only", "mount it writable; a disk that fails is often remounted so"),
    errno.EACCES: ("is not accessible", "give the service's user rights on the folder"),
    errno.EPERM: ("does not permit this", "check owner, attributes and type of the file system"),
    errno.ELOOP: ("holds a symbolic link, which is never followed", "put a real folder there"),
    errno.ENOTDIR: ("has something else where a folder belongs", "remove what is in the way"),
    errno.EMFILE: ("can't be used: too many open files", "raise the limit of open files"),
    errno.ENFILE: ("can't be used: too many open files", "raise the limit of open files"),
    errno.ENOENT: ("has lost a folder", "mount the file system, or restore the folder"),
}
# What only a bug of ours brings about: passed on as it is.
_BUGS = frozenset({errno.EBADF, errno.EFAULT, errno.EINVAL})


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Turn errors of the operating system into `StorageFull` and `StorageUnavailable`."""
    try:
        yield
    except OSError as error:
        # Some of our own errors are of builtin kinds that are OSErrors too.
        if isinstance(error, TrafficStorageError) or error.errno in _BUGS:
            raise
        raise _in_words(error, place) from error


def _in_words(error: OSError, place: str) -> StorageFull | StorageUnavailable:
    if error.errno in _FULL:
        return StorageFull(
            f"{place} is full: {_FULL[error.errno]}",
            remedy="free space on the medium, or raise its quota",
        )
    what, remedy = _REFUSED.get(
        error.errno or 0, (f"failed: {error.strerror or error}", "check the disk and its mount")
    )
    return StorageUnavailable(f"{place} {what}", remedy=remedy)
