"""Retention: rules that are changed, files that are recomputed, plans, the clean-up."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.crash.faults import Point
from tests.crash.points.place import Place
from tests.crash.points.scenario import (
    WHY,
    Scenario,
    enqueue,
    events,
    image,
    state_of,
    unless,
)
from tests.crash.points.scenarios.upkeep import PIXELS, violation
from tests.support.jobs import do_jobs
from traffic_storage import StorageService
from traffic_storage.application.recompute_retention import RECOMPUTE_VIOLATION
from traffic_storage.application.retain import APPLY_RETENTION
from traffic_storage.application.rules_in_force import RECOMPUTE, STAGE, staging
from traffic_storage.domain.canonical import Json
from traffic_storage.domain.retention_rules import GivenRules, RetentionRule
from traffic_storage.entrypoints.container import Container

LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)
RULE: Mapping[str, Json] = {"rule_id": "longer", "days": 4000}


async def rule_of(container: Container, file_id: str) -> str:
    """The retention rule of a file."""
    return (await container.find().file(file_id)).retention_rule


async def store_due(place: Place, service: StorageService) -> None:
    """Store files whose retention ended long ago, one of them held, and one that is kept."""
    for number, name in enumerate(("old-1", "old-2", "held")):
        data: dict[str, Json] = {"number": number}
        place.acknowledge(
            await service.store_metadata(data, name, {"timestamp": LONG_AGO}, historic=True)
        )
    place.acknowledge(await service.store_image(image(1), "young"))
    await service.place_hold("case", WHY, file_id="held")
    place.deletable |= {"old-1", "old-2"}


async def due_are_purged(place: Place) -> list[str]:
    """What is wrong unless the files that are due, and only they, are purged once."""
    states = [await state_of(place, name) for name in ("old-1", "old-2", "held", "young")]
    told = await events(place, "purged")
    certificates = await place.query("SELECT file_id FROM certificate ORDER BY file_id")
    return [
        *unless(states == ["purged"] * 2 + ["available"] * 2, f"the states are {states}"),
        *unless(len(told) == 2, f"purged {len(told)} times"),
        *unless(certificates == [("old-1",), ("old-2",)], f"certificates of {certificates}"),
    ]


class Stage(Scenario):
    """Other rules are staged by a job, which counts what they would do."""

    name = "stage rules"
    kinds = (STAGE,)
    tested = Point("finish", "after")

    async def prepare(self, place: Place) -> None:
        async with place.opened(self.strategy(place.setup)) as (_, service):
            place.acknowledge(await service.store_image(image(1), "one"))

    async def act(self, container: Container, notes: Mapping[str, Any]) -> None:
        await self._enqueue(container)
        await do_jobs(container)

    async def complete(self, container: Container, place: Place) -> list[str]:
        await self._enqueue(container)
        return await place.resume(container)

    async def check(self, container: Container, place: Place) -> list[str]:
        staged = await place.query("SELECT count(*) FROM retention_change")
        done = f"SELECT count(*) FROM job WHERE kind = '{STAGE}' AND state = 'done'"
        entered = await place.query("SELECT max(revision) FROM retention_rules")
        is_once = staged == await place.query(done) and staged != [(0,)]
        return unless(is_once, f"{staged} changes were staged") + unless(
            entered == [(1,)], f"revision {entered} is in force"
        )

    async def _enqueue(self, container: Container) -> None:
        given = GivenRules((RetentionRule("longer", 4000),))
        kind, arguments = staging(given, "clerk", WHY)
        await enqueue(container, kind, **arguments)


class Recompute(Scenario):
    """Other rules are entered, and all files recomputed."""

    name = "enter rules and recompute"
    kinds = (RECOMPUTE,)
    tested = Point("finish", "before")

    async def prepare(self, place: Place) -> None:
        async with place.opened(self.strategy(place.setup)) as (_, service):
            place.acknowledge(await service.store_image(image(1), "one"))
            place.acknowledge(await service.store_metadata({"a": 1}, "other"))
            staged = await service.stage_retention_rules([RULE], reason=WHY)
            place.notes["change_id"] = staged["change_id"]

    async def act(self, container: Container, notes: Mapping[str, Any]) -> None:
        await StorageService(container=container).enter_retention_rules(notes["change_id"])
        await do_jobs(container)

    async def complete(self, container: Container, place: Place) -> list[str]:
        service = StorageService(container=container)
        await service.enter_retention_rules(place.notes["change_id"])
        return await place.resume(container)

    async def check(self, container: Container, place: Place) -> list[str]:
        rules = [await rule_of(container, name) for name in ("one", "other")]
        entered = await place.query("SELECT max(revision), count(*) FROM retention_rules")
        return unless(rules == ["longer"] * 2, f"kept by {rules}") + unless(
            entered == [(2, 2)], f"{entered} rules were entered"
        )


class RecomputeViolation(Scenario):
    """A violation comes after its file; the type of the violation decides how long that is kept."""

    name = "recompute a violation"
    kinds = (RECOMPUTE_VIOLATION,)

    async def prepare(self, place: Place) -> None:
        async with place.opened(self.strategy(place.setup)) as (container, service):
            rule = {**RULE, "violation_type": "speed"}
            staged = await service.stage_retention_rules([rule], reason=WHY)
            await service.enter_retention_rules(staged["change_id"])
            await place.resume(container)
            place.acknowledge(await service.store_image(image(1), "early", {"violation_id": "V1"}))

    async def act(self, container: Container, notes: Mapping[str, Any]) -> None:
        service = StorageService(container=container)
        await service.store_violation_evidence(violation(), PIXELS)
        await do_jobs(container)

    async def complete(self, container: Container, place: Place) -> list[str]:
        service = StorageService(container=container)
        stored = await service.store_violation_evidence(violation(), PIXELS)
        place.acknowledge(*stored.values())
        return await place.resume(container)

    async def check(self, container: Container, place: Place) -> list[str]:
        rule = await rule_of(container, "early")
        return unless(rule == "longer", f"kept by {rule}")


class Apply(Scenario):
    """A plan of retention is applied; what it deletes is purged at once."""

    name = "apply retention"
    kinds = (APPLY_RETENTION,)
    settings = {"deletion_grace_days": 0}  # noqa: RUF012 - read only
    tested = Point("finish", "before")

    async def prepare(self, place: Place) -> None:
        async with place.opened(self.strategy(place.setup)) as (_, service):
            await store_due(place, service)
            place.notes["plan_id"] = (await service.plan_retention())["plan_id"]

    async def act(self, container: Container, notes: Mapping[str, Any]) -> None:
        await self._enqueue(container, notes)
        await do_jobs(container)

    async def complete(self, container: Container, place: Place) -> list[str]:
        await self._enqueue(container, place.notes)
        return await place.resume(container)

    async def check(self, container: Container, place: Place) -> list[str]:
        return await due_are_purged(place)

    async def _enqueue(self, container: Container, notes: Mapping[str, Any]) -> None:
        arguments = {"plan_id": notes["plan_id"], "by": "points", "override_limit": False}
        await enqueue(container, APPLY_RETENTION, **arguments)


class CleanUp(Scenario):
    """The clean-up deletes what is due and undoes an interrupted store operation."""

    name = "clean up"
    settings = {"deletion_grace_days": 0}  # noqa: RUF012 - read only
    tested = Point("delete", "before", 2)
    later = timedelta(hours=1)

    async def prepare(self, place: Place) -> None:
        async with place.opened(self.strategy(place.setup)) as (_, service):
            await store_due(place, service)

    async def act(self, container: Container, notes: Mapping[str, Any]) -> None:
        await StorageService(container=container).cleanup_expired_data(dry_run=False)

    async def complete(self, container: Container, place: Place) -> list[str]:
        await StorageService(container=container).cleanup_expired_data(dry_run=False)
        return await place.resume(container)

    async def check(self, container: Container, place: Place) -> list[str]:
        return await due_are_purged(place)


SCENARIOS = (Stage(), Recompute(), RecomputeViolation(), Apply(), CleanUp())
