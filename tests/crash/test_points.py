"""Killed at any step of any job: nothing is lost, and nothing happens twice.

`python -m tests.crash.points` visits all points on both set-ups; the tests visit one of each scenario.
"""

from itertools import cycle
from pathlib import Path

import pytest

from tests.crash.faults import Point, points_of
from tests.crash.points.harness import Harness
from tests.crash.points.place import SETUPS, Setup
from tests.crash.points.scenarios import SCENARIOS
from tests.support.setups import config
from tests.support.shared import SharedServers
from traffic_storage.entrypoints.container import build

VISITS = [
    pytest.param(setup, name, scenario.tested, id=f"{setup}: {name} {scenario.tested}")
    for (name, scenario), setup in zip(SCENARIOS.items(), cycle(SETUPS), strict=False)
]
pytestmark = pytest.mark.timeout(300)  # several starts of a service for each


@pytest.fixture(scope="module")
def harness(shared_servers: SharedServers) -> Harness:
    """What kills, on the servers of the run."""
    return Harness(shared_servers)


@pytest.mark.parametrize(("setup", "name", "point"), VISITS)
def test_a01_nothing_is_lost_or_happens_twice(
    harness: Harness, setup: Setup, name: str, point: Point
) -> None:
    assert harness.visit(SCENARIOS[name], setup, point).broken == []


# Killed at random moments by commands of their own: `python -m tests.load.snapshot_faults`, and
# `python -m tests.load.migrate`. The scenario "migration" kills the target of a migration, which has
# no job of it.
ELSEWHERE = {
    "create_snapshot",
    "verify_snapshot",
    "restore_snapshot",
    "schedule_snapshot",
    "migrate",
}


def test_each_kind_of_job_has_a_scenario(tmp_path: Path) -> None:
    visited = {kind for scenario in SCENARIOS.values() for kind in scenario.kinds}
    assert visited.isdisjoint(ELSEWHERE)
    assert visited | ELSEWHERE == set(build(config(tmp_path)).handlers())


@pytest.mark.parametrize("setup", SETUPS)
def test_a_point_that_is_never_reached_is_broken(harness: Harness, setup: Setup) -> None:
    found = harness.visit(SCENARIOS["undelete"], setup, Point("apply", "after", 1000))
    assert found.broken == ["it was not killed, but ended with 0"]


def test_each_effect_has_a_point_after_it_and_each_method_one_before() -> None:
    points = [str(point) for point in points_of(["file", "apply", "file", "apply"])]
    assert points == ["before file 1", "before apply 1", "after apply 1", "after apply 2"]
