"""SIGKILL at each fault point of each scenario; then one restart, one sweep, and an audit.

    python -m tests.crash.points                         all scenarios, both set-ups
    python -m tests.crash.points --list                  the points, without a kill
    python -m tests.crash.points --setup full --scenario purge

A scenario is an operation with several steps: one kind of job or several that cause each other, or
a call of the service. `embedded` is SQLite and local disk (a bucket only where there are copies),
`full` is PostgreSQL, S3 and Redis. Exit status 1 if anything is broken.
"""

import argparse
import logging
import sys
import time

from tests.crash.points.harness import Harness, Visit
from tests.crash.points.place import SETUPS, Setup
from tests.crash.points.scenarios import SCENARIOS
from tests.support.keeper import process_keeper
from tests.support.shared import SharedServers


def listed(harness: Harness, setups: list[Setup], names: list[str]) -> int:
    """Print all points; how many are broken without a kill."""
    broken = total = 0
    for setup in setups:
        for name in names:
            visit, points = harness.points(SCENARIOS[name], setup)
            broken += _told(visit)
            total += len(points)
            print(f"{setup:9} {name}: {len(points)} points")
            for point in points:
                print(f"            {point}")
    print(f"{total} points")
    return broken


def visited(harness: Harness, setups: list[Setup], names: list[str]) -> int:
    """Visit all points and print a table; how many are broken."""
    broken = kills = 0
    begun = time.monotonic()
    for setup in setups:
        for name in names:
            since, here = time.monotonic(), 0
            visits = 0
            for visit in harness.visits(SCENARIOS[name], setup):
                here += _told(visit)
                visits += visit.point is not None
                print(f"\r{setup:9} {name:28} {visits:4} kills", end="", flush=True)
            print(f"  {here:3} broken  {time.monotonic() - since:6.1f} s")
            broken, kills = broken + here, kills + visits
    print(f"{kills} kills, {broken} broken, {time.monotonic() - begun:.0f} s")
    return broken


def _told(visit: Visit) -> bool:
    if visit.broken:
        print(f"\nBROKEN {visit.setup} {visit.scenario}: {visit.point or 'without a kill'}")
        for line in visit.broken[:10]:
            print(f"  {line}")
    return bool(visit.broken)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--list", action="store_true", help="print the points; kill nothing")
    parser.add_argument("--setup", choices=(*SETUPS, "both"), default="both")
    parser.add_argument("--scenario", choices=SCENARIOS, action="append")
    given = parser.parse_args()
    logging.disable(logging.ERROR)
    setups = list(SETUPS) if given.setup == "both" else [given.setup]
    harness = Harness(SharedServers(process_keeper().folder))
    work = listed if given.list else visited
    return int(bool(work(harness, setups, given.scenario or list(SCENARIOS))))


if __name__ == "__main__":
    sys.exit(main())
