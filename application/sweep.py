"""Sweep: the periodic maintenance of the catalogue, and of the files that jobs have made."""

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from traffic_storage.application.recovery import Recover
from traffic_storage.application.worker import Outcome, Report
from traffic_storage.domain.errors import Unavailable
from traffic_storage.domain.jobs import JobKind, Run
from traffic_storage.ports.clock import Clock
from traffic_storage.ports.record_repo import RecordRepo

if TYPE_CHECKING:
    from traffic_storage.application.export_jobs import ExportJobs

logger = logging.getLogger("traffic_storage.sweep")

SWEEP = JobKind("sweep")
_MOST_FORGOTTEN = 5000


class Sweep:
    """Undoes interrupted store operations, folds the counters, forgets old jobs, events and exports.

    `exports` is called only by the job: every service has a sweep, and few have exports.
    """

    def __init__(
        self,
        *,
        recover: Recover,
        exports: "Callable[[], ExportJobs]",
        repo: RecordRepo,
        clock: Clock,
        keep_jobs: timedelta,
        keep_events: timedelta,
        keep_reviews: timedelta,
    ) -> None:
        self.recover = recover
        self._exports = exports
        self._repo = repo
        self._clock = clock
        self._keep_jobs = keep_jobs
        self._keep_events = keep_events
        self._keep_reviews = keep_reviews

    async def __call__(self) -> None:
        """Run the maintenance once. Safe to run in several processes at the same time.

        Raises:
            CatalogueUnavailable: the database can't be reached.
        """
        await self.recover()
        await self._repo.fold_counters()
        now = self._clock.now()
        await self._repo.forget_jobs(now - self._keep_jobs, _MOST_FORGOTTEN)
        await self._repo.forget_events(now - self._keep_events, _MOST_FORGOTTEN)
        await self._repo.forget_reviews(now - self._keep_reviews)

    async def _remove_exports(self) -> None:
        try:
            removed = await self._exports().remove_old()
        except Unavailable as error:
            logger.warning("old exports can't be removed now: %s", str(error))
        else:
            if removed:
                logger.info("removed %s old exports", removed)

    async def run(self, _run: Run, _report: Report) -> Outcome:
        """Do a job of the kind `SWEEP`: the maintenance, and the removal of old exports.

        A start does not remove them, because a bucket that is away would delay it.
        """
        await self()
        await self._remove_exports()
        return Outcome()
