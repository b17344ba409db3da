"""Killed at any instant: nothing acknowledged is lost, no invariant is broken."""

import pytest

from tests.crash.kill_loop import SETUPS, run
from tests.crash.writer import is_large

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
