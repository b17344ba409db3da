"""IngestJournal: the blob keys that an unfinished store operation may have written.

An attempt is one try to store a file, or a violation with its files; its journal entry exists until
it is committed or undone. Recovery (the undoing of interrupted attempts) first condemns an attempt
whose deadline has passed: it can no longer commit.

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
    """The entries of attempts (tries to store something) that are neither committed nor undone.

    The changes `CommitUnit` and `CommitUnits` remove the entry of their attempt.
    """

    @abstractmethod
    async def begin(self, attempt: Attempt, ids: ClaimedIds) -> ExistingRows:
        """Enter a try to store something (attempt), and return the existing rows under `ids`.

        Call it before any byte is published. The entry is made even when ids are taken: a caller
        that then writes nothing must call `forget`. Safe to repeat with the same attempt.
        """

    @abstractmethod
    async def condemn(self, now: datetime, limit: int = 100) -> Sequence[Attempt]:
        """Mark the attempts (tries to store) with a deadline up to `now`, so that they can't commit.

        Each is marked by compare-and-set. Returns at most `limit` marked attempts, oldest first.
        Every call returns an attempt again until `forget` removes it, so that a failed undo is
        repeated.
        """

    @abstractmethod
    async def forget(self, attempt: AttemptId) -> None:
        """Remove the entry of a try to store (attempt) whose blobs are deleted, if it exists."""
