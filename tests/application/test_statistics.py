"""Statistics: maintained counters, by tier and kind, and what this process has done."""

from datetime import timedelta

import pytest

from tests.application.rig import RememberingBlobStore, Rig, film, picture, violation_record
from tests.application.script import Step
from traffic_storage.domain.files import FileKind, Tier
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.entrypoints.testing.faults.plans import When
from traffic_storage.ports.blob_store import Room
from traffic_storage.ports.errors import CatalogueUnavailable


async def test_what_is_stored_is_counted_by_tier_and_kind() -> None:
    rig = Rig(StorageStrategy.HYBRID, max_local_size_gb=10_000 / 1e9)
    async with rig.running() as service:
        statistics = service.container.statistics()
        empty = await statistics()
        assert (empty.local.files, empty.cloud.files, empty.violations) == (0, 0, 0)
        assert empty.local.usage_percentage == 0
        stored = await service.evidence(violation_record(), picture(), film())
        await service.evidence(violation_record(), picture(), film())
        await service.video(film(2, 100))
        now = await statistics()
        sizes = {kind: file.stored.size_bytes for kind, file in stored.files.items()}
        local = sizes[FileKind.IMAGE] + sizes[FileKind.METADATA]
        assert (now.local.files, now.local.used_bytes) == (2, local)
        assert (now.cloud.files, now.cloud.used_bytes) == (2, sizes[FileKind.VIDEO] + 100)
        assert now.local.limit_bytes == 10_000
        assert now.local.usage_percentage == pytest.approx(local / 100)
        assert (now.cloud.limit_bytes, now.cloud.usage_percentage) == (None, None)
        assert now.cloud.by_kind[FileKind.VIDEO].files == 2
        assert now.local.by_kind[FileKind.VIDEO].files == 0
        for tier in (now.local, now.cloud):
            assert sum(part.files for part in tier.by_kind.values()) == tier.files
            assert sum(part.bytes for part in tier.by_kind.values()) == tier.used_bytes
        assert now.violations == 1
        assert now.operations["files_stored"] == 4
        assert now.operations["violations_stored"] == 1
        assert now.operations["retries_recognised"] == 1
        assert now.cache.healthy


async def test_growth_is_what_each_of_the_last_days_brought() -> None:
    rig = Rig(StorageStrategy.HYBRID)
    async with rig.running() as service:
        statistics = service.container.statistics()
        first = await service.evidence(violation_record(), picture())
        rig.clock.advance(timedelta(days=1))
        await service.sweep()
        await service.video(film(2, 100))
        growth = (await statistics()).growth
        today = rig.clock.now().date()
        assert [day.day for day in growth] == [today - timedelta(days=n) for n in range(6, -1, -1)]
        received = [(day.files, day.bytes, day.violations) for day in growth]
        size = sum(file.stored.size_bytes for file in first.files.values())
        assert received == [(0, 0, 0)] * 5 + [(2, size, 1), (1, 100, 0)]
        rig.clock.advance(timedelta(days=7))
        assert not any(day.files for day in (await statistics()).growth)


async def test_free_space_is_what_the_medium_said() -> None:
    rig = Rig()

    async def told() -> Room:
        return Room(free_bytes=5 * 10**9, total_bytes=10**10)

    rig.at_rest[Tier.LOCAL].room = told  # type: ignore[method-assign]
    async with rig.running() as service:
        now = await service.container.statistics()()
        assert (now.local.free_bytes, now.cloud.free_bytes) == (5 * 10**9, None)


async def test_several_buckets_are_one_tier() -> None:
    rig = Rig(StorageStrategy.CLOUD_ONLY, max_cloud_size_gb=1_000 / 1e9)
    rig.routed["madrid-*"] = RememberingBlobStore(rig.clock, Tier.CLOUD, "s3.example/madrid")
    async with rig.running() as service:
        for device in ("madrid-1", "seville-1"):
            await service.video(film(1, 100), device_id=device)
        cloud = (await service.container.statistics()()).cloud
        assert (cloud.files, cloud.used_bytes, cloud.limit_bytes) == (2, 200, 2_000)
        assert cloud.usage_percentage == pytest.approx(10)


async def test_more_than_the_limit_is_a_hundred_percent() -> None:
    rig = Rig(max_local_size_gb=3_000 / 1e9)
    async with rig.running() as service:
        await service.video(film(1, 2_000))
    rig.settings = Rig(max_local_size_gb=1_000 / 1e9).settings
    async with rig.running() as service:
        assert (await service.container.statistics()()).local.usage_percentage == 100


async def test_without_the_database_there_are_no_figures() -> None:
    rig = Rig()
    async with rig.running() as service:
        gone = lambda: CatalogueUnavailable("away")  # noqa: E731
        rig.script.begin((Step("repo.usage", 1, When.BEFORE), gone))
        with pytest.raises(CatalogueUnavailable):
            await service.container.statistics()()
