"""SnapshotStore: a snapshot location, which holds objects (as blobs) and small texts with names."""

from abc import abstractmethod
from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from traffic_storage.domain.snapshot import SEALED
from traffic_storage.ports.blob_store import BlobStore


class TextFolder(StrEnum):
    """The folders of texts in a snapshot location (see `domain.snapshot`).

    `collecting` has a text while objects that no snapshot needs are being removed; `location` has
    one that says that this is a snapshot location; `damaged` has one for each object that was found
    damaged, until it is written anew; `verified` has what the last verification of a snapshot found.
    """

    ROWS = "rows"
    UNFINISHED = "unfinished"
    SEALED = SEALED
    COLLECTING = "collecting"
    LOCATION = "location"
    DAMAGED = "damaged"
    VERIFIED = "verified"


class SnapshotTexts(Protocol):
    """Writes, reads, lists and removes the texts of one snapshot location.

    Names have letters, digits and `. _ -`. Listings of blobs omit texts.

    Errors of all methods:
        StorageUnavailable: the location can't be reached or refuses the operation; whether a text
            was written or removed is unknown.
    """

    @abstractmethod
    async def put_text(self, folder: TextFolder, name: str, text: bytes) -> None:
        """Write a text of at most `MAX_TEXT_BYTES`, durably. It is whole or absent, whatever fails.

        Create-only. Succeeds if there is a text with this name and content.

        Raises:
            BlobConflict: there is another text with this name; it stays.
            StorageFull: no space is left.
        """

    @abstractmethod
    async def text(self, folder: TextFolder, name: str) -> bytes | None:
        """Return a text; None if there is none with this name."""

    @abstractmethod
    async def text_names(self, folder: TextFolder) -> Sequence[str]:
        """Return the names of all texts in a folder, in ascending order."""

    @abstractmethod
    async def remove_text(self, folder: TextFolder, name: str) -> None:
        """Remove a text, durably. Succeeds if there is none."""

    @abstractmethod
    async def is_unused(self) -> bool:
        """Return whether the place contains nothing at all, also nothing of another program."""


class SnapshotStore(BlobStore, SnapshotTexts, Protocol):
    """A snapshot location: a blob store of its own, with texts. It has no marker of a store.

    The adapters of blob stores implement this protocol.
    """
