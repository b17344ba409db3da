"""SyncBackends: makes the copies that are due now, moves what must leave local disk, and says so."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from attrs import define, evolve, frozen

from traffic_storage.application.live_jobs import live_jobs
from traffic_storage.application.spill import Spill, Spilled
from traffic_storage.application.stores import Stores
from traffic_storage.application.worker import Worker
from traffic_storage.domain.changes import Change
from traffic_storage.domain.copies import (
    COPY,
    MOVE,
    RELEASE,
    REMOVE_BLOB,
    AddReplica,
    ReleaseReplica,
)
from traffic_storage.domain.files import Tier
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.jobs import (
    Cancelled,
    Claim,
    Dead,
    Done,
    JobKind,
    Progress,
    Renewal,
    Retry,
    Run,
    RunEnd,
    Schedule,
)
from traffic_storage.ports.jobs import JobQueue, JobSource

SYNC_KINDS: Sequence[JobKind] = (COPY, MOVE, RELEASE)


@frozen
class Synchronised:
    """What one synchronisation has done.

    Attributes:
        copied: files that got a further copy.
        moved: files that left a store after they were copied to another one.
        failed: failed tries; each is repeated later, up to the limit of tries of its job.
        bytes: bytes that were copied.
        remaining: files that are still to be copied or moved.
    """

    copied: int = 0
    moved: int = 0
    failed: int = 0
    bytes: int = 0
    remaining: int = 0


class SyncBackends:
    """Does the jobs of copies that can be done now, in the calling process.

    `worker` makes a worker that does them. What other workers do at the same time is not counted.
    """

    def __init__(
        self,
        *,
        stores: Stores,
        spill: Spill,
        queue: JobQueue,
        source: JobSource,
        worker: Callable[[JobSource], Worker],
    ) -> None:
        self._stores = stores
        self._spill = spill
        self._queue = queue
        self._source = source
        self._worker = worker

    async def __call__(self, report: Callable[[Progress], None] | None = None) -> Synchronised:
        """Copy and move what is due now. `report` is called after each file.

        No more jobs are done than there are at the beginning, besides those that they cause: the
        call returns although files are stored faster than they are copied.

        A copy to or from a store that is away waits, and counts as remaining.

        Raises:
            CatalogueUnavailable: the database can't be reached.
        """
        for store_id in self._local_stores():
            await self._spill(store_id)
        total, _ = await self._remaining()
        counting = _CountingSource(self._source, total, report, await self._live())
        worker = self._worker(counting)
        try:
            await worker.drain()
        finally:
            await worker.aclose()
        remaining, _ = await self._remaining()
        return evolve(counting.done, remaining=remaining)

    async def plan(self) -> Synchronised:
        """Return what is to be done, as `remaining`, with the bytes to copy; change nothing."""
        spilled = Spilled()
        for store_id in self._local_stores():
            more = await self._spill(store_id, dry_run=True)
            spilled = Spilled(spilled.files + more.files, spilled.bytes + more.bytes)
        files, size_bytes = await self._remaining()
        return Synchronised(remaining=files + spilled.files, bytes=size_bytes + spilled.bytes)

    def _local_stores(self) -> Sequence[StoreId]:
        return [
            bound.store_id
            for bound in self._stores
            if bound.store.tier is Tier.LOCAL and bound.trusted and bound.store_id is not None
        ]

    async def _live(self) -> int:
        """Return how many jobs of copies there are."""
        count = 0
        async for _ in live_jobs(self._queue, (*SYNC_KINDS, REMOVE_BLOB)):
            count += 1
        return count

    async def _remaining(self) -> tuple[int, int]:
        """Return how many files are still to be copied or moved, and how many bytes to copy."""
        files = size_bytes = 0
        async for job in live_jobs(self._queue, SYNC_KINDS):
            files += 1
            size_bytes += 0 if job.kind == RELEASE else int(str(job.arguments["bytes"]))
        return files, size_bytes


@define
class _CountingSource(JobSource):
    """Forwards all calls to `inner`, and counts what ended.

    At most `left` jobs are handed out, and those that they cause.
    """

    inner: JobSource
    total: int
    report: Callable[[Progress], None] | None
    left: int
    done: Synchronised = Synchronised()

    async def claim(self, claim: Claim) -> Sequence[Run]:
        if not self.left:
            return ()
        runs = await self.inner.claim(evolve(claim, limit=min(claim.limit, self.left)))
        self.left -= len(runs)
        return runs

    async def renew(
        self, runs: Mapping[UUID, Progress], lease_id: UUID, lease: timedelta
    ) -> Renewal:
        return await self.inner.renew(runs, lease_id, lease)

    async def finish(self, run: Run, end: RunEnd, effect: Change | None = None) -> None:
        await self.inner.finish(run, end, effect)
        if not isinstance(end, Done | Dead | Cancelled):
            self.left += 1  # The job is still there, and may be claimed again.
        if isinstance(effect, AddReplica | ReleaseReplica):
            self.left += len(effect.jobs)
        self.done = _counted(self.done, run, end, effect)
        if self.report is not None:
            files = self.done.copied + self.done.moved
            self.report(Progress(files, max(files, self.total), self.done.bytes))

    async def write_due(self, schedules: Mapping[UUID, Schedule]) -> int:
        return await self.inner.write_due(schedules)

    async def forget_jobs(self, before: datetime, limit: int) -> None:
        await self.inner.forget_jobs(before, limit)

    async def wait_for_jobs(self, seconds: float) -> None:
        await self.inner.wait_for_jobs(seconds)


def _counted(done: Synchronised, run: Run, end: RunEnd, effect: Change | None) -> Synchronised:
    if isinstance(end, Retry | Dead):
        return evolve(done, failed=done.failed + 1)
    if isinstance(effect, AddReplica):
        size_bytes = done.bytes + int(str(run.arguments["bytes"]))
        return evolve(done, copied=done.copied + (run.kind == COPY), bytes=size_bytes)
    return evolve(done, moved=done.moved + isinstance(effect, ReleaseReplica))
