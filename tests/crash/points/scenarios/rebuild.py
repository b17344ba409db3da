"""A catalogue that is rebuilt from its stores, with what the journals tell."""

from collections.abc import Mapping
from typing import Any

from tests.crash.faults import Point
from tests.crash.points.place import Place
from tests.crash.points.scenario import WHY, Scenario, all_told, image, state_of, unless
from tests.crash.points.scenarios.upkeep import store_evidence
from traffic_storage import StorageService
from traffic_storage.application import rebuild_catalogue
from traffic_storage.entrypoints.container import Container

BATCH = 2


class Rebuild(Scenario):
    """An empty catalogue is filled from its store; a person repeats it."""

    name = "rebuild"
    by_hand = True
    tested = Point("exchange", "after", 2)

    async def prepare(self, place: Place) -> None:
        async with place.opened(self.strategy(place.setup)) as (container, service):
            place.acknowledge(*await store_evidence(service))
            place.acknowledge(await service.store_image(image(2), "deleted"))
            await service.place_hold("case", WHY, file_id="alone")
            await service.delete_file("deleted", WHY, override=True)
            await all_told(container, place)
            await container.export_journal().everywhere()
            place.deletable |= {"deleted"}
        place.lose_catalogue()

    async def act(self, container: Container, notes: Mapping[str, Any]) -> None:
        rebuild_catalogue.BATCH = BATCH
        await container.rebuild_catalogue()(lambda _progress: None)

    async def complete(self, container: Container, place: Place) -> list[str]:
        await container.rebuild_catalogue()(lambda _progress: None)
        return await place.resume(container)

    async def check(self, container: Container, place: Place) -> list[str]:
        service = StorageService(container=container)
        held = (await service.list_holds()).items
        state = await state_of(place, "deleted")
        seen = await service.get_violation("V1")
        return [
            *unless(len(held) == 1, f"the holds are {held}"),
            *unless(state == "tombstoned", f"the deleted file is {state}"),
            *unless(len(seen[1]) == 2, f"the violation has {len(seen[1])} files"),
        ]


SCENARIOS = (Rebuild(),)
