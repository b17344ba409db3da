"""A service's life: starting until it succeeds, sweeping, telling its health, closing."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

import pytest
from attrs import evolve

from tests.application.rig import LONG_AGO, Rig, Service, film, outcome, picture
from tests.application.script import Step
from tests.support.leaks import tasks_besides_ours
from traffic_storage.application.runtime import Health, Runtime
from traffic_storage.domain.errors import ConfigurationError, StorageUnavailable
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.domain.pressure import UNPRESSED
from traffic_storage.entrypoints.testing.faults.plans import Fault, When
from traffic_storage.ports.errors import CatalogueUnavailable


def runtime(service: Service) -> Runtime:
    return service.container.runtime()


def gone() -> CatalogueUnavailable:
    return CatalogueUnavailable("the database is away")


async def test_starting_is_tried_again_until_it_succeeds() -> None:
    rig = Rig()
    service = rig.boot()
    calls = ("repo.upgrade", "repo.catalogue_id", "repo.register", "repo.usage", "repo.condemn")
    for call in calls:
        rig.script.begin((Step(call, 1, When.BEFORE), gone))
        with pytest.raises(CatalogueUnavailable):
            await service.start()
        assert not runtime(service).started
    rig.script.begin()
    await service.start()
    assert runtime(service).started
    assert (await service.image(picture(), "X")).created
    await service.aclose()


async def test_starting_at_once_from_many_sides_is_done_once() -> None:
    rig = Rig()
    service = rig.boot()
    await asyncio.gather(*(service.start() for _ in range(10)))
    await service.start()
    assert [step.call for step in rig.script.steps].count("repo.upgrade") == 2  # its two ends
    await service.aclose()


async def test_a_database_of_a_later_version_is_an_error_of_the_configuration() -> None:
    rig = Rig()
    service = rig.boot()
    newer = lambda: ConfigurationError.of("database", "is of a later version")  # noqa: E731
    rig.script.begin((Step("repo.upgrade", 1, When.BEFORE), newer))
    with pytest.raises(ConfigurationError):
        await service.start()
    await service.aclose()


async def swept(rig: Rig, nth: int = 1) -> None:
    """Let the interval pass; wait until the service has swept so often since the script began."""
    end = rig.script.hold("repo.condemn", nth, When.AFTER)
    for _ in range(60):
        # Again, because the next job is not written while the one before has not ended.
        rig.clock.advance(timedelta(seconds=1))
        with suppress(TimeoutError):
            await asyncio.wait_for(end.reached.wait(), 1)
            break
    assert end.reached.is_set()
    end.let_go.set()


async def test_it_sweeps_by_itself() -> None:
    rig = Rig()
    async with rig.running() as service:
        rig.script.begin((Step("repo.apply", 1, When.BEFORE), gone))
        await outcome(service.image(picture(), "X"))
        assert rig.attempts
    rig.settings = evolve(rig.settings, sweep_interval_seconds=0.01, workers=1)
    async with rig.running() as service:
        # At its start, the deadline had not passed.
        rig.clock.advance(LONG_AGO)
        rig.script.begin()
        await swept(rig)
        await swept(rig, 2)
        assert service.counters.attempts_undone == 1
        assert rig.attempts == []


@pytest.mark.parametrize(
    ("error", "logged"),
    [
        (gone, "could not be verified"),
        (lambda: RuntimeError("a bug"), "verifying the stores failed"),
    ],
)
async def test_a_check_of_the_stores_that_fails_is_logged_and_the_next_one_comes(
    error: Callable[[], Exception], logged: str, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(sweep_interval_seconds=0.01)
    async with rig.running():
        rig.script.begin((Step("repo.usage", 1, When.BEFORE), error))
        again = rig.script.hold("repo.usage", 2, When.AFTER)
        await asyncio.wait_for(again.reached.wait(), 60)
        again.let_go.set()
    assert logged in caplog.text


# Health


def details(health: Health) -> dict[str, str]:
    return {part.name: part.detail for part in health.components if not part.healthy}


async def test_health_of_all_parts() -> None:
    rig = Rig(StorageStrategy.HYBRID)
    async with rig.running() as service:
        health = await runtime(service).health()
        assert (health.ready, health.degraded) == (True, False)
        assert [part.name for part in health.components] == [
            "catalogue",
            "local store host:/blobs",
            "cloud store s3.example/bucket",
            "space of the local store host:/blobs",
            "space of the cloud store s3.example/bucket",
            "cache",
        ]
        rig.cloud.go_down("the bucket does not answer")
        rig.cache.go_down("Redis does not answer")
        health = await runtime(service).health()
        assert (health.ready, health.degraded) == (True, True)
        assert details(health) == {
            "cloud store s3.example/bucket": "the bucket does not answer",
            "cache": "Redis does not answer",
        }
        rig.script.begin((Step("repo.ping", 1, When.BEFORE), gone))
        health = await runtime(service).health()
        assert (health.ready, health.degraded) == (False, True)
        assert details(health)["catalogue"] == "the database is away"
        rig.cloud.come_back()
        rig.cache.come_back()
        assert not (await runtime(service).health()).degraded


async def test_health_tells_of_little_space_without_a_worker() -> None:
    rig = Rig(max_local_size_gb=1e-5)  # 10,000 bytes
    async with rig.running() as service:
        await service.video(film(1, 9500))
        assert details(await runtime(service).health()) == {
            "space of the local store host:/blobs": (
                "the store fills up (pressure: move_out); more is used than alert_usage_percent "
                "allows"
            )
        }
        assert set((await rig.repo.recorded_pressures()).values()) == {UNPRESSED}


async def test_asking_for_health_starts_what_could_not_start() -> None:
    rig = Rig()
    service = rig.boot()
    rig.script.begin((Step("repo.upgrade", 1, When.BEFORE), gone))
    health = await runtime(service).health()
    assert not health.ready
    assert not runtime(service).started
    assert (await runtime(service).health()).ready
    assert runtime(service).started
    await service.aclose()


async def test_a_store_without_proof_of_identity_is_seen_in_health() -> None:
    rig = Rig()
    rig.local.go_down("not mounted")
    async with rig.running() as service:
        rig.local.come_back()
        health = await runtime(service).health()
        assert (health.ready, health.degraded) == (True, True)
        assert "it is not verified yet" in details(health)["local store host:/blobs"]


# Closing


async def test_closing_waits_for_what_is_being_stored() -> None:
    rig = Rig()
    service = rig.boot()
    await service.start()
    held = rig.script.hold("local.put")
    storing = asyncio.create_task(service.image(picture(), "X"))
    await held.reached.wait()
    storing.cancel()
    closing = asyncio.create_task(service.aclose())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not closing.done()
    held.let_go.set()
    await closing
    assert storing.cancelled()
    assert set(rig.files) == {"X"}
    assert rig.spool.held == []
    assert tasks_besides_ours() == set()


async def test_closing_is_final() -> None:
    rig = Rig()
    started, never_started = rig.boot(), rig.boot()
    await started.start()
    for service in (started, never_started):
        await service.aclose()
        await service.aclose()
        assert not runtime(service).started
        with pytest.raises(CatalogueUnavailable, match="was closed"):
            await service.start()
        assert not (await runtime(service).health()).ready
    assert tasks_besides_ours() == set()


async def test_closing_waits_for_a_start_that_is_under_way() -> None:
    rig = Rig()
    service = rig.boot()
    held = rig.script.hold("repo.upgrade")
    starting = asyncio.create_task(service.start())
    await held.reached.wait()
    closing = asyncio.create_task(service.aclose())
    await asyncio.sleep(0)
    held.let_go.set()
    await asyncio.gather(starting, closing)
    assert not runtime(service).started
    assert tasks_besides_ours() == set()


async def test_each_part_is_closed_though_another_fails_to() -> None:
    rig = Rig(StorageStrategy.HYBRID)
    service = rig.boot()
    await service.start()
    away = lambda: StorageUnavailable("it hangs")  # noqa: E731
    rig.script.begin((Step("local.aclose", 1, When.BEFORE), away))
    with pytest.raises(StorageUnavailable, match="it hangs"):
        await service.aclose()
    closed = [step.call for step in rig.script.steps if step.when is When.BEFORE]
    assert set(closed) == {
        f"{port}.aclose"
        for port in ("local", "cloud", "images", "compressor", "spool", "cache", "repo")
    }
    assert closed[-1] == "repo.aclose"


async def test_a_store_that_is_closed_in_mid_sweep_leaves_no_task() -> None:
    rig = Rig(sweep_interval_seconds=0.01)
    async with rig.running():
        rig.script.begin()
        held = rig.script.hold("repo.usage")
        await asyncio.wait_for(held.reached.wait(), 60)
    assert tasks_besides_ours() == set()


async def test_a_service_outlives_an_outage_of_everything() -> None:
    rig = Rig(StorageStrategy.HYBRID)
    async with rig.running() as service:
        rig.local.go_down("away")
        rig.cloud.go_down("away")
        rig.cache.go_down("away")
        rig.local.plan(Fault("room", times=None))
        assert isinstance(await outcome(service.video(film(), "X")), StorageUnavailable)
        rig.clock.advance(timedelta(hours=1))
        await service.sweep()
        rig.local.come_back()
        rig.cloud.come_back()
        rig.cache.come_back()
        assert (await service.video(film(), "X")).created
        assert rig.findings() == []
