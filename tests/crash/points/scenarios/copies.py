"""Copies: those that are due, moves, promotion, verification and healing."""

from collections.abc import Mapping
from typing import Any

from tests.crash.faults import Point
from tests.crash.points.place import Place
from tests.crash.points.scenario import (
    BOTH,
    Scenario,
    enqueue,
    events,
    image,
    unless,
    written_store,
)
from tests.support.jobs import do_jobs
from tests.support.media import video_of
from traffic_storage import StorageService, StorageStrategy
from traffic_storage.application.verify_replicas import VERIFY
from traffic_storage.domain.copies import COPY, FIND_DUE_COPIES, MOVE, RELEASE, REMOVE_BLOB, SPILL
from traffic_storage.domain.files import Tier
from traffic_storage.entrypoints.container import Container
from traffic_storage.entrypoints.testing.faults.blob_store import Damage, tamper

NAME = "alone"
LARGE_BYTES = 9_000_000


async def places(container: Container) -> dict[str, int]:
    """How many readable copies the file has in each tier."""
    tiers = [one.tier for one in (await container.find().file(NAME)).readable]
    return {tier: tiers.count(tier) for tier in {*tiers}}


async def in_both(container: Container) -> list[str]:
    """What is wrong unless the file has one copy on disk and one in the bucket."""
    found = await places(container)
    return unless(found == dict.fromkeys(Tier, 1), f"its copies are {found}")


class Copy(Scenario):
    """HYBRID copies a file into the bucket."""

    name = "copy"
    kinds = (COPY,)
    strategies = BOTH
    tested = Point("finish", "after")

    async def prepare(self, place: Place) -> None:
        async with place.opened(self.strategy(place.setup)) as (_, service):
            place.acknowledge(await service.store_image(image(1), NAME))

    async def check(self, container: Container, place: Place) -> list[str]:
        copied = await events(place, "copied")
        return await in_both(container) + unless(len(copied) == 1, f"copied {len(copied)} times")


class Due(Scenario):
    """A copy is due that no job makes."""

    name = "find_due_copies"
    kinds = (FIND_DUE_COPIES, COPY)
    strategies = BOTH
    tested = Point("enqueue", "after", 2)

    async def prepare(self, place: Place) -> None:
        async with place.opened(StorageStrategy.LOCAL_ONLY) as (_, service):
            place.acknowledge(await service.store_image(image(1), NAME))

    async def act(self, container: Container, notes: Mapping[str, Any]) -> None:
        await enqueue(container, FIND_DUE_COPIES, store_id=written_store(container))
        await do_jobs(container)

    async def complete(self, container: Container, place: Place) -> list[str]:
        await enqueue(container, FIND_DUE_COPIES, store_id=written_store(container))
        return await place.resume(container)

    async def check(self, container: Container, place: Place) -> list[str]:
        copied = await events(place, "copied")
        return await in_both(container) + unless(len(copied) == 1, f"copied {len(copied)} times")


class Move(Scenario):
    """A file leaves a disk that is above its high-water mark, in three jobs; it is sent in parts."""

    name = "spill and move"
    kinds = (SPILL, MOVE, RELEASE, REMOVE_BLOB)
    strategies = dict.fromkeys(BOTH, StorageStrategy.LOCAL_THEN_CLOUD)
    settings = {"high_water": 0.0, "low_water": 0.0}  # noqa: RUF012 - read only
    tested = Point("delete", "after")

    async def prepare(self, place: Place) -> None:
        async with place.opened(StorageStrategy.LOCAL_ONLY) as (_, service):
            place.acknowledge(await service.store_video_segment(video_of(LARGE_BYTES), NAME))

    async def act(self, container: Container, notes: Mapping[str, Any]) -> None:
        await enqueue(container, SPILL, store_id=written_store(container))
        await do_jobs(container)

    async def complete(self, container: Container, place: Place) -> list[str]:
        await enqueue(container, SPILL, store_id=written_store(container))
        return await place.resume(container)

    async def check(self, container: Container, place: Place) -> list[str]:
        found = await places(container)
        told = await events(place, "copied", "released")
        return unless(found == {Tier.CLOUD: 1}, f"its copies are {found}") + unless(
            told == ["copied", "released"], f"it was {told}"
        )


class Promote(Scenario):
    """A file in the cloud that is read often gets a copy on disk."""

    name = "promote"
    kinds = (COPY,)
    strategies = dict.fromkeys(BOTH, StorageStrategy.LOCAL_THEN_CLOUD)
    settings = {"promote_reads": 1}  # noqa: RUF012 - read only

    async def prepare(self, place: Place) -> None:
        async with place.opened(StorageStrategy.CLOUD_ONLY) as (_, service):
            place.acknowledge(await service.store_image(image(1), NAME))

    async def act(self, container: Container, notes: Mapping[str, Any]) -> None:
        await StorageService(container=container).retrieve_file(NAME)
        await do_jobs(container)

    async def complete(self, container: Container, place: Place) -> list[str]:
        await StorageService(container=container).retrieve_file(NAME)
        return await place.resume(container)

    async def check(self, container: Container, place: Place) -> list[str]:
        return await in_both(container)


class Verify(Scenario):
    """Two stores are verified; the copy in the first one is damaged, and healed."""

    name = "verify and heal"
    kinds = (VERIFY, REMOVE_BLOB)
    by_hand = True
    strategies = BOTH
    tested = Point("apply", "after", 2)

    async def prepare(self, place: Place) -> None:
        async with place.opened(self.strategy(place.setup)) as (container, service):
            place.acknowledge(await service.store_image(image(1), NAME))
            await place.resume(container)
            file = await container.find().file(NAME)
            (replica,) = [one for one in file.readable if one.tier is Tier.LOCAL]
            await tamper(container.stores().blob_store(replica.store_id), replica.key, Damage.FLIP)

    async def act(self, container: Container, notes: Mapping[str, Any]) -> None:
        await container.verify_replicas().start()
        await do_jobs(container)

    async def complete(self, container: Container, place: Place) -> list[str]:
        await container.verify_replicas().start()
        return await place.resume(container)

    async def check(self, container: Container, place: Place) -> list[str]:
        """Nothing is lost, counted or healed twice, or left open."""
        service = StorageService(container=container)
        history = (await service.get_fixity())["history"]
        counts = [sum(day[what] for day in history) for what in ("corrupted", "healed")]
        is_open = (await service.find_incidents()).items
        told = await events(place, "corrupt", "healed")
        return [
            *await in_both(container),
            *unless(counts == [1, 1], f"{counts} copies were counted as corrupted and healed"),
            *unless(not is_open, "an incident is open"),
            *unless(told == ["corrupt", "healed"], f"it was {told}"),
        ]


SCENARIOS = (Copy(), Due(), Move(), Promote(), Verify())
