"""The service on a disk that is full or read-only: what is stored can be read."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.privileged import fill_up, remount, small_memory_disk
from traffic_storage import StorageConfig, StorageService, StorageStrategy
from traffic_storage.domain.errors import StorageFull, Unavailable

pytestmark = pytest.mark.privileged


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_memory_disk(tmp_path / "disk", "size=12m") as disk:
        yield disk


def opened(disk: Path) -> StorageService:
    settings = StorageConfig(local_base_path=disk / "base", local_reserve_gb=0, workers=0)
    return StorageService(settings, StorageStrategy.LOCAL_ONLY)


async def test_a_service_that_starts_on_a_full_disk_reads(no_leaks: None, disk: Path) -> None:
    """Twice: at the first time the catalogue has a reserve on the disk, at the second none."""
    async with opened(disk) as service:
        await service.store_metadata({"number": 1}, "M")
    for _ in range(2):
        fill_up(disk)
        async with opened(disk) as service:
            assert (await service.retrieve_file("M"))[0] == b'{"number":1}'
            with pytest.raises(StorageFull):
                await service.store_metadata({"number": 2}, "N")
    (disk / "filler").unlink()
    async with opened(disk) as service:
        await service.store_metadata({"number": 2}, "N")


async def test_a_service_on_a_read_only_disk_reads(no_leaks: None, disk: Path) -> None:
    async with opened(disk) as service:
        await service.store_metadata({"number": 1}, "M")
    remount(disk, "ro")
    async with opened(disk) as service:
        assert (await service.retrieve_file("M"))[0] == b'{"number":1}'
        assert (await service.get_storage_statistics())["local_storage"]["files"] == 1
        with pytest.raises(Unavailable, match="read-only"):
            await service.store_metadata({"number": 2}, "N")
    remount(disk, "rw")
    async with opened(disk) as service:
        await service.store_metadata({"number": 2}, "N")
