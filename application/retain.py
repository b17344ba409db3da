"""Retain: plans what retention would delete, and applies a plan that was reviewed."""

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from attrs import define, field

from traffic_storage.application.delete_files import DeleteFiles
from traffic_storage.application.export_journal import ExportJournal
from traffic_storage.application.purge import Purge
from traffic_storage.application.rules_in_force import FIRST, RulesInForce
from traffic_storage.application.worker import GivenUp, Outcome, Report
from traffic_storage.domain.canonical import Json
from traffic_storage.domain.errors import NotFound
from traffic_storage.domain.files import OCCUPYING
from traffic_storage.domain.jobs import Done, JobKind, Progress, Run
from traffic_storage.domain.retention_plans import (
    CHANGED,
    KEPT_LONGER,
    DeletionLimits,
    DueFile,
    PlanTally,
    PlanTooLarge,
    RecordPlan,
    RetentionPlan,
    RetentionReport,
    Sorted,
    StalePlan,
    leads_violation,
)
from traffic_storage.domain.rules_in_force import Regrant, RulesRevision
from traffic_storage.ports.catalogue import Catalogue
from traffic_storage.ports.changes import Changes
from traffic_storage.ports.clock import Clock, Ids
from traffic_storage.ports.deletions import Deletions
from traffic_storage.ports.holds import Holds
from traffic_storage.ports.retention import Position, RetentionRecords

logger = logging.getLogger("traffic_storage.retention")

APPLY_RETENTION = JobKind("apply-retention")


def unseen(_: Progress) -> None:
    """Show no progress."""


@define
class _Tally:
    """Sums of an application of a plan that is running."""

    files: int = 0
    violations: int = 0
    local_files: int = 0
    cloud_files: int = 0
    bytes: int = 0
    held: int = 0
    skipped: dict[str, int] = field(factory=dict)

    def add_deleted(self, file: DueFile) -> None:
        self.files += 1
        self.violations += leads_violation(file.retained)
        self.local_files += file.local_copies > 0
        self.cloud_files += file.cloud_copies > 0
        self.bytes += file.bytes

    def skip(self, reason: str, files: int) -> None:
        if files:
            self.skipped[reason] = self.skipped.get(reason, 0) + files


