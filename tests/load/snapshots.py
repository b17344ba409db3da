"""`python -m tests.load.snapshots`: everything is lost, and comes back from a snapshot.

Stores violations with videos and single files, on disk with SQLite and in a bucket with PostgreSQL;
holds, releases, deletes, undeletes and purges some of them, and changes the retention rules. A
snapshot is made. Then the database, the disk and the bucket are replaced by empty ones, and the
snapshot is restored: into the same kind of configuration and into the other one. All rows are equal
field by field, and all files byte by byte. Seconds are printed.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from tests.load.rebuild import Catalogue, all_rows, decide, fill, recompute
from tests.support.adapter_settings import PATIENT_SECONDS
from tests.support.servers import PostgresAddress, PostgresServer, S3Address, S3Server
from tests.support.setups import config
from traffic_storage import Container, StorageConfig, StorageStrategy
from traffic_storage.application.snapshots.create import CreatedSnapshot
from traffic_storage.application.snapshots.restore import Restored
from traffic_storage.domain.files import FileState
from traffic_storage.domain.identifiers import FileId
from traffic_storage.entrypoints.container import build, running

NAME = "weekly"


@frozen
class Place:
    """A configuration with nothing in it, and what makes further ones like it."""

    settings: StorageConfig
    strategy: StorageStrategy


@frozen
class Servers:
    """What makes empty places: a folder with SQLite, or a bucket with PostgreSQL."""

    folder: Path
    s3: S3Address
    postgres: PostgresAddress

    def on_disk(self, name: str, location: Path) -> Place:
        """An empty folder."""
        settings = _settings(self.folder / name, snapshot_location=str(location))
        return Place(settings, StorageStrategy.LOCAL_ONLY)

    def in_cloud(self, name: str, location: str | Path) -> Place:
        """An empty bucket and an empty database."""
        bucket = self.s3.create_bucket()
        settings = _settings(
            self.folder / name,
            bucket=bucket,
            database=self.postgres.create_database(),
            snapshot_location=str(location),
        )
        return Place(settings, StorageStrategy.CLOUD_ONLY)


def _settings(folder: Path, **more: Any) -> StorageConfig:
    return config(
        folder,
        workers=0,
        accept_unknown_video=True,
        db_timeout_seconds=PATIENT_SECONDS,
        **more,
    )


@frozen
class Result:
    """A snapshot and its restore, the seconds of both, and what differs."""

    created: CreatedSnapshot
    restored: Restored
    create_seconds: float
    verify_seconds: float
    restore_seconds: float
    differences: Sequence[str]


async def contents(container: Container, files: Sequence[FileId]) -> dict[FileId, bytes]:
    """The bytes of these files, as they are handed out."""
    read, slots = container.read_files(), asyncio.Semaphore(16)

    async def one(file_id: FileId) -> tuple[FileId, bytes]:
        async with slots:
            return file_id, (await read.whole(file_id))[0]

    return dict(await asyncio.gather(*map(one, files)))


async def known(container: Container) -> tuple[Catalogue, dict[FileId, bytes]]:
    """All rows, without replicas, and the bytes of all available files."""
    rows = await all_rows(container)
    bare = {name: evolve(file, replicas=()) for name, file in rows.files.items()}
    available = [name for name, one in bare.items() if one.state is FileState.AVAILABLE]
    return evolve(rows, files=bare), await contents(container, available)


async def lose_and_restore(source: Place, target: Place, *, files: int, violations: int) -> Result:
    """Fill a place, make a snapshot, and restore it into another place; compare both."""
    singles = files - 2 * violations
    async with running(build(source.settings, source.strategy)) as container:
        await fill(container, range(singles), range(violations))
        await decide(container, range(singles), range(violations))
        rows, data = await known(container)
        start = time.perf_counter()
        created = await container.create_snapshot()(NAME)
        create_seconds = time.perf_counter() - start
        start = time.perf_counter()
        verified = await container.verify_snapshot()(NAME)
        verify_seconds = time.perf_counter() - start
        assert verified.is_good
        location = container.snapshot_location()
        async with running(build(target.settings, target.strategy)) as other:
            start = time.perf_counter()
            restored = await other.restore_snapshot()(
                location, NAME, destroyed=other.find_destroyed()
            )
            restore_seconds = time.perf_counter() - start
            await recompute(other)
            found, restored_data = await known(other)
    differences = [*rows.differences(found)]
    differences += [
        f"the bytes of {name}" for name in data if data[name] != restored_data.get(name)
    ]
    return Result(created, restored, create_seconds, verify_seconds, restore_seconds, differences)


def _report(what: str, result: Result) -> bool:
    made, found = result.created.manifest, result.restored
    print(
        f"{what}: {made.files} files, {made.violations} violations; "
        f"created in {result.create_seconds:.1f} s ({made.files / result.create_seconds:.0f} files/s), "
        f"verified in {result.verify_seconds:.1f} s, restored in {result.restore_seconds:.1f} s "
        f"({found.files / result.restore_seconds:.0f} files/s); {found.replay.holds} holds, "
        f"{found.replay.deletions} deletions, {found.replay.purged} purged files, "
        f"{len(result.differences)} fields or files differ"
    )
    for difference in result.differences[:20]:
        print(f"  {difference}")
    return not result.differences and found.is_whole


async def _run(files: int, violations: int, folder: Path) -> bool:
    with ExitStack() as stack:
        postgres = stack.enter_context(PostgresServer()).address
        s3 = stack.enter_context(S3Server()).address
        servers = Servers(folder, s3, postgres)
        disk = folder / "snapshots"
        bucket = f"s3://{s3.create_bucket().name}/snapshots"
        runs = (
            ("disk and SQLite → the same", servers.on_disk("a", disk), servers.on_disk("b", disk)),
            ("S3 and PostgreSQL → the same", servers.in_cloud("c", bucket), servers.in_cloud("d", bucket)),
            ("disk and SQLite → S3 and PostgreSQL", servers.on_disk("e", disk / "2"), servers.in_cloud("f", bucket)),
            ("S3 and PostgreSQL → disk and SQLite", servers.in_cloud("g", f"{bucket}2"), servers.on_disk("h", disk)),
        )  # fmt: skip
        good = True
        for what, source, target in runs:
            result = await lose_and_restore(source, target, files=files, violations=violations)
            good = _report(what, result) and good
        return good


def main() -> None:
    """Lose and restore in all four ways; exit with 1 if anything differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.snapshots", description=__doc__)
    parser.add_argument("--files", type=int, default=10_000, help="files in all (10,000)")
    parser.add_argument("--violations", type=int, default=3000, help="violations (3,000)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="snapshots-") as folder:
        Path(folder).chmod(0o711)
        is_good = asyncio.run(_run(given.files, given.violations, Path(folder)))
    raise SystemExit(not is_good)


if __name__ == "__main__":
    main()
