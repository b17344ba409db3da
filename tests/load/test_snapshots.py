"""What is lost comes back from a snapshot; fewer files than by the command."""

from pathlib import Path

from tests.load.snapshots import Result, Servers, lose_and_restore
from tests.support.servers import PostgresAddress, S3Address

FILES, VIOLATIONS = 90, 30


def check(result: Result) -> None:
    """Check that all is restored, and what was decided about it too."""
    found = result.restored
    assert result.differences == []
    assert found.is_whole
    assert found.files == result.created.manifest.files
    replay = found.replay
    assert min(found.violations, replay.holds, replay.deletions, replay.purged, replay.rules) > 0


async def test_disk_to_the_cloud_and_back(
    tmp_path: Path, postgres: PostgresAddress, s3: S3Address, no_leaks: None
) -> None:
    servers = Servers(tmp_path, s3, postgres)
    disk = tmp_path / "snapshots"
    bucket = f"s3://{s3.create_bucket().name}/a/b"
    for source, target in (
        (servers.on_disk("a", disk), servers.in_cloud("b", bucket)),
        (servers.in_cloud("c", bucket), servers.on_disk("d", disk)),
    ):
        check(await lose_and_restore(source, target, files=FILES, violations=VIOLATIONS))
