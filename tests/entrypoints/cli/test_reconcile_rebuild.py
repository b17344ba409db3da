"""`reconcile` and `rebuild`: differences are found and acted on; a lost database is filled again."""

import asyncio
import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.entrypoints.cli.command import Shell
from tests.support.media import photograph
from tests.support.servers import Bucket, Database
from tests.support.setups import config
from traffic_storage import StorageConfig, StorageService, ViolationRecord
from traffic_storage.domain.files import is_blob_key

DAYS = timedelta(days=3)


def record(number: int) -> ViolationRecord:
    """A violation of now."""
    return ViolationRecord(
        violation_id=f"V{number:03}",
        device_id="cam-1",
        violation_type="speed",
        timestamp=datetime.now().astimezone(),
        vehicle_bbox=[1, 2, 3, 4],
        vehicle_class="car",
        confidence=0.5,
    )


async def fill(settings: StorageConfig) -> dict[str, Any]:
    """Store two violations; everything that can be asked of them."""
    async with StorageService(settings) as storage:
        for number in range(2):
            await storage.store_violation_evidence(record(number), photograph())
        return await everything(storage)


async def everything(storage: StorageService) -> dict[str, Any]:
    """All files with their bytes, and all violations."""
    files = {view["file_id"]: view for view in (await storage.find_files()).items}
    for view in files.values():
        for copy in view["replicas"]:
            copy["verified_at"] = None
    return {
        "files": files,
        "bytes": {name: (await storage.retrieve_file(name))[0] for name in files},
        "violations": await storage.get_violation_records(),
    }


async def read(settings: StorageConfig) -> dict[str, Any]:
    async with StorageService(settings) as storage:
        return await everything(storage)


@pytest.fixture
def stored(shell: Shell) -> Shell:
    """Two violations in the default folder."""
    asyncio.run(fill(StorageConfig(local_base_path=shell.base, workers=0)))
    return shell


def blobs(shell: Shell) -> Sequence[Path]:
    """The files of the blobs."""
    root = shell.base / "blobs"
    found = (path for path in root.rglob("*") if path.is_file())
    return sorted(path for path in found if is_blob_key(str(path.relative_to(root))))


def lose_catalogue(shell: Shell) -> None:
    """Remove the database."""
    for path in shell.base.glob("catalogue.sqlite3*"):
        path.unlink()


class TestReconcile:
    def test_what_agrees(self, stored: Shell) -> None:
        (view,) = stored("reconcile", "--yes", "--json").lines
        assert (view["listed"], view["recorded"], view["missing"]) == (4, 4, 0)
        assert view["aborted"] == view["skipped"] == ""

    def test_a_missing_blob_is_recorded_as_missing(self, stored: Shell) -> None:
        lost = blobs(stored)[0]
        lost.unlink()
        dry = stored("reconcile", "--dry-run", "--json").value
        assert (dry["missing"], dry["recorded_missing"], dry["dry_run"]) == (0, 0, True)
        # The blob is young; a copy that was made less than a day ago is not judged.
        assert dry["young"] == 1

    def test_it_asks_for_yes_where_nobody_can_be_asked(self, stored: Shell) -> None:
        for command in ("reconcile", "rebuild"):
            assert "--yes" in stored(command, code=2).err

    def test_without_a_store_there_is_nothing_to_reconcile(self, shell: Shell) -> None:
        assert "nothing is stored" in shell("reconcile", "--yes", code=4).err
        assert not shell.base.exists()

    def test_people_read_sentences(self, stored: Shell) -> None:
        out = stored("reconcile", "--dry-run").out
        assert "recorded" in out
        assert "unrecorded" in out

    def test_a_store_of_another_catalogue_is_a_finding(self, stored: Shell) -> None:
        lose_catalogue(stored)
        stored("db", "upgrade")
        result = stored("reconcile", "--yes", code=3)
        assert "another catalogue" in result.err
        (view,) = stored("reconcile", "--yes", "--json", code=3).lines
        assert "another catalogue" in view["skipped"]


class TestRebuild:
    def test_a_lost_database_is_filled_again(self, stored: Shell) -> None:
        settings = StorageConfig(local_base_path=stored.base, workers=0)
        before = asyncio.run(read(settings))
        lose_catalogue(stored)

        dry = stored("rebuild", "--dry-run", "--json").value
        assert (dry["files"], dry["dry_run"]) == (4, True)
        assert len(dry["taken_over"]) == 1
        view = stored("rebuild", "--yes", "--json").value

        assert (view["files"], view["violations"], view["unplaced"]) == (4, 2, 0)
        assert asyncio.run(read(settings)) == before
        again = stored("rebuild", "--yes").out
        assert "known before 4" in " ".join(again.split())

    def test_what_could_not_be_placed_is_told(self, stored: Shell) -> None:
        lost = blobs(stored)[0]
        for name in os.listxattr(lost):
            os.removexattr(lost, name)
        lose_catalogue(stored)

        result = stored("rebuild", "--yes", code=3)

        assert "1 not restored: the manifest is missing or unreadable" in result.err
        assert lost.name in result.err

    def test_a_database_with_files_takes_over_only_what_is_named(
        self, stored: Shell, tmp_path: Path
    ) -> None:
        before = blobs(stored)
        base = tmp_path / "other"
        asyncio.run(fill(StorageConfig(local_base_path=base, workers=0)))
        for path in stored.base.glob("catalogue.sqlite3*"):
            path.unlink()
        for path in base.glob("catalogue.sqlite3*"):
            path.rename(stored.base / path.name)
        where = stored.base / "blobs"
        refused = stored("rebuild", "--yes", code=3)
        assert "was not examined" in refused.err
        # The same images: further copies. The same ids with other records: they are kept, and told.
        named = stored("rebuild", "--yes", "--take-over", where, "--json", code=3).value
        assert named["taken_over"] == [str(where)]
        assert (named["copies"], named["unplaced"]) == (2, 2)
        assert blobs(stored) == before


async def test_python_rebuilds_on_postgresql_and_s3(
    tmp_path: Path, postgres_database: Database, s3_bucket: Bucket, postgres: Any, no_leaks: None
) -> None:
    settings = config(
        tmp_path, bucket=s3_bucket, database=postgres_database, strategy="CLOUD_ONLY", workers=0
    )
    before = await fill(settings)
    emptied = config(
        tmp_path,
        bucket=s3_bucket,
        database=postgres.create_database(),
        strategy="CLOUD_ONLY",
        workers=0,
    )
    async with StorageService(emptied) as storage:
        dry = await storage.rebuild_catalogue(dry_run=True)
        assert (dry["files"], dry["taken_over"]) == (4, [f"{s3_bucket.endpoint}/{s3_bucket.name}"])
        view = await storage.rebuild_catalogue()
        assert (view["files"], view["violations"], view["unplaced"]) == (4, 2, 0)
        assert await everything(storage) == before
        (found,) = await storage.reconcile_stores()
        assert (found["listed"], found["recorded"], found["aborted"]) == (4, 4, "")
