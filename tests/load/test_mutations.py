"""Damage to stored bytes is found and healed; the command does 2,000 mutations."""

from pathlib import Path

from tests.load.mutations import measure
from tests.support.servers import Bucket


async def test_all_damage_is_found_and_healed_where_a_copy_is_good(
    tmp_path: Path, s3_bucket: Bucket
) -> None:
    report = await measure(60, 7, tmp_path, s3_bucket)
    assert report.mutations == 60
    assert report.lost_files
    assert report.wrong == []
    assert (report.found, report.healed) == (report.damaged_copies, report.healable)
