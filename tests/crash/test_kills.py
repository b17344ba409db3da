"""Killed at any instant: nothing acknowledged is lost, no invariant is broken."""

from pathlib import Path

import pytest

from tests.crash.kill_loop import SETUPS, KillLoop, run
from tests.crash.lifecycle import WHY
from tests.crash.writer import is_large
from tests.support.media import shipped_jpeg
from tests.support.s3 import Bucket
from tests.support.setups import on_bucket
from traffic_storage import StorageConfig, StorageService, StorageStrategy

# `python -m tests.crash.kill_loop --kills N` does more.
KILLS = 6
pytestmark = pytest.mark.timeout(900)  # many starts of a service, one after the other


def large_video(file_id: str) -> bool:
    """Whether the file came by way of the spool's files, and into a bucket in parts."""
    name, _, seed = file_id.partition("-")
    return name == "video" and is_large(int(seed))


@pytest.mark.parametrize("setup", SETUPS)
def test_nothing_is_lost_when_a_busy_service_is_killed_again_and_again(setup: str) -> None:
    record, broken = run(setup, KILLS)

    assert record.kills == KILLS
    assert len(record.acknowledged) > KILLS
    assert any(map(large_video, record.acknowledged))
    assert not broken


async def test_a_held_file_that_was_deleted_before_does_not_keep_the_audit_waiting(
    tmp_path: Path, s3_bucket: Bucket
) -> None:
    settings = {"local_base_path": tmp_path / "base", "local_reserve_gb": 0}
    settings |= on_bucket(s3_bucket)
    loop = KillLoop("hybrid", settings, tmp_path, 1, jobs=True)
    config = StorageConfig(**loop.settings | {"workers": 0})
    async with StorageService(config, StorageStrategy.HYBRID) as service:
        stored = await service.store_image(shipped_jpeg(), "held-1")
        await service.delete_file("held-1", WHY, override=True)
        await service.place_hold("case 1", WHY, file_id="held-1")
    loop.record.acknowledged["held-1"] = stored["sha256"]

    assert not await loop.audit()
