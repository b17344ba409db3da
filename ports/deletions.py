"""Deletions: why files were deleted, and what their purge has removed; read only.

Errors of all methods:
    CatalogueUnavailable: the database can't be reached or did not answer in time.
"""

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from traffic_storage.domain.deletion import Certificate, Deletion, Removal
from traffic_storage.domain.identifiers import FileId
from traffic_storage.domain.query import Cursor, Page


class Deletions(Protocol):
    """Lookups of deletions; an undeleted file has none."""

    @abstractmethod
    async def deletions(self, file_ids: Collection[FileId]) -> Mapping[FileId, Deletion]:
        """Return the deletions of those of these files that are deleted."""

    @abstractmethod
    async def due_for_purge(
        self, at: datetime, after: Cursor | None = None, limit: int = 100
    ) -> Page[Deletion]:
        """Return a page of deletions whose grace has ended at `at`, and that are not purged.

        They are ordered by the end of their grace, then by id. Files that are held, and files that
        are `purging` because a purge was interrupted, are among them.
        """

    @abstractmethod
    async def removals(self, file_id: FileId) -> Sequence[Removal]:
        """Return the replicas of a file that its purge has removed so far."""

    @abstractmethod
    async def certificate(self, file_id: FileId) -> Certificate | None:
        """Return the destruction certificate of a purged file; None if there is none."""
