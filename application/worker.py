"""Worker: claims jobs, runs their handlers, and ends them together with their effect."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from contextvars import Context
from datetime import timedelta
from typing import Any, TypeAlias
from uuid import UUID

from attrs import define, field, frozen

from traffic_storage.application.log_fields import fields, logged_as
from traffic_storage.domain.changes import Change
from traffic_storage.domain.errors import TrafficStorageError, Unavailable
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.jobs import (
    Cancelled,
    Claim,
    Dead,
    Done,
    JobKind,
    Postponed,
    Progress,
    Released,
    Retry,
    Run,
    RunEnd,
    Schedule,
    pause_before,
)
from traffic_storage.ports.clock import Ids
from traffic_storage.ports.errors import LeaseLost, OutcomeUnknown
from traffic_storage.ports.jobs import JobSource

logger = logging.getLogger("traffic_storage.worker")

LEASE = timedelta(seconds=30)
_POLL_SECONDS = 1.0
_SCHEDULES_SECONDS = 5.0
_AWAY = timedelta(minutes=1)


@frozen
class Outcome:
    """What a handler has done: the end of the run, and the change of the catalogue that it causes."""

    end: RunEnd = field(factory=Done)
    effect: Change | None = None


Report: TypeAlias = Callable[[Progress], None]
"""Shows how far a job has come; called by a handler."""

Handler: TypeAlias = Callable[[Run, Report], Coroutine[Any, Any, Outcome]]
"""Does the work of one kind of job. It may run again after a crash, so it is safe to repeat.

An error that is raised ends the run. `Unavailable` (of a store, of the database) postpones the job:
the run does not count as an attempt. After `GivenUp` the job is dead. After any other error the job
is tried again after a pause, if an attempt is left.
"""


class GivenUp(TrafficStorageError):
    """The job can't succeed, however often it is tried."""


@define(eq=False)
class _Working:
    """A run in progress."""

    run: Run
    progress: Progress = field(factory=Progress)
    task: "asyncio.Task[None] | None" = None
    is_lost: bool = False
    is_cancelled: bool = False
    is_ending: bool = False

    def stop(self) -> None:
        """Cancel the handler; the end of the run, once it is being recorded, is not cancelled."""
        if self.task is not None and not self.is_ending:
            self.task.cancel()


