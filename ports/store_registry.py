"""Registry: which stores belong to a catalogue, and where they are.

Errors of all methods:
    CatalogueUnavailable: the database can't be reached or did not answer in time.
    StorageFull: it has no room to write.
"""

from abc import abstractmethod
from typing import Protocol

from traffic_storage.domain.files import Tier
from traffic_storage.domain.identifiers import CatalogueId, StoreId
from traffic_storage.domain.identity import EnrolledStore


class Registry(Protocol):
    """What store identity needs."""

    @abstractmethod
    async def catalogue_id(self) -> CatalogueId:
        """The id that this catalogue was given when it was made; never changes."""

    @abstractmethod
    async def enrol(self, location: str, tier: Tier, proposed: StoreId) -> EnrolledStore:
        """The store at this location; entered under the id `proposed` if it is new.

        Concurrent calls for one location all get the same store.
        """

    @abstractmethod
    async def enrolled(self, store_id: StoreId) -> EnrolledStore | None:
        """The store with this id, or None."""

    @abstractmethod
    async def relocate(self, store_id: StoreId, location: str) -> None:
        """Note that a store, known by its marker, is found at another location now.

        An entry of that location which was never marked gives way: copies that were planned for
        it are due in this store. One that was marked, or holds files, stays, and is known by its
        marker alone.

        Raises:
            NotFound: no such store.
        """

    @abstractmethod
    async def note_marked(self, store_id: StoreId) -> None:
        """Note that the store's marker was written or seen.

        Raises:
            NotFound: no such store.
        """
