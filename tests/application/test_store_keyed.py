"""A key of uploads stands for one file, in whatever order, wherever a process dies."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import pytest

from tests.application.rig import LONG_AGO, Rig, Service, film
from tests.application.script import Died, Step
from traffic_storage.application.inputs import FileAttributes, Upload
from traffic_storage.application.store_files import Stored
from traffic_storage.domain.errors import (
    Conflict,
    KeyInUse,
    StorageUnavailable,
    TrafficStorageError,
)
from traffic_storage.domain.files import FileState
from traffic_storage.domain.identifiers import FileId, keyed_file_id
from traffic_storage.entrypoints.testing.faults.blob_store import Damage, tamper
from traffic_storage.entrypoints.testing.faults.plans import When
from traffic_storage.ports.errors import CatalogueUnavailable, OutcomeUnknown

KEY = keyed_file_id(principal="p", key="k", role="video")
Request = Callable[[Service], Coroutine[Any, Any, Stored]]


def request(file_id: str | None, number: int = 0) -> Request:
    """A request with the key, and an id or none."""

    async def sent(service: Service) -> Stored:
        return await service.container.store_files().video(
            Upload(film(number)), FileAttributes.of(file_id=file_id or KEY), key=KEY
        )

    return sent


ALONE, MINE, OTHER = request(None), request("mine"), request("other")


async def settle(rig: Rig, service: Service) -> None:
    """After the deadline of any attempt nothing is left over, and one file is there."""
    rig.clock.advance(LONG_AGO)
    await service.sweep()
    assert (rig.attempts, rig.findings()) == ([], [])
    assert len(rig.files) == 1
    assert not any(service.reserved().values())


@pytest.mark.parametrize(
    ("first", "again"), [(ALONE, (ALONE,)), (MINE, (ALONE, MINE))], ids=["alone", "named"]
)
async def test_a_repetition_with_or_without_the_id_finds_the_file(
    first: Request, again: tuple[Request, ...]
) -> None:
    rig = Rig()
    async with rig.running() as service:
        stored = await first(service)
        assert stored.created
        for one in again * 2:
            repeated = await one(service)
            assert (repeated.file, repeated.created) == (stored.file, False)
        await settle(rig, service)


@pytest.mark.parametrize(
    ("first", "second"),
    [(ALONE, MINE), (MINE, OTHER)],
    ids=["an id after none", "another id"],
)
async def test_another_id_is_refused(first: Request, second: Request) -> None:
    rig = Rig()
    async with rig.running() as service:
        stored = await first(service)
        with pytest.raises(KeyInUse, match=f"file_id is '{stored.file.file_id}', not"):
            await second(service)
        assert (await first(service)).file == stored.file
        await settle(rig, service)


@pytest.mark.parametrize("name", [None, "mine"])
async def test_other_content_is_refused(name: str | None) -> None:
    rig = Rig()
    async with rig.running() as service:
        await MINE(service)
        with pytest.raises(Conflict, match="SHA-256"):
            await request(name, 1)(service)
        await settle(rig, service)


async def test_a_key_stands_for_a_file_that_was_there_before_it() -> None:
    rig = Rig()
    async with rig.running() as service:
        before = (await service.video(film(), "mine")).file
        for one in (MINE, ALONE):
            assert (await one(service)).file == before
        with pytest.raises(KeyInUse):
            await OTHER(service)
        await settle(rig, service)


async def test_a_refused_request_uses_no_key() -> None:
    rig = Rig()
    async with rig.running() as service:
        await service.video(film(1), "mine")
        with pytest.raises(Conflict, match="SHA-256"):
            await MINE(service)
        assert (await OTHER(service)).created
        assert (await ALONE(service)).file.file_id == "other"


async def test_a_deleted_file_keeps_its_key() -> None:
    rig = Rig()
    async with rig.running() as service:
        stored = await MINE(service)
        await service.container.delete_files().file("mine", "a test", "a test", override=True)
        for one in (MINE, ALONE):
            with pytest.raises(Conflict, match=f"it has been {FileState.TOMBSTONED}"):
                await one(service)
        with pytest.raises(KeyInUse):
            await OTHER(service)
        assert list(rig.files) == [stored.file.file_id]


async def test_copies_that_were_lost_are_restored_by_the_key_alone() -> None:
    rig = Rig()
    async with rig.running() as service:
        stored = await MINE(service)
        (copy,) = stored.file.replicas
        await tamper(rig.at_rest[copy.tier], copy.key, Damage.REMOVE)
        await service.container.verify_replicas().one(stored.file, copy)
        again = await ALONE(service)
        assert (again.file.file_id, again.created) == ("mine", False)
        assert len(again.file.readable) == 1
        await settle(rig, service)


async def steps_of(one: Request) -> list[Step]:
    """The steps of a first request in the catalogue and in the store."""
    rig = Rig()
    async with rig.running() as service:
        rig.script.begin()
        await one(service)
        return [step for step in rig.script.steps if step.call.startswith(("repo.", "local."))]


FOLLOWERS = [(ALONE, MINE, OTHER), (MINE, ALONE)]


@pytest.mark.parametrize("first", [ALONE, MINE], ids=["alone", "named"])
async def test_wherever_the_process_dies_the_key_stands_for_one_file(first: Request) -> None:
    for step in await steps_of(first):
        for followers in FOLLOWERS:
            rig = Rig()
            dying = rig.boot()
            await dying.start()
            rig.script.begin((step, Died))
            with pytest.raises(Died):
                await first(dying)
            rig.script = type(rig.script)()
            there = list(rig.files)
            async with rig.running() as service:
                await check_one_file(rig, service, followers, there)


def error_at(step: Step) -> TrafficStorageError:
    """How a call can end at this step."""
    if step.call.startswith("local."):
        return StorageUnavailable("the store went away")
    if step.call == "repo.apply" and step.when is When.AFTER:
        return OutcomeUnknown("the database went away in mid-commit")
    return CatalogueUnavailable("the database went away")


@pytest.mark.parametrize("first", [ALONE, MINE], ids=["alone", "named"])
async def test_whatever_call_fails_the_key_stands_for_one_file(first: Request) -> None:
    for step in await steps_of(first):
        for followers in FOLLOWERS:
            rig = Rig()
            async with rig.running() as service:
                rig.script.begin((step, partial(error_at, step)))
                with pytest.raises(TrafficStorageError, match="went away"):
                    await first(service)
                await check_one_file(rig, service, followers, list(rig.files))


async def check_one_file(
    rig: Rig, service: Service, requests: tuple[Request, ...], there: list[FileId]
) -> None:
    """Each request is acknowledged with the same file, or refused because the key has that file."""
    seen = {*there}
    for one in requests:
        try:
            seen.add((await one(service)).file.file_id)
        except KeyInUse as error:
            seen.add(FileId(error.identifier))
        assert len(seen) == 1
    await settle(rig, service)


@pytest.mark.parametrize(
    ("held", "other"),
    [(ALONE, MINE), (MINE, ALONE), (MINE, OTHER), (MINE, MINE), (ALONE, ALONE)],
    ids=["alone, named", "named, alone", "two ids", "the same id", "no id"],
)
async def test_of_two_requests_at_once_one_stores_the_file(held: Request, other: Request) -> None:
    for step in await steps_of(held):
        rig = Rig()
        async with rig.running() as service:
            rig.script.begin()
            waiting = rig.script.hold(step.call, step.nth, step.when)
            first = asyncio.create_task(held(service))
            await waiting.reached.wait()
            second = asyncio.create_task(other(service))
            await asyncio.wait([second])
            waiting.let_go.set()
            outcomes = await asyncio.gather(first, second, return_exceptions=True)
            stored = [one for one in outcomes if isinstance(one, Stored)]
            refused = [one for one in outcomes if not isinstance(one, Stored)]
            assert {type(one) for one in refused} <= {KeyInUse}
            assert len({one.file.file_id for one in stored}) == 1
            assert sum(one.created for one in stored) == 1
            if ALONE in (held, other) and "mine" in rig.files:
                assert refused == []
            await settle(rig, service)
