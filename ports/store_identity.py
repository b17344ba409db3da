"""StoreIdentity: the marker in a store, which proves that store and catalogue belong together."""

from abc import abstractmethod
from typing import Protocol

from traffic_storage.domain.identity import Marker
from traffic_storage.ports.blob_store import BlobStore


class StoreIdentity(Protocol):
    """Reads and changes the marker of one store. Every blob store adapter implements it.

    Errors of all methods:
        StorageUnavailable: the store can't be reached or refuses the operation; whether a change
            happened is unknown.
        StoreReplaced: the path of the store now leads to another folder, which was neither read nor
            changed.
        InvalidInput: the marker exists and is unreadable.
    """

    @abstractmethod
    async def marker(self) -> Marker | None:
        """Read the marker from the store and return it; None if there is none."""

    @abstractmethod
    async def create_marker(self, marker: Marker) -> None:
        """Write the first marker, durably. Succeeds if the store already holds the same marker.

        Raises:
            BlobConflict: the store holds another marker; it stays.
            StorageFull: no space is left; the store has no marker.
        """

    @abstractmethod
    async def replace_marker(self, was: Marker, becomes: Marker) -> None:
        """Replace the store's identity marker `was` by `becomes`, durably and atomically.

        Compare-and-set, if the medium supports it: of concurrent calls with the same `was` one
        succeeds. Succeeds if the marker already is `becomes`.

        Raises:
            BlobConflict: the marker is neither of the two, or there is none; nothing was changed.
            StorageFull: no space is left; the marker stays.
        """


class MarkedBlobStore(BlobStore, StoreIdentity, Protocol):
    """A blob store with its marker: the protocol that adapters implement and containers configure."""
