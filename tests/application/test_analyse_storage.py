"""AnalyseStorage: a store that grows day by day, with planted duplicates."""

from datetime import timedelta

import pytest

from tests.application.rig import Rig, film
from traffic_storage.domain.files import FileKind
from traffic_storage.domain.forecast import Method

DAY = timedelta(days=1)


async def test_a_store_that_grows_is_forecast_with_and_without_retention() -> None:
    rig = Rig(max_local_size_gb=1e-4, video_retention_days=30)  # 100,000 bytes
    async with rig.running() as service:
        for day in range(25):
            for number in range(1 + (day % 7 == 0)):
                await service.video(film(10 * day + number, 1000), device_id=f"cam-{day % 2}")
            rig.clock.advance(DAY)
        found = await service.container.analyse_storage()()
        (store,) = found.stores
        assert store.received.tolist() == [2000, *[1000] * 6] * 3 + [2000, *[1000] * 3]
        assert store.forecast.method is not Method.MEAN
        assert store.forecast.total(7) == pytest.approx(8000, rel=0.1)
        # 71,000 bytes are left.
        assert store.without_retention.estimate == pytest.approx(71 * 7 / 8, rel=0.1)
        # 30 days of videos take less than 40,000.
        assert store.with_retention.estimate is None
        assert (found.efficiency.value, found.files) == (1.0, 29)
        assert [one.device_id for one in found.devices] == ["cam-0", "cam-1"]
        assert found.retention[1].bytes == pytest.approx(30 * 29_000 / 25, rel=0.05)
        assert found.kinds[0].kind is FileKind.VIDEO
        assert sum(one.bytes for one in found.ages) == pytest.approx(29_000)


async def test_a_planted_duplicate_set_is_found() -> None:
    rig = Rig()
    async with rig.running() as service:
        assert (await service.container.analyse_storage()()).efficiency.value == 1.0
        for number in range(6):
            await service.video(film(number // 3 * number, 100), file_id=f"v{number}")
        found = (await service.container.analyse_storage()()).duplicates
        assert [group.file_ids for group in found.groups] == [("v0", "v1", "v2")]
        assert (found.surplus_bytes, found.examined) == (200, 6)
