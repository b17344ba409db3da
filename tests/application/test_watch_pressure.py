"""WatchPressure: levels of real stores, told once, and space that is kept for evidence."""

from datetime import timedelta
from uuid import uuid4

import pytest

from tests.application.rig import Rig, Service, film, picture, violation_record
from traffic_storage.application.watch_pressure import WATCH_PRESSURE
from traffic_storage.domain.errors import StorageFull
from traffic_storage.domain.events import EventKind
from traffic_storage.domain.jobs import Run
from traffic_storage.domain.pressure import PressureLevel

RUN = Run(uuid4(), uuid4(), WATCH_PRESSURE, {}, 1, 1)


async def level(service: Service) -> PressureLevel:
    """The level of the one store, as a job finds it."""
    watch = service.container.watch_pressure()
    await watch.run(RUN, lambda _progress: None)
    (found,) = await watch()
    return found.pressure.level


async def told(rig: Rig) -> list[object]:
    """The levels that events told of, in their order."""
    events = await rig.repo.events()
    return [one.event.details["level"] for one in events if one.event.kind is EventKind.PRESSURE]


async def test_a_store_that_fills_up_is_told_once_for_each_level() -> None:
    rig = Rig(max_local_size_gb=1e-5, evidence_reserve_share=0.02)  # 10,000 bytes
    async with rig.running() as service:
        assert await level(service) is PressureLevel.NONE
        await service.video(film(1, 500))
        assert await level(service) is PressureLevel.NONE
        await service.video(film(2, 500))
        # 9,000 bytes are left, and 1,000 came on this day.
        assert await level(service) is PressureLevel.FORECAST
        assert await level(service) is PressureLevel.FORECAST
        await service.video(film(3, 3500))
        assert await level(service) is PressureLevel.MOVE_OUT
        rig.clock.advance(timedelta(days=30))
        assert await level(service) is PressureLevel.NONE
        assert await told(rig) == ["forecast", "move_out", "none"]


async def test_the_last_space_is_kept_for_evidence() -> None:
    rig = Rig(max_local_size_gb=1e-5, evidence_reserve_share=0.2)
    async with rig.running() as service:
        await service.video(film(1, 8000))
        assert await level(service) is PressureLevel.EVIDENCE_ONLY
        with pytest.raises(StorageFull):
            await service.video(film(2, 100))
        stored = await service.evidence(violation_record(), picture(), film(3, 100))
        assert len(stored.files) == 3
        await service.video(film(4, 100), violation_id="V001")
        assert await told(rig) == ["evidence_only"]


async def test_statistics_show_when_a_store_will_be_full() -> None:
    rig = Rig(max_local_size_gb=1e-5, evidence_reserve_share=0.02)
    async with rig.running() as service:
        await service.video(film(1, 2000))
        ((found),) = (await service.container.statistics()()).pressure
        assert found.pressure.full_in == timedelta(days=4)
        assert (found.location, found.pressure.room_bytes) == ("host:/blobs", 8000)


async def test_an_alert_about_usage_is_told_once_for_each_crossing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig(
        max_local_size_gb=1e-5,
        alert_usage_percent=50.0,
        evidence_reserve_share=0.0,
        deletion_grace_days=0,
    )
    async with rig.running() as service:

        async def watched() -> tuple[bool, str]:
            """Whether the space is healthy, and what is wrong, after the job has run twice."""
            await level(service)
            await level(service)
            health = await service.container.runtime().health()
            assert health.ready
            (space,) = [part for part in health.components if "space" in part.name]
            return space.healthy, space.detail

        assert await watched() == (True, "")
        large = (await service.video(film(1, 4900), "large")).file
        await level(service)
        assert "alert" not in caplog.text
        await service.video(film(2, 300))
        healthy, detail = await watched()
        assert not healthy
        assert "alert_usage_percent" in detail
        delete = service.container.delete_files()
        await delete.file(large.file_id, "a test", "a person", override=True)
        await service.sweep()
        rig.clock.advance(timedelta(days=30))
        assert await watched() == (True, "")
        kinds = (EventKind.USAGE_ALERT,)
        alerts = [one.event for one in await rig.repo.events() if one.event.kind in kinds]
        assert [one.details["raised"] for one in alerts] == [True, False]
        assert alerts[0].details["used_percent"] == 52.0
        assert caplog.text.count("the alert is at 50 %") == 1
