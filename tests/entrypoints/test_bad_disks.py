"""The service on a disk or a database that is full or read-only: what is stored can be read."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.privileged import fill_up, remount, small_memory_disk
from tests.support.servers import Database, PostgresAddress
from tests.support.setups import config
from traffic_storage import StorageConfig, StorageService, StorageStrategy
from traffic_storage.domain.errors import StorageFull, Unavailable


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_memory_disk(tmp_path / "disk", "size=12m") as disk:
        yield disk


def opened(disk: Path) -> StorageService:
    settings = StorageConfig(local_base_path=disk / "base", local_reserve_gb=0, workers=0)
    return StorageService(settings, StorageStrategy.LOCAL_ONLY)


@pytest.mark.privileged
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


@pytest.mark.privileged
async def test_a_service_on_a_read_only_disk_reads(no_leaks: None, disk: Path) -> None:
    async with opened(disk) as service:
        await service.store_metadata({"number": 1}, "M")
    remount(disk, "ro")
    async with opened(disk) as service:
        assert (await service.retrieve_file("M"))[0] == b'{"number":1}'
        catalogue = next(iter((await service.parts.container.runtime().health()).components))
        assert (catalogue.healthy, "read but not written" in catalogue.detail) == (False, True)
        assert (await service.get_storage_statistics())["local_storage"]["files"] == 1
        with pytest.raises(Unavailable, match="read-only"):
            await service.store_metadata({"number": 2}, "N")
    remount(disk, "rw")
    async with opened(disk) as service:
        await service.store_metadata({"number": 2}, "N")


@pytest.mark.privileged
@pytest.mark.parametrize("sample", [None, 5])
async def test_copies_on_a_disk_that_can_only_be_read_are_verified(
    no_leaks: None, disk: Path, sample: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    """On a read-only copy; nothing can be recorded there, which is said once."""
    async with opened(disk) as service:
        for number in range(2):
            await service.store_metadata({"number": number}, f"M{number}")
    remount(disk, "ro")
    async with opened(disk) as service:
        found = await service.verify_data_integrity(sample)
    assert (found["files_checked"], found["replicas_checked"], found["recorded"]) == (2, 2, False)
    assert caplog.text.count("are not recorded") == 1
    remount(disk, "rw")
    _damage(disk)
    remount(disk, "ro")
    caplog.clear()
    async with opened(disk) as service:
        found = await service.verify_data_integrity(sample)
    assert (found["corrupted"], found["healed"], found["unknown"]) == (1, 0, 0)
    assert (found["recorded"], caplog.text.count("is corrupt")) == (False, 1)
    remount(disk, "rw")
    async with opened(disk) as service:
        assert (await service.verify_data_integrity())["recorded"]
        assert len((await service.find_incidents()).items) == 1


@pytest.mark.privileged
async def test_copies_on_a_full_disk_are_verified(no_leaks: None, disk: Path) -> None:
    async with opened(disk) as service:
        await service.store_metadata({"number": 1}, "M")
    for _ in range(2):  # At the first time the catalogue has a reserve on the disk.
        fill_up(disk)
        async with opened(disk) as service:
            found = await service.verify_data_integrity()
        assert (found["replicas_checked"], found["corrupted"]) == (1, 0)


async def test_a_service_on_a_read_only_database_reads_and_verifies(
    postgres: PostgresAddress, postgres_database: Database, tmp_path: Path
) -> None:
    """As on a standby; both say that they can be read, and are not ready for storing."""
    settings = config(tmp_path, database=postgres_database, workers=0)
    async with StorageService(settings, StorageStrategy.LOCAL_ONLY) as service:
        await service.store_metadata({"number": 1}, "M")
    name = postgres_database.name
    postgres.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    async with StorageService(settings, StorageStrategy.LOCAL_ONLY) as service:
        assert (await service.retrieve_file("M"))[0] == b'{"number":1}'
        found = await service.verify_data_integrity()
        assert (found["replicas_checked"], found["recorded"]) == (1, False)
        catalogue = next(iter((await service.parts.container.runtime().health()).components))
        assert (catalogue.healthy, "read but not written" in catalogue.detail) == (False, True)


def _damage(disk: Path) -> None:
    blob = next(
        path for path in (disk / "base" / "blobs" / "metadata").rglob("*") if path.is_file()
    )
    blob.chmod(0o600)
    blob.write_bytes(b"0" * blob.stat().st_size)
