"""The comparison of a store with the catalogue, and what becomes of its quarantine."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar

from tests.crash.faults import Point
from tests.crash.points.place import Place
from tests.crash.points.scenario import (
    Scenario,
    double,
    enqueue,
    events,
    image,
    unless,
    written_store,
)
from tests.support.jobs import do_jobs
from tests.support.media import video
from traffic_storage.application.reconcile import RECONCILE
from traffic_storage.entrypoints.container import Container

LOST, COPIED = "lost", "copied"
FOUND, IMPORTED, REMOVED = timedelta(days=3), timedelta(days=5), timedelta(days=40)


class Reconcile(Scenario):
    """A catalogue that lacks a file; a blob too many. Differences are entered into the quarantine."""

    name = "reconcile"
    kinds = (RECONCILE,)
    later = FOUND
    by_hand = True
    entries = 2
    earlier: tuple[timedelta, ...] = ()
    tested: ClassVar[Point] = Point("apply", "after")

    async def prepare(self, place: Place) -> None:
        strategy = self.strategy(place.setup)
        async with place.opened(strategy) as (container, service):
            place.acknowledge(await service.store_image(image(1), COPIED))
            place.acknowledge(await service.store_video_segment(video(seconds=0.2), LOST))
            place.notes["surplus"] = await double(container, await container.find().file(COPIED))
        # As a catalogue that was restored from a backup of before.
        for table in ("replica", "file"):
            await place.query(f"DELETE FROM {table} WHERE file_id = '{LOST}'")
        await place.query("DELETE FROM usage_delta WHERE kind = 'video'")
        await place.query("DELETE FROM event WHERE file_id = 'lost'")
        for later in self.earlier:
            async with place.opened(strategy, later) as (container, _):
                await self._enqueue(container)
                await place.resume(container)

    async def act(self, container: Container, notes: Mapping[str, Any]) -> None:
        await self._enqueue(container)
        await do_jobs(container)

    async def complete(self, container: Container, place: Place) -> list[str]:
        await self._enqueue(container)
        left = await place.resume(container)
        if not self.earlier:
            # What is entered is a break until it is examined; a day later it is.
            place.acknowledged.pop(LOST)
        return left

    async def check(self, container: Container, place: Place) -> list[str]:
        rows = await place.query("SELECT count(*) FROM quarantine")
        return unless(rows == [(self.entries,)], f"{rows} entries are in the quarantine")

    async def _enqueue(self, container: Container) -> None:
        await enqueue(container, RECONCILE, store_id=written_store(container))


class ImportQuarantined(Reconcile):
    """What the catalogue lacks becomes a file again."""

    name = "quarantine: record again"
    later = IMPORTED
    earlier = (FOUND,)
    entries = 1
    tested = Point("apply", "after")


class RemoveQuarantined(Reconcile):
    """A blob that is not needed is removed after its days."""

    name = "quarantine: remove"
    later = REMOVED
    earlier = (FOUND, IMPORTED)
    entries = 0
    tested = Point("delete", "after")

    async def check(self, container: Container, place: Place) -> list[str]:
        store = container.stores().blob_store(written_store(container))
        keys = [entry.key async for entry in store.list("image")]
        gone = unless(place.notes["surplus"] not in keys, "the blob was not removed")
        return await super().check(container, place) + gone


class Missing(Scenario):
    """A copy whose blob is gone is recorded as missing, once."""

    name = "reconcile: a missing blob"
    kinds = (RECONCILE,)
    later = FOUND
    by_hand = True
    tested = Point("apply", "after")

    async def prepare(self, place: Place) -> None:
        async with place.opened(self.strategy(place.setup)) as (container, service):
            await service.store_image(image(1), "broken")
            place.acknowledge(await service.store_image(image(2), "whole"))
            file = await container.find().file("broken")
            store = container.stores().trusted(file.readable[0].store_id)
            await store.delete(file.readable[0].key)

    async def act(self, container: Container, notes: Mapping[str, Any]) -> None:
        await enqueue(container, RECONCILE, store_id=written_store(container))
        await do_jobs(container)

    async def complete(self, container: Container, place: Place) -> list[str]:
        await enqueue(container, RECONCILE, store_id=written_store(container))
        left = await place.resume(container)
        told = await events(place, "missing")
        (replica,) = (await container.find().file("broken")).replicas
        left += unless(told == ["missing"], f"it was {told}")
        left += unless(replica.state == "missing", f"the copy is {replica.state}")
        # Storing it again makes it whole.
        from traffic_storage import StorageService

        service = StorageService(container=container)
        place.acknowledge(await service.store_image(image(1), "broken"))
        return left


SCENARIOS = (Reconcile(), ImportQuarantined(), RemoveQuarantined(), Missing())
