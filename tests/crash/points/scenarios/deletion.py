"""Deletion, undeletion, purge, holds, and the journal that tells of them."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import uuid4

from tests.crash.faults import Point
from tests.crash.points.place import Place
from tests.crash.points.scenario import (
    BOTH,
    WHY,
    Scenario,
    all_told,
    enqueue,
    events,
    image,
    outbox_returns,
    state_of,
    unless,
)
from tests.support.jobs import do_jobs
from traffic_storage import StorageService
from traffic_storage.application.export_journal import JOURNAL
from traffic_storage.application.purge import PURGE
from traffic_storage.domain import deletion
from traffic_storage.domain.deletion import Deleted
from traffic_storage.domain.holds import Held
from traffic_storage.domain.identifiers import FileId
from traffic_storage.domain.journal import JOURNALED, Note, note_name
from traffic_storage.entrypoints.container import Container

GONE, KEPT = "gone", "kept"


async def store_two(place: Place, service: StorageService) -> None:
    """Store two files with the same content."""
    for name in (GONE, KEPT):
        place.acknowledge(await service.store_image(image(1), name))


async def is_purged(container: Container, place: Place, copies: int) -> list[str]:
    """What is wrong unless one file is purged, with one certificate, and the other one whole."""
    told = await events(place, "tombstoned", "purged")
    states = [await state_of(place, name) for name in (GONE, KEPT)]
    found = [
        *unless(states == ["purged", "available"], f"the states are {states}"),
        *unless(told == ["tombstoned", "purged"], f"it was {told}"),
    ]
    if states[0] == "purged":
        shown = await StorageService(container=container).destruction_certificate(GONE)
        listed: Any = shown["certificate"]["replicas"]
        found += unless(len(listed) == copies, f"the certificate lists {listed}")
    return found


class Purge(Scenario):
    """A file whose grace has ended is purged, with both copies."""

    name = "purge"
    kinds = (PURGE,)
    strategies = BOTH
    later = timedelta(days=8)
    tested = Point("apply", "before", 3)

    async def prepare(self, place: Place) -> None:
        async with place.opened(self.strategy(place.setup)) as (container, service):
            await store_two(place, service)
            await place.resume(container)
            await service.delete_file(GONE, WHY, override=True)
            place.deletable |= {GONE}

    async def act(self, container: Container, notes: Mapping[str, Any]) -> None:
        await enqueue(container, PURGE)
        await do_jobs(container)

    async def complete(self, container: Container, place: Place) -> list[str]:
        await enqueue(container, PURGE)
        return await place.resume(container)

    async def check(self, container: Container, place: Place) -> list[str]:
        return await is_purged(container, place, 2)


class Delete(Scenario):
    """A file is deleted without a grace: marked and purged in one call. The caller repeats it."""

    name = "delete"
    settings = {"deletion_grace_days": 0}  # noqa: RUF012 - read only
    tested = Point("apply", "after", 2)

    async def prepare(self, place: Place) -> None:
        async with place.opened(self.strategy(place.setup)) as (_, service):
            await store_two(place, service)
            place.deletable |= {GONE}

    async def act(self, container: Container, notes: Mapping[str, Any]) -> None:
        await StorageService(container=container).delete_file(GONE, WHY, override=True)

    async def complete(self, container: Container, place: Place) -> list[str]:
        await enqueue(container, PURGE)
        left = await place.resume(container)
        with suppress(Deleted):
            await StorageService(container=container).delete_file(GONE, WHY, override=True)
        return left

    async def check(self, container: Container, place: Place) -> list[str]:
        return await is_purged(container, place, 1)


class Undelete(Scenario):
    """A file is brought back in its grace. The caller repeats it."""

    name = "undelete"
    tested = Point("apply", "after")

    async def prepare(self, place: Place) -> None:
        async with place.opened(self.strategy(place.setup)) as (_, service):
            await store_two(place, service)
            await service.delete_file(GONE, WHY, override=True)
            place.deletable |= {GONE}

    async def act(self, container: Container, notes: Mapping[str, Any]) -> None:
        await StorageService(container=container).undelete_file(GONE, WHY)

    async def complete(self, container: Container, place: Place) -> list[str]:
        if await state_of(place, GONE) == "tombstoned":
            await StorageService(container=container).undelete_file(GONE, WHY)
        place.deletable.clear()
        return []

    async def check(self, container: Container, place: Place) -> list[str]:
        told = await events(place, "tombstoned", "undeleted")
        return unless(told == ["tombstoned", "undeleted"], f"it was {told}")


class Hold(Scenario):
    """A hold is placed and written to the journals. The caller repeats it."""

    name = "hold"
    strategies = BOTH
    tested = Point("apply", "after")

    async def prepare(self, place: Place) -> None:
        async with place.opened(self.strategy(place.setup)) as (container, service):
            await store_two(place, service)
            await place.resume(container)

    async def act(self, container: Container, notes: Mapping[str, Any]) -> None:
        await StorageService(container=container).place_hold("case", WHY, file_id=KEPT)

    async def complete(self, container: Container, place: Place) -> list[str]:
        service = StorageService(container=container)
        if not (await service.list_holds()).items:
            await service.place_hold("case", WHY, file_id=KEPT)
        return []

    async def check(self, container: Container, place: Place) -> list[str]:
        service = StorageService(container=container)
        told = await events(place, "hold_placed")
        found = unless(len(told) == 1, f"placed {len(told)} times")
        try:
            await service.delete_file(KEPT, WHY, override=True)
        except Held:
            return found + await journals_are_whole(container, place)
        return [*found, "a held file was deleted"]


class Release(Scenario):
    """A hold is released. The caller repeats it."""

    name = "release a hold"
    tested = Point("apply", "after")

    async def prepare(self, place: Place) -> None:
        async with place.opened(self.strategy(place.setup)) as (_, service):
            await store_two(place, service)
            held = await service.place_hold("case", WHY, file_id=KEPT)
            place.notes["hold_id"] = held["hold_id"]

    async def act(self, container: Container, notes: Mapping[str, Any]) -> None:
        await StorageService(container=container).release_hold(notes["hold_id"], WHY)

    async def complete(self, container: Container, place: Place) -> list[str]:
        service = StorageService(container=container)
        if (await service.list_holds()).items:
            await service.release_hold(place.notes["hold_id"], WHY)
        return []

    async def check(self, container: Container, place: Place) -> list[str]:
        told = await events(place, "hold_placed", "hold_released")
        found = unless(told == ["hold_placed", "hold_released"], f"it was {told}")
        return found + await journals_are_whole(container, place)


class Journal(Scenario):
    """Events of deletions are written to the journals of both stores."""

    name = "journal"
    kinds = (JOURNAL,)
    strategies = BOTH
    tested = Point("apply", "after")

    async def prepare(self, place: Place) -> None:
        async with place.opened(self.strategy(place.setup)) as (container, service):
            await store_two(place, service)
            await place.resume(container)
            # The use cases would write the journals themselves.
            now, grace = container.clock().now(), timedelta(days=7)
            tombstone = deletion.Tombstone(
                (FileId(GONE),), uuid4(), now, now + grace, WHY, "clerk", override=True
            )
            undelete = deletion.Undelete((FileId(GONE),), now, now + 5 * grace, WHY, "clerk")
            for change in (tombstone, undelete):
                await container._record_repo().apply(change)
            ((place.notes["events"],),) = await place.query("SELECT count(*) FROM event")

    async def arrange(self, container: Container, notes: Mapping[str, Any]) -> None:
        # The job writes what the outbox of its process returns.
        await outbox_returns(container, notes["events"])

    async def act(self, container: Container, notes: Mapping[str, Any]) -> None:
        await self._enqueue(container)
        await do_jobs(container)

    async def complete(self, container: Container, place: Place) -> list[str]:
        await self._enqueue(container)
        return await place.resume(container)

    async def check(self, container: Container, place: Place) -> list[str]:
        return await journals_are_whole(container, place)

    async def _enqueue(self, container: Container) -> None:
        for store_id in container.schedules().available():
            await enqueue(container, JOURNAL, store_id=store_id)


async def journals_are_whole(container: Container, place: Place) -> list[str]:
    """What is wrong unless the journal of each store has each event once, in their order."""
    await all_told(container, place)
    for store_id in container.schedules().available():
        await enqueue(container, JOURNAL, store_id=store_id)
    found = await place.resume(container)
    rows = await place.query("SELECT sequence, kind FROM event ORDER BY sequence")
    expected = [sequence for sequence, kind in rows if kind in JOURNALED]
    for store_id in container.schedules().available():
        store, number, told = container.stores().trusted(store_id), 1, list[int]()
        while (text := await store.note(note_name(number))) is not None:
            told += [one.sequence for one in Note.from_text(text).events]
            number += 1
        found += unless(told == expected, f"the journal of {store_id} has {told}, not {expected}")
    return found


SCENARIOS = (Purge(), Delete(), Undelete(), Hold(), Release(), Journal())
