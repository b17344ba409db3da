"""StoreRegistry: the stores that belong to a catalogue, with the token that identifies each.

The token (incarnation) is a random id that the catalogue and the identification file (marker) in
the store must both hold; it is replaced every hour, so an old copy of either is recognised.

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
        """Enter a new store. Succeeds without a change if a store with this id is registered."""

    @abstractmethod
    async def registered(self, store_id: StoreId) -> RegisteredStore | None:
        """Return the entry of the store with this id; None if there is none."""

    @abstractmethod
    async def registered_at(self, tier: Tier, location: str) -> Sequence[RegisteredStore]:
        """Return the stores of a tier that were last verified at a location, the latest one last."""

    @abstractmethod
    async def exchange(self, was: RegisteredStore, becomes: RegisteredStore) -> bool:
        """Replace a store's entry `was` by `becomes`; return whether the catalogue holds `becomes`.

        Compare-and-set on the random tokens in the entry (`RegisteredStore.agrees_with`): of
        concurrent calls with the same `was` one succeeds. If the outcome is unclear, the adapter
        looks it up.
        """
