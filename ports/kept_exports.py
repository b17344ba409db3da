"""KeptExports: the files that jobs have exported, until they are fetched and removed."""

from abc import abstractmethod
from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Protocol

from traffic_storage.ports.export_target import ExportTarget


class KeptExports(Protocol):
    """Files at one place: a folder of a host, or a part of a bucket.

    The names are those of `domain.kept_exports.kept_name`; what else lies there is left alone.

    Errors of all methods:
        StorageUnavailable: the place can't be reached.
    """

    @property
    @abstractmethod
    def location(self) -> str:
        """The place, for people to read, without credentials."""

    @abstractmethod
    def open(self, name: str) -> ExportTarget:
        """Return the target of a file; when it is published, it replaces one of this name."""

    @abstractmethod
    def read(self, name: str) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a file. Close the iterator (`aclosing`) when leaving early.

        Raises:
            NotFound: there is none with this name.
        """

    @abstractmethod
    async def remove_before(self, moment: datetime) -> int:
        """Remove the files that were published before this time; return their number."""
