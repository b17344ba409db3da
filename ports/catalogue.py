"""Catalogue: files, replicas, violations and counters, read only.

Errors of all methods:
    CatalogueUnavailable: the database can't be reached or did not answer in time.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol

from traffic_storage.domain.files import StoredFile
from traffic_storage.domain.identifiers import FileId, ViolationId
from traffic_storage.domain.ingest import CatalogueUsage
from traffic_storage.domain.query import FilesQuery, Page, ViolationQuery
from traffic_storage.domain.violation import StoredViolation


class Catalogue(Protocol):
    """What reading needs. Each lookup costs the same whatever the number of rows."""

    @abstractmethod
    async def file(self, file_id: FileId) -> StoredFile | None:
        """The file with its replicas (by tier: local first, then by store), or None."""

    @abstractmethod
    async def files_of(self, violation_id: ViolationId) -> Sequence[StoredFile]:
        """The files that name this violation, oldest first (`created_at`, then `file_id`).

        At most 1,000 of them.
        """

    @abstractmethod
    async def violation(self, violation_id: ViolationId) -> StoredViolation | None:
        """The violation, or None."""

    @abstractmethod
    async def violations(self, query: ViolationQuery) -> Page[StoredViolation]:
        """The page of violations that `query` asks for, newest first, ties by id ascending.

        Following `next` shows each violation that was there all the time exactly once, at the
        same cost for every page.
        """

    @abstractmethod
    async def files(self, query: FilesQuery) -> Page[StoredFile]:
        """The page of files that `query` asks for, each with its replicas as in `file`.

        Following `next` shows each file that was there all the time exactly once, at the same
        cost for every page. Filters beside `violation_id` are applied to all files of that
        violation, of which there are few.
        """

    @abstractmethod
    async def usage(self) -> CatalogueUsage:
        """The maintained counters; one row a store and kind (none where there is nothing)."""
