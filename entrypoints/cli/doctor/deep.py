"""Checks of `doctor --deep`: the invariants, jobs, verification, incidents, and the time until full."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import TYPE_CHECKING

from traffic_storage.application.check_invariants import CheckBudget, InvariantCheck
from traffic_storage.domain.amounts import counted
from traffic_storage.domain.errors import TrafficStorageError
from traffic_storage.domain.incidents import IncidentsQuery
from traffic_storage.domain.jobs import JobState
from traffic_storage.domain.pressure import PressureLevel
from traffic_storage.domain.query import MAX_LIMIT, JobsQuery
from traffic_storage.entrypoints.cli.doctor.finding import Finding, noted, ok, problem

if TYPE_CHECKING:
    from traffic_storage.application.watch_pressure import StorePressure
    from traffic_storage.entrypoints.container import Container

_OVERDUE = timedelta(minutes=10)
_LONG = timedelta(days=365)
_A_DAY = timedelta(days=1)


async def checks(container: "Container", budget: CheckBudget) -> AsyncIterator[Finding]:
    """Start the service, without workers, and yield all findings."""
    try:
        await container.runtime().start()
        async for finding in _jobs(container):
            yield finding
        yield await _purges(container)
        yield await _verification(container)
        yield await _incidents(container)
        yield await _rules(container)
        for found in await container.watch_pressure()():
            yield _space(found)
        for check in await container.check_invariants()(budget):
            yield _invariant(check)
    except TrafficStorageError as error:
        yield problem(
            "deep check", error.message, error.remedy or "remove the cause, and try again"
        )


async def _jobs(container: "Container") -> AsyncIterator[Finding]:
    jobs = container.jobs()
    dead = await jobs.jobs(JobsQuery(JobState.DEAD, limit=MAX_LIMIT))
    if dead.items:
        count = _counted(len(dead.items), "job has", "jobs have", is_all=not dead.next)
        newest = dead.items[0]
        yield problem(
            "dead jobs",
            f"{count} failed for good; the newest, {newest.kind}: {newest.error}",
            "see them with `jobs list --state dead`; remove the cause, then `jobs retry`",
        )
    ready = await jobs.jobs(JobsQuery(JobState.READY, limit=MAX_LIMIT))
    before = container.clock().now() - _OVERDUE
    overdue = [job for job in ready.items if job.run_at < before]
    count = _counted(len(ready.items), "job waits", "jobs wait", is_all=not ready.next)
    if overdue:
        yield problem(
            "waiting jobs",
            f"{count}, {counted(len(overdue), 'of them has', 'of them have')} been due for more than "
            "10 minutes",
            "start a worker (`serve` or `worker`) on each host whose stores the jobs need",
        )
    else:
        yield ok("waiting jobs", f"{count}, none has been due for more than 10 minutes")


async def _purges(container: "Container") -> Finding:
    waiting = await container.purge().waiting()
    if waiting.since is None:
        return ok("purges", "no deleted file waits for its store to be erased")
    stores = ", ".join(f"{name} ({copies})" for name, copies in sorted(waiting.stores.items()))
    count = _counted(
        waiting.files, "deleted file is", "deleted files are", is_all=waiting.is_complete
    )
    return problem(
        "purges",
        f"{count} not erased, the first since {waiting.since.isoformat()}; copies are in {stores}",
        "connect these stores, or start a worker on the host that has them; the purge then ends",
    )


async def _verification(container: "Container") -> Finding:
    coverage = await container.verify_replicas().coverage()
    bad = sum(store.corrupt + store.missing for store in coverage.stores)
    if bad:
        return problem(
            "verification",
            f"{counted(bad, 'copy is', 'copies are')} corrupt or missing; verified: {coverage}",
            "run `verify` to heal them from good copies; restore what can't be healed",
        )
    if any(store.overdue for store in coverage.stores):
        return noted(
            "verification", f"verified: {coverage}", "workers verify the rest; see `jobs list`"
        )
    return ok("verification", f"verified: {coverage}")


async def _incidents(container: "Container") -> Finding:
    found = await container.review_incidents().find(IncidentsQuery(limit=MAX_LIMIT))
    if not found.items:
        return ok("incidents", "none is open")
    count = _counted(len(found.items), "is", "are", is_all=not found.next)
    newest = found.items[0]
    return problem(
        "incidents",
        f"{count} open; the newest, {newest.kind} of {newest.file_id}: {newest.details}",
        "see them with `incidents list`; restore what is damaged, or close an incident with a reason",
    )


async def _rules(container: "Container") -> Finding:
    in_force = container.rules_in_force()
    entered = await in_force.current()
    since = f"revision {entered.revision} is in force since {entered.entered_at.isoformat()}"
    if entered.rules == in_force.configured:
        return ok("retention rules", since)
    return noted(
        "retention rules",
        f"{since}; it differs from the settings and retention_rules_file",
        "`retention rules stage` shows the difference, `retention rules enter` puts it in force",
    )


def _space(found: "StorePressure") -> Finding:
    here, check = found.pressure, f"space in the {found.tier} store"
    if here.level >= PressureLevel.MOVE_OUT:
        return problem(
            check,
            f"{found.location}: {here.reason}",
            "add space, raise the limit of the store, or shorten what is kept, by a retention rule",
        )
    if here.level is PressureLevel.FORECAST:
        return noted(check, f"{found.location}: {here.reason}", "plan more space")
    if here.full_in is None or here.full_in > _LONG:
        return ok(check, f"{found.location}: it will not be full within a year")
    return ok(check, f"{found.location}: it will be full in {_days(here.full_in)}")


def _counted(number: int, noun: str, plural: str, *, is_all: bool) -> str:
    """Return a number with its noun; unless `is_all`, there may be more."""
    return counted(number, noun, plural) if is_all else f"{number} or more {plural}"


def _days(length: timedelta) -> str:
    return counted(round(length / _A_DAY), "day")


def _invariant(check: InvariantCheck) -> Finding:
    of = "" if check.total is None else f" of {check.total}"
    looked_at = f"checked: {check.looked_at}{of}"
    if check.unknown:
        looked_at += f", {check.unknown} could not be read"
    name = f"{check.number}, {check.rule}"
    if check.broken_count:
        return problem(
            name,
            f"{looked_at}, {counted(check.broken_count, 'is', 'are')} wrong: {'; '.join(check.broken)}",
            "see the section Invariants in ARCHITECTURE.md for what repairs each",
        )
    if check.unreadable:
        return noted(name, f"{looked_at}; not all stores: {'; '.join(check.unreadable)}")
    return ok(name, looked_at)
