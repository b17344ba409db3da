"""Retention in a database: each call runs one SQL statement (`retention_statements`)."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from orjson import dumps, loads

from traffic_storage.adapters.record_repo.sql import retention_statements as statements
from traffic_storage.adapters.record_repo.sql.driver import Driver, Step, Write
from traffic_storage.adapters.record_repo.sql.rows import Row, micros, moment
from traffic_storage.adapters.record_repo.sql.statement import Args
from traffic_storage.domain.files import FileKind
from traffic_storage.domain.retention_plans import Amount, DueFile, PlanLine, RetentionPlan
from traffic_storage.domain.retention_rules import RuleSet
from traffic_storage.domain.rules_in_force import (
    Regranted,
    RetainedFile,
    RulesEffect,
    RulesRevision,
    StagedRules,
)
from traffic_storage.domain.rules_json import json_of, rule_set_in
from traffic_storage.ports.retention import Position, RetentionRecords

_KINDS = {kind.value: kind for kind in FileKind}


class SqlRetention(RetentionRecords):
    """The retention of files in the database of `driver`."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    async def rules_in_force(self) -> RulesRevision | None:
        found = await self._driver.read(statements.RULES_IN_FORCE, [()])
        return revision_of(found[0]) if found else None

    async def staged_rules(self, change_id: UUID) -> StagedRules | None:
        found = await self._driver.read(statements.CHANGE, [(change_id.bytes,)])
        return _staged_of(found[0]) if found else None

    async def retained_files(self, kind: FileKind, after: Position) -> Sequence[RetainedFile]:
        args = (kind.value, micros(after.at), after.file_id)
        return [_retained_of(row) for row in await self._driver.read(statements.RETAINED, [args])]

    async def due_files(self, as_of: datetime, after: Position, now: datetime) -> Sequence[DueFile]:
        args = (micros(as_of), micros(after.at), after.file_id, micros(now))
        return [_due_of(row) for row in await self._driver.read(statements.DUE, [args])]

    async def retention_plan(self, plan_id: UUID) -> RetentionPlan | None:
        found = await self._driver.read(statements.PLAN, [(plan_id.bytes,)])
        return _plan_of(found[0]) if found else None

    async def forget_reviews(self, before: datetime) -> None:
        row = (micros(before),)
        steps = (
            Step(statements.FORGET_CHANGES, (row,)),
            Step(statements.FORGET_PLANS, (row,)),
        )
        await self._driver.write(Write(steps))


def rules_row(entered: RulesRevision) -> Args:
    """Return the row of rules."""
    return (
        entered.revision,
        micros(entered.entered_at),
        entered.change_id.bytes if entered.change_id else None,
        entered.entered_by,
        entered.reason,
        _text(entered.rules),
    )


def change_row(staged: StagedRules) -> Args:
    """Return the row of a staged change."""
    effect = staged.effect
    counts = (
        *(effect.files, effect.lengthened, effect.shortened),
        *(effect.due, effect.due_bytes, effect.due_held),
    )
    return (
        staged.change_id.bytes,
        staged.base_revision,
        micros(staged.staged_at),
        staged.staged_by,
        staged.reason,
        dumps(counts).decode(),
        _text(staged.rules),
    )


def plan_row(plan: RetentionPlan) -> Args:
    """Return the row of a plan."""
    counts = {
        "lines": [[line.rule, line.kind, line.files, line.bytes] for line in plan.lines],
        "counts": [plan.violations, plan.local_files, plan.cloud_files, plan.available],
        "held": [plan.held.files, plan.held.bytes],
        "excluded": {why: [one.files, one.bytes] for why, one in plan.excluded.items()},
    }
    as_of = micros(plan.as_of)
    return plan.plan_id.bytes, as_of, plan.revision, plan.planned_by, dumps(counts).decode()


def regrant_row(file: Regranted) -> Args:
    """Return the arguments of the compare-and-set of a file's retention."""
    return file.file_id, micros(file.was), micros(file.keep_until), file.rule


def _text(rules: RuleSet) -> str:
    return dumps(json_of(rules)).decode()


def revision_of(row: Row) -> RulesRevision:
    """Return the rules of a row."""
    revision, entered_at, change_id, entered_by, reason, rules = row
    return RulesRevision(
        revision,
        rule_set_in(loads(rules)),
        moment(entered_at),
        entered_by,
        reason,
        None if change_id is None else UUID(bytes=change_id),
    )


def _staged_of(row: Row) -> StagedRules:
    change_id, base_revision, staged_at, staged_by, reason, effect, rules = row
    return StagedRules(
        UUID(bytes=change_id),
        base_revision,
        rule_set_in(loads(rules)),
        RulesEffect(*loads(effect)),
        moment(staged_at),
        staged_by,
        reason,
    )


def _retained_of(row: Row) -> RetainedFile:
    file_id, kind, device_id, violation_id, created_at, basis_at, keep_until, rule = row[:8]
    size_bytes, violation_type = row[8], row[-1]
    return RetainedFile(
        file_id,
        _KINDS[kind],
        device_id,
        violation_id,
        violation_type,
        moment(created_at),
        moment(basis_at),
        moment(keep_until),
        rule,
        size_bytes,
    )


def _due_of(row: Row) -> DueFile:
    local_copies, cloud_copies, is_held = row[9:12]
    return DueFile(_retained_of(row), local_copies, cloud_copies, bool(is_held))


def _plan_of(row: Row) -> RetentionPlan:
    plan_id, as_of, revision, planned_by, text = row
    found = loads(text)
    violations, local_files, cloud_files, available = found["counts"]
    return RetentionPlan(
        UUID(bytes=plan_id),
        moment(as_of),
        revision,
        planned_by,
        tuple(
            PlanLine(rule, FileKind(kind), files, size)
            for rule, kind, files, size in found["lines"]
        ),
        violations,
        local_files,
        cloud_files,
        Amount(*found["held"]),
        {why: Amount(*one) for why, one in found["excluded"].items()},
        available,
    )
