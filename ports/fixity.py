"""FixityRecords: which copies of files are due for verification, and the history of it.

Errors of all methods:
    CatalogueUnavailable: the database can't be reached or did not answer in time.
"""

from abc import abstractmethod
from collections.abc import Sequence
from datetime import date, datetime
from typing import Protocol

from traffic_storage.domain.files import StoredFile
from traffic_storage.domain.fixity import DuePosition, FixityDay, StoreCoverage
from traffic_storage.domain.identifiers import StoreId


class FixityRecords(Protocol):
    """Reads what the verification of copies needs. `RecordVerifications` records its results."""

    @abstractmethod
    async def due_replicas(
        self, store_id: StoreId, before: datetime, after: DuePosition | None, limit: int
    ) -> Sequence[StoredFile]:
        """Return the present copies in a store that were verified before a time, or never.

        Those that were never verified come first, then the one whose verification is oldest; ties
        are ordered by replica id. The result begins behind the position `after` and has at most
        `limit` copies. Each is a file with this one replica; copies of files that are being removed
        included, and are not to be verified (`VERIFIED_FILES`). `limit` is 1 to 1,000. Every page
        costs the same.
        """

    @abstractmethod
    async def doubtful_replicas(
        self, store_id: StoreId, after: StoredFile | None, limit: int
    ) -> Sequence[StoredFile]:
        """Return the corrupt and missing copies in a store, ordered by file id, then replica id.

        The result begins behind the copy `after`, an item of an earlier result; otherwise it is as
        that of `due_replicas`.
        """

    @abstractmethod
    async def coverage(self, overdue_before: datetime) -> Sequence[StoreCoverage]:
        """Return for each store with copies how current their verification is, ordered by store id.

        A copy that was verified before `overdue_before`, or never, is overdue. The cost is bounded:
        more than `MOST_COUNTED` overdue copies of a store may be estimated.
        """

    @abstractmethod
    async def fixity_days(self, first: date, last: date) -> Sequence[FixityDay]:
        """Return what was verified on the days `first` to `last` (UTC), by day, then store id."""
