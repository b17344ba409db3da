"""Lists the blobs below a folder in the order of their keys."""

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime

from attrs import frozen

from traffic_storage.adapters.files.descriptors import Descriptor, open_folder
from traffic_storage.domain.files import BlobKey, FileKind, is_blob_key
from traffic_storage.ports.blob_store import BlobEntry

_KINDS = frozenset(FileKind)


def _digits(count: int) -> Callable[[str], bool]:
    pattern = re.compile(f"[0-9]{{{count}}}")
    return lambda name: pattern.fullmatch(name) is not None


# kind/yyyy/mm/dd: no name is a prefix of another of its level, so names sort as keys do.
_LEVELS: tuple[Callable[[str], bool], ...] = (
    _KINDS.__contains__,
    _digits(4),
    _digits(2),
    _digits(2),
)


@frozen
class _Wanted:
    prefix: str
    after: str

    def within(self, path: str) -> bool:
        """Return whether a key that is to be listed can begin with `path`."""
        if not (path.startswith(self.prefix) or self.prefix.startswith(path)):
            return False
        return path > self.after or self.after.startswith(path)

    def exactly(self, key: str) -> bool:
        return key > self.after and key.startswith(self.prefix)


def walk(root: Descriptor, prefix: str, after: str) -> Iterator[BlobEntry]:
    """Yield the blobs below `root` in ascending order of key; holds the names of one day at a time.

    Skips other names, and symbolic links in place of a blob. Raises OSError at a symbolic link in
    place of a folder.
    """
    return _walk(open_folder(".", root), "", 0, _Wanted(prefix, after))


def _walk(folder: Descriptor, path: str, level: int, wanted: _Wanted) -> Iterator[BlobEntry]:
    names = sorted(os.listdir(folder.fd))
    if level == len(_LEVELS):
        yield from _blobs(folder, path, names, wanted)
        return
    for name in names:
        inner = f"{path}{name}/"
        if _LEVELS[level](name) and wanted.within(inner):
            # A folder that no longer exists contained only deleted blobs.
            with suppress(FileNotFoundError):
                yield from _walk(open_folder(name, folder), inner, level + 1, wanted)


def _blobs(folder: Descriptor, path: str, names: list[str], wanted: _Wanted) -> Iterator[BlobEntry]:
    for name in names:
        key = f"{path}{name}"
        if not wanted.exactly(key) or not is_blob_key(key):
            continue
        try:
            found = os.stat(name, dir_fd=folder.fd, follow_symlinks=False)
        except FileNotFoundError:
            continue
        if stat.S_ISREG(found.st_mode):
            yield BlobEntry(
                BlobKey(key), found.st_size, datetime.fromtimestamp(found.st_mtime, UTC)
            )
