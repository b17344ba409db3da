"""ExportTarget: a place for one new file, which appears there under its name when it is complete."""

from abc import abstractmethod
from typing import Protocol

from traffic_storage.domain.digests import Sha256


class ExportTarget(Protocol):
    """Takes the bytes of one file. Until `publish`, nothing has the file's final name.

    If the process is killed before, what was under this name is still there.

    Errors of all methods:
        InvalidInput: the name is that of an existing file, which may not be replaced; nothing was
            changed.
        StorageUnavailable: the place can't be written.
        StorageFull: it is full.
        TooLarge: it can't hold a file of this size.
    """

    @abstractmethod
    async def write(self, data: bytes) -> None:
        """Append bytes to the file. The first call opens it."""

    @abstractmethod
    async def publish(self) -> Sha256:
        """Make the file durable, give it its name, and return the SHA-256 of its bytes."""

    @abstractmethod
    async def aclose(self) -> None:
        """Release the file; if it was not published, delete it."""


class ExportTargets(Protocol):
    """Opens targets by the text that a caller gives."""

    @abstractmethod
    def open(self, place: str, *, overwrite: bool) -> ExportTarget:
        """Return the target at `place`; `overwrite` is whether an existing file is replaced.

        Raises:
            InvalidInput: `place` is not the name of a file.
        """
