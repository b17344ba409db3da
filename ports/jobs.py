"""Jobs: the queue for those who cause and watch work, and the source for the workers that do it.

The database's clock decides when a job is due and when a lease has passed, never a worker's.

Errors of all methods:
    CatalogueUnavailable: the database can't be reached or did not answer in time.
    OutcomeUnknown: the outcome of a write could not be looked up; repeating the call is safe.
    StorageFull: the database has no space to write.
"""

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from traffic_storage.domain.changes import Change
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.jobs import (
    Claim,
    Job,
    JobKind,
    NewJob,
    Progress,
    Renewal,
    Run,
    RunEnd,
    Schedule,
)
from traffic_storage.domain.query import MAX_LIMIT, Cursor, JobsQuery, Page


class JobQueue(Protocol):
    """The jobs, for those who cause work and for operators."""

    @abstractmethod
    async def enqueue(self, jobs: Sequence[NewJob]) -> None:
        """Write jobs. One whose id exists, or whose key a live job has, is left out.

        A job that a change of the catalogue causes is written with the change (`Change.jobs`).
        """

    @abstractmethod
    async def cancel_job(self, job_id: UUID) -> bool:
        """Cancel a job that is ready; ask the worker of a running one to end it.

        Return whether the job was live.
        """

    @abstractmethod
    async def requeue_job(self, job_id: UUID) -> bool:
        """Make a dead or cancelled job ready again, with all its attempts.

        Return False, and change nothing, if the job is neither, or if a live job has its key.
        """

    @abstractmethod
    async def job(self, job_id: UUID) -> Job | None:
        """Return a job; None if it does not exist (any more)."""

    @abstractmethod
    async def jobs(self, query: JobsQuery) -> Page[Job]:
        """Return a page of jobs, the newest first."""

    @abstractmethod
    async def live_jobs(
        self, kind: JobKind, after: Cursor | None = None, limit: int = MAX_LIMIT
    ) -> Page[Job]:
        """Return a page of the jobs of a kind that are ready or running, the oldest first.

        A job that is live while all pages are read is on one of them, whatever its state changes to
        and back. The cost does not depend on the number of jobs that have ended.
        """

    @abstractmethod
    async def retarget(
        self,
        store_id: StoreId,
        kept: Collection[StoreId],
        target_id: StoreId,
        limit: int = MAX_LIMIT,
    ) -> bool:
        """Let jobs that wait for a cloud store outside of `kept` need the store `target_id` instead.

        These are the ready jobs whose first store is `store_id` and whose second one is a registered
        store of the cloud that is not in `kept`. At most `limit` are changed; their arguments and
        keys stay. Return whether there may be more. The cost depends on the number of registered
        stores, not on that of jobs.
        """


class JobSource(Protocol):
    """The jobs, for a worker."""

    @abstractmethod
    async def claim(self, claim: Claim) -> Sequence[Run]:
        """Claim ready jobs that are due, those with a higher priority first.

        Of those that need the same stores the oldest come first. A job waits, without an attempt,
        while a store that it needs is not among `claim.stores`; jobs that wait cost nothing.

        Before that, jobs whose lease has passed are taken back: they are ready again, or dead if
        they have no attempt left. Concurrent calls claim different jobs.
        """

    @abstractmethod
    async def renew(
        self, runs: Mapping[UUID, Progress], lease_id: UUID, lease: timedelta
    ) -> Renewal:
        """Extend the lease of these jobs, which one claim has returned, and record their progress."""

    @abstractmethod
    async def finish(self, run: Run, end: RunEnd, effect: Change | None = None) -> None:
        """End a run and apply its effect on the catalogue, in one transaction. Safe to repeat.

        Raises:
            LeaseLost: the lease has passed and the job was taken back, or it has ended otherwise;
                neither the end nor the effect happened.
            Errors of `Changes.apply` for the effect: nothing happened; the run has not ended.
        """

    @abstractmethod
    async def write_due(self, schedules: Mapping[UUID, Schedule]) -> int:
        """Write a job for each schedule whose current slot has none; return the number of jobs.

        The keys are the ids that the jobs get.
        """

    @abstractmethod
    async def forget_jobs(self, before: datetime, limit: int) -> None:
        """Delete jobs that ended before this time, the oldest first, at most `limit`."""

    @abstractmethod
    async def wait_for_jobs(self, seconds: float) -> None:
        """Return when a job may have become ready, or after this time."""
