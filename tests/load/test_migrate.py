"""A killed migration; the command does more files and kills, and the way back."""

from pathlib import Path

from tests.load.migrate import Leg, there_and_back
from tests.support.servers import Bucket, Database


def test_a_killed_migration_goes_on(
    tmp_path: Path, s3_bucket: Bucket, postgres_database: Database
) -> None:
    steps = there_and_back(tmp_path, s3_bucket, postgres_database, violations=60, kills=1, seed=1)
    _, result = next(steps)
    assert isinstance(result, Leg)
    assert (result.kills, result.findings) == (1, ())
    assert result.records_of_last_call < 60
