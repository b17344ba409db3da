"""StoreIdentity: the marker in a store, by which store and catalogue prove to belong together."""

from abc import abstractmethod
from typing import Protocol

from traffic_storage.domain.identity import Marker
from traffic_storage.ports.blob_store import BlobStore


class StoreIdentity(Protocol):
    """Reads and changes the marker of one store; every blob store adapter implements it.

    Errors of all methods:
        StorageUnavailable: the store can't be reached or refuses; whether a change happened is
            unknown.
        StoreReplaced: another folder is at the path of the store; it was neither read nor changed.
        InvalidInput: there is a marker, but it is unreadable.
    """

    @abstractmethod
    async def marker(self) -> Marker | None:
        """The marker, read now; None if there is none."""

    @abstractmethod
    async def create_marker(self, marker: Marker) -> None:
        """Write the first marker, durably. The same marker again is a success.

        Raises:
            BlobConflict: there is another marker; it stays.
            StorageFull: no room; there is no marker.
        """

    @abstractmethod
    async def replace_marker(self, was: Marker, becomes: Marker) -> None:
        """Write `becomes` in the place of `was`, durably and atomically.

        Compare-and-set, where the medium can: of concurrent calls from one marker one succeeds.
        A success if the marker is `becomes` already.

        Raises:
            BlobConflict: the marker is neither of the two, or there is none; it stays so.
            StorageFull: no room; the marker stays.
        """


class MarkedBlobStore(BlobStore, StoreIdentity, Protocol):
    """A blob store with its marker: what an adapter is, and what a container configures."""
