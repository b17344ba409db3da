"""`python -m tests.load.rebuild`: a lost database is filled from the stores; seconds are printed.

Stores violations with images and single files, on disk with SQLite and in a bucket with PostgreSQL,
puts the database away, rebuilds a new one, and compares all rows field by field.
"""

import argparse
import asyncio
import hashlib
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
from attrs import evolve, frozen

from tests.support.servers import Bucket, Database, PostgresServer, S3Server
from tests.support.setups import config
from traffic_storage import Container, StorageConfig, StorageStrategy, Upload, ViolationRecord
from traffic_storage.application.inputs import FileAttributes
from traffic_storage.application.rebuild_catalogue import Rebuilt
from traffic_storage.domain.files import StoredFile
from traffic_storage.domain.identifiers import FileId, ViolationId
from traffic_storage.domain.query import FilesQuery, ViolationQuery
from traffic_storage.domain.violation import StoredViolation
from traffic_storage.entrypoints.container import build, running

AT_ONCE = 16
_MOST = 1000
_SIZE = 2000


@frozen
class Catalogue:
    """All files and violations of a catalogue, without what it alone knew: dates of verification."""

    files: dict[FileId, StoredFile]
    violations: dict[ViolationId, StoredViolation]

    def differences(self, other: "Catalogue") -> Sequence[str]:
        """The fields that differ, in words."""
        found = []
        for name in sorted({*self.files, *other.files, *self.violations, *other.violations}):
            for mine, theirs in (
                (self.files.get(FileId(name)), other.files.get(FileId(name))),
                (self.violations.get(ViolationId(name)), other.violations.get(ViolationId(name))),
            ):
                if mine is None or theirs is None:
                    if mine is not theirs:
                        found.append(f"{name}: {mine} and {theirs}")
                    continue
                found += [
                    f"{name}.{one.name}: {getattr(mine, one.name)} and {getattr(theirs, one.name)}"
                    for one in attrs.fields(type(mine))
                    if getattr(mine, one.name) != getattr(theirs, one.name)
                ]
        return found


@frozen
class Result:
    """What a rebuild restored, in which time, and the fields that differ from before."""

    rebuilt: Rebuilt
    seconds: float
    differences: Sequence[str]


def _film(number: int) -> bytes:
    return hashlib.shake_256(b"%d" % number).digest(_SIZE)


async def _fill(container: Container, files: int, violations: int) -> None:
    slots = asyncio.Semaphore(AT_ONCE)
    now = datetime.now(UTC) - timedelta(hours=1)

    async def violation(number: int) -> None:
        record = ViolationRecord(
            violation_id=f"V{number:06}",
            device_id=f"cam-{number % 50}",
            violation_type="speed",
            timestamp=now - timedelta(seconds=number),
            vehicle_bbox=[1, 2, 300, 400],
            vehicle_class="car",
            confidence=0.5 + number % 50 / 100,
            camera_info={"lane": number % 4, "site": "Cruce Ñandú"},
        )
        async with slots:
            await container.store_evidence()(record, None, Upload(_film(number)))

    async def single(number: int) -> None:
        attributes = FileAttributes.of(
            file_id=f"F{number:06}", metadata={"device_id": f"cam-{number % 50}", "number": number}
        )
        async with slots:
            await container.store_files().video(Upload(_film(-1 - number)), attributes)

    async with asyncio.TaskGroup() as group:
        for number in range(violations):
            group.create_task(violation(number))
        for number in range(files - 2 * violations):
            group.create_task(single(number))


async def _all(container: Container) -> Catalogue:
    find = container.find()
    files = {file.file_id: file async for file in _files(container)}
    violations: dict[ViolationId, StoredViolation] = {}
    query: ViolationQuery | None = ViolationQuery(limit=_MOST)
    while query is not None:
        page = await find.violations(query)
        violations |= {one.violation_id: one for one in page.items}
        query = None if page.next is None else evolve(query, after=page.next)
    return Catalogue(files, violations)


async def _files(container: Container) -> AsyncIterator[StoredFile]:
    query: FilesQuery | None = FilesQuery(limit=_MOST)
    while query is not None:
        page = await container.find().files(query)
        for file in page.items:
            copies = tuple(evolve(copy, verified_at=None) for copy in file.replicas)
            yield evolve(file, replicas=copies)
        query = None if page.next is None else evolve(query, after=page.next)


async def lose_and_rebuild(
    before: StorageConfig,
    after: StorageConfig,
    strategy: StorageStrategy,
    *,
    files: int,
    violations: int,
) -> Result:
    """Fill the stores through one database, rebuild another, and compare the two."""
    async with running(build(before, strategy)) as container:
        await _fill(container, files, violations)
        known = await _all(container)
    if before.db_host is None:
        for path in before.local_base_path.glob("catalogue.sqlite3*"):
            path.unlink()
    async with running(build(after, strategy)) as container:
        start = time.perf_counter()
        rebuilt = await container.rebuild_catalogue()(lambda _progress: None)
        seconds = time.perf_counter() - start
        return Result(rebuilt, seconds, known.differences(await _all(container)))


def on_disk(folder: Path) -> StorageConfig:
    """The settings of a folder with SQLite."""
    return config(folder, workers=0, accept_unknown_video=True)


def in_cloud(folder: Path, bucket: Bucket, database: Database) -> StorageConfig:
    """The settings of a bucket with PostgreSQL."""
    return config(folder, bucket=bucket, database=database, workers=0, accept_unknown_video=True)


def _report(where: str, result: Result) -> bool:
    found = result.rebuilt
    print(
        f"{where}: {found.files} files and {found.violations} violations in {result.seconds:.1f} s "
        f"({found.files / result.seconds:.0f} files/s), {found.unplaced} not restored, "
        f"{len(result.differences)} fields differ"
    )
    for difference in result.differences[:20]:
        print(f"  {difference}")
    return not result.differences and not found.unplaced


async def _run(files: int, violations: int, folder: Path) -> bool:
    with ExitStack() as stack:
        local = on_disk(folder / "local")
        is_good = _report(
            "disk and SQLite",
            await lose_and_rebuild(
                local, local, StorageStrategy.LOCAL_ONLY, files=files, violations=violations
            ),
        )
        postgres = stack.enter_context(PostgresServer())
        bucket = stack.enter_context(S3Server()).create_bucket()
        first, second = (
            in_cloud(folder / "cloud", bucket, postgres.create_database()) for _ in range(2)
        )
        return (
            _report(
                "S3 and PostgreSQL",
                await lose_and_rebuild(
                    first, second, StorageStrategy.CLOUD_ONLY, files=files, violations=violations
                ),
            )
            and is_good
        )


def main() -> None:
    """Rebuild on both set-ups; exit with 1 if a field differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.rebuild", description=__doc__)
    parser.add_argument("--files", type=int, default=10_000, help="files in all (10,000)")
    parser.add_argument("--violations", type=int, default=3000, help="violations (3,000)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rebuild-") as folder:
        Path(folder).chmod(0o711)
        is_good = asyncio.run(_run(given.files, given.violations, Path(folder)))
    raise SystemExit(not is_good)


if __name__ == "__main__":
    main()
