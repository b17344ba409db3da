"""Killed at any instant: nothing acknowledged is lost, no invariant is broken."""

import asyncio
from pathlib import Path

import pytest

from tests.crash.faults import POINTS
from tests.crash.kill_loop import SETUPS, KillLoop, run, settings_of

# `python -m tests.crash.kill_loop --kills N` does more.
KILLS = 40
pytestmark = pytest.mark.timeout(900)  # many starts of a service, one after the other
UNDOING = {"delete", "forget"}


@pytest.mark.parametrize("setup", SETUPS)
def test_nothing_is_lost_when_a_busy_service_is_killed_again_and_again(setup: str) -> None:
    record, broken = run(setup, KILLS)

    assert record.kills == KILLS
    assert len(record.acknowledged) > KILLS
    assert not broken


@pytest.mark.parametrize("setup", ["local", "hybrid"])
def test_nothing_is_lost_at_any_named_fault_point(setup: str, tmp_path: Path) -> None:
    with settings_of(setup, tmp_path) as settings:
        loop = KillLoop(setup, settings, tmp_path, seed=2)
        # Four writers come to a ninth commit only when five have been acknowledged.
        loop.kill_once({"method": "commit", "moment": "after", "call": 9})
        for method, moment in POINTS:
            if method in UNDOING:
                loop.leave_something_to_undo()
            loop.kill_once({"method": method, "moment": moment, "call": 1})
        broken = asyncio.run(loop.audit())

    assert loop.record.acknowledged
    assert not broken
