"""DataLifecycleManager, as an embedder uses it: on both set-ups."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.adapter_settings import PATIENT_SECONDS
from tests.support.media import shipped_jpeg
from tests.support.servers import Bucket, Database
from tests.support.setups import config
from traffic_storage import (
    DataLifecycleManager,
    InvalidInput,
    NotFound,
    StorageService,
    StorageStrategy,
    WrongState,
)


def is_sealed(path: str) -> bool:
    return b'"name":"daily_backup_001"' in Path(path).read_bytes()


async def test_the_example_of_the_source_and_a_lost_store(tmp_path: Path, no_leaks: None) -> None:
    location = str(tmp_path / "elsewhere")
    settings = config(tmp_path / "one", snapshot_location=location, workers=0)
    async with StorageService(settings) as storage:
        lifecycle = DataLifecycleManager(storage)
        await storage.store_image(shipped_jpeg(), "a", {"device_id": "cam-1"})
        assert (await lifecycle.apply_retention_policies())["files_deleted"] == 0
        made = await lifecycle.create_data_snapshot("daily_backup_001")
        assert made["snapshot_location"] == f"{location}/sealed/daily_backup_001"
        assert is_sealed(made["snapshot_location"])
        assert (made["files"], made["violations"]) == (1, 0)
        assert made["bytes"] == made["bytes_written"] == len(shipped_jpeg())
        assert len(made["manifest_sha256"]) == 64
        with pytest.raises(WrongState, match="daily_backup_001"):
            await lifecycle.create_data_snapshot("daily_backup_001")
        verified = await lifecycle.verify_snapshot("daily_backup_001")
        assert (verified["valid"], verified["files"]) == (True, 1)
        drilled = await lifecycle.drill("daily_backup_001", sample=3, seed=7)
        assert (drilled["passed"], drilled["sample"], drilled["seed"]) == (True, 1, "7")
        assert not list((tmp_path / "one").glob("drill-*"))
    lost = config(tmp_path / "two", snapshot_location=location, workers=0)
    async with StorageService(lost) as storage:
        lifecycle = DataLifecycleManager(storage)
        (known,) = (await lifecycle.list_snapshots())["snapshots"]
        assert known["manifest_sha256"] == made["manifest_sha256"]
        plan = await lifecycle.restore_snapshot("daily_backup_001", dry_run=True)
        assert (plan["files"], plan["dry_run"]) == (1, True)
        with pytest.raises(NotFound):
            await storage.retrieve_file("a")
        assert (await lifecycle.restore_snapshot("daily_backup_001"))["complete"]
        data, metadata = await storage.retrieve_file("a")
        assert (data, metadata["device_id"]) == (shipped_jpeg(), "cam-1")
        # The catalogue is another one since it was lost.
        gone = await lifecycle.delete_snapshot("daily_backup_001", foreign=True)
        assert (gone["objects_deleted"], gone["bytes_freed"]) == (1, len(shipped_jpeg()))
        assert await lifecycle.list_snapshots() == {
            "snapshots": [],
            "unfinished": [],
            "unreadable": [],
        }
        with pytest.raises(NotFound):
            await lifecycle.restore_snapshot("daily_backup_001")
        with pytest.raises(InvalidInput):
            await lifecycle.drill("daily_backup_001", sample=0)


async def test_into_another_configuration_and_old_files_to_the_cloud(
    tmp_path: Path, s3_bucket: Bucket, catalogue_database: Database, no_leaks: None
) -> None:
    cloud = config(
        tmp_path / "cloud",
        bucket=s3_bucket,
        database=catalogue_database,
        workers=0,
        db_timeout_seconds=PATIENT_SECONDS,
    )
    async with (
        StorageService(cloud, StorageStrategy.LOCAL_THEN_CLOUD) as storage,
        StorageService(config(tmp_path / "disk", workers=0)) as target,
    ):
        lifecycle = DataLifecycleManager(storage)
        await storage.store_image(shipped_jpeg(), "a")
        made = await lifecycle.create_data_snapshot("first")
        assert made["snapshot_location"].endswith(f"/{s3_bucket.name}/snapshots/sealed/first")
        bucket = s3_bucket.client()
        (held,) = [one["path"] for one in bucket.list("snapshots/image").collect()]
        await bucket.put_async(held, shipped_jpeg()[:-1] + b"x")
        found = await lifecycle.verify_snapshot("first")
        assert (found["corrupt"], found["repaired"], found["valid"]) == (1, 1, True)
        assert (await lifecycle.restore_snapshot("first", target=target))["files"] == 1
        assert (await target.retrieve_file("a"))[0] == shipped_jpeg()
        assert (await lifecycle.archive_old_data(30))["files"] == 0
        soon = datetime.now(UTC) + timedelta(days=1)
        assert (await lifecycle.archive_old_data(soon, kinds=["image"], dry_run=True))[
            "copied"
        ] == 1
        await lifecycle.archive_old_data(soon)
        assert (await storage.sync_backends())["moved"] == 1
        _, metadata = await storage.retrieve_file("a")
        assert [one["tier"] for one in metadata["replicas"] if one["state"] == "present"] == [
            "cloud"
        ]
        for wrong in (-1, timedelta(-1), "old", True):
            with pytest.raises(InvalidInput):
                await lifecycle.archive_old_data(wrong)  # type: ignore[arg-type]
        with pytest.raises(InvalidInput, match="kinds"):
            await lifecycle.archive_old_data(1, kinds=["picture"])
        with pytest.raises(WrongState, match="cloud"):
            await DataLifecycleManager(target).archive_old_data(1)
