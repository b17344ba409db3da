"""StoreRegistry: the stores that belong to a catalogue, with their incarnations.

An incarnation is a random id that the marker in the store and the catalogue must both hold; it is
replaced every hour, so an old copy of either is recognised.

Errors of all methods:
    CatalogueUnavailable: the database can't be reached or did not answer in time.
    StorageFull: the database has no space to write.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol

from traffic_storage.domain.files import Tier
from traffic_storage.domain.identifiers import CatalogueId, StoreId
from traffic_storage.domain.identity import RegisteredStore


class StoreRegistry(Protocol):
    """The registered stores of a catalogue. No store is ever removed."""

    @abstractmethod
    async def catalogue_id(self) -> CatalogueId:
        """Return the id of this catalogue, which is assigned at its creation and never changes."""

    @abstractmethod
    async def register(self, store: RegisteredStore) -> None:
        """Enter a new store. If the same store is registered already, succeeds without a change."""

    @abstractmethod
    async def registered(self, store_id: StoreId) -> RegisteredStore | None:
        """Return the store with this id, or None."""

    @abstractmethod
    async def registered_at(self, tier: Tier, location: str) -> Sequence[RegisteredStore]:
        """Return the stores of a tier that were confirmed at a location, the latest confirmed last."""

    @abstractmethod
    async def exchange(self, was: RegisteredStore, becomes: RegisteredStore) -> bool:
        """Replace a store's entry by compare-and-set; return whether the catalogue now holds `becomes`.

        The store is compared by its incarnations (`RegisteredStore.agrees_with`). Of concurrent
        calls from one state one succeeds. If the outcome is unclear, the adapter looks it up.
        """