class Retain:
    """Deletes files whose retention has ended: plan, review, apply.

    Errors of all methods:
        CatalogueUnavailable: the database can't be reached.
    """

    def __init__(
        self,
        *,
        in_force: RulesInForce,
        records: RetentionRecords,
        catalogue: Catalogue,
        deletions: Deletions,
        holds: Holds,
        changes: Changes,
        delete: DeleteFiles,
        purge: Purge,
        journal: ExportJournal,
        clock: Clock,
        ids: Ids,
        limits: DeletionLimits,
        grace: timedelta,
    ) -> None:
        self._in_force = in_force
        self._records = records
        self._catalogue = catalogue
        self._deletions = deletions
        self._holds = holds
        self._changes = changes
        self._delete = delete
        self._purge = purge
        self._journal = journal
        self._clock = clock
        self._ids = ids
        self._limits = limits
        self._grace = grace

    async def plan(self, *, by: str, report: Report = unseen) -> RetentionPlan:
        """Count what is due now; delete nothing. The cost depends on what is due, not on all files."""
        entered = await self._in_force.current()
        plan = RetentionPlan(self._ids.uuid7(), self._clock.now(), entered.revision, by)
        tally, seen = PlanTally(), 0
        async for batch in self._due(plan):
            tally.add(batch, Sorted.of(batch, entered.rules, plan.as_of))
            seen += len(batch)
            report(Progress(seen, message="planning"))
        usage = await self._catalogue.usage()
        available = sum(of_kind.files for of_kind in usage.files)
        plan = tally.plan(plan, available)
        await self._changes.apply(RecordPlan(plan))
        return plan

    async def find_plan(self, plan_id: UUID) -> RetentionPlan:
        """Return a plan.

        Raises:
            NotFound: there is none with this id.
        """
        plan = await self._records.retention_plan(plan_id)
        if plan is None:
            raise NotFound("retention plan", str(plan_id))
        return plan

    async def apply(
        self,
        plan_id: UUID,
        *,
        by: str,
        override_limit: bool = False,
        report: Report = unseen,
    ) -> RetentionReport:
        """Delete what is due by the cut-off of a plan, then purge what has passed its grace.

        Each file is looked at again. Repeating the call, also after a crash, goes on with what is
        left. No more than the limits of a deletion allow is deleted, even if more has become due by
        the cut-off; with `override_limit`, as many files as were planned.

        Raises:
            NotFound: there is no such plan.
            StalePlan: the rules were changed since the plan was made.
            PlanTooLarge: the plan is larger than the limits, and `override_limit` is False.
        """
        plan = await self.find_plan(plan_id)
        await self._rules_of(plan)
        if not override_limit:
            self._limits.check(plan)
        most = max(self._limits.most(plan.available), plan.files if override_limit else 0)
        tally = _Tally()
        async for batch in self._due(plan):
            entered = await self._rules_of(plan)
            await self._apply_batch(batch, plan, entered, by, tally, most)
            report(Progress(tally.files, plan.files, tally.bytes, "deleting"))
        purged = await self._purge.due()
        await self._journal.everywhere()
        logger.info("%s deleted %d files by the plan %s", by, tally.files, plan_id)
        return RetentionReport(
            plan.plan_id,
            tally.files,
            tally.violations,
            tally.local_files,
            tally.cloud_files,
            purged.bytes_freed,
            tally.bytes if self._grace else min(tally.bytes, purged.bytes_waiting),
            tally.held,
            tally.skipped,
        )

    async def policies(
        self,
        *,
        by: str,
        dry_run: bool = False,
        override_limit: bool = False,
        report: Report = unseen,
    ) -> RetentionReport:
        """Plan and apply in one call; with `dry_run`, return what this would report.

        Raises:
            PlanTooLarge: more is due than the limits allow, and `override_limit` is False.
        """
        plan = await self.plan(by=by, report=report)
        if dry_run:
            purgeable = await self._purgeable_bytes()
            if self._grace:
                return RetentionReport.expected(plan, purgeable, plan.bytes)
            return RetentionReport.expected(plan, purgeable + plan.bytes, 0)
        return await self.apply(plan.plan_id, by=by, override_limit=override_limit, report=report)

    async def run(self, run: Run, report: Report) -> Outcome:
        """Do a job of the kind `APPLY_RETENTION`.

        Raises:
            GivenUp: the plan can't be applied any more, or is too large.
        """
        try:
            found = await self.apply(
                UUID(str(run.arguments["plan_id"])),
                by=str(run.arguments["by"]),
                override_limit=bool(run.arguments["override_limit"]),
                report=report,
            )
        except (NotFound, StalePlan, PlanTooLarge) as error:
            raise GivenUp(str(error)) from error
        message = f"{found.held} held, {found.bytes_freed} bytes freed"
        return Outcome(
            Done(Progress(found.files_deleted, found.files_deleted, found.bytes_pending, message))
        )

    async def _due(self, plan: RetentionPlan) -> AsyncIterator[Sequence[DueFile]]:
        after = FIRST
        while batch := await self._records.due_files(plan.as_of, after, self._clock.now()):
            yield batch
            last = batch[-1].retained
            after = Position(last.keep_until, last.file_id)

    async def _purgeable_bytes(self) -> int:
        """Return the bytes of copies of deleted files whose grace has ended and that are not held."""
        now, after, size = self._clock.now(), None, 0
        while True:
            page = await self._deletions.due_for_purge(now, after)
            names = [one.file_id for one in page.items]
            files = await self._catalogue.files_by_id(names)
            held = await self._holds.held(names, now)
            size += sum(
                file.stored.size_bytes * sum(copy.state in OCCUPYING for copy in file.replicas)
                for name, file in files.items()
                if name not in held
            )
            if page.next is None:
                return size
            after = page.next

    async def _rules_of(self, plan: RetentionPlan) -> RulesRevision:
        entered = await self._in_force.current()
        if entered.revision != plan.revision:
            raise StalePlan(plan, entered.revision)
        return entered

    async def _apply_batch(
        self,
        batch: Sequence[DueFile],
        plan: RetentionPlan,
        entered: RulesRevision,
        by: str,
        tally: _Tally,
        most: int,
    ) -> None:
        found = Sorted.of(batch, entered.rules, plan.as_of)
        if found.longer:
            await self._changes.apply(Regrant(tuple(found.longer.values())))
            tally.skip(KEPT_LONGER, len(found.longer))
        tally.held += len(found.held)
        for rule, files in found.deletable.items():
            if tally.files + len(files) > most:
                raise PlanTooLarge(tally.files + len(files), plan.available, self._limits)
            by_id = {file.retained.file_id: file for file in files}
            done = await self._delete.batch(
                tuple(by_id), f"the retention by the rule {rule} has ended", by, rule
            )
            for file in done.deleted:
                tally.add_deleted(by_id[file.file_id])
            tally.held += len(done.held)
            tally.skip(CHANGED, len(done.kept))


def application(
    plan_id: UUID, by: str, *, override_limit: bool
) -> tuple[JobKind, Mapping[str, Json]]:
    """Return the kind and the arguments of the job that applies a plan."""
    return APPLY_RETENTION, {
        "plan_id": str(plan_id),
        "by": by,
        "override_limit": override_limit,
    }
