"""Gives what root makes to the owner of the folder in which it is made.

Otherwise a command that is run as root would leave files and folders, readable by their owner only,
that the user of the service can't read.
"""

import os
from contextlib import suppress
from pathlib import Path

from traffic_storage.adapters.files.descriptors import Descriptor, open_folder
from traffic_storage.ports.errors import StorageUnavailable

_FOLDER_MODE = 0o700


def give(fd: int, folder: Descriptor) -> None:
    """Give a new file or folder, made in `folder`, to the owner of `folder`, if this process is root.

    Raises:
        StorageUnavailable: root may not do that.
    """
    if os.geteuid() != 0 or folder.owner[0] == 0:
        return
    user, group = folder.owner
    try:
        os.fchown(fd, user, group)
    except OSError as error:
        raise StorageUnavailable(
            f"the folder belongs to user {user}, to whom root may not give what it makes there",
            remedy="run the command as that user",
        ) from error


def give_new(fd: int, path: Path) -> None:
    """As `give`, for a file that was just created at `path`; `fd` is what created it."""
    if os.geteuid() == 0:
        give(fd, open_folder(str(path.absolute().parent)))


def make_folder(path: Path, *, durable: bool = False) -> None:
    """Make a folder that only its owner can use, and its missing parents; it may exist.

    `durable`: their names survive a power cut.
    """
    if path.is_dir():
        return
    make_folder(path.absolute().parent, durable=durable)
    parent = open_folder(str(path.absolute().parent))
    with suppress(FileExistsError):
        made_folder(path.name, parent)
    if durable:
        os.fsync(parent.fd)


def made_folder(name: str, parent: Descriptor) -> Descriptor:
    """Make a folder that only its owner can use, and open it.

    Raises:
        FileExistsError: there is a folder, or anything else, of this name.
        StorageUnavailable: as `give`; the folder is removed.
    """
    os.mkdir(name, _FOLDER_MODE, dir_fd=parent.fd)
    folder = open_folder(name, parent)
    try:
        give(folder.fd, parent)
    except BaseException:
        with suppress(OSError):
            os.rmdir(name, dir_fd=parent.fd)
        raise
    return folder
