"""Storing, the start of a service, and the jobs that keep a service running."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from tests.crash.faults import Point
from tests.crash.later import LaterClock
from tests.crash.points.place import AN_HOUR, Place, repo_of
from tests.crash.points.scenario import (
    BOTH,
    Scenario,
    enqueue,
    events,
    image,
    leave_attempt,
    unless,
)
from tests.support.jobs import do_jobs
from traffic_storage import StorageService, ViolationRecord
from traffic_storage.application.live_jobs import live_jobs
from traffic_storage.application.sweep import SWEEP
from traffic_storage.application.watch_pressure import WATCH_PRESSURE
from traffic_storage.application.worker import Worker
from traffic_storage.domain.digests import sha256_of
from traffic_storage.domain.image_checks import DECODE_IMAGE
from traffic_storage.entrypoints.container import Container

WHEN = datetime(2026, 3, 14, 12, 0, tzinfo=UTC)
PIXELS = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)


def violation(name: str = "V1") -> ViolationRecord:
    """A violation."""
    return ViolationRecord(name, "cam_1", "speed", WHEN, [1, 2, 3, 4], "car", 0.5)


async def store_evidence(service: StorageService) -> list[Mapping[str, Any]]:
    """Store a violation with its files, and an image."""
    stored = await service.store_violation_evidence(violation(), PIXELS)
    return [*stored.values(), await service.store_image(image(1), "alone")]


class Store(Scenario):
    """A violation and a file are stored; the caller repeats what was not acknowledged."""

    name = "store"
    strategies = BOTH
    tested = Point("apply", "before")

    async def act(self, container: Container, notes: Mapping[str, Any]) -> None:
        await store_evidence(StorageService(container=container))

    async def complete(self, container: Container, place: Place) -> list[str]:
        place.acknowledge(*await store_evidence(StorageService(container=container)))
        return await place.resume(container)

    async def check(self, container: Container, place: Place) -> list[str]:
        stored = await events(place, "stored")
        return unless(stored == ["stored", "stored"], f"stored {len(stored)} times")


class Start(Scenario):
    """A service starts, with something to undo and markers that are to be renewed."""

    name = "start"
    strategies = BOTH
    later = AN_HOUR
    from_start = True
    tested = Point("apply", "before")

    async def prepare(self, place: Place) -> None:
        async with place.opened(self.strategy(place.setup)) as (container, service):
            place.acknowledge(await service.store_image(image(1), "alone"))
            await leave_attempt(container, "interrupted")
            await place.resume(container)

    async def act(self, container: Container, notes: Mapping[str, Any]) -> None:
        pass

    async def check(self, container: Container, place: Place) -> list[str]:
        distrusted = [one.untrusted_reason for one in container.stores() if not one.trusted]
        rows = await place.query("SELECT count(*) FROM quarantine")
        return distrusted + unless(rows == [(1,)], f"{rows} entries are in the quarantine")


class Sweep(Scenario):
    """The sweep undoes an attempt and folds the counters."""

    name = "sweep"
    kinds = (SWEEP,)
    tested = Point("finish", "before")

    async def prepare(self, place: Place) -> None:
        async with place.opened(self.strategy(place.setup)) as (_, service):
            place.acknowledge(await service.store_image(image(1), "alone"))

    async def arrange(self, container: Container, notes: Mapping[str, Any]) -> None:
        await leave_attempt(container, "interrupted")
        clock = container.clock()
        assert isinstance(clock, LaterClock)
        clock.pass_time(AN_HOUR / 2)

    async def act(self, container: Container, notes: Mapping[str, Any]) -> None:
        await enqueue(container, SWEEP)
        await do_jobs(container)

    async def complete(self, container: Container, place: Place) -> list[str]:
        await enqueue(container, SWEEP)
        return await place.resume(container)

    async def check(self, container: Container, place: Place) -> list[str]:
        rows = await place.query("SELECT count(*) FROM quarantine")
        (deltas,) = await place.query("SELECT count(*) FROM usage_delta")
        return unless(rows == [(1,)], f"{rows} entries are in the quarantine") + unless(
            deltas == (0,), f"{deltas} changes of the counters are not folded"
        )


class Pressure(Scenario):
    """A store is found to be full."""

    name = "watch_pressure"
    kinds = (WATCH_PRESSURE,)
    settings = {"max_local_size_gb": 1e-6, "max_cloud_size_gb": 1e-6}  # noqa: RUF012 - read only

    async def prepare(self, place: Place) -> None:
        async with place.opened(self.strategy(place.setup)) as (_, service):
            place.acknowledge(await service.store_image(image(1), "alone"))

    async def act(self, container: Container, notes: Mapping[str, Any]) -> None:
        await enqueue(container, WATCH_PRESSURE)
        await do_jobs(container)

    async def complete(self, container: Container, place: Place) -> list[str]:
        await enqueue(container, WATCH_PRESSURE)
        return await place.resume(container)

    async def check(self, container: Container, place: Place) -> list[str]:
        told = await events(place, "pressure")
        return unless(len(told) == 1, f"the pressure was told {len(told)} times")


class Decode(Scenario):
    """An image that was stored undecoded is decoded, and is damaged."""

    name = "decode_image"
    kinds = (DECODE_IMAGE,)
    settings = {"verify_images": "unless_vouched"}  # noqa: RUF012 - read only
    tested = Point("finish", "before")

    async def arrange(self, container: Container, notes: Mapping[str, Any]) -> None:
        hollow = image(1)[:4000] + b"\xff\xd9"
        service = StorageService(container=container)
        await service.store_image(hollow, "hollow", sha256=sha256_of(hollow))

    async def act(self, container: Container, notes: Mapping[str, Any]) -> None:
        # The one that was written with the file is put off.
        await enqueue(container, DECODE_IMAGE, file_id="hollow")
        await do_jobs(container)

    async def check(self, container: Container, place: Place) -> list[str]:
        rows = await place.query("SELECT kind, file_id FROM incident WHERE closed_at IS NULL")
        jobs = await place.query(f"SELECT DISTINCT state FROM job WHERE kind = '{DECODE_IMAGE}'")
        return unless(rows == [("damaged_image", "hollow")], f"the incidents are {rows}") + unless(
            jobs == [("done",)], f"the jobs are {jobs}"
        )


class Scheduled(Scenario):
    """A worker writes the jobs of all schedules and does them."""

    name = "schedules"
    strategies = BOTH
    tested = Point("finish", "after", 2)

    async def prepare(self, place: Place) -> None:
        async with place.opened(self.strategy(place.setup)) as (container, service):
            place.acknowledge(await service.store_image(image(1), "alone"))
            await place.resume(container)

    async def act(self, container: Container, notes: Mapping[str, Any]) -> None:
        await _work_once(container)

    async def complete(self, container: Container, place: Place) -> list[str]:
        left = await place.resume(container)
        await _work_once(container)
        return left

    async def check(self, container: Container, place: Place) -> list[str]:
        """One job for each schedule; at a change of the hour a second one."""
        found = []
        for schedule in container.schedules()():
            rows = await place.query(
                f"SELECT state, created_at FROM job WHERE kind = '{schedule.kind}'"
                f" AND key = 'schedule:{schedule.name}'"
            )
            slots = [at // int(schedule.every / timedelta(microseconds=1)) for _, at in rows]
            found += unless(len(slots) == len({*slots}), f"{len(slots)} jobs of {schedule.name}")
            found += unless({state for state, _ in rows} == {"done"}, f"{schedule.name}: {rows}")
        return found


async def _work_once(container: Container) -> None:
    """Start a worker with all schedules, and close it when their jobs are done."""
    repo, schedules = repo_of(container), container.schedules()
    worker = Worker(
        source=repo,
        ids=container.ids(),
        handlers=container.handlers(),
        schedules=schedules,
        stores=schedules.needs_met,
        slots=1,
        owner="points",
    )
    kinds = tuple({one.kind for one in schedules()})
    await repo.write_due({container.ids().uuid7(): one for one in schedules()})
    worker.start()
    try:
        async with asyncio.timeout(60):
            while [job async for job in live_jobs(repo, kinds)]:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)
    finally:
        await worker.aclose()


SCENARIOS = (Store(), Start(), Sweep(), Pressure(), Decode(), Scheduled())
