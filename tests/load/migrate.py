"""`python -m tests.load.migrate`: a migration that is killed again and again, there and back.

Stores violations with videos in a folder with SQLite (LOCAL_ONLY). `traffic-storage migrate` brings
them to a bucket with PostgreSQL (CLOUD_ONLY), and is killed at random moments of its work; then
back to another folder. Each time all rows are compared field by field and all bytes are read, no blob
is left that nothing explains, and no file has two copies. At the end one byte is flipped at the last
target, and the seal of its source must be refused.
"""

import argparse
import asyncio
import hashlib
import json
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
from attrs import asdict, evolve, frozen

from tests.support.servers import Bucket, Database, PostgresServer, S3Server
from tests.support.setups import on_bucket, on_database
from traffic_storage import Container, StorageConfig, StorageStrategy, Upload, ViolationRecord
from traffic_storage.domain.files import PlacementNote, StoredFile
from traffic_storage.domain.identifiers import FileId, ViolationId
from traffic_storage.domain.query import FilesQuery, ViolationQuery
from traffic_storage.domain.violation import StoredViolation
from traffic_storage.entrypoints.container import build, running
from traffic_storage.entrypoints.testing.faults.blob_store import Damage, tamper

PROGRAM = Path(sys.executable).with_name("traffic-storage")
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
_RANGE = ("--start", "2026-01-01", "--end", "2027-01-01")
_AT_ONCE = 16
_COUNT = "SELECT count(*) FROM violation"
_NOTE = PlacementNote("somewhere", "for a comparison")


@frozen
class Place:
    """One configuration, and the settings file that describes it."""

    settings: StorageConfig
    strategy: StorageStrategy
    file: Path

    @classmethod
    def of(
        cls,
        folder: Path,
        strategy: StorageStrategy,
        bucket: Bucket | None = None,
        database: Database | None = None,
    ) -> "Place":
        """Write the settings file of a configuration with its local things in `folder`."""
        given: dict[str, Any] = {
            "local_base_path": str(folder),
            "local_reserve_gb": 0.0,
            "strategy": strategy.value,
            "accept_unknown_video": True,
            "attempt_timeout_seconds": 120.0,
            "workers": 0,
            **(on_bucket(bucket) if bucket else {}),
            **(on_database(database) if database else {}),
        }
        folder.mkdir(parents=True)
        file = folder / "settings.toml"
        lines = (f"{name} = {json.dumps(value)}\n" for name, value in given.items())
        file.write_text("".join(lines), encoding="utf-8")
        return cls(StorageConfig.load(file, env={}), strategy, file)

    def container(self) -> Container:
        """Return a new service there."""
        return build(self.settings, self.strategy)


@frozen
class Contents:
    """All rows of a catalogue, without what a migration changes."""

    files: dict[FileId, StoredFile]
    violations: dict[ViolationId, StoredViolation]


@frozen
class Leg:
    """One migration: how often it was killed, what earlier calls had brought, and what is wrong."""

    kills: int
    resumed: int
    records_of_last_call: int
    seconds: float
    findings: tuple[str, ...]


def _film(number: int) -> bytes:
    return hashlib.shake_256(b"%d" % number).digest(2000)


async def fill(place: Place, violations: int) -> None:
    """Store violations with a video each."""
    slots = asyncio.Semaphore(_AT_ONCE)

    async def store(container: Container, number: int) -> None:
        record = ViolationRecord(
            violation_id=f"V{number:06}",
            device_id=f"cam-{number % 50}",
            violation_type="speed",
            timestamp=_BEGIN + timedelta(minutes=number % 40_000),
            vehicle_bbox=[1, 2, 300, 400],
            vehicle_class="car",
            confidence=0.5,
            camera_info={"lane": number % 4, "site": "Cruce Ñandú"},
        )
        async with slots:
            await container.store_evidence()(record, None, Upload(_film(number)), historic=True)

    async with running(place.container()) as container, asyncio.TaskGroup() as group:
        for number in range(violations):
            group.create_task(store(container, number))


async def contents(container: Container) -> Contents:
    """Read all rows."""
    repo = container._record_repo()
    files: dict[FileId, StoredFile] = {}
    violations: dict[ViolationId, StoredViolation] = {}
    query: FilesQuery | None = FilesQuery(limit=1000)
    while query is not None:
        page = await repo.files(query)
        files |= {one.file_id: one for one in page.items}
        query = evolve(query, after=page.next) if page.next else None
    asked: ViolationQuery | None = ViolationQuery(limit=1000)
    while asked is not None:
        found = await repo.violations(asked)
        violations |= {one.violation_id: one for one in found.items}
        asked = evolve(asked, after=found.next) if found.next else None
    return Contents(files, violations)


def _lasting(files: dict[FileId, StoredFile]) -> dict[FileId, StoredFile]:
    return {name: evolve(one, replicas=(), placement=_NOTE) for name, one in files.items()}


async def findings(source: Place, target: Place) -> list[str]:
    """Return everything in which the target differs from the source, or from what it should be."""
    async with running(source.container()) as old, running(target.container()) as new:
        was, now = await contents(old), await contents(new)
        found = []
        if _lasting(was.files) != _lasting(now.files) or was.violations != now.violations:
            found.append("the rows differ")
        found += [
            f"{name} has {len(one.replicas)} copies"
            for name, one in now.files.items()
            if len(one.replicas) != 1
        ]
        repo = new._record_repo()
        for bound in new.stores():
            if bound.store_id is None:
                continue
            keys = [entry.key async for entry in bound.store.list()]
            known = {one.replicas[0].key for one in now.files.values()}
            rest = [key for key in keys if key not in known]
            tried = set(await repo.attempted(bound.store_id, rest))
            tried |= set(await repo.quarantine_entries(bound.store_id, rest))
            found += [f"nothing explains {key}" for key in rest if key not in tried]
            missing = known - set(keys)
            found += [f"{key} is missing" for key in missing if bound.store.tier is _tier(now)]
        return found


