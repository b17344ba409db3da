"""Runs scenarios: all points of a set-up are found by a run that is not killed, then visited."""

import asyncio
import multiprocessing
import signal
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from attrs import asdict, frozen

from tests.crash.faults import Point, points_of
from tests.crash.points import process
from tests.crash.points.place import AN_HOUR, Place, Setup, fresh
from tests.crash.points.scenario import Scenario
from tests.support.shared import SharedServers
from traffic_storage.domain.errors import TrafficStorageError

PATIENCE_SECONDS = 120.0
_PROCESSES = multiprocessing.get_context("forkserver")
# Importing the service takes longer than all that is killed.
_PROCESSES.set_forkserver_preload(
    [
        "tests.crash.points.process",
        *(
            f"traffic_storage.adapters.{name}"
            for name in (
                *("record_repo.sql.sqlite", "record_repo.sql.postgres", "images.pillow"),
                *("blob_store.local_disk", "blob_store.object_store", "cache.redis"),
                *("cache.memory", "spool.disk", "compressor.zstd"),
            )
        ),
    ]
)


@frozen
class Visit:
    """What was broken after a kill at a point; `point` None: after a run that was not killed."""

    scenario: str
    setup: Setup
    point: Point | None
    broken: Sequence[str]


class Harness:
    """Visits the points of scenarios, each in a place of its own."""

    def __init__(self, servers: SharedServers) -> None:
        self._servers = servers

    def points(self, scenario: Scenario, setup: Setup) -> tuple[Visit, list[Point]]:
        """Run a scenario without a kill: what is broken then, and which points it has."""
        with tempfile.TemporaryDirectory() as folder:
            place = fresh(setup, self._servers, Path(folder))
            asyncio.run(scenario.prepare(place))
            status, calls = _run(scenario, place, {"records": True})
            broken = [f"the process ended with {status}"] if status else []
            broken += asyncio.run(_judged(scenario, place))
        return Visit(scenario.name, setup, None, broken), list(points_of(calls))

    def visit(self, scenario: Scenario, setup: Setup, point: Point) -> Visit:
        """Kill a scenario at a point, restart, sweep, complete it, and look everything up."""
        with tempfile.TemporaryDirectory() as folder:
            place = fresh(setup, self._servers, Path(folder))
            asyncio.run(scenario.prepare(place))
            status, _ = _run(scenario, place, asdict(point))
            killed = status == -signal.SIGKILL
            broken = [] if killed else [f"it was not killed, but ended with {status}"]
            broken += asyncio.run(_judged(scenario, place))
        return Visit(scenario.name, setup, point, broken)

    def visits(self, scenario: Scenario, setup: Setup) -> Iterator[Visit]:
        """Visit all points of a scenario."""
        whole, points = self.points(scenario, setup)
        yield whole
        for point in points:
            yield self.visit(scenario, setup, point)


def _run(scenario: Scenario, place: Place, fault: dict[str, Any]) -> tuple[int | None, list[str]]:
    """Run the process to its end; its exit code, and the calls that it told."""
    order = {
        "scenario": scenario.name,
        "setup": place.setup,
        "settings": place.settings,
        "notes": place.notes,
        "fault": fault,
    }
    told, telling = _PROCESSES.Pipe(duplex=False)
    child = _PROCESSES.Process(target=process.run, args=(order, telling), daemon=True)
    child.start()
    telling.close()
    try:
        calls: list[str] = told.recv() if told.poll(PATIENCE_SECONDS) else []
    except EOFError:
        calls = []
    finally:
        told.close()
    child.join(PATIENCE_SECONDS)
    if child.exitcode is None:
        child.kill()
        child.join()
        return None, calls
    return child.exitcode, calls


async def _judged(scenario: Scenario, place: Place) -> list[str]:
    """What is broken; an error of the service too."""
    try:
        return await _judge(scenario, place)
    except (TrafficStorageError, AssertionError, ValueError) as error:
        return [f"{type(error).__name__}: {error}"]


async def _judge(scenario: Scenario, place: Place) -> list[str]:
    """Restart an hour later, sweep, look; complete the operation, look again."""
    strategy, later = scenario.strategy(place.setup), scenario.later + AN_HOUR
    async with place.opened(strategy, later, **scenario.settings) as (container, _):
        await container.runtime().sweep()
        broken = [] if scenario.by_hand else await place.audit(container, is_over=False)
        broken = [f"after the restart: {one}" for one in broken]
        broken += await scenario.complete(container, place)
        broken += await scenario.check(container, place)
        broken += await place.audit(container)
        done = await place.query("SELECT DISTINCT kind FROM job WHERE state = 'done'")
    missing = {*scenario.kinds} - {kind for (kind,) in done}
    return broken + [f"no job of the kind {kind} was done" for kind in sorted(missing)]
