"""`python -m tests.load.rebuild`: a lost database is filled from the stores; seconds are printed.

Stores violations with videos and single files, on disk with SQLite and in a bucket with PostgreSQL;
holds, releases, deletes, undeletes and purges some of them, and changes the retention rules. Half of
this is done after a backup of the database. Then the backup is restored and rebuilt, and an empty
database too; both have all rows field by field, and no blob is deleted.
"""

import argparse
import asyncio
import hashlib
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import attrs
from attrs import evolve, frozen

from tests.support.servers import Bucket, Database, PostgresAddress, PostgresServer, S3Server
from tests.support.setups import config
from traffic_storage import Container, StorageConfig, StorageStrategy, Upload, ViolationRecord
from traffic_storage.application.inputs import FileAttributes
from traffic_storage.application.rebuild_catalogue import Rebuilt
from traffic_storage.application.rules_in_force import RECOMPUTE
from traffic_storage.domain.deletion import (
    MOST_FILES,
    Certificate,
    Deletion,
    Tombstone,
    Undelete,
)
from traffic_storage.domain.files import FileKind, FileState, StoredFile
from traffic_storage.domain.holds import HeldFile, HeldViolation, Hold, PlaceHold, ReleaseHold
from traffic_storage.domain.identifiers import FileId, ViolationId
from traffic_storage.domain.jobs import Claim
from traffic_storage.domain.query import FilesQuery, HoldsQuery, ViolationQuery
from traffic_storage.domain.retention_rules import GivenRules, RetentionRule
from traffic_storage.domain.violation import StoredViolation
from traffic_storage.entrypoints.container import build, running

AT_ONCE = 16
_MOST = 1000
_SIZE = 2000


@frozen
class Catalogue:
    """All that a catalogue has, without what it alone knew: dates of verification."""

    files: dict[FileId, StoredFile]
    violations: dict[ViolationId, StoredViolation]
    deletions: dict[FileId, Deletion]
    certificates: dict[FileId, Certificate]
    holds: dict[UUID, Hold]
    rules: dict[str, RetentionRule]

    def differences(self, other: "Catalogue") -> Sequence[str]:
        """The fields that differ, in words."""
        return [
            difference
            for field in attrs.fields(Catalogue)
            for difference in _differences(getattr(self, field.name), getattr(other, field.name))
        ]


def _differences(mine: Mapping[Any, Any], theirs: Mapping[Any, Any]) -> Iterator[str]:
    for name in sorted({*mine, *theirs}, key=str):
        one, other = mine.get(name), theirs.get(name)
        if one is None or other is None:
            yield f"{name}: {one} and {other}"
            continue
        for field in attrs.fields(type(one)):
            values = getattr(one, field.name), getattr(other, field.name)
            if values[0] != values[1]:
                yield f"{name}.{field.name}: {values[0]} and {values[1]}"


@frozen
class Result:
    """What a rebuild restored, in which time, the fields that differ, and the blobs that are gone."""

    rebuilt: Rebuilt
    seconds: float
    differences: Sequence[str]
    lost_blobs: int


def film(number: int) -> bytes:
    return hashlib.shake_256(b"%d" % number).digest(_SIZE)


async def fill(container: Container, singles: range, violations: range) -> None:
    """Store single files, and violations with videos."""
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
            await container.store_evidence()(record, None, Upload(film(number)))

    async def single(number: int) -> None:
        attributes = FileAttributes.of(
            file_id=f"F{number:06}", metadata={"device_id": f"cam-{number % 50}", "number": number}
        )
        async with slots:
            await container.store_files().video(Upload(film(-1 - number)), attributes)

    async with asyncio.TaskGroup() as group:
        for number in violations:
            group.create_task(violation(number))
        for number in singles:
            group.create_task(single(number))


