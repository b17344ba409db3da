"""How a file gets its name: whole, durable, and never over another."""

import os
from collections.abc import Callable
from contextlib import suppress

from attrs import frozen

from traffic_storage.adapters.files.descriptors import Descriptor
from traffic_storage.adapters.files.staging import Staged

# What is stored is never written again, not even by us.
_SEALED_MODE = 0o400

Permit = Callable[[], None]
"""Raises when the time to publish has passed."""


def always() -> None:
    """The permit of who may publish at any time."""


@frozen
class Place:
    """A name in a folder, and whether what gets it must survive a power cut."""

    folder: Descriptor
    name: str
    durable: bool

    def exists(self) -> bool:
        """Whether the name is taken, by whatever it is."""
        try:
            os.stat(self.name, dir_fd=self.folder.fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def sync(self) -> None:
        """Make the folder's names durable."""
        if self.durable:
            os.fsync(self.folder.fd)

    def unlink(self) -> None:
        """Take the name away. One that is not there is a success."""
        with suppress(FileNotFoundError):
            os.unlink(self.name, dir_fd=self.folder.fd)


def publish(file: Staged, place: Place, permit: Permit) -> bool:
    """Make `file` durable and give it its name; False, and nothing done, if the name is taken.

    `permit` is called immediately before the file gets its name, and again after: a process that
    was stopped in between must not publish late. When anything fails after that, the name is
    taken back.
    """
    # Only now: who owns a file and may not write to it may not attach attributes either.
    os.fchmod(file.fd, _SEALED_MODE)
    if place.durable:
        os.fsync(file.fd)
    permit()
    try:
        file.link(place.folder, place.name)
    except FileExistsError:
        return False
    try:
        permit()
        place.sync()
    except BaseException:
        with suppress(OSError):
            place.unlink()
            place.sync()
        raise
    return True
