"""A lost and an old database are filled from the stores; fewer files than by the command."""

from collections.abc import Sequence
from pathlib import Path

from tests.load.rebuild import Result, in_cloud, lose_and_rebuild, on_disk
from tests.support.servers import Bucket, PostgresServer

FILES, VIOLATIONS = 120, 40


def check(results: Sequence[Result]) -> None:
    """Check that all is restored: what was purged too, and nothing is deleted."""
    for result in results:
        found = result.rebuilt
        assert result.differences == []
        assert (found.unplaced, found.unreadable, result.lost_blobs) == (0, [], 0)
        assert min(found.files, found.violations, found.holds, found.deletions) > 0
        assert min(found.purged, found.rules) > 0


async def test_on_disk(tmp_path: Path, no_leaks: None) -> None:
    setup = on_disk(tmp_path / "store")
    check(await lose_and_rebuild(setup, files=FILES, violations=VIOLATIONS))


async def test_in_the_cloud(
    tmp_path: Path, own_postgres: PostgresServer, s3_bucket: Bucket, no_leaks: None
) -> None:
    # A server of its own: the journal waits for the transactions of all who share one.
    setup = in_cloud(tmp_path, s3_bucket, own_postgres.address)
    check(await lose_and_rebuild(setup, files=FILES, violations=VIOLATIONS))
