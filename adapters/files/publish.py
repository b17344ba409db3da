"""Gives a complete file its name: durably, and never replacing another file."""

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from attrs import frozen

from traffic_storage.adapters.files.descriptors import Descriptor
from traffic_storage.adapters.files.staging import Staged

# A published file is never written again.
_SEALED_MODE = 0o400

Permit = Callable[[], None]
"""A check that raises if a file may no longer be published, for example after a deadline."""


def always() -> None:
    """Do nothing; passed to `publish` as `permit` for a file that may always be published."""


@frozen
class Place:
    """A name in a folder; `durable`: the file published there must survive a power cut."""

    folder: Descriptor
    name: str
    durable: bool

    def exists(self) -> bool:
        """Return whether a file or anything else has this name in the folder."""
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
        """Delete the file with this name, if it exists."""
        with suppress(FileNotFoundError):
            os.unlink(self.name, dir_fd=self.folder.fd)


def publish(file: Staged, place: Place, permit: Permit) -> bool:
    """Make `file` durable and give it its name; return False if the name is taken.

    `permit` is a check that raises if it is too late to publish. It is called immediately before
    the file gets its name, and again after, because the process may be suspended in between. If the
    second call or the sync of the folder fails, the name is removed.
    """
    return publish_all(((file, place),), permit)[0]


def publish_all(files: Sequence[tuple[Staged, Place]], permit: Permit) -> list[bool]:
    """Publish many files as `publish` does, with one sync of each folder; return a result for each.

    If it fails, none of them has its name.
    """
    for file, _ in files:
        # Not before: attributes can't be attached to a file without write permission.
        os.fchmod(file.fd, _SEALED_MODE)
    _sync([file for file, place in files if place.durable])
    permit()
    named: list[Place] = []
    try:
        results = [_link(file, place, named) for file, place in files]
        permit()
        _sync_folders(named)
    except BaseException:
        for place in named:
            with suppress(OSError):
                place.unlink()
        with suppress(OSError):
            _sync_folders(named)
        raise
    return results


def _sync(files: Sequence[Staged]) -> None:
    if len(files) > 1:
        # The system begins to write all of them, so that the first sync commits the others too.
        for file in files:
            os.posix_fadvise(file.fd, 0, 0, os.POSIX_FADV_DONTNEED)
    for file in files:
        os.fsync(file.fd)


def _link(file: Staged, place: Place, named: list[Place]) -> bool:
    """Give a file its name, and add its place to `named`; return False if the name is taken."""
    try:
        file.link(place.folder, place.name)
    except FileExistsError:
        return False
    named.append(place)
    return True


def _sync_folders(places: Iterable[Place]) -> None:
    for place in {place.folder.identity: place for place in places}.values():
        place.sync()
