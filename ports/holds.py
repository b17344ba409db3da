"""Holds: legal holds, read only; they are placed and released by changes.

Errors of all methods:
    CatalogueUnavailable: the database can't be reached or did not answer in time.
"""

from abc import abstractmethod
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from traffic_storage.domain.holds import Hold, HoldReach
from traffic_storage.domain.identifiers import FileId
from traffic_storage.domain.query import HoldsQuery, Page


class Holds(Protocol):
    """Lookups of holds. Whether a hold covers a file is decided as by `domain.holds.covers`."""

    @abstractmethod
    async def hold(self, hold_id: UUID) -> Hold | None:
        """Return a hold; None if there is none with this id."""

    @abstractmethod
    async def holds(self, query: HoldsQuery) -> Page[Hold]:
        """Return the page of holds that `query` selects, those placed last first."""

    @abstractmethod
    async def held(self, file_ids: Collection[FileId], at: datetime) -> frozenset[FileId]:
        """Return those of these files that a hold covers that is active at `at`."""

    @abstractmethod
    async def holds_on(self, file_id: FileId, at: datetime) -> Sequence[Hold]:
        """Return the holds that cover a file and are active at `at`, the oldest first."""

    @abstractmethod
    async def hold_reach(self, hold: Hold) -> HoldReach:
        """Return how many files that a hold covers are deleted, but not purged."""
