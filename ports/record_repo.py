"""RecordRepo: the catalogue. Three narrow protocols by consumer, and the union of them.

All rows of one call become visible in one transaction, durably, before the call returns.

Errors of all methods:
    CatalogueUnavailable: the database can't be reached or did not answer in time.
    StorageFull: it has no room to write.
"""

from abc import abstractmethod
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from traffic_storage.domain.files import BlobKey, ReplicaState, StoredFile, Tier
from traffic_storage.domain.identifiers import (
    AttemptId,
    CatalogueId,
    FileId,
    StoreId,
    ViolationId,
)
from traffic_storage.domain.identity import EnrolledStore
from traffic_storage.domain.ingest import Attempt, CatalogueUsage, ClaimedIds, ExistingRows, Unit
from traffic_storage.domain.query import FilesQuery, Page, ViolationQuery
from traffic_storage.domain.violation import StoredViolation


class IngestJournal(Protocol):
    """What storing and its recovery need."""

    @abstractmethod
    async def begin(self, attempt: Attempt, names: ClaimedIds) -> ExistingRows:
        """Enter an attempt before any byte is published, and say which names are taken.

        The attempt is entered even when names are taken: who then publishes nothing forgets it.
        Safe to repeat with the same attempt.
        """

    @abstractmethod
    async def commit(self, attempt: AttemptId, unit: Unit) -> None:
        """Make a unit visible whole: end the attempt, claim the names, insert all rows, count.

        The counters change in the same transaction and stay equal to a recount. A commit whose
        outcome is unclear is looked up before this returns. With `unit.completes`, the violation's
        empty `image_file_id` / `video_file_id`, and with them the paths of its record, are set
        too; files of `unit.restored` gain replicas and change in nothing else. Safe to repeat: a unit that this attempt made visible counts as committed.

        Raises (nothing is visible then, and the attempt stays):
            AttemptCondemned: recovery ended the attempt first, or a store that it names has given
                way to another, or a file that it restores is gone.
            NamesTaken: another unit has one of the names (or has completed the violation).
            OutcomeUnknown: it could not be looked up; it may have happened.
        """

    @abstractmethod
    async def condemn(self, now: datetime, limit: int = 100) -> Sequence[Attempt]:
        """Attempts whose deadline has passed, oldest first, condemned by compare-and-set.

        From then on none of them can commit. Condemned ones are given again, to whoever asks,
        until they are forgotten: so an undo that failed half-way is taken up again.
        """

    @abstractmethod
    async def forget(self, attempt: AttemptId) -> None:
        """Remove an attempt whose keys are gone. One that is not there is a success."""


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

    @abstractmethod
    async def mark(
        self,
        file_id: FileId,
        store_id: StoreId,
        key: BlobKey,
        state: ReplicaState,
        at: datetime,
    ) -> bool:
        """Note what was seen of a replica at `at`, and count accordingly.

        One that was `present` turns out `corrupt` or `missing`; one of those, `present` after all.
        Returns whether that was news (of several callers one gets True).

        Raises:
            ForbiddenTransition: `state` is none of the three.
        """


class Registry(Protocol):
    """What store identity needs."""

    @abstractmethod
    async def catalogue_id(self) -> CatalogueId:
        """The id that this catalogue was given when it was made; never changes."""

    @abstractmethod
    async def enrol(self, location: str, tier: Tier, proposed: StoreId) -> EnrolledStore:
        """The store at this location; entered under the id `proposed` if it is new.

        Concurrent calls for one location all get the same store.
        """

    @abstractmethod
    async def enrolled(self, store_id: StoreId) -> EnrolledStore | None:
        """The store with this id, or None."""

    @abstractmethod
    async def relocate(self, store_id: StoreId, location: str) -> None:
        """Note that a store, known by its marker, is found at another location now.

        An entry of that location which was never marked gives way: copies that were planned for
        it are due in this store. One that was marked, or holds files, stays, and is known by its
        marker alone.

        Raises:
            NotFound: no such store.
        """

    @abstractmethod
    async def note_marked(self, store_id: StoreId) -> None:
        """Note that the store's marker was written or seen.

        Raises:
            NotFound: no such store.
        """


class RecordRepo(IngestJournal, Catalogue, Registry, Protocol):
    """The whole catalogue, opened and closed by whoever composes it."""

    @abstractmethod
    async def upgrade(self) -> None:
        """Bring the tables to this version's form, under a lock. Safe to call by many at once.

        Raises:
            ConfigurationError: the tables are newer than this version.
        """

    @abstractmethod
    async def pending(self) -> Sequence[str]:
        """The steps that `upgrade` would take, oldest first; none where nothing is to do.

        Changes nothing, and makes nothing where there is no catalogue yet.

        Raises:
            ConfigurationError: the tables are newer than this version.
        """

    @abstractmethod
    async def ping(self) -> None:
        """Answer when the database does."""

    @abstractmethod
    async def aclose(self) -> None:
        """Free connections; running calls end first."""
