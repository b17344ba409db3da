"""A lost database is filled from the stores, on both set-ups; fewer files than by the command."""

from pathlib import Path

from tests.load.rebuild import in_cloud, lose_and_rebuild, on_disk
from tests.support.servers import Bucket, PostgresAddress
from traffic_storage import StorageStrategy

FILES, VIOLATIONS = 60, 20


async def test_on_disk(tmp_path: Path, no_leaks: None) -> None:
    settings = on_disk(tmp_path)
    result = await lose_and_rebuild(
        settings, settings, StorageStrategy.LOCAL_ONLY, files=FILES, violations=VIOLATIONS
    )
    assert (result.rebuilt.files, result.rebuilt.violations) == (FILES, VIOLATIONS)
    assert (result.differences, result.rebuilt.unplaced) == ([], 0)


async def test_in_the_cloud(
    tmp_path: Path, postgres: PostgresAddress, s3_bucket: Bucket, no_leaks: None
) -> None:
    before, after = (in_cloud(tmp_path, s3_bucket, postgres.create_database()) for _ in range(2))
    result = await lose_and_rebuild(
        before, after, StorageStrategy.CLOUD_ONLY, files=FILES, violations=VIOLATIONS
    )
    assert (result.rebuilt.files, result.rebuilt.violations) == (FILES, VIOLATIONS)
    assert (result.differences, result.rebuilt.unplaced) == ([], 0)