async def decide(container: Container, singles: range, violations: range) -> None:
    """Hold, release, delete, undelete and purge some files, and change the retention rules."""
    apply, now = container._record_repo().apply, datetime.now(UTC)
    single = [FileId(f"F{number:06}") for number in singles]
    violation = [f"V{number:06}" for number in violations]
    for file_id in single[::20]:
        await apply(PlaceHold(Hold(uuid4(), HeldFile(file_id), "C-1", "trial", "judge", now)))
    for name in map(str, violation[::20]):
        scope = HeldViolation(ViolationId(name))
        hold = Hold(uuid4(), scope, "C-2", "trial", "judge", now, now + timedelta(days=90))
        await apply(PlaceHold(hold))
        await apply(ReleaseHold(hold.hold_id, now, "judge", "closed"))
    deleted = [*single[1::15], *(FileId(f"{name}~video") for name in violation[1::15])]
    await _delete(container, deleted, timedelta(days=7))
    await apply(Undelete(tuple(deleted[::3]), now, now + timedelta(days=400), "error", "clerk"))
    records = [
        *(FileId(f"{name}~metadata") for name in violation[2::15]),
        *(FileId(f"{name}~video") for name in (*violation[2::15], *violation[3::15])),
    ]
    await _delete(container, [*single[2::15], *records], timedelta(0))
    await container.purge().due()
    rule = RetentionRule("court", 400 + len(single), kind=FileKind.VIDEO, device="cam-1*")
    change = container.change_rules()
    staged, _ = await change.stage(GivenRules((rule,)), by="chief", reason="una ley")
    await change.enter(staged.change_id, by="chief")
    await recompute(container)


async def _delete(container: Container, names: Sequence[FileId], grace: timedelta) -> None:
    now = datetime.now(UTC)
    for begin in range(0, len(names), MOST_FILES):
        part = tuple(names[begin : begin + MOST_FILES])
        change = Tombstone(part, uuid4(), now, now + grace, "asked", "clerk", override=True)
        assert await container._record_repo().apply(change)


async def recompute(container: Container) -> None:
    """Do the jobs that recompute until when files are kept, as a worker would."""
    repo, handler = container._record_repo(), container.handlers()[RECOMPUTE]
    while runs := await repo.claim(
        Claim(uuid4(), "rebuild", (RECOMPUTE,), 1, timedelta(minutes=5))
    ):
        outcome = await handler(runs[0], lambda _progress: None)
        await repo.finish(runs[0], outcome.end, outcome.effect)


async def _export(container: Container) -> None:
    for bound in container.stores():
        if bound.trusted and bound.store_id is not None:
            await container.export_journal()(bound.store_id)


async def _keys(container: Container) -> set[str]:
    """The keys of all blobs."""
    found: set[str] = set()
    for bound in container.stores():
        if bound.trusted:
            found |= {entry.key async for entry in bound.store.list()}
    return found


async def all_rows(container: Container) -> Catalogue:
    """All that the catalogue of a container has."""
    find = container.find()
    files = {file.file_id: file async for file in _files(container)}
    violations: dict[ViolationId, StoredViolation] = {}
    query: ViolationQuery | None = ViolationQuery(limit=_MOST)
    while query is not None:
        page = await find.violations(query)
        violations |= {one.violation_id: one for one in page.items}
        query = None if page.next is None else evolve(query, after=page.next)
    repo = container._record_repo()
    for file in files.values():
        # Violations that are not available are not in the pages.
        name = file.violation_id
        if name is not None and name not in violations and (found := await repo.violation(name)):
            violations[name] = found
    deletions = dict(await repo.deletions(list(files)))
    certificates = [
        await repo.certificate(name) for name, one in deletions.items() if one.purged_at is not None
    ]
    holds = await repo.holds(HoldsQuery(limit=_MOST))
    in_force = await repo.rules_in_force()
    assert in_force is not None
    return Catalogue(
        files,
        violations,
        deletions,
        {one.file_id: one for one in certificates if one is not None},
        {one.hold_id: one for one in holds.items},
        {rule.rule_id: rule for rule in in_force.rules.rules},
    )


async def _files(container: Container) -> AsyncIterator[StoredFile]:
    for state in FileState:
        async for file in _files_in(container, state):
            yield file


async def _files_in(container: Container, state: FileState) -> AsyncIterator[StoredFile]:
    query: FilesQuery | None = FilesQuery(limit=_MOST, state=state)
    while query is not None:
        page = await container.find().files(query)
        for file in page.items:
            copies = tuple(evolve(copy, verified_at=None) for copy in file.replicas)
            yield evolve(file, replicas=copies)
        query = None if page.next is None else evolve(query, after=page.next)


