"""A7 on real servers: services that plan and move at once bring local disk to its mark, not below."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.application.rig import film
from tests.support.servers import Bucket, Database
from tests.support.setups import config
from traffic_storage import StorageStrategy
from traffic_storage.application.inputs import FileAttributes, Upload
from traffic_storage.domain.files import Tier
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.entrypoints.container import Container, build, running

LIMIT = 10_000
HIGH, LOW = 0.85, 0.75
SIZES = [90, 400, 310, 170, 50]
FILES = 45


def local_id(container: Container) -> StoreId:
    """The id of the local store."""
    (found,) = [one.store_id for one in container.stores() if one.store.tier is Tier.LOCAL]
    assert found is not None
    return found


async def local_bytes(container: Container) -> int:
    """The bytes of the local copies that are not gone."""
    statistics = await container.statistics()()
    return statistics.local.used_bytes


def bytes_on_disk(folder: Path) -> int:
    """The bytes of the videos in the local store."""
    return sum(path.stat().st_size for path in folder.glob("blobs/video/*/*/*/*-*"))


async def keep_moving(container: Container) -> None:
    """Plan and move until nothing is left to do, as a process with workers does."""
    done = None
    while done is None or done.moved or done.copied or done.remaining:
        await container.spill()(local_id(container))
        done = await container.sync_backends()()


@pytest.mark.parametrize("services", [2, 8])
async def test_services_that_move_at_once_overshoot_by_one_file_at_most(
    tmp_path: Path, catalogue_database: Database, s3_bucket: Bucket, services: int, no_leaks: None
) -> None:
    def made(high_water: float) -> Container:
        settings = config(
            tmp_path,
            bucket=s3_bucket,
            database=catalogue_database,
            workers=0,
            db_pool_size=2,
            accept_unknown_video=True,
            max_local_size_gb=LIMIT / 1e9,
            evidence_reserve_share=0.0,
            high_water=high_water,
            low_water=LOW,
            copy_parallel=2,
        )
        return build(settings, StorageStrategy.LOCAL_THEN_CLOUD)

    async with running(made(1.0)) as container:
        for number in range(FILES):
            upload = Upload(film(number, SIZES[number % len(SIZES)]))
            await container.store_files().video(upload, FileAttributes.of(file_id=f"X{number}"))
        assert await local_bytes(container) > HIGH * LIMIT
    async with AsyncExitStack() as stack:
        started = [await stack.enter_async_context(running(made(HIGH))) for _ in range(services)]
        await asyncio.gather(*map(keep_moving, started))
        target = int(LOW * LIMIT)
        assert target - max(SIZES) < await local_bytes(started[0]) <= target
        assert bytes_on_disk(tmp_path) == await local_bytes(started[0])
        for number in range(FILES):
            data, _ = await started[-1].read_files().whole(f"X{number}")
            assert data == film(number, SIZES[number % len(SIZES)])
