"""StoreRegistry: which stores belong to a catalogue, and in which incarnation.

Errors of all methods:
    CatalogueUnavailable: the database can't be reached or did not answer in time.
    StorageFull: it has no room to write.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol

from traffic_storage.domain.files import Tier
from traffic_storage.domain.identifiers import CatalogueId, StoreId
from traffic_storage.domain.identity import RegisteredStore


class StoreRegistry(Protocol):
    """What store identity needs of the catalogue. No store is ever removed from it."""

    @abstractmethod
    async def catalogue_id(self) -> CatalogueId:
        """The id that this catalogue was given when it was made; never changes."""

    @abstractmethod
    async def register(self, store: RegisteredStore) -> None:
        """Enter a new store. The same store again is a success, and changes nothing."""

    @abstractmethod
    async def registered(self, store_id: StoreId) -> RegisteredStore | None:
        """The store with this id, or None."""

    @abstractmethod
    async def registered_at(self, tier: Tier, location: str) -> Sequence[RegisteredStore]:
        """The stores of a tier that were confirmed at a location, the latest confirmed last."""

    @abstractmethod
    async def exchange(self, was: RegisteredStore, becomes: RegisteredStore) -> bool:
        """Change a store by compare-and-set; whether the catalogue holds `becomes` now.

        The store is compared by its incarnations (`RegisteredStore.agrees_with`). Of concurrent
        calls from one state one succeeds. An exchange whose outcome is unclear is looked up.
        """
