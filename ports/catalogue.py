"""Catalogue: files, replicas, violations and counters, read only.

Errors of all methods:
    CatalogueUnavailable: the database can't be reached or did not answer in time.
"""

from abc import abstractmethod
from collections.abc import Sequence
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
        """Return the file with its replicas (by tier: local first, then by store), or None."""

    @abstractmethod
    async def files_of(self, violation_id: ViolationId) -> Sequence[StoredFile]:
        """Return the files with this violation id, oldest first (`created_at`, then `file_id`).

        At most 1,000 of them.
        """

    @abstractmethod
    async def violation(self, violation_id: ViolationId) -> StoredViolation | None:
        """Return the violation, or None."""

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
        """Return the totals of the maintained counters, all of one moment."""

    @abstractmethod
    async def daily_usage(
        self, first: date, last: date, device_id: DeviceId | None = None
    ) -> Sequence[DailyUsage]:
        """Return the change of the counters on each day (UTC) of `first` to `last`, oldest first.

        Both days are included; days without a change are left out. With `device_id`, only what
        this device sent counts. The changes of all days add up to `usage`.
        """
