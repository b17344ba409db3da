"""A verification that is killed ends as one that was not; `tests.crash.verifier` does all points."""

from pathlib import Path

import pytest

from tests.crash.verifier import broken
from tests.support.servers import Bucket

pytestmark = pytest.mark.timeout(300)


async def test_after_a_kill_the_next_run_completes_it(tmp_path: Path, s3_bucket: Bucket) -> None:
    """At the points where something has been recorded or written, but not all."""
    points = [
        ("apply", "after", 1),
        ("put", "after", 1),
        ("apply", "before", 2),
        ("apply", "after", 2),
    ]
    assert await broken(tmp_path, s3_bucket, points) == []
