"""Copies: reads of the catalogue that plan which copies of files are made and which go.

Errors of all methods:
    CatalogueUnavailable: the database can't be reached or did not answer in time.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from traffic_storage.domain.files import StoredFile
from traffic_storage.domain.identifiers import StoreId


class Copies(Protocol):
    """Reads the replicas of a store in the order of their age."""

    @abstractmethod
    async def oldest_in(
        self, store_id: StoreId, after: UUID | None = None, limit: int = 100
    ) -> Sequence[StoredFile]:
        """Return files, whatever their state, that have a present replica in a store.

        The file whose replica there was written first comes first. The page starts behind the
        replica with the id `after`, and has at most `limit` files, each with all its replicas. Its
        cost does not depend on the number of rows.
        """
