"""Jobs that recompute until when files are kept, after the rules or what they ask about changed."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from attrs import evolve, frozen

from traffic_storage.application.rules_in_force import FIRST, RECOMPUTE, RulesInForce
from traffic_storage.application.worker import Outcome, Report
from traffic_storage.domain.canonical import Json
from traffic_storage.domain.files import FileKind
from traffic_storage.domain.identifiers import FileId, ViolationId
from traffic_storage.domain.jobs import Done, JobKind, NewJob, Progress, Run
from traffic_storage.domain.retention_rules import RuleSet
from traffic_storage.domain.rules_in_force import (
    Regrant,
    RetainedFile,
    RulesRevision,
    regranted,
    retained_file,
)
from traffic_storage.ports.catalogue import Catalogue
from traffic_storage.ports.changes import Changes
from traffic_storage.ports.clock import Ids
from traffic_storage.ports.retention import Position, RetentionRecords

RECOMPUTE_VIOLATION = JobKind("recompute-retention-of-violation")
_BATCHES_A_JOB = 20
_MARGIN = timedelta(days=1)
_KINDS = tuple(FileKind)


@frozen
class _Walk:
    """How far a walk over all files has come; the arguments of its next job.

    `is_last` is whether it is the second walk, which meets what was stored by the old rules while
    the first one ran.
    """

    revision: int
    kind: FileKind = _KINDS[0]
    after: Position = FIRST
    since: Position = FIRST
    done: int = 0
    is_last: bool = False

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> "_Walk":
        """Return the walk that the arguments of a job describe."""
        if "kind" not in arguments:
            return cls(arguments["revision"])
        return cls(
            arguments["revision"],
            FileKind(arguments["kind"]),
            Position(datetime.fromisoformat(arguments["at"]), FileId(arguments["file_id"])),
            Position(datetime.fromisoformat(arguments["since"])),
            arguments["done"],
            arguments["is_last"],
        )

    def arguments(self) -> Mapping[str, Json]:
        """Return the arguments of the job that continues the walk."""
        return {
            "revision": self.revision,
            "kind": self.kind,
            "at": self.after.at.isoformat(),
            "file_id": self.after.file_id,
            "since": self.since.at.isoformat(),
            "done": self.done,
            "is_last": self.is_last,
        }

    def behind(self, batch: Sequence[RetainedFile]) -> "_Walk":
        """Return the walk after a batch of files."""
        last = batch[-1]
        return evolve(
            self, after=Position(last.created_at, last.file_id), done=self.done + len(batch)
        )

    def next_kind(self) -> "_Walk | None":
        """Return the walk at the first file of the next kind; None after the last kind."""
        place = _KINDS.index(self.kind) + 1
        if place == len(_KINDS):
            return None
        return evolve(self, kind=_KINDS[place], after=self.since)


class RecomputeRetention:
    """Records until when each file is kept under the rules in force.

    A walk over all files is a chain of short jobs: each ends with the change of its last batch and
    the job that continues behind it, in one transaction. So a crash repeats at most a few batches.
    A second walk, after `settle`, meets the files that other processes stored by the old rules while
    the first one passed.
    """

    def __init__(
        self,
        *,
        in_force: RulesInForce,
        records: RetentionRecords,
        changes: Changes,
        catalogue: Catalogue,
        ids: Ids,
        settle: timedelta,
    ) -> None:
        self._in_force = in_force
        self._records = records
        self._changes = changes
        self._catalogue = catalogue
        self._ids = ids
        self._settle = settle

    async def run(self, run: Run, report: Report) -> Outcome:
        """Do a job of the kind `RECOMPUTE`."""
        walk: _Walk | None = _Walk.of(run.arguments)
        assert walk is not None  # noqa: S101 - narrows the type
        entered = await self._in_force.current()
        if entered.revision != walk.revision:
            return Outcome(Done(Progress(walk.done, message="other rules were entered since")))
        change = Regrant(())
        for _ in range(_BATCHES_A_JOB):
            await self._changes.apply(change)
            batch = await self._records.retained_files(walk.kind, walk.after)
            change = _changed(batch, entered.rules)
            following = walk.behind(batch) if batch else walk.next_kind()
            if following is None:
                return self._ended(walk, entered)
            walk = following
            report(Progress(walk.done, message=walk.kind))
        return Outcome(
            Done(Progress(walk.done, message=walk.kind)),
            evolve(change, jobs=(self._job(walk),)),
        )

    async def run_of_violation(self, run: Run, _report: Report) -> Outcome:
        """Do a job of the kind `RECOMPUTE_VIOLATION`: files that came before their violation."""
        violation_id = ViolationId(str(run.arguments["violation_id"]))
        entered = await self._in_force.current()
        files = await self._catalogue.files_of(violation_id)
        violation = await self._catalogue.violation(violation_id)
        known = violation.record.violation_type if violation else None
        retained = [retained_file(file, known) for file in files]
        return Outcome(Done(Progress(len(files))), _changed(retained, entered.rules))

    def _ended(self, walk: _Walk, entered: RulesRevision) -> Outcome:
        done = Done(Progress(walk.done))
        if walk.is_last:
            return Outcome(done)
        since = Position(entered.entered_at - self._settle - _MARGIN)
        again = _Walk(walk.revision, after=since, since=since, is_last=True)
        return Outcome(done, Regrant((), (self._job(again, self._settle),)))

    def _job(self, walk: _Walk, delay: timedelta = timedelta(0)) -> NewJob:
        return NewJob(self._ids.uuid7(), RECOMPUTE, walk.arguments(), delay=delay)


def recomputation_of(job_id: UUID, violation_id: ViolationId) -> NewJob:
    """Return the job that recomputes the files of a violation whose type has become known."""
    return NewJob(
        job_id,
        RECOMPUTE_VIOLATION,
        {"violation_id": violation_id},
        key=f"{RECOMPUTE_VIOLATION}:{violation_id}",
    )


def _changed(batch: Sequence[RetainedFile], rules: RuleSet) -> Regrant:
    changes = (regranted(file, rules) for file in batch)
    return Regrant(tuple(change for change in changes if change))
