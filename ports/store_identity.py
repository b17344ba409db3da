"""StoreIdentity: the small identification file in a store (the marker).

It proves that the store and the catalogue belong together.
"""

from abc import abstractmethod
from typing import Protocol

from traffic_storage.domain.identity import Marker
from traffic_storage.ports.blob_store import BlobStore
from traffic_storage.ports.store_journal import StoreJournal


class StoreIdentity(Protocol):
    """Reads and changes the identification file (marker) of one store.

    Every blob store adapter implements this protocol.

    Errors of all methods:
        StorageUnavailable: the store can't be reached or refuses the operation; whether a change
            happened is unknown.
        StoreReplaced: the path of the store now leads to another folder, which was neither read nor
            changed.
        InvalidInput: the identification file exists and is unreadable.
    """

    @abstractmethod
    async def marker(self) -> Marker | None:
        """Read the store's identification file; return its content, or None if it does not exist."""

    @abstractmethod
    async def create_marker(self, marker: Marker) -> None:
        """Write the identification file (marker) of a store that has none, durably.

        Succeeds if the store already has one with the same content.

        Raises:
            BlobConflict: the store has one with other content; it stays.
            StorageFull: no space is left; the store has no identification file.
        """

    @abstractmethod
    async def replace_marker(self, was: Marker, becomes: Marker) -> None:
        """Replace the content `was` of the store's identification file (marker) by `becomes`.

        The change is durable and atomic. It is a compare-and-set, if the disk or bucket supports
        it: of concurrent calls with the same `was` one succeeds. Succeeds if the content already is
        `becomes`.

        Raises:
            BlobConflict: the file has neither content, or does not exist; nothing was changed.
            StorageFull: no space is left; the file is unchanged.
        """


class MarkedBlobStore(BlobStore, StoreIdentity, StoreJournal, Protocol):
    """A blob store that has an identification file (marker) and a journal.

    Adapters of stores implement this protocol; a container is configured with such adapters.
    """
