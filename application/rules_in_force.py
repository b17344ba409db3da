"""The retention rules in force: read from the catalogue, entered at the first start, changed."""

import logging
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from attrs import evolve

from traffic_storage.application.export_journal import ExportJournal
from traffic_storage.application.worker import GivenUp, Outcome, Report
from traffic_storage.domain.canonical import Json, canonical_json, parse_json_object
from traffic_storage.domain.errors import InvalidInput, NotFound
from traffic_storage.domain.files import FileKind, StoredFile
from traffic_storage.domain.identifiers import ViolationId
from traffic_storage.domain.jobs import Done, JobKind, NewJob, Progress, Run
from traffic_storage.domain.retention import CaptureBounds, RetentionPolicy
from traffic_storage.domain.retention_rules import GivenRules, RetentionRule, RuleSet
from traffic_storage.domain.rules_in_force import (
    EnterRules,
    Regranted,
    RetainedFile,
    RulesEffect,
    RulesRevision,
    StagedRules,
    StageRules,
    StaleRules,
    effect_on,
    regranted,
    retained_file,
)
from traffic_storage.domain.rules_json import given_rules_in, json_of
from traffic_storage.ports.catalogue import Catalogue
from traffic_storage.ports.changes import Changes
from traffic_storage.ports.clock import Clock, Ids
from traffic_storage.ports.holds import Holds
from traffic_storage.ports.retention import Position, RetentionRecords

logger = logging.getLogger("traffic_storage.retention")

RECOMPUTE = JobKind("recompute-retention")
STAGE = JobKind("stage-retention-rules")
REFRESH = timedelta(seconds=10)
"""For how long a process may still store files by rules that were changed."""

FIRST = Position(datetime(1970, 1, 1, tzinfo=UTC))


async def lengthened(
    files: Collection[StoredFile], rules: RuleSet, catalogue: Catalogue
) -> tuple[Regranted, ...]:
    """Return what these rules grant those of the files that they keep longer than is recorded.

    Raises:
        CatalogueUnavailable: the database can't be reached.
    """
    types: dict[ViolationId | None, str] = {}
    for violation_id in {file.violation_id for file in files}:
        if violation_id and (violation := await catalogue.violation(violation_id)):
            types[violation_id] = violation.record.violation_type
    changes = (
        regranted(retained_file(file, types.get(file.violation_id)), rules) for file in files
    )
    return tuple(one for one in changes if one is not None and one.keep_until > one.was)


class RulesInForce:
    """The retention rules that are in force.

    The catalogue holds them. The first rules of a catalogue are the `configured` ones: the default
    rules, whose periods are settings, and those of the file `retention_rules_file`. Later the
    settings and the file have an effect only by a staged change, so that no edit of them makes
    stored files due.
    """

    def __init__(
        self,
        *,
        records: RetentionRecords,
        changes: Changes,
        catalogue: Catalogue,
        clock: Clock,
        configured: RuleSet,
        bounds: CaptureBounds,
    ) -> None:
        self._records = records
        self._changes = changes
        self._catalogue = catalogue
        self._clock = clock
        self._configured = configured
        self._bounds = bounds
        self._known: RulesRevision | None = None
        self._read_at: datetime | None = None

    @property
    def configured(self) -> RuleSet:
        """The rules that the settings and the file describe, whether they are in force or not."""
        return self._configured

    async def current(self) -> RulesRevision:
        """Return the rules in force now."""
        now = self._clock.now()
        found = await self._records.rules_in_force()
        if found is None:
            first = RulesRevision(1, self._configured, now, "settings", "the first rules")
            await self._changes.apply(EnterRules(first))
            # Another process may have been first.
            found = await self._records.rules_in_force() or first
        # Rules that somebody entered are meant to differ from the settings.
        if self._known is None and found.change_id is None and found.rules != self._configured:
            logger.warning(
                "the retention rules in force (revision %d) differ from the settings and "
                "retention_rules_file; `traffic-storage retention rules stage` shows the difference",
                found.revision,
            )
        self._known, self._read_at = found, now
        return found

    async def policy(self) -> RetentionPolicy:
        """Return what determines the retention of a new file; the rules may be 10 seconds old."""
        known, read_at = self._known, self._read_at
        age = None if read_at is None else self._clock.now() - read_at
        if known is None or age is None or not timedelta(0) <= age < REFRESH:
            known = await self.current()
        return RetentionPolicy(known.rules, self._bounds)

    async def type_of(self, violation_id: str | None, rules: RuleSet) -> str | None:
        """Return the type of a violation, if a rule needs it; None if it is not known."""
        if violation_id is None or not rules.needs_violation_type:
            return None
        found = await self._catalogue.violation(ViolationId(violation_id))
        return found.record.violation_type if found else None


