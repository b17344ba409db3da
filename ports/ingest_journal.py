"""IngestJournal: the keys that an attempt may have written, until it is committed or undone.

An attempt is one try to store a unit (a file, or a violation with its files). Recovery condemns an
attempt whose deadline has passed: it can no longer commit.

Each call is one transaction, durable before it returns.

Errors of all methods:
    CatalogueUnavailable: the database can't be reached or did not answer in time.
    StorageFull: the database has no space to write.
"""

from abc import abstractmethod
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from traffic_storage.domain.identifiers import AttemptId
from traffic_storage.domain.ingest import Attempt, ClaimedIds, ExistingRows


class IngestJournal(Protocol):
    """The attempts that are neither committed nor undone. A `CommitUnit` removes its attempt."""

    @abstractmethod
    async def begin(self, attempt: Attempt, ids: ClaimedIds) -> ExistingRows:
        """Enter an attempt before any byte is published, and return the rows under the claimed ids.

        The attempt is entered even when ids are taken: a caller that writes nothing must call
        `forget`. Safe to repeat with the same attempt.
        """

    @abstractmethod
    async def condemn(self, now: datetime, limit: int = 100) -> Sequence[Attempt]:
        """Condemn attempts whose deadline has passed, by compare-and-set; oldest first.

        A condemned attempt can't commit. Every call returns it until it is forgotten, so that a
        failed undo is repeated.
        """

    @abstractmethod
    async def forget(self, attempt: AttemptId) -> None:
        """Remove an attempt whose keys are deleted. Succeeds if the attempt is absent."""