def _tier(now: Contents) -> object:
    return next(iter(now.files.values())).replicas[0].tier


def _command(source: Place, target: Place, *more: str) -> list[str]:
    return [
        *(str(PROGRAM), "--config", str(source.file), "migrate", "--to", str(target.file)),
        *(*_RANGE, "--json", *more),
    ]


@contextmanager
def _counting(place: Place) -> Iterator[Callable[[], int]]:
    """Return a function that counts the violations of a catalogue, without taking part in its work."""
    config = place.settings
    with ExitStack() as stack:
        if config.db_host is None:
            path = f"file:{config.sqlite_file}?mode=ro"
            file = stack.enter_context(closing(sqlite3.connect(path, uri=True)))
            yield lambda: int(file.execute(_COUNT).fetchone()[0])
            return
        runner = stack.enter_context(asyncio.Runner())
        server = runner.run(
            asyncpg.connect(
                host=config.db_host,
                port=config.db_port,
                database=config.db_name,
                user=config.db_user,
                password=config.db_password.reveal if config.db_password else None,
            )
        )
        stack.callback(lambda: runner.run(server.close()))
        yield lambda: int(runner.run(server.fetchval(_COUNT)))


def _killed(command: Sequence[str], target: Place, more: int) -> bool:
    """Run a command and kill it when the target has so many more violations than before.

    Return whether it was still running.
    """
    with (
        _counting(target) as count,
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process,
    ):
        enough = count() + more
        while process.poll() is None:
            if count() >= enough:
                process.kill()
                return True
            time.sleep(0.02)
    return False


async def _prepare(place: Place) -> None:
    """Make the tables of a catalogue."""
    async with running(place.container()):
        pass


def leg(source: Place, target: Place, violations: int, kills: int, chance: random.Random) -> Leg:
    """Migrate; kill the migration so often, each time after some violations were brought."""
    asyncio.run(_prepare(target))
    start, killed = time.monotonic(), 0
    for _ in range(kills):
        more = chance.randint(1, max(1, violations // (kills + 1)))
        killed += _killed(_command(source, target), target, more)
    done = subprocess.run(
        _command(source, target, "--reread"), capture_output=True, text=True, check=False
    )
    if done.returncode:
        return Leg(
            killed, 0, 0, time.monotonic() - start, (done.stdout[:2000] + done.stderr[:2000],)
        )
    told = json.loads(done.stdout)
    wrong = asyncio.run(findings(source, target))
    if not told["reconciliation"]["equal"]:
        wrong.append("the reconciliation differs")
    seconds = time.monotonic() - start
    return Leg(killed, told["resumed"], told["migrated_records"], seconds, tuple(wrong))


async def _flip(place: Place) -> None:
    async with running(place.container()) as container:
        file = await container.find().file(FileId("V000001~video"))
        (store,) = [one.store for one in container.stores() if one.store_id]
        await tamper(store, file.replicas[0].key, Damage.FLIP, at=100)


def seal_after_flip(source: Place, target: Place) -> Sequence[str]:
    """Flip one byte at the target and ask for the seal of the source; return what is wrong then."""
    asyncio.run(_flip(target))
    done = subprocess.run(
        _command(source, target, "--seal"), capture_output=True, text=True, check=False
    )
    if not done.stdout:
        return [f"exit code {done.returncode}, no JSON: {done.stderr[-2000:]}"]
    told = json.loads(done.stdout)
    named = [one["file_id"] for one in told["reconciliation"]["differences"]]
    wrong = [] if named == ["V000001~video"] else [f"the differences are {named}"]
    return [*wrong, *(["the source was sealed"] if told["sealed"] else [])]


def there_and_back(
    folder: Path,
    bucket: Bucket,
    database: Database,
    *,
    violations: int,
    kills: int,
    seed: int,
) -> Iterator[tuple[str, Leg | Sequence[str]]]:
    """Yield the result of each step."""
    chance = random.Random(seed)
    old = Place.of(folder / "old", StorageStrategy.LOCAL_ONLY)
    cloud = Place.of(folder / "cloud", StorageStrategy.CLOUD_ONLY, bucket, database)
    third = Place.of(folder / "third", StorageStrategy.LOCAL_ONLY)
    asyncio.run(fill(old, violations))
    yield "there", leg(old, cloud, violations, kills, chance)
    yield "back", leg(cloud, third, violations, kills, chance)
    yield "seal after a flipped byte", seal_after_flip(cloud, third)


def main() -> int:
    """Run, print, and return 1 if something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.migrate", description=__doc__)
    parser.add_argument("--files", type=int, default=10_000, help="files, two a violation (10000)")
    parser.add_argument("--kills", type=int, default=10, help="kills of each migration (10)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments of the kills (1)")
    given = parser.parse_args()
    is_bad = False
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        s3 = stack.enter_context(S3Server())
        postgres = stack.enter_context(PostgresServer(durable=False))
        steps = there_and_back(
            folder,
            s3.create_bucket(),
            postgres.create_database(),
            violations=given.files // 2,
            kills=given.kills,
            seed=given.seed,
        )
        for name, result in steps:
            print(name, asdict(result) if isinstance(result, Leg) else list(result), flush=True)
            is_bad |= bool(result.findings if isinstance(result, Leg) else result)
    return int(is_bad)


if __name__ == "__main__":
    sys.exit(main())