class ChangeRules:
    """Changes the retention rules in two steps: stage a change, look at its effect, enter it."""

    def __init__(
        self,
        *,
        in_force: RulesInForce,
        records: RetentionRecords,
        holds: Holds,
        changes: Changes,
        journal: ExportJournal,
        clock: Clock,
        ids: Ids,
        defaults: Sequence[RetentionRule],
    ) -> None:
        self._in_force = in_force
        self._records = records
        self._changes = changes
        self._journal = journal
        self._clock = clock
        self._ids = ids
        self._holds = holds
        self._defaults = defaults

    async def stage(
        self,
        given: GivenRules,
        *,
        by: str,
        reason: str,
        report: Report = lambda _: None,
    ) -> tuple[StagedRules, RulesRevision]:
        """Count what these rules, with the default rules, would do; change nothing.

        They replace all rules in force, which are returned too. Every available file is looked at,
        in batches.

        Raises:
            InvalidInput: the rules are wrong.
        """
        staged, current = await self._counted(given, by, reason, report)
        await self._changes.apply(StageRules(staged))
        return staged, current

    def check(self, given: GivenRules) -> RuleSet:
        """Return these rules together with the default rules.

        Raises:
            InvalidInput: the rules are wrong.
        """
        return given.with_defaults(self._defaults)

    async def staged(self, change_id: UUID) -> tuple[StagedRules, RulesRevision]:
        """Return a staged change, and the rules in force now.

        Raises:
            NotFound: there is no such change.
        """
        staged = await self._records.staged_rules(change_id)
        if staged is None:
            raise NotFound("staged change", str(change_id))
        return staged, await self._in_force.current()

    async def run(self, run: Run, report: Report) -> Outcome:
        """Do a job of the kind `STAGE`. The staged change has the id of the job."""
        arguments = run.arguments
        by, reason = str(arguments["by"]), str(arguments["reason"])
        try:
            given = given_rules_in(parse_json_object(str(arguments["rules"]), "rules"))
            staged, _ = await self._counted(given, by, reason, report, run.job_id)
        except InvalidInput as error:
            raise GivenUp(str(error)) from error
        effect = staged.effect
        done = Progress(effect.files, effect.files, effect.due_bytes, effect.in_words())
        return Outcome(Done(done), StageRules(staged))

    async def _counted(
        self,
        given: GivenRules,
        by: str,
        reason: str,
        report: Report,
        change_id: UUID | None = None,
    ) -> tuple[StagedRules, RulesRevision]:
        rules = self.check(given)
        current = await self._in_force.current()
        now = self._clock.now()
        effect = RulesEffect()
        async for batch in all_retained(self._records):
            of_batch, due = effect_on(batch, rules, now)
            held = await self._holds.held(due, now)
            effect += evolve(of_batch, due_held=len(held))
            report(Progress(effect.files, message=f"{effect.due} due"))
        change_id = change_id or self._ids.uuid7()
        return StagedRules(change_id, current.revision, rules, effect, now, by, reason), current

    async def enter(self, change_id: UUID, *, by: str) -> RulesRevision:
        """Put the rules of a staged change in force; a job recomputes the files. Safe to repeat.

        Raises:
            NotFound: there is no such change.
            StaleRules: other rules were entered since it was staged, or it is a day old.
        """
        staged, current = await self.staged(change_id)
        if current.change_id == change_id:
            return current
        now = self._clock.now()
        staged.check_current(current, now)
        entered = RulesRevision(
            current.revision + 1, staged.rules, now, by, staged.reason, change_id
        )
        jobs = (recomputation(self._ids.uuid7(), entered.revision),)
        await self._changes.apply(EnterRules(entered, jobs))
        await self._journal.everywhere()
        current = await self._in_force.current()
        if current.change_id != change_id:
            raise StaleRules(f"other rules were entered while {change_id} was being entered")
        return current


def staging(given: GivenRules, by: str, reason: str) -> tuple[JobKind, Mapping[str, Json]]:
    """Return the kind and the arguments of the job that stages these rules."""
    rules = canonical_json(dict(json_of(given)), "rules").decode()
    return STAGE, {"rules": rules, "by": by, "reason": reason}


def recomputation(job_id: UUID, revision: int) -> NewJob:
    """Return the job that recomputes all files by the rules with this number."""
    return NewJob(job_id, RECOMPUTE, {"revision": revision})


async def all_retained(records: RetentionRecords) -> AsyncIterator[Sequence[RetainedFile]]:
    """Yield all available files in batches, kind by kind."""
    for kind in FileKind:
        after = FIRST
        while batch := await records.retained_files(kind, after):
            yield batch
            after = Position(batch[-1].created_at, batch[-1].file_id)
