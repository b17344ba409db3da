"""Holds are placed while the same files are tombstoned and purged: one side wins each time.

    python -m tests.load.hold_against_purge [--rounds 10000] [--database sqlite|postgres|both]

In each round a hold is placed on two files, or on something that covers them, while another
connection deletes the first and begins to purge the second. The answer of the hold must say what
became of both: a file that it says to be held is never deleted, and never purged. Exit status 1 if
a round ends otherwise.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

from attrs import evolve, frozen

from tests.support.adapter_settings import PATIENT_SECONDS, postgres_settings
from tests.support.servers import PostgresServer
from traffic_storage.adapters.record_repo.sql.postgres import postgres_repo
from traffic_storage.adapters.record_repo.sql.sqlite import SqliteSettings, sqlite_repo
from traffic_storage.domain.deletion import BeginPurge
from traffic_storage.domain.files import FileState, StoredFile
from traffic_storage.domain.holds import (
    HeldRange,
    HeldViolation,
    HoldReach,
    HoldScope,
    PlaceHold,
)
from traffic_storage.domain.identifiers import DeviceId, ViolationId
from traffic_storage.domain.identity import RegisteredStore
from traffic_storage.domain.ingest import Unit
from traffic_storage.entrypoints.testing.contracts.deletions import (
    DAY,
    DUE,
    GRACE,
    new_hold,
    new_tombstone,
)
from traffic_storage.entrypoints.testing.contracts.record_repo import local
from traffic_storage.entrypoints.testing.units import NOON, new_file, store
from traffic_storage.ports.record_repo import RecordRepo

LANES = 16
MOST_WAIT_SECONDS = 0.05
"""The longest lead of a side. Without one, the side with less to do wins on some machines always."""


@frozen
class Report:
    """How often each side won, and the rounds that broke the rule, in words."""

    outcomes: Counter[str]
    broken: Sequence[str]


async def race(
    holder: RecordRepo, remover: RecordRepo, place: RegisteredStore, number: int, chance: Random
) -> tuple[str, list[str]]:
    """Run one round; return who won, and what broke the rule."""
    camera, case = DeviceId(f"camera-{number}"), ViolationId(f"V{number}")
    kept, doomed = (evolve(new_file(place, violation_id=case), device_id=camera) for _ in range(2))
    for file in (kept, doomed):
        await store(remover, Unit((file,)))
    assert await remover.apply(new_tombstone(doomed))
    scopes: list[HoldScope] = [HeldViolation(case), HeldRange(camera, NOON, NOON + DAY)]
    scope = chance.choice(scopes)
    hold = new_hold(scope, at=DUE)
    waits = chance.uniform(0, MOST_WAIT_SECONDS), chance.uniform(0, MOST_WAIT_SECONDS)

    async def place_hold() -> HoldReach:
        await asyncio.sleep(waits[0])
        await holder.apply(PlaceHold(hold))
        return await holder.hold_reach(hold)

    async def remove() -> None:
        await asyncio.sleep(waits[1])
        await asyncio.gather(
            remover.apply(new_tombstone(kept, at=DUE + GRACE)),
            remover.apply(BeginPurge((doomed.file_id,), DUE + GRACE)),
        )

    reach, _ = await asyncio.gather(place_hold(), remove())
    first, second = await _state(remover, kept), await _state(remover, doomed)
    shown = HoldReach(
        [first, second].count(FileState.TOMBSTONED), [first, second].count(FileState.PURGING)
    )
    wrong = [] if shown == reach else [f"round {number}: {reach} was told, {shown} came"]
    await remover.apply(new_tombstone(kept, at=DUE + GRACE))
    await remover.apply(BeginPurge((kept.file_id, doomed.file_id), DUE + 9 * GRACE))
    later = await _state(remover, kept), await _state(remover, doomed)
    if later != (first, second):
        wrong.append(f"round {number}: {(first, second)} became {later} under the hold")
    return f"kept is {first}, doomed is {second}", wrong


async def measure(holder: RecordRepo, remover: RecordRepo, rounds: int, *, seed: int = 0) -> Report:
    """Run this number of rounds, 16 at a time, on two connections to one database."""
    place = await local(holder)
    chance = Random(seed)
    numbers = iter(range(rounds))
    outcomes: Counter[str] = Counter()
    broken: list[str] = []

    async def lane() -> None:
        for number in numbers:
            outcome, wrong = await race(holder, remover, place, number, chance)
            outcomes[outcome] += 1
            broken.extend(wrong)

    await asyncio.gather(*(lane() for _ in range(LANES)))
    return Report(outcomes, broken)


@asynccontextmanager
async def on_sqlite(folder: Path) -> AsyncIterator[tuple[RecordRepo, RecordRepo]]:
    """Return a context with two connections to a new SQLite file."""
    repos = [sqlite_repo(SqliteSettings(folder / "race.sqlite3", PATIENT_SECONDS)) for _ in "ab"]
    await repos[0].upgrade()
    try:
        yield repos[0], repos[1]
    finally:
        for repo in repos:
            await repo.aclose()


async def _state(repo: RecordRepo, file: StoredFile) -> FileState:
    found = await repo.file(file.file_id)
    assert found is not None
    return found.state


async def _main(rounds: int, database: str) -> bool:
    reports = {}
    with tempfile.TemporaryDirectory() as folder:
        if database in ("sqlite", "both"):
            async with on_sqlite(Path(folder)) as (holder, remover):
                reports["sqlite"] = await _timed(holder, remover, rounds)
        if database in ("postgres", "both"):
            with PostgresServer() as server:
                settings = postgres_settings(server.create_database())
                repos = postgres_repo(settings), postgres_repo(settings)
                await repos[0].upgrade()
                reports["postgres"] = await _timed(*repos, rounds)
                for repo in repos:
                    await repo.aclose()
    for name, (report, seconds) in reports.items():
        sys.stdout.write(f"{name}: {rounds} rounds in {seconds:.0f} s\n")
        for outcome, count in sorted(report.outcomes.items()):
            sys.stdout.write(f"  {count:6} {outcome}\n")
        sys.stdout.write(f"  {len(report.broken)} broken\n")
        for line in report.broken[:10]:
            sys.stdout.write(f"  {line}\n")
    return not any(report.broken for report, _ in reports.values())


async def _timed(holder: RecordRepo, remover: RecordRepo, rounds: int) -> tuple[Report, float]:
    begin = time.monotonic()
    report = await measure(holder, remover, rounds)
    return report, time.monotonic() - begin


def main() -> int:
    """Run the rounds that the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10_000)
    parser.add_argument("--database", choices=("sqlite", "postgres", "both"), default="both")
    asked = parser.parse_args()
    return 0 if asyncio.run(_main(asked.rounds, asked.database)) else 1


if __name__ == "__main__":
    sys.exit(main())
