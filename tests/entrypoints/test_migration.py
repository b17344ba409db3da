"""`DataMigrationManager` between real set-ups: the source's example, both ways, killed on the way."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.support.adapter_settings import PATIENT_SECONDS
from tests.support.media import shipped_jpeg, video
from tests.support.servers import Bucket, Database
from tests.support.setups import config
from traffic_storage import (
    DataMigrationManager,
    DigestMismatch,
    InvalidInput,
    StorageConfig,
    StorageService,
    StorageStrategy,
    ViolationRecord,
)
from traffic_storage.domain.jobs import Progress
from traffic_storage.entrypoints.migration_views import migration_in
from traffic_storage.entrypoints.testing.faults.blob_store import Damage, tamper

OCTOBER = datetime(2025, 10, 1)


def record(number: int) -> ViolationRecord:
    """A violation in October 2025."""
    return ViolationRecord(
        violation_id=f"V{number:03}",
        device_id="cam_001",
        violation_type="speed",
        timestamp=OCTOBER + timedelta(hours=number),
        vehicle_bbox=[100, 100, 200, 200],
        vehicle_class="car",
        confidence=0.95,
        camera_info={"location": "Main St"},
    )


@pytest.fixture
def config_old(tmp_path: Path) -> StorageConfig:
    """A folder and SQLite."""
    return config(tmp_path / "old", workers=0)


@pytest.fixture
def config_new(tmp_path: Path, s3_bucket: Bucket, postgres_database: Database) -> StorageConfig:
    """A bucket and PostgreSQL."""
    return config(
        tmp_path / "new",
        bucket=s3_bucket,
        database=postgres_database,
        db_timeout_seconds=PATIENT_SECONDS,
        workers=0,
    )


@pytest.fixture
async def source_storage(
    config_old: StorageConfig, no_leaks: None
) -> AsyncIterator[StorageService]:
    """The old service, with four violations in October and one in November."""
    async with StorageService(config_old, StorageStrategy.LOCAL_ONLY) as storage:
        for number in (0, 1, 2, 743, 744):
            await storage.store_violation_evidence(
                record(number), shipped_jpeg(), video("mp4") if number == 2 else None, historic=True
            )
        yield storage


async def test_the_example_of_the_source(
    source_storage: StorageService,
    config_new: StorageConfig,
    capsys: pytest.CaptureFixture[str],
) -> None:
    target_storage = StorageService(config_new, StorageStrategy.CLOUD_ONLY)

    migrator = DataMigrationManager(source_storage, target_storage)

    # Migrar datos de violaciones
    migration_results = await migrator.migrate_violation_data(
        start_date=datetime(2025, 10, 1),
        end_date=datetime(2025, 11, 1)
    )  # fmt: skip

    print(f"Registros migrados: {migration_results['migrated_records']}")
    print(f"Archivos migrados: {migration_results['migrated_files']}")

    assert capsys.readouterr().out == "Registros migrados: 4\nArchivos migrados: 9\n"
    await target_storage.aclose()


async def test_to_other_servers_and_back(
    source_storage: StorageService, config_new: StorageConfig, tmp_path: Path
) -> None:
    shown: list[Progress] = []
    span = (OCTOBER, OCTOBER + timedelta(days=60))
    hold = await source_storage.place_hold("case 7", "asked by the court", violation_id="V001")
    async with (
        StorageService(config_new, StorageStrategy.CLOUD_ONLY) as middle,
        StorageService(config(tmp_path / "third", workers=0), StorageStrategy.LOCAL_ONLY) as third,
    ):
        out = DataMigrationManager(source_storage, middle)
        plan = await out.migrate_violation_data(*span, dry_run=True)
        assert (plan["migrated_records"], plan["migrated_files"]) == (5, 11)
        assert plan["reconciliation"] is None
        there = await out.migrate_violation_data(
            *span, seal=True, progress=shown.append, report_file=tmp_path / "report.json"
        )
        assert there["bytes"] == plan["bytes"]
        assert there["sealed"]
        assert shown[-1].done == 5
        back = await DataMigrationManager(middle, third).migrate_violation_data(*span, reread=True)
        assert back["migrated_files"] == 11
        for name in ("V001~image", "V002~video", "V743~metadata"):
            data, first = await source_storage.retrieve_file(name)
            again, last = await third.retrieve_file(name)
            assert again == data
            for field in ("sha256", "created_at", "captured_at", "violation_id", "expires_at"):
                assert last[field] == first[field]
        assert [one["hold_id"] for one in (await third.list_holds()).items] == [hold["hold_id"]]
        old = await source_storage.get_violation_records()
        assert await third.get_violation_records() == old
        for result in (there, back):
            found = result["reconciliation"]
            assert found is not None
            assert (found["equal"], found["reread"]) == (True, True)
            assert [day["target"]["records"] for day in found["days"]] == [3, 1, 1]
        days = [one["reconciliation"] and one["reconciliation"]["days"] for one in (there, back)]
        assert days[0] == days[1]
        key = middle.parts.container.signing_key()()
    document = (tmp_path / "report.json").read_bytes()
    assert migration_in(document, key) == there
    with pytest.raises(DigestMismatch):
        migration_in(document.replace(b'"equal":true', b'"equal":null', 1), key)


async def test_a_byte_that_is_flipped_at_the_target_is_found_before_the_source_is_sealed(
    source_storage: StorageService, config_new: StorageConfig
) -> None:
    span = (OCTOBER, OCTOBER + timedelta(days=60))
    async with StorageService(config_new, StorageStrategy.CLOUD_ONLY) as target:
        migrator = DataMigrationManager(source_storage, target)
        await migrator.migrate_violation_data(*span)
        file = await target.parts.container.find().file("V002~video")
        (store,) = [one.store for one in target.parts.container.stores() if one.store_id]
        await tamper(store, file.replicas[0].key, Damage.FLIP, at=1000)
        done = await migrator.migrate_violation_data(*span, seal=True)
        assert not done["sealed"]
        found = done["reconciliation"]
        assert found is not None
        assert [one["file_id"] for one in found["differences"]] == ["V002~video"]
        assert [day["equal"] for day in found["days"]] == [False, True, True]
        assert len((await target.find_incidents()).items) == 1
        await source_storage.store_image(shipped_jpeg(), "still-writable")


@pytest.mark.parametrize(
    ("field", "wrong"),
    [("parallel", 0), ("bytes_per_second", -1), ("files_per_second", 1.5), ("seal", "yes")],
)
async def test_wrong_arguments_are_named(
    source_storage: StorageService, tmp_path: Path, field: str, wrong: object
) -> None:
    target = StorageService(config(tmp_path / "new", workers=0))
    migrator = DataMigrationManager(source_storage, target)
    with pytest.raises(InvalidInput, match=field):
        await migrator.migrate_violation_data(
            OCTOBER,
            OCTOBER + timedelta(days=1),
            **{field: wrong},  # type: ignore[arg-type]
        )
    with pytest.raises(InvalidInput, match="target_storage"):
        DataMigrationManager(source_storage, "another")  # type: ignore[arg-type]
    await target.aclose()
