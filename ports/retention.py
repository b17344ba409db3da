"""Retention: the rules in force, staged changes of them, and the files by their retention.

Errors of all methods:
    CatalogueUnavailable: the database can't be reached or did not answer in time.
"""

from abc import abstractmethod
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from attrs import frozen

from traffic_storage.domain.files import FileKind
from traffic_storage.domain.identifiers import FileId
from traffic_storage.domain.retention_plans import DueFile, RetentionPlan
from traffic_storage.domain.rules_in_force import RetainedFile, RulesRevision, StagedRules

_FIRST_ID = FileId("")


@frozen
class Position:
    """A position behind a file in an order of files by a time, then by id."""

    at: datetime
    file_id: FileId = _FIRST_ID


class RetentionRecords(Protocol):
    """Reads of retention. The cost of a batch does not depend on the number of rows."""

    @abstractmethod
    async def rules_in_force(self) -> RulesRevision | None:
        """Return the retention rules with the highest number; None if none were entered yet."""

    @abstractmethod
    async def staged_rules(self, change_id: UUID) -> StagedRules | None:
        """Return a staged change of the rules; None if there is none."""

    @abstractmethod
    async def retained_files(self, kind: FileKind, after: Position) -> Sequence[RetainedFile]:
        """Return a batch of available files of a kind, the earliest received first, then by id.

        The batch begins behind the position `after`, whose time is `created_at`; it is empty when
        no file follows. A file that is stored during a walk is among the last batches.
        """

    @abstractmethod
    async def due_files(self, as_of: datetime, after: Position, now: datetime) -> Sequence[DueFile]:
        """Return a batch of available files to be kept until `as_of` or less long.

        Files with the earliest end of retention come first, then they are ordered by id. The batch
        begins behind the position `after`, whose time is `keep_until`; it is empty when no file
        follows. `is_held` is told for holds that are active at `now`.
        """

    @abstractmethod
    async def retention_plan(self, plan_id: UUID) -> RetentionPlan | None:
        """Return a plan; None if there is none."""

    @abstractmethod
    async def forget_reviews(self, before: datetime) -> None:
        """Delete the plans and the staged changes that were made before this time.

        A change that was entered stays.
        """
