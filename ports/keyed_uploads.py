"""KeyedUploads: which file a key of uploads stands for; read only.

Errors of all methods:
    CatalogueUnavailable: the database can't be reached or did not answer in time.
"""

from abc import abstractmethod
from typing import Protocol

from traffic_storage.domain.identifiers import FileId


class KeyedUploads(Protocol):
    """Reads what `BindKey` writes, also as part of a `CommitUnit`."""

    @abstractmethod
    async def file_of_key(self, key: FileId) -> FileId | None:
        """Return the id of the file that was stored with a key; None if none was.

        `key` is the id that is derived from the key. The result is the id of the file to which the key is
        bound. If it is bound to none, it is the derived id if there is a file with that id, in
        whatever state.
        """
