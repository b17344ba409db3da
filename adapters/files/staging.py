"""Creates new files that get their final name when they are complete."""

import errno
import fcntl
import os
import secrets
import threading
from contextlib import suppress
from typing import Protocol

from traffic_storage.adapters.files.descriptors import Descriptor, identity_of, open_folder
from traffic_storage.adapters.files.owners import give, made_folder

STAGING = ".staging"
_LOCK_SUFFIX = ".lock"
FILE_MODE = 0o600
_LOCK_MODE = 0o600
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_UNSUPPORTED = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOSYS})


class Staged(Protocol):
    """A new file being written."""

    @property
    def fd(self) -> int:
        """The descriptor to write to."""

    def link(self, folder: Descriptor, name: str) -> None:
        """Give the file a name. Raises FileExistsError if the name exists."""

    def discard(self) -> None:
        """Close the file; it is deleted unless `link` gave it a name."""


class Staging:
    """Makes new files on the file system of `root`.

    Where the file system supports O_TMPFILE, the files have no name and the kernel deletes them
    when the process ends. Elsewhere they have names in a staging folder of the root. Each process
    holds a lock there while it runs; the next process deletes the files of ended ones.
    """

    def __init__(self, *, unnamed: bool) -> None:
        self._unnamed = unnamed and os.path.exists("/proc/self/fd")
        self._lock = threading.Lock()
        self._own: _NamedFiles | None = None

    def new(self, folder: Descriptor, root: Descriptor) -> Staged:
        """Return a new file that can be given a name in `folder`."""
        if self._unnamed:
            try:
                return Unnamed(_given(_open_unnamed(folder), folder))
            except OSError as error:
                if error.errno not in _UNSUPPORTED:
                    raise
                self._unnamed = False
        with self._lock:
            if self._own is not None and not self._own.is_in_place(root):
                self._own.close()
                self._own = None
            self._own = self._own or _NamedFiles(root)
            return self._own.new()

    def close(self) -> None:
        """Close the staging folder and release this process's lock in it."""
        with self._lock:
            own, self._own = self._own, None
        if own is not None:
            own.close()


class Unnamed:
    """A file without a name, by its open descriptor."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def link(self, folder: Descriptor, name: str) -> None:
        os.link(f"/proc/self/fd/{self.fd}", name, dst_dir_fd=folder.fd, follow_symlinks=True)

    def discard(self) -> None:
        os.close(self.fd)


class _NamedFiles:
    """The named files of this process, and the lock that it holds while it runs."""

    def __init__(self, root: Descriptor) -> None:
        try:
            self._folder = made_folder(STAGING, root)
        except FileExistsError:
            self._folder = open_folder(STAGING, root)
        _clear(self._folder)
        self._token, self._lock = _take_lock(self._folder)
        self._count = 0

    def is_in_place(self, root: Descriptor) -> bool:
        """Return whether neither the folder nor the lock was removed, or belongs to another root."""
        try:
            there = os.stat(STAGING, dir_fd=root.fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return identity_of(there) == self._folder.identity and bool(os.fstat(self._lock).st_nlink)

    def new(self) -> Staged:
        self._count += 1
        name = f"{self._token}.{self._count}"
        fd = os.open(name, _NEW, FILE_MODE, dir_fd=self._folder.fd)
        return _Named(_given(fd, self._folder), name, self._folder)

    def close(self) -> None:
        _remove(f"{self._token}{_LOCK_SUFFIX}", self._folder)
        os.close(self._lock)


class _Named:
    def __init__(self, fd: int, name: str, staging: Descriptor) -> None:
        self.fd = fd
        self._name = name
        self._staging = staging

    def link(self, folder: Descriptor, name: str) -> None:
        os.link(
            self._name,
            name,
            src_dir_fd=self._staging.fd,
            dst_dir_fd=folder.fd,
            follow_symlinks=False,
        )

    def discard(self) -> None:
        _remove(self._name, self._staging)
        os.close(self.fd)
        # The traceback of an error may refer to this object for long: the folder must not stay open.
        del self._staging


def _open_unnamed(folder: Descriptor) -> int:
    flags = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
    return os.open(".", flags, FILE_MODE, dir_fd=folder.fd)


def _given(fd: int, folder: Descriptor) -> int:
    """Give a new file to the owner of its folder if this process is root; close it if it can't."""
    try:
        give(fd, folder)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _clear(staging: Descriptor) -> None:
    """Delete the files of ended processes, then their locks."""
    locks_last = sorted(os.listdir(staging.fd), key=lambda name: name.endswith(_LOCK_SUFFIX))
    living = {name for name in locks_last if name.endswith(_LOCK_SUFFIX) and _held(name, staging)}
    for name in locks_last:
        if f"{name.partition('.')[0]}{_LOCK_SUFFIX}" not in living:
            _remove(name, staging)


def _take_lock(staging: Descriptor) -> tuple[str, int]:
    """Return a unique token and the descriptor that holds its lock."""
    while True:
        token = secrets.token_hex(8)
        fd = os.open(f"{token}{_LOCK_SUFFIX}", _NEW, _LOCK_MODE, dir_fd=staging.fd)
        lock = _given(fd, staging)
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Another process may have deleted the file before it was locked.
        if os.fstat(lock).st_nlink:
            return token, lock
        os.close(lock)


def _held(lock_name: str, staging: Descriptor) -> bool:
    try:
        lock = os.open(lock_name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=staging.fd)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(lock)


def _remove(name: str, folder: Descriptor) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder.fd)
