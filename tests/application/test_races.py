"""Many at once: for one name, for the last room, against recovery."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import pytest

from tests.application.rig import (
    LONG_AGO,
    Rig,
    film,
    outcome,
    picture,
    violation_record,
)
from tests.application.script import Step
from traffic_storage.domain.errors import Conflict, StorageFull, StorageUnavailable
from traffic_storage.domain.files import Tier
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.entrypoints.testing.faults.plans import When
from traffic_storage.ports.errors import DeadlinePassed, IdsTaken

MANY = 12
V001 = violation_record()


async def together(works: Iterable[Any]) -> list[Any]:
    """What each gave, or the error that it was refused with."""
    return list(await asyncio.gather(*(outcome(work) for work in works)))


async def check_quiet(rig: Rig, service: Any, blobs: int) -> None:
    """Nothing is under way, reserved or left over; so many blobs lie there."""
    assert rig.attempts == []
    assert rig.findings() == []
    assert rig.spool.held == []
    assert not any(service.reserved().values())
    assert await service.miscounts() == []
    assert len(rig.left()) == blobs


@pytest.mark.parametrize("kind", ["image", "video", "metadata", "evidence"])
async def test_of_many_who_store_the_same_one_creates_and_all_get_it(kind: str) -> None:
    rig = Rig(StorageStrategy.HYBRID, parallel_uploads=MANY)
    async with rig.running() as service:
        jobs: dict[str, Callable[[], Any]] = {
            "evidence": lambda: service.evidence(V001, picture(), film()),
            "image": lambda: service.image(picture(), "X"),
            "video": lambda: service.video(film(), "X"),
            "metadata": lambda: service.json({"a": 1}, "X"),
        }
        results = await together(jobs[kind]() for _ in range(MANY))
        assert Counter(result.created for result in results) == {True: 1, False: MANY - 1}
        if kind == "evidence":
            assert len({repr(sorted(result.files.items())) for result in results}) == 1
            assert len({repr(result.violation) for result in results}) == 1
        else:
            assert len({repr(result.file) for result in results}) == 1
        await check_quiet(rig, service, 3 if kind == "evidence" else 1)


async def test_of_many_with_other_content_one_wins_and_the_others_conflict() -> None:
    rig = Rig(StorageStrategy.HYBRID, parallel_uploads=MANY)
    async with rig.running() as service:
        results = await together(service.image(picture(shade), "X") for shade in range(MANY))
        errors = [result for result in results if isinstance(result, Exception)]
        (won,) = [result for result in results if not isinstance(result, Exception)]
        assert [type(error) for error in errors] == [Conflict] * (MANY - 1)
        assert await service.find.file("X") == won.file
        await check_quiet(rig, service, 1)


async def test_of_many_with_another_record_one_wins_whole() -> None:
    rig = Rig(StorageStrategy.HYBRID, parallel_uploads=MANY)
    records = [violation_record(confidence=n / MANY) for n in range(MANY)]
    async with rig.running() as service:
        results = await together(
            service.evidence(one, picture(n), film(n)) for n, one in enumerate(records)
        )
        (won,) = [result for result in results if not isinstance(result, Exception)]
        assert sum(isinstance(result, Conflict) for result in results) == MANY - 1
        for kind, file in won.files.items():
            assert await service.find.file(f"V001~{kind}") == file
        await check_quiet(rig, service, 3)


async def test_one_record_whose_files_come_apart_at_once_ends_up_with_all_of_them() -> None:
    rig = Rig(parallel_uploads=MANY)
    async with rig.running() as service:
        parts = [(picture(), None), (None, film()), (None, None), (picture(), film())] * 3
        results = await together(service.evidence(V001, *part) for part in parts)
        assert not [result for result in results if isinstance(result, Exception)]
        assert {"V001~image", "V001~video", "V001~metadata"} == set(rig.files)
        (violation,) = rig.repo._violations.values()
        assert violation.record.image_path == "V001~image"
        assert violation.record.video_path == "V001~video"
        await check_quiet(rig, service, 3)


async def test_different_names_do_not_wait_for_each_other() -> None:
    rig = Rig(parallel_uploads=2)
    held = rig.script.hold("local.put")
    async with rig.running() as service:
        slow = asyncio.create_task(service.image(picture(1), "slow"))
        await held.reached.wait()
        for n in range(5):
            assert (await service.image(picture(2), f"fast-{n}")).created
        assert not slow.done()
        held.let_go.set()
        assert (await slow).created


async def test_no_more_files_are_put_at_once_than_the_setting_says() -> None:
    rig = Rig(parallel_uploads=3)
    held = [rig.script.hold("local.put", nth) for nth in range(1, MANY + 1)]
    async with rig.running() as service:
        works = [asyncio.create_task(service.image(picture(n), f"f{n}")) for n in range(MANY)]
        await held[2].reached.wait()
        for _ in range(50):
            await asyncio.sleep(0)
        assert sum(one.reached.is_set() for one in held) == 3
        for one in held:
            one.let_go.set()
        assert all(result.created for result in await asyncio.gather(*works))


async def test_an_attempt_that_recovery_condemned_does_not_commit_but_is_tried_again() -> None:
    rig = Rig()
    async with rig.running() as slow, rig.running() as other:
        held = rig.script.hold("local.put")
        work = asyncio.create_task(slow.image(picture(), "X"))
        await held.reached.wait()
        rig.clock.advance(LONG_AGO)
        await other.sweep()
        assert other.counters.attempts_undone == 1
        held.let_go.set()
        # The put comes to its store after the deadline: it is refused there, never published.
        assert isinstance(await outcome(work), DeadlinePassed)
        assert not rig.files
        assert (await slow.image(picture(), "X")).created
        await check_quiet(rig, slow, 1)


async def test_a_commit_that_comes_after_its_undoing_is_tried_again_with_new_keys() -> None:
    rig = Rig()
    async with rig.running() as slow, rig.running() as other:
        rig.script.begin()
        held = rig.script.hold("repo.apply")
        work = asyncio.create_task(slow.image(picture(), "X"))
        await held.reached.wait()
        rig.clock.advance(LONG_AGO)
        await other.sweep()
        assert other.counters.attempts_undone == 1
        assert not rig.left()
        held.let_go.set()
        assert (await work).created
        assert len({key for store in rig.at_rest.values() for key in store.history}) == 2
        await check_quiet(rig, slow, 1)


async def test_names_that_are_taken_for_ever_end_in_an_error_not_in_a_loop() -> None:
    rig = Rig()
    async with rig.running() as service:
        faults = [
            (Step("repo.apply", nth, When.BEFORE), lambda: IdsTaken("somebody has it"))
            for nth in range(1, 20)
        ]
        rig.script.begin(*faults)
        with pytest.raises(StorageUnavailable, match="tried 4 times and failed"):
            await service.image(picture(), "X")
        rig.script.begin()
        await check_quiet(rig, service, 0)


@pytest.mark.parametrize("strategy", StorageStrategy)
async def test_limits_are_never_exceeded_by_many_at_once(strategy: StorageStrategy) -> None:
    limit = 5_000
    rig = Rig(
        strategy,
        parallel_uploads=4,
        max_local_size_gb=limit / 1e9,
        max_cloud_size_gb=limit / 1e9,
    )
    async with rig.running() as service:

        async def sweeping() -> None:
            while True:
                await service.sweep()
                for _ in range(3):
                    await asyncio.sleep(0)

        sweeper = asyncio.create_task(sweeping())
        works = [service.video(film(n, 100 + 37 * n), f"f{n}") for n in range(40)]
        results = await together(works)
        sweeper.cancel()
        await asyncio.gather(sweeper, return_exceptions=True)
        refused = [result for result in results if isinstance(result, Exception)]
        assert refused
        assert {type(error) for error in refused} == {StorageFull}
        for store in rig.at_rest.values():
            assert sum(len(data) for data in store.blobs.values()) <= limit
        kept = len(results) - len(refused)
        await service.sweep()
        await check_quiet(rig, service, kept)


async def test_what_is_being_stored_stays_reserved_over_a_recount() -> None:
    rig = Rig(max_local_size_gb=1_000 / 1e9)
    held = rig.script.hold("local.put")
    async with rig.running() as service:
        slow = asyncio.create_task(service.video(film(0, 800), "slow"))
        await held.reached.wait()
        await service.sweep()
        with pytest.raises(StorageFull):
            await service.video(film(1, 300), "more")
        held.let_go.set()
        assert (await slow).created
        with pytest.raises(StorageFull):
            await service.video(film(1, 300), "more")
        assert (await service.video(film(1, 200), "fits")).created
        await check_quiet(rig, service, 2)


async def test_two_processes_that_share_a_catalogue_agree_on_one_result() -> None:
    rig = Rig(StorageStrategy.CLOUD_ONLY)
    async with rig.running() as one, rig.running() as two:
        results = await together(
            service.image(picture(), "X") for service in [one, two] * (MANY // 2)
        )
        assert Counter(result.created for result in results) == {True: 1, False: MANY - 1}
        rig.clock.advance(timedelta(minutes=1))
        for service in (one, two):
            await service.sweep()
            await check_quiet(rig, service, 1)
        assert rig.tier("X") is Tier.CLOUD
