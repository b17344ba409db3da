"""A unit is visible whole or not at all, whatever call fails, wherever the process dies.

Each step of a store (the beginning and the end of every call of a port) is failed in turn, for
each strategy; afterwards a retry completes it, and recovery leaves nothing that nobody knows.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from tests.application.raw_images import raw_picture
from tests.application.rig import (
    LONG_AGO,
    Rig,
    Service,
    film,
    outcome,
    picture,
    streamed,
    violation_record,
)
from tests.application.script import Died, Step
from traffic_storage.application.inputs import Upload
from traffic_storage.domain.errors import StorageFull, StorageUnavailable, TrafficStorageError
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.entrypoints.testing.contracts.spool import taking
from traffic_storage.entrypoints.testing.faults.plans import When
from traffic_storage.ports.errors import CatalogueUnavailable, OutcomeUnknown

V001 = violation_record()
NAMES = ("V001~image", "V001~video", "V001~metadata")
Job = Callable[[Service], Awaitable[object]]


async def whole(service: Service) -> object:
    return await service.evidence(V001, picture(), streamed(film()))


async def bodies(service: Service) -> object:
    """The same as HTTP stores it: the files are in the spool before the use case is called."""
    async with AsyncExitStack() as stack:
        spool = service.container.spool()
        image = await stack.enter_async_context(taking(spool, streamed(raw_picture(picture()))))
        video = await stack.enter_async_context(taking(spool, streamed(film())))
        return await service.container.store_evidence()(
            V001, Upload(image), Upload(video), bodies=stack
        )


async def without_video(service: Service) -> object:
    return await service.evidence(V001, picture())


async def one_image(service: Service) -> object:
    return await service.image(picture(), "V001-still")


async def document(service: Service) -> object:
    return await service.json({"note": "x" * 500}, "V001-analysis")


JOBS: dict[str, tuple[Job, tuple[str, ...]]] = {
    "evidence": (whole, NAMES),
    "evidence in the spool": (bodies, NAMES),
    "image": (one_image, ("V001-still",)),
    "metadata": (document, ("V001-analysis",)),
}


def errors_at(step: Step) -> list[Callable[[], BaseException]]:
    """How the call of a step can end there, by its port."""
    port, _, method = step.call.partition(".")
    after = step.when is When.AFTER
    if port == "repo":
        known = lambda: CatalogueUnavailable("the database went away")  # noqa: E731
        unknown = lambda: OutcomeUnknown("the database went away in mid-commit")  # noqa: E731
        return [unknown if after and method == "apply" else known]
    if port in {"local", "cloud"}:
        away = lambda: StorageUnavailable("the store went away")  # noqa: E731
        full = lambda: StorageFull("the store is full")  # noqa: E731
        return [away, full] if method == "put" and not after else [away]
    if method == "chunks":
        return []
    return [lambda: StorageUnavailable(f"{step} failed")]


async def steps_of(strategy: StorageStrategy, job: Job, *, first: Job | None = None) -> list[Step]:
    rig = Rig(strategy)
    async with rig.running() as service:
        if first:
            await first(service)
        rig.script.begin()
        await job(service)
        return list(rig.script.steps)


async def check_visible_whole(rig: Rig, service: Service, names: tuple[str, ...]) -> bool:
    """Whether all of it is visible; none of it otherwise."""
    visible = [name for name in names if name in rig.files]
    assert visible in ([], list(names))
    has_violation = bool(rig.repo._violations)
    assert has_violation == (bool(visible) and "V001~metadata" in names)
    for name in visible:
        data, file = await service.read.whole(name)
        assert len(data) == file.content.size_bytes
    return bool(visible)


async def check_settled(rig: Rig, service: Service) -> None:
    """After the deadline of any attempt: nothing is left over, and all is counted."""
    rig.clock.advance(LONG_AGO)
    await service.sweep()
    assert rig.attempts == []
    assert rig.findings() == []
    assert rig.spool.held == []
    assert not any(service.reserved().values())
    assert await service.miscounts() == []


@pytest.mark.parametrize("strategy", StorageStrategy)
@pytest.mark.parametrize("job", JOBS)
async def test_whatever_call_fails_the_reader_sees_all_or_nothing_and_a_retry_completes_it(
    strategy: StorageStrategy, job: str
) -> None:
    store, names = JOBS[job]
    tried = 0
    for step in await steps_of(strategy, store):
        for error in errors_at(step):
            rig = Rig(strategy)
            async with rig.running() as service:
                rig.script.begin((step, error))
                result = await outcome(store(service))
                assert rig.spool.held == [], f"a body is held after an error at {step}"
                rig.script.begin()
                seen = await check_visible_whole(rig, service, names)
                if not isinstance(result, TrafficStorageError):
                    assert seen, f"acknowledged, but not there, after an error at {step}"
                assert not any(service.reserved().values()), step
                await store(service)
                assert await check_visible_whole(rig, service, names)
                await check_settled(rig, service)
            tried += 1
    assert tried > 8


@pytest.mark.parametrize("strategy", StorageStrategy)
@pytest.mark.parametrize("job", JOBS)
async def test_wherever_the_process_dies_the_next_one_finds_all_or_nothing(
    strategy: StorageStrategy, job: str
) -> None:
    store, names = JOBS[job]
    for step in await steps_of(strategy, store):
        rig = Rig(strategy)
        first = rig.boot()
        await first.start()
        rig.script.begin((step, Died))
        with pytest.raises(Died):
            await store(first)
        rig.script = type(rig.script)()
        async with rig.running() as second:
            await check_visible_whole(rig, second, names)
            rig.clock.advance(LONG_AGO)
            await second.sweep()
            seen = await check_visible_whole(rig, second, names)
            assert (rig.attempts, rig.findings()) == ([], [])
            if not seen:
                assert not rig.left(), step
            await store(second)
            assert await check_visible_whole(rig, second, names)
            await check_settled(rig, second)


async def test_a_video_that_is_added_comes_whole_or_not_at_all() -> None:
    for step in await steps_of(StorageStrategy.HYBRID, whole, first=without_video):
        for error in errors_at(step):
            rig = Rig(StorageStrategy.HYBRID)
            async with rig.running() as service:
                await without_video(service)
                before = rig.repo._violations.copy()
                rig.script.begin((step, error))
                await outcome(whole(service))
                rig.script.begin()
                if "V001~video" not in rig.files:
                    assert rig.repo._violations == before
                assert rig.findings() == []
                await whole(service)
                assert await check_visible_whole(rig, service, NAMES)
                await check_settled(rig, service)


async def cancelled_after(turns: int, work: Awaitable[object]) -> bool:
    """Run work and cancel it after so many turns of the loop; whether it was still running."""
    task = asyncio.ensure_future(work)
    for _ in range(turns):
        await asyncio.sleep(0)
        if task.done():
            break
    running = task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return running


@pytest.mark.parametrize("strategy", [StorageStrategy.LOCAL_ONLY, StorageStrategy.HYBRID])
@pytest.mark.parametrize("job", JOBS)
async def test_a_caller_who_is_cancelled_anywhere_leaves_all_or_nothing_and_no_body(
    strategy: StorageStrategy, job: str
) -> None:
    store, names = JOBS[job]
    turns, running = 0, True
    while running:
        rig = Rig(strategy)
        async with rig.running() as service:
            running = await cancelled_after(turns, store(service))
            await service.container.tasks().settled()
            await check_visible_whole(rig, service, names)
            assert rig.spool.held == [], f"a body is held after a cancel at turn {turns}"
            await store(service)
            assert await check_visible_whole(rig, service, names)
            await check_settled(rig, service)
        turns += 1
    assert turns > 10


@pytest.mark.parametrize("job", JOBS)
async def test_a_cancel_while_a_failure_is_cleaned_up_leaves_no_body(job: str) -> None:
    store, names = JOBS[job]
    steps = await steps_of(StorageStrategy.LOCAL_ONLY, store)
    for step in [step for step in steps if not step.call.startswith("repo")]:
        for turns in range(0, len(steps) + 20, 5):
            rig = Rig()
            async with rig.running() as service:
                rig.script.begin((step, lambda: StorageUnavailable("failed on purpose")))
                await cancelled_after(turns, store(service))
                await service.container.tasks().settled()
                assert rig.spool.held == [], f"{step}, cancelled at turn {turns}"
                rig.script.begin()
                await check_visible_whole(rig, service, names)
