"""Labels that a repetition adds to a stored file."""

from collections.abc import Mapping
from typing import Any

from tests.crash.faults import Point
from tests.crash.points.place import Place
from tests.crash.points.scenario import BOTH, Scenario, events, image, unless
from tests.crash.points.scenarios.deletion import KEPT, journals_are_whole, store_two
from traffic_storage import StorageService
from traffic_storage.entrypoints.container import Container

LABELS = {"device_id": "cam-1", "violation_id": "V1", "timestamp": "2026-03-01T10:00:00Z"}


class AddLabels(Scenario):
    """A file that was stored without labels gets all of them. The caller repeats it."""

    name = "add labels"
    strategies = BOTH
    tested = Point("apply", "after")

    async def prepare(self, place: Place) -> None:
        async with place.opened(self.strategy(place.setup)) as (container, service):
            await store_two(place, service)
            await place.resume(container)

    async def act(self, container: Container, notes: Mapping[str, Any]) -> None:
        await self._repeat(container)

    async def complete(self, container: Container, place: Place) -> list[str]:
        await self._repeat(container)
        return []

    async def check(self, container: Container, place: Place) -> list[str]:
        told = await events(place, "labelled")
        file = await StorageService(container=container).get_file(KEPT)
        has = [file["device_id"], file["violation_id"]]
        devices = await place.query(
            "SELECT device, sum(items) FROM (SELECT device, items FROM usage_delta UNION ALL "
            "SELECT device, items FROM usage_device) AS counted WHERE device <> '' GROUP BY device"
        )
        counted = {device: int(items) for device, items in devices}
        return [
            *unless(has == ["cam-1", "V1"], f"the labels are {has}"),
            *unless(told == ["labelled"], f"it was {told}"),
            *unless({*counted} == {"cam-1"} and counted["cam-1"] >= 2, f"counted are {counted}"),
            *await journals_are_whole(container, place),
        ]

    @staticmethod
    async def _repeat(container: Container) -> None:
        await StorageService(container=container).store_image(image(1), KEPT, LABELS)


SCENARIOS = (AddLabels(),)
