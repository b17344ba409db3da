"""StoreJournal: small texts beside the blobs of a store, each written once.

They tell of holds and deletions, which manifests do not (`domain.journal`).
"""

from abc import abstractmethod
from typing import Protocol


class StoreJournal(Protocol):
    """Writes and reads the notes of one store. Listings of blobs omit them.

    Every blob store adapter implements this protocol.

    Errors of all methods:
        StorageUnavailable: the store can't be reached or refuses the operation; whether a note was
            written is unknown.
    """

    @abstractmethod
    async def put_note(self, name: str, text: bytes) -> None:
        """Write a note, durably. `name` has digits only; `text` has at most 4 MiB.

        Create-only. Succeeds if the store has a note with this name and text.

        Raises:
            BlobConflict: the store has a note with this name and another text; it stays.
            StorageFull: no space is left.
        """

    @abstractmethod
    async def note(self, name: str) -> bytes | None:
        """Return the text of a note; None if there is none with this name."""
