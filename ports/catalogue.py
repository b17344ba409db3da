"""Catalogue: files, replicas, violations and counters, read only.

Errors of all methods:
    CatalogueUnavailable: the database can't be reached or did not answer in time.
"""

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import Protocol

from traffic_storage.domain.files import StoredFile
from traffic_storage.domain.identifiers import DeviceId, FileId, ViolationId
from traffic_storage.domain.query import FilesQuery, Page, ViolationQuery
from traffic_storage.domain.usage import CatalogueUsage, DailyUsage
from traffic_storage.domain.violation import StoredViolation


class Catalogue(Protocol):
    """Lookups and queries. The cost of a lookup does not depend on the number of rows."""

    @abstractmethod
    async def file(self, file_id: FileId) -> StoredFile | None:
        """Return the row of a file with its replicas; None if there is no such file.

        Local replicas come before cloud replicas, and within a tier they are ordered by store id.
        """

    @abstractmethod
    async def files_by_id(self, file_ids: Collection[FileId]) -> Mapping[FileId, StoredFile]:
        """Return those of these files that exist, whatever their state, as `file` does."""

    @abstractmethod
    async def files_of(self, violation_id: ViolationId) -> Sequence[StoredFile]:
        """Return at most 1,000 files with this violation id, oldest first.

        They are ordered by `created_at`, then `file_id`.
        """

    @abstractmethod
    async def files_of_each(
        self, violation_ids: Collection[ViolationId]
    ) -> Mapping[ViolationId, Sequence[StoredFile]]:
        """Return the files of each of these violations, as `files_of` does."""

    @abstractmethod
    async def violation(self, violation_id: ViolationId) -> StoredViolation | None:
        """Return the row of a violation; None if there is no such violation."""

    @abstractmethod
    async def violations(self, query: ViolationQuery) -> Page[StoredViolation]:
        """Return the page of violations that `query` selects, newest first, ties by id ascending.

        The pages reached through `next` contain each violation that exists throughout exactly once.
        Every page costs the same.
        """

    @abstractmethod
    async def files(self, query: FilesQuery) -> Page[StoredFile]:
        """Return the page of files that `query` selects, each with its replicas as in `file`.

        The pages reached through `next` contain each file that exists throughout exactly once.
        Every page costs the same. A query with `violation_id` applies its other filters to all
        files of that violation; a violation has few files.
        """

    @abstractmethod
    async def usage(self) -> CatalogueUsage:
        """Return the totals of all usage counters, as they were at one moment."""

    @abstractmethod
    async def daily_usage(
        self, first: date, last: date, device_id: DeviceId | None = None
    ) -> Sequence[DailyUsage]:
        """Return the change of the counters on each day (UTC) of `first` to `last`, oldest first.

        Both days are included; days without a change are left out. With `device_id`, only the files
        and violations of this device count. The changes of all days add up to `usage`.
        """
