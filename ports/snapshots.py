"""Snapshots: the rows of the catalogue as they are at one moment, and the pins of snapshots.

Errors of all methods:
    CatalogueUnavailable: the database can't be reached or did not answer in time.
"""

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol
from uuid import UUID

from traffic_storage.domain.deletion import Certificate, Deletion
from traffic_storage.domain.files import StoredFile
from traffic_storage.domain.holds import Hold
from traffic_storage.domain.identifiers import FileId, ViolationId
from traffic_storage.domain.rules_in_force import RulesRevision
from traffic_storage.domain.snapshot import SnapshotPin
from traffic_storage.domain.violation import StoredViolation
from traffic_storage.ports.database_backup import DatabaseCopy


class Moment(DatabaseCopy, Protocol):
    """All rows as they are at one moment: every change is in all answers and in the copy, or in none.

    A page that is not empty may have fewer rows than `limit` only if it is the last one. The calls
    must follow one another.
    """

    @abstractmethod
    async def files(self, after: FileId | None, limit: int) -> Sequence[StoredFile]:
        """Return files of all states whose ids are greater than `after`, ascending by id."""

    @abstractmethod
    async def violations(self, after: ViolationId | None, limit: int) -> Sequence[StoredViolation]:
        """Return violations of all states with ids greater than `after`, ascending by id."""

    @abstractmethod
    async def violations_by_id(
        self, violation_ids: Collection[ViolationId]
    ) -> Mapping[ViolationId, StoredViolation]:
        """Return the violations with these ids, as far as they exist."""

    @abstractmethod
    async def deletions(self, file_ids: Collection[FileId]) -> Mapping[FileId, Deletion]:
        """Return the deletions of those of these files that are deleted."""

    @abstractmethod
    async def certificates(self, file_ids: Collection[FileId]) -> Mapping[FileId, Certificate]:
        """Return the destruction certificates of those of these files that have one."""

    @abstractmethod
    async def holds(self, after: UUID | None, limit: int) -> Sequence[Hold]:
        """Return holds, released ones too, with ids greater than `after`, ascending by id."""

    @abstractmethod
    async def rules_in_force(self) -> RulesRevision | None:
        """Return the retention rules in force; None if none were entered yet."""


class SnapshotRecords(Protocol):
    """Reads of the catalogue for snapshots. The changes are in `domain.snapshot`."""

    @abstractmethod
    def moment(self) -> AbstractAsyncContextManager[Moment]:
        """Return a context with the rows as they are at its entry.

        Writers are not kept waiting. The rows of changes that were committed before the entry are
        there, and of no later ones. The context keeps old versions of rows in the database, so it
        should end soon.
        """

    @abstractmethod
    async def pins(self) -> Sequence[SnapshotPin]:
        """Return all pins, ascending by name; those that have ended too."""
