"""The folders below one root, opened part by part so that no symbolic link is followed."""

import os
import threading
from contextlib import suppress
from pathlib import Path

from traffic_storage.adapters.files.descriptors import Descriptor, identity_of, open_folder
from traffic_storage.ports.errors import StoreReplaced

_FOLDER_MODE = 0o700
_KEPT_OPEN = 64


class Folders:
    """Opens and makes folders below `root`, and keeps some of the last used ones open.

    The root is opened once: what is mounted over it later is not written by mistake. A durable
    tree gives no folder to a writer while the root's path leads elsewhere, for then nobody would
    find what is written; it makes each folder sure to survive a power cut before, and remembers
    which ones are. Safe for many threads.
    """

    def __init__(self, root: Path, *, durable: bool) -> None:
        self._path = root
        self._durable = durable
        self._making = threading.Lock()
        self._table = threading.Lock()
        self._root: Descriptor | None = None
        self._read: dict[str, Descriptor] = {}
        self._written: dict[str, Descriptor] = {}
        self._synced: set[tuple[tuple[int, int], str, tuple[int, int]]] = set()

    @property
    def root(self) -> Descriptor:
        """The root, made if it is not there."""
        return self._root or self._open_root()

    def for_reading(self, path: str, *, fresh: bool = False) -> Descriptor:
        """The folder at `path` (`a/b/c`); FileNotFoundError if there is none.

        It may be one that has been moved away since it was opened, unless `fresh`.
        """
        if not fresh and (known := self._written.get(path) or self._read.get(path)):
            return known
        folder = self.root
        for name in path.split("/"):
            folder = open_folder(name, folder)
        self._keep(self._read, path, folder)
        return folder

    def for_writing(self, path: str) -> Descriptor:
        """The folder at `path`, made and durable; certainly the one that is there now.

        Raises:
            StoreReplaced: of a durable tree, as `check`.
        """
        root = self.root
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
        """Make sure that the root's path still leads to `root`.

        Raises:
            StoreReplaced: another folder is there, or none.
        """
        try:
            there = identity_of(os.stat(self._path))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise self.replaced() from error
        if there != root.identity:
            raise self.replaced()

    def at_path(self) -> Descriptor:
        """The folder that the root's path leads to now: the root, or one that took its place.

        Raises:
            StoreReplaced: there is none any more.
        """
        root = self.root
        try:
            there = open_folder(str(self._path))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise self.replaced() from error
        return root if there.identity == root.identity else there

    def replaced(self) -> StoreReplaced:
        """The error for a root that is not the one at its path any more."""
        return StoreReplaced(
            f"{self._path} was replaced while in use: the folder that was opened there has been "
            "moved away, or something is mounted over it",
            remedy="bring it back, and the service goes on by itself",
        )

    def move_to(self, root: Descriptor) -> None:
        """Work below another root from now on."""
        self.close()
        with self._making:
            self._root = root

    def close(self) -> None:
        """Forget all; each folder closes with its last user."""
        with self._making, self._table:
            self._read.clear()
            self._written.clear()
            self._synced.clear()
            self._root = None

    def _in_place(self, root: Descriptor, path: str, folder: Descriptor) -> bool:
        """Whether `path` still leads to this folder; of a durable tree, by the root's path."""
        if self._durable:
            return _leads_to(f"{self._path}/{path}", folder)
        return _leads_to(path, folder, root.fd)

    def _keep(self, table: dict[str, Descriptor], path: str, folder: Descriptor) -> None:
        with self._table:
            table[path] = folder
            if len(table) > _KEPT_OPEN:
                del table[next(iter(table))]

    def _made(self, name: str, parent: Descriptor) -> Descriptor:
        with suppress(FileExistsError):
            os.mkdir(name, _FOLDER_MODE, dir_fd=parent.fd)
        folder = open_folder(name, parent)
        if self._durable:
            self._sync_entry(name, parent, folder)
        return folder

    def _sync_entry(self, name: str, parent: Descriptor, folder: Descriptor) -> None:
        """Make the folder's name durable. Whoever made it may have died before doing so."""
        entry = parent.identity, name, folder.identity
        if entry not in self._synced:
            os.fsync(parent.fd)
            self._synced.add(entry)

    def _open_root(self) -> Descriptor:
        with self._making:
            if not self._root:
                self._root = self._make_root()
            return self._root

    def _make_root(self) -> Descriptor:
        missing = [p for p in (self._path, *self._path.parents) if not p.exists()]
        for folder in reversed(missing):
            folder.mkdir(_FOLDER_MODE, exist_ok=True)
        root = open_folder(str(self._path))
        if self._durable:
            for folder in missing:
                _sync(folder.parent)
            # As above; a parent that we may not read was there before us.
            with suppress(PermissionError):
                _sync(self._path.parent)
        return root


def _sync(path: Path) -> None:
    folder = open_folder(str(path))
    os.fsync(folder.fd)


def _leads_to(path: str, folder: Descriptor, dir_fd: int | None = None) -> bool:
    """Whether `path` still leads to this folder."""
    try:
        there = os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
    except OSError:
        return False
    return identity_of(there) == folder.identity