@frozen
class Setup:
    """Where everything is: the settings, and how the database is backed up and put away.

    `backed_up` returns the settings of a copy of the database, which `restored` puts into its
    place; `lost` returns the settings of an empty database.
    """

    settings: StorageConfig
    strategy: StorageStrategy
    backed_up: Callable[[], StorageConfig]
    restored: Callable[[], None]
    lost: Callable[[], StorageConfig]


async def lose_and_rebuild(setup: Setup, *, files: int, violations: int) -> Sequence[Result]:
    """Fill the stores, rebuild a backup of the database and then an empty one; compare both."""
    singles = files - 2 * violations
    parts = [
        (range(singles // 2), range(violations // 2)),
        (range(singles // 2, singles), range(violations // 2, violations)),
    ]
    async with running(build(setup.settings, setup.strategy)) as container:
        await fill(container, *parts[0])
        await decide(container, *parts[0])
    old = setup.backed_up()
    async with running(build(setup.settings, setup.strategy)) as container:
        await fill(container, *parts[1])
        await decide(container, *parts[1])
        await _export(container)
        known, blobs = await all_rows(container), await _keys(container)
    setup.restored()
    results = []
    for settings in (old, None):
        async with running(build(settings or setup.lost(), setup.strategy)) as container:
            for bound in container.stores():
                if settings is not None and not bound.trusted and bound.configured.written:
                    await container.stores().adopt(bound)
                    await container.stores().bind()
            start = time.perf_counter()
            rebuilt = await container.rebuild_catalogue()(lambda _progress: None)
            seconds = time.perf_counter() - start
            await recompute(container)
            differences = known.differences(await all_rows(container))
            lost = len(blobs - await _keys(container))
            results.append(Result(rebuilt, seconds, differences, lost))
    return results


def on_disk(folder: Path) -> Setup:
    """A folder with SQLite."""
    settings = config(folder, workers=0, accept_unknown_video=True)
    database, backup = folder / "catalogue.sqlite3", folder.with_suffix(".backup")

    def backed_up() -> StorageConfig:
        # The last connection has closed: all is in the file.
        shutil.copy(database, backup)
        return settings

    def away() -> None:
        for path in folder.glob("catalogue.sqlite3*"):
            path.unlink()

    def restored() -> None:
        away()
        shutil.copy(backup, database)

    def lost() -> StorageConfig:
        away()
        return settings

    return Setup(settings, StorageStrategy.LOCAL_ONLY, backed_up, restored, lost)


def in_cloud(folder: Path, bucket: Bucket, postgres: PostgresAddress) -> Setup:
    """A bucket with PostgreSQL."""

    def of(database: Database) -> StorageConfig:
        return config(
            folder, bucket=bucket, database=database, workers=0, accept_unknown_video=True
        )

    first = postgres.create_database()
    return Setup(
        of(first),
        StorageStrategy.CLOUD_ONLY,
        lambda: of(postgres.create_database(first.name)),
        lambda: None,
        lambda: of(postgres.create_database()),
    )


def _report(where: str, results: Sequence[Result]) -> bool:
    for database, result in zip(("an old database", "an empty database"), results, strict=True):
        found = result.rebuilt
        print(
            f"{where}, {database}: {found.files} files, {found.violations} violations, "
            f"{found.purged} purged files, {found.holds} holds, {found.deletions} deletions and "
            f"{found.rules} rules in {result.seconds:.1f} s "
            f"({found.files / result.seconds:.0f} files/s), {found.unplaced} not restored, "
            f"{result.lost_blobs} blobs gone, {len(result.differences)} fields differ"
        )
        for difference in result.differences[:20]:
            print(f"  {difference}")
    return not any(one.differences or one.rebuilt.unplaced or one.lost_blobs for one in results)


async def _run(files: int, violations: int, folder: Path) -> bool:
    with ExitStack() as stack:
        local = on_disk(folder / "local")
        results = await lose_and_rebuild(local, files=files, violations=violations)
        is_good = _report("disk and SQLite", results)
        postgres = stack.enter_context(PostgresServer())
        bucket = stack.enter_context(S3Server()).create_bucket()
        cloud = in_cloud(folder / "cloud", bucket, postgres.address)
        results = await lose_and_rebuild(cloud, files=files, violations=violations)
        return _report("S3 and PostgreSQL", results) and is_good


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
