"""Killed at any instant: nothing acknowledged is lost, no invariant is broken."""

import asyncio
from pathlib import Path

import pytest

from tests.crash import kill_loop
from tests.crash.faults import POINTS
from tests.crash.kill_loop import SETUPS, KillLoop, run, settings_of
from tests.crash.writer import is_large

# `python -m tests.crash.kill_loop --kills N` does more.
KILLS = 40
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


def test_a_fault_point_that_is_never_reached_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kill_loop, "PATIENCE_SECONDS", 3.0)
    with settings_of("local", tmp_path) as settings:
        loop = KillLoop("local", settings, tmp_path, seed=3)
        with pytest.raises(RuntimeError, match=r"never came to put after \(1000000\)"):
            loop.die_at("put", "after", call=1_000_000)


@pytest.mark.parametrize("setup", ["local", "hybrid"])
def test_nothing_is_lost_at_any_named_fault_point(setup: str, tmp_path: Path) -> None:
    with settings_of(setup, tmp_path) as settings:
        loop = KillLoop(setup, settings, tmp_path, seed=2)
        # Four writers come to a ninth commit only when five have been acknowledged.
        loop.die_at("apply", "after", call=9)
        for method, moment in POINTS:
            loop.die_at(method, moment)
        for method in ("condemn", "apply"):
            # What recovery calls first at the start.
            for moment in ("before", "after"):
                loop.leave_something_to_undo()
                loop.die_at(method, moment)
        broken = asyncio.run(loop.audit())

    assert loop.record.acknowledged
    assert not broken
