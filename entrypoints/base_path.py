"""Whether local_base_path can be used at all: what is wrong with it does not pass by waiting."""

import errno
import os
from pathlib import Path

from traffic_storage.adapters.files.owners import make_folder
from traffic_storage.domain.errors import ConfigurationError
from traffic_storage.entrypoints.settings import StorageConfig

_REMEDY = (
    "create it for the user that runs the service, or choose another local_base_path (--base-path)"
)
# What may pass: a disk that is full or fails.
_PASSING = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
)


def check_base_path(settings: StorageConfig, *, make: bool, to_write: bool = True) -> None:
    """Check that local_base_path is a folder, or can become one; with `make`, make it.

    It is not looked at where neither the database nor a store is on local disk. Unless `to_write`,
    only the database is needed there, and this user need not be able to make the folder.

    Raises:
        ConfigurationError: it is no folder, and none can be made there.
    """
    base = settings.local_base_path
    needs_store = to_write and settings.effective_strategy().needs_local
    if settings.db_host is not None and not needs_store:
        return
    try:
        if make:
            make_folder(base)
        found = base if make else nearest_existing(base)
        if not found.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if to_write and found != base and not os.access(found, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        if error.errno in _PASSING:
            return
        raise ConfigurationError.of(
            "local_base_path",
            f"{str(base)!r} can't be used: {error.strerror or error}",
            _REMEDY,
        ) from error


def nearest_existing(base: Path) -> Path:
    """Return the path, or if it does not exist the nearest one above it that does."""
    return next(path for path in (base, *base.parents) if _exists(path))


def _exists(path: Path) -> bool:
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True
