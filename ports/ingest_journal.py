"""IngestJournal: which keys an attempt to store may have written, until it is committed or undone.

Each call is one transaction, durable before it returns.

Errors of all methods:
    CatalogueUnavailable: the database can't be reached or did not answer in time.
    StorageFull: it has no room to write.
"""

from abc import abstractmethod
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from traffic_storage.domain.identifiers import AttemptId
from traffic_storage.domain.ingest import Attempt, ClaimedIds, ExistingRows


class IngestJournal(Protocol):
    """What storing and its recovery need. A commit (`CommitUnit`) ends an attempt."""

    @abstractmethod
    async def begin(self, attempt: Attempt, ids: ClaimedIds) -> ExistingRows:
        """Enter an attempt before any byte is published, and return which ids are taken.

        The attempt is entered even when ids are taken: a caller that writes nothing must call
        `forget`. Safe to repeat with the same attempt.
        """

    @abstractmethod
    async def condemn(self, now: datetime, limit: int = 100) -> Sequence[Attempt]:
        """Condemn attempts whose deadline has passed, by compare-and-set; oldest first.

        A condemned attempt can't commit. It is returned by every call until it is forgotten, so
        that an undo which failed half-way is repeated.
        """

    @abstractmethod
    async def forget(self, attempt: AttemptId) -> None:
        """Remove an attempt whose keys are deleted. An attempt that is absent is a success."""
