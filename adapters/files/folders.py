"""Folders below one root, opened level by level so that no symbolic link is followed."""

import os
import threading
from contextlib import suppress
from pathlib import Path

from traffic_storage.adapters.files.descriptors import Descriptor, identity_of, open_folder
from traffic_storage.adapters.files.owners import made_folder, make_folder
from traffic_storage.ports.errors import StoreReplaced

_KEPT_OPEN = 64
_KEPT_SYNCED = 4096


class Folders:
    """Opens and makes folders below `root`, and keeps up to 64 open for each of reads and writes.

    The root is opened once, so that nothing is written to a file system that is mounted over it
    later. If `durable`, `for_writing` raises while the root's path leads to another folder, because
    readers would not find the files; and it syncs each folder's name once, so that the folder
    survives a power cut. If not `durable`, a root that was removed is made again, and one that was
    replaced is left for its replacement. Thread-safe.
    """

    def __init__(self, root: Path, *, durable: bool) -> None:
        self._path = root
        self._durable = durable
        self._making = threading.Lock()
        self._table = threading.Lock()
        self._root: Descriptor | None = None
        self._read: dict[str, Descriptor] = {}
        self._written: dict[str, Descriptor] = {}
        self._synced: dict[tuple[tuple[int, int], str, tuple[int, int]], None] = {}

    @property
    def root(self) -> Descriptor:
        """The open root folder; created if it does not exist."""
        return self._root or self._open_root()

    def root_at_path(self) -> Descriptor:
        """Return the folder that the root's path leads to now; made if it does not exist.

        For files that nobody needs later, which a cleaner may remove with their folder.
        """
        root = self.root
        try:
            if identity_of(os.stat(self._path)) == root.identity:
                return root
        except (FileNotFoundError, NotADirectoryError):
            pass
        self.close()
        return self.root

    def for_reading(self, path: str, *, fresh: bool = False) -> Descriptor:
        """Return the folder at `path` (`a/b/c`); raise FileNotFoundError if it does not exist.

        Unless `fresh`, a folder that is kept open is returned even if it was moved meanwhile.
        """
        if not fresh and (known := self._written.get(path) or self._read.get(path)):
            return known
        folder = self.root
        for name in path.split("/"):
            folder = open_folder(name, folder)
        self._keep(self._read, path, folder)
        return folder

    def for_writing(self, path: str) -> Descriptor:
        """Return the folder that is at `path` now; make it if it does not exist.

        Raises:
            StoreReplaced: if durable, as `check`.
        """
        root = self.root if self._durable else self.root_at_path()
        known = self._written.get(path)
        if known is not None and self._in_place(root, path, known):
            return known
        if self._durable:
            self.check(root)
        with self._making:
            folder = root
            for name in path.split("/"):
                folder = self._made(name, folder)
        self._keep(self._written, path, folder)
        return folder

    def check(self, root: Descriptor) -> None:
        """Check that the root's path still leads to `root`.

        Raises:
            StoreReplaced: it leads to another folder, or to none.
        """
        try:
            there = identity_of(os.stat(self._path))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise self.replaced() from error
        if there != root.identity:
            raise self.replaced()

    def at_path(self) -> Descriptor:
        """Return the folder that the root's path leads to now: the root, or its replacement.

        Raises:
            StoreReplaced: the path leads to no folder.
        """
        root = self.root
        try:
            there = open_folder(str(self._path))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise self.replaced() from error
        return root if there.identity == root.identity else there

    def replaced(self) -> StoreReplaced:
        """Return the error for a root that is no longer at its path."""
        return StoreReplaced(
            f"{self._path} was replaced while in use: the folder opened there was moved, or "
            "another file system is mounted over it",
            remedy="put the folder back, or unmount that file system; no restart is needed",
        )

    def move_to(self, root: Descriptor) -> None:
        """Replace the root folder by another open folder; close all others."""
        self.close()
        with self._making:
            self._root = root

    def close(self) -> None:
        """Forget all open folders; each is closed when no call uses it any more."""
        with self._making, self._table:
            self._read.clear()
            self._written.clear()
            self._synced.clear()
            self._root = None

    def _in_place(self, root: Descriptor, path: str, folder: Descriptor) -> bool:
        """Return whether `path`, below the root folder, still leads to the open folder `folder`.

        If durable, the root's path is followed too, so that a replaced root folder is noticed.
        """
        if self._durable:
            return _leads_to(f"{self._path}/{path}", folder)
        return _leads_to(path, folder, root.fd)

    def _keep(self, table: dict[str, Descriptor], path: str, folder: Descriptor) -> None:
        with self._table:
            table[path] = folder
            if len(table) > _KEPT_OPEN:
                del table[next(iter(table))]

    def _made(self, name: str, parent: Descriptor) -> Descriptor:
        try:
            folder = made_folder(name, parent)
        except FileExistsError:
            folder = open_folder(name, parent)
        if self._durable:
            self._sync_entry(name, parent, folder)
        return folder

    def _sync_entry(self, name: str, parent: Descriptor, folder: Descriptor) -> None:
        """Make the folder's name durable, even of an existing folder.

        The process that made the folder may have ended before it did so.
        """
        entry = parent.identity, name, folder.identity
        if entry not in self._synced:
            os.fsync(parent.fd)
            self._synced[entry] = None
            if len(self._synced) > _KEPT_SYNCED:
                # Should it be needed again, it is synced once more than necessary.
                del self._synced[next(iter(self._synced))]

    def _open_root(self) -> Descriptor:
        with self._making:
            if not self._root:
                self._root = self._make_root()
            return self._root

    def _make_root(self) -> Descriptor:
        make_folder(self._path, durable=self._durable)
        root = open_folder(str(self._path))
        if self._durable:
            # As in _sync_entry. This process can't have made the root in an unreadable parent.
            with suppress(PermissionError):
                _sync(self._path.parent)
        return root


def _sync(path: Path) -> None:
    folder = open_folder(str(path))
    os.fsync(folder.fd)


def _leads_to(path: str, folder: Descriptor, dir_fd: int | None = None) -> bool:
    """Return whether `path` leads to the open folder `folder`."""
    try:
        there = os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
    except OSError:
        return False
    return identity_of(there) == folder.identity