class Worker:
    """Runs at most `slots` jobs at a time. Every loop survives an unavailable database.

    `schedules` returns the schedules whose jobs the worker writes, `stores` the ids of the stores
    that it can reach; both are called again and again, because a store can come and go.

    Jobs of the kinds `numerous`, such as copies after a store was away, leave a quarter of the
    slots, at least one, to those of other kinds, whatever their priority.

    A job that meets a store or database that is away is postponed by at most `pause`.

    A lease is renewed every third of its length. A handler whose lease is lost is cancelled, so
    that two workers do not go on with one job.
    """

    def __init__(
        self,
        *,
        source: JobSource,
        ids: Ids,
        handlers: Mapping[JobKind, Handler],
        schedules: Callable[[], Sequence[Schedule]],
        stores: Callable[[], tuple[StoreId, ...]],
        slots: int,
        owner: str,
        lease: timedelta = LEASE,
        pause: timedelta = _AWAY,
        numerous: Collection[JobKind] = (),
    ) -> None:
        self._source = source
        self._ids = ids
        self._handlers = handlers
        self._schedules = schedules
        self._stores = stores
        self._slots = slots
        self._owner = owner
        self._lease = lease
        self._pause = pause
        self._numerous = frozenset(numerous)
        self._most_numerous = min(slots - 1, slots - slots // 4)
        self._working: dict[UUID, _Working] = {}
        self._has_ended = asyncio.Event()
        self._loops: list[asyncio.Task[None]] = []
        self._is_closing = False
        self._schedules_at = 0.0

    def start(self) -> None:
        """Begin to claim jobs."""
        self._loops = [
            asyncio.create_task(self._claiming(), context=Context()),
            asyncio.create_task(self._renewing(), context=Context()),
        ]

    async def drain(self) -> None:
        """Do all jobs that can be claimed now, and those that they cause; return when none is left.

        Call it instead of `start`; then call `aclose`. Schedules are left to other workers.

        Raises:
            CatalogueUnavailable: the database can't be reached.
        """
        self._loops = [asyncio.create_task(self._renewing())]
        while True:
            await self._claim_free()
            if not self._working:
                return
            tasks = [one.task for one in self._working.values() if one.task is not None]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)

    async def aclose(self) -> None:
        """Stop to claim jobs, cancel the running handlers, and give their jobs back."""
        self._is_closing = True
        loops, self._loops = self._loops, []
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        working = list(self._working.values())
        for one in working:
            one.stop()
        await asyncio.gather(*(one.task for one in working if one.task), return_exceptions=True)

    async def _claiming(self) -> None:
        while True:
            try:
                await self._claim()
            except TrafficStorageError as error:
                logger.warning("no job can be claimed now; this is tried again: %s", str(error))
                await asyncio.sleep(_POLL_SECONDS)
            except Exception:
                logger.exception("claiming jobs failed; this is tried again")
                await asyncio.sleep(_POLL_SECONDS)

    async def _claim(self) -> None:
        await self._write_due()
        if await self._claim_free():
            await self._a_slot()
        else:
            await self._source.wait_for_jobs(_POLL_SECONDS)

    async def _claim_free(self) -> bool:
        """Claim and begin jobs if it is worth a claim; return whether there may be more of them."""
        kinds, limit = self._wanted()
        if not limit:
            return False
        claim = Claim(self._ids.uuid7(), self._owner, kinds, limit, self._lease, self._stores())
        runs = await self._source.claim(claim)
        for run in runs:
            self._begin(run)
        return len(runs) == limit

    def _wanted(self) -> tuple[tuple[JobKind, ...], int]:
        """Return which jobs are to be claimed now, and how many at most."""
        free = self._slots - len(self._working)
        running = sum(one.run.kind in self._numerous for one in self._working.values())
        left = self._most_numerous - running
        others = tuple(kind for kind in self._handlers if kind not in self._numerous)
        if self._numerous and not left:
            return others, free
        # One claim for several jobs costs as much as for one. What is kept for others is not awaited.
        if 2 * free < self._slots:
            return (others, free) if running and free else ((), 0)
        return tuple(self._handlers), min(free, left) if self._numerous else free

    async def _write_due(self) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._schedules_at:
            due = self._schedules()
            await self._source.write_due({self._ids.uuid7(): schedule for schedule in due})
            shortest = min((schedule.every.total_seconds() for schedule in due), default=1.0)
            self._schedules_at = now + min(shortest, _SCHEDULES_SECONDS)

    def _begin(self, run: Run) -> None:
        working = self._working[run.job_id] = _Working(run)
        working.task = asyncio.create_task(self._work(working))

    async def _a_slot(self) -> None:
        self._has_ended.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(_POLL_SECONDS):
                await self._has_ended.wait()

    async def _work(self, working: _Working) -> None:
        with logged_as(job_id=str(working.run.job_id), job_kind=working.run.kind):
            await self._work_as_job(working)

    async def _work_as_job(self, working: _Working) -> None:
        try:
            outcome = await self._outcome(working)
            working.is_ending = True
            if outcome is not None:
                await self._finish(working.run, outcome)
        finally:
            del self._working[working.run.job_id]
            self._has_ended.set()

    async def _outcome(self, working: _Working) -> Outcome | None:
        """Run the handler; None if the lease was lost."""
        run = working.run

        def report(progress: Progress) -> None:
            working.progress = progress

        try:
            return await self._handlers[run.kind](run, report)
        except asyncio.CancelledError:
            if working.is_lost:
                logger.warning("the job %s %s was taken from this worker", run.kind, run.job_id)
                return None
            return Outcome(Cancelled() if working.is_cancelled else Released())
        except GivenUp as error:
            return Outcome(Dead(str(error)))
        except Unavailable as error:
            logger.warning("the job %s %s is postponed: %s", run.kind, run.job_id, str(error))
            return Outcome(Postponed(str(error), self._pause * (1 - self._chance() / 2)))
        except TrafficStorageError as error:
            logger.warning("the job %s %s failed: %s", run.kind, run.job_id, str(error))
            return Outcome(self._retry(run, str(error)))
        except Exception as error:
            logger.exception("the job %s %s failed", run.kind, run.job_id)
            return Outcome(self._retry(run, f"{type(error).__name__}: {error}"))

    async def _finish(self, run: Run, outcome: Outcome) -> None:
        """End a run; repeat this until it has happened or the lease is lost."""
        while True:
            try:
                await self._source.finish(run, outcome.end, outcome.effect)
                end = type(outcome.end).__name__.lower()
                told = fields(end=end, attempt=run.attempt)
                logger.info("the job %s %s ended: %s", run.kind, run.job_id, end, extra=told)
                return
            except LeaseLost as error:
                logger.warning("the end of the job %s is not recorded: %s", run.kind, str(error))
                return
            except (Unavailable, OutcomeUnknown) as error:
                logger.warning("the end of the job %s can't be recorded: %s", run.kind, str(error))
                if self._is_closing:
                    # The lease passes, and the job runs again.
                    return
                await asyncio.sleep(_POLL_SECONDS)
            except TrafficStorageError as error:
                outcome = Outcome(self._retry(run, str(error)))

    async def _renewing(self) -> None:
        while True:
            await asyncio.sleep(self._lease.total_seconds() / 3)
            try:
                await self._renew()
            except TrafficStorageError as error:
                logger.warning("the leases of jobs can't be renewed now: %s", str(error))
            except Exception:
                logger.exception("renewing the leases of jobs failed")

    async def _renew(self) -> None:
        claims: defaultdict[UUID, dict[UUID, Progress]] = defaultdict(dict)
        for job_id, working in self._working.items():
            claims[working.run.lease_id][job_id] = working.progress
        for lease_id, progress in claims.items():
            renewal = await self._source.renew(progress, lease_id, self._lease)
            for job_id in renewal.lost | renewal.cancelling:
                if (stopped := self._working.get(job_id)) is not None:
                    stopped.is_lost = job_id in renewal.lost
                    stopped.is_cancelled = job_id in renewal.cancelling
                    stopped.stop()

    def _retry(self, run: Run, error: str) -> Retry:
        return Retry(error, pause_before(run.attempt, self._chance()))

    def _chance(self) -> float:
        """Return a random number in [0, 1), which spreads jobs that failed together."""
        return (self._ids.uuid7().int % 2**32) / 2**32
