"""Reconciliation: what is compared with the listing of a store, and the quarantine.

Errors of all methods:
    CatalogueUnavailable: the database can't be reached or did not answer in time.
"""

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol
from uuid import UUID

from traffic_storage.domain.files import BlobKey, StoredFile
from traffic_storage.domain.identifiers import FileId, StoreId, ViolationId
from traffic_storage.domain.journal import JournalCursor
from traffic_storage.domain.quarantine import Quarantined
from traffic_storage.domain.rebuild import RebuildCursor
from traffic_storage.domain.reconcile import Recorded, RecordedPage
from traffic_storage.domain.violation import StoredViolation


class Reconciliation(Protocol):
    """Ordered scans and lookups by many keys. The changes are in `domain.quarantine` and `rebuild`."""

    @abstractmethod
    async def recorded(
        self, store_id: StoreId, after: UUID | None = None, limit: int = 1000
    ) -> RecordedPage:
        """Return the replicas of a store whose ids are greater than `after`, ascending by id.

        Looks at `limit` replicas of all stores; every page costs the same. A page may be empty
        although further ones are not: continue with `last` until it is None. Each replica that
        exists throughout is returned exactly once.
        """

    @abstractmethod
    async def replicas(self, replica_ids: Collection[UUID]) -> Mapping[UUID, Recorded]:
        """Return the replicas with these ids, as far as they exist."""

    @abstractmethod
    async def metadata_files(
        self, after: UUID | None = None, limit: int = 1000
    ) -> tuple[Sequence[FileId], UUID | None]:
        """Return ids of the metadata files of violations, and where the next page begins.

        In ascending order of the ids of their replicas, so that a file may be returned several
        times. Looks at `limit` replicas, as `recorded`.
        """

    @abstractmethod
    async def files_by_id(self, file_ids: Collection[FileId]) -> Mapping[FileId, StoredFile]:
        """Return the rows of these files, as `Catalogue.files_by_id`."""

    @abstractmethod
    async def violations_by_id(
        self, violation_ids: Collection[ViolationId]
    ) -> Mapping[ViolationId, StoredViolation]:
        """Return the rows of these violations, as far as they exist."""

    @abstractmethod
    async def attempted(self, store_id: StoreId, keys: Collection[BlobKey]) -> Collection[BlobKey]:
        """Return those of these keys in a store that an entry of the ingest journal has.

        Reads the whole journal, page by page.
        """

    @abstractmethod
    async def quarantined(
        self, store_id: StoreId, after: BlobKey | None = None, limit: int = 1000
    ) -> Sequence[Quarantined]:
        """Return the entries of a store whose keys are greater than `after`, ascending by key."""

    @abstractmethod
    async def quarantine_entries(
        self, store_id: StoreId, keys: Collection[BlobKey]
    ) -> Mapping[BlobKey, Quarantined]:
        """Return the entries of a store with these keys, as far as they exist."""

    @abstractmethod
    async def rebuild_cursors(self) -> Mapping[StoreId, RebuildCursor]:
        """Return how far rebuilds have come; empty if this catalogue was never rebuilt."""

    @abstractmethod
    async def journal_cursor(self, store_id: StoreId) -> JournalCursor:
        """Return how far the journal beside the blobs of a store has come."""
