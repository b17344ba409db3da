"""`python -m tests.load.snapshot_faults`: snapshots under writers, and creations that are killed.

Under writers: while 16 writers store violations with images, a snapshot is made and restored elsewhere.
Each violation in it has all its files; what was acknowledged before it began is in it, and nothing
that began after its moment. On disk with SQLite, and in a bucket with PostgreSQL.

Kills: a process that makes a snapshot is killed at a random time, as often as asked. After each kill
the snapshot is complete and verified, or it is refused; made again, it is complete. Then a process
that restores it is killed as often, and the restore that is repeated at the end is whole.
"""

import argparse
import asyncio
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path

from attrs import define, field

from tests.load.rebuild import all_rows, fill, film
from tests.load.snapshots import NAME, Place, Servers, known
from tests.support.servers import PostgresServer, S3Server
from tests.support.setups import config
from traffic_storage import (
    Container,
    StorageConfig,
    StorageStrategy,
    Upload,
    ViolationRecord,
)
from traffic_storage.domain.errors import NotFound
from traffic_storage.domain.files import FileState
from traffic_storage.entrypoints.container import build, running

WRITERS = 16


@define
class Written:
    """When the storing of each violation began and was acknowledged."""

    begun: dict[str, datetime] = field(factory=dict)
    ended: dict[str, datetime] = field(factory=dict)
    _goal: int = 0
    _reached: asyncio.Event = field(factory=asyncio.Event)

    def end(self, name: str) -> None:
        """Note that a violation was acknowledged."""
        self.ended[name] = datetime.now(UTC)
        if len(self.ended) >= self._goal:
            self._reached.set()

    async def more(self, count: int) -> None:
        """Wait until so many further violations were acknowledged."""
        self._goal = len(self.ended) + count
        self._reached.clear()
        await self._reached.wait()


async def write(container: Container, written: Written, stop: asyncio.Event) -> None:
    """Store violations with videos, by 16 writers, until they are stopped."""

    async def writer(number: int) -> None:
        count = 0
        while not stop.is_set():
            count += 1
            name = f"W{number:02}-{count:06}"
            record = ViolationRecord(
                violation_id=name,
                device_id=f"cam-{number}",
                violation_type="speed",
                timestamp=datetime.now(UTC),
                vehicle_bbox=[1, 2, 300, 400],
                vehicle_class="car",
                confidence=0.9,
            )
            written.begun[name] = datetime.now(UTC)
            await container.store_evidence()(record, None, Upload(film(1_000_000 * number + count)))
            written.end(name)

    await asyncio.gather(*map(writer, range(WRITERS)))


async def under_writers(source: Place, target: Place, *, enough: int) -> tuple[int, int, list[str]]:
    """Make a snapshot while others write, restore it; return what is in it, and what is wrong."""
    written, stop = Written(), asyncio.Event()
    async with running(build(source.settings, source.strategy)) as container:
        # A writer that fails ends the waiting for its violations, too.
        async with asyncio.TaskGroup() as group:
            group.create_task(write(container, written, stop))
            await written.more(enough)
            made = await container.create_snapshot()(NAME)
            await written.more(enough)
            stop.set()
        location = container.snapshot_location()
        async with running(build(target.settings, target.strategy)) as other:
            restored = await other.restore_snapshot()(
                location, NAME, destroyed=other.find_destroyed()
            )
            there = await all_rows(other)
    wrong = [] if restored.is_whole else ["the restore is not whole"]
    for row in there.violations.values():
        name = str(row.violation_id)
        if row.metadata_file_id not in there.files or row.video_file_id not in there.files:
            wrong.append(f"{name} lacks a file")
        if written.begun[name] > made.manifest.cut_at:
            wrong.append(f"{name} began after the moment")
    for name, ended in written.ended.items():
        if ended < made.manifest.begun_at and name not in there.violations:
            wrong.append(f"{name} was acknowledged before, and is not there")
    owners = {file.violation_id for file in there.files.values() if file.violation_id}
    wrong += [f"files of {owner} without it" for owner in owners - there.violations.keys()]
    return len(there.violations), len(written.ended), wrong


def _place(folder: str, location: str) -> StorageConfig:
    return config(Path(folder), workers=0, accept_unknown_video=True, snapshot_location=location)


async def _child(what: str, folder: str, location: str) -> None:
    async with running(build(_place(folder, location), StorageStrategy.LOCAL_ONLY)) as container:
        print("started", flush=True)
        if what == "create":
            await container.create_snapshot()(NAME)
        else:
            await container.restore_snapshot()(
                container.snapshot_location(), NAME, destroyed=container.find_destroyed()
            )


def killed(what: str, folder: Path, location: Path, seconds: float) -> bool:
    """Start a process that creates or restores; kill it. Return whether it had ended before."""
    command = [sys.executable, "-m", "tests.load.snapshot_faults", what, str(folder), str(location)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=seconds)
        has_ended = process.poll() is not None
        process.kill()
    return has_ended


async def _check_creation(source: StorageConfig) -> bool:
    """Return whether the snapshot is complete; it is verified then, and refused otherwise."""
    async with running(build(source, StorageStrategy.LOCAL_ONLY)) as container:
        verify = container.verify_snapshot()
        if not await container.snapshot_location().complete():
            try:
                await verify(NAME)
            except NotFound:
                return False
            raise AssertionError("an incomplete snapshot is not refused")
        assert (await verify(NAME)).is_good
        return True


async def _delete(source: StorageConfig) -> None:
    async with running(build(source, StorageStrategy.LOCAL_ONLY)) as container:
        # It was killed before it had written anything.
        with suppress(NotFound):
            await container.delete_snapshot()(NAME)


def kills(folder: Path, *, count: int, files: int, seed: int, say: Callable[[str], None]) -> None:
    """Kill creations, then restores; raise if one is neither complete nor refused."""
    random.seed(seed)
    location = folder / "snapshots"
    source = _place(str(folder / "source"), str(location))

    async def prepared() -> float:
        async with running(build(source, StorageStrategy.LOCAL_ONLY)) as container:
            await fill(container, range(files), range(0))
            start = time.perf_counter()
            await container.create_snapshot()("whole")
            await container.delete_snapshot()("whole")
            return time.perf_counter() - start

    seconds = asyncio.run(prepared())
    complete = refused = 0
    for _ in range(count):
        killed("create", folder / "source", location, random.uniform(0, seconds))
        if asyncio.run(_check_creation(source)):
            complete += 1
            asyncio.run(_delete(source))
        else:
            refused += 1
            # The next one goes on, every other time; otherwise all begins anew.
            if refused % 2:
                asyncio.run(_delete(source))
    say(f"{count} creations killed: {complete} complete and verified, {refused} refused")
    killed("create", folder / "source", location, 10 * seconds + 30)
    assert asyncio.run(_check_creation(source))
    target = folder / "target"
    ended = sum(
        killed("restore", target, location, random.uniform(0, seconds)) for _ in range(count)
    )

    async def compared() -> list[str]:
        settings = _place(str(target), str(location))
        async with (
            running(build(source, StorageStrategy.LOCAL_ONLY)) as container,
            running(build(settings, StorageStrategy.LOCAL_ONLY)) as other,
        ):
            found = await other.restore_snapshot()(
                container.snapshot_location(), NAME, destroyed=container.find_destroyed()
            )
            assert found.is_whole
            rows, data = await known(container)
            there, restored_data = await known(other)
            assert all(one.state is FileState.AVAILABLE for one in there.files.values())
            return [*rows.differences(there), *(x for x in data if data[x] != restored_data.get(x))]

    differences = asyncio.run(compared())
    say(
        f"{count} restores killed, {ended} had ended; repeated, {len(differences)} fields or files differ"
    )
    assert not differences, differences[:20]


def _under_writers(folder: Path, enough: int) -> bool:
    good = True
    with ExitStack() as stack:
        postgres = stack.enter_context(PostgresServer()).address
        s3 = stack.enter_context(S3Server()).address
        servers = Servers(folder, s3, postgres)
        location = folder / "snapshots"
        pairs = {
            "disk and SQLite": (servers.on_disk("a", location), servers.on_disk("b", location)),
            "S3 and PostgreSQL": (
                servers.in_cloud("c", folder / "snapshots-2"),
                servers.on_disk("d", location),
            ),
        }
        for where, (source, target) in pairs.items():
            there, stored, wrong = asyncio.run(under_writers(source, target, enough=enough))
            print(
                f"{where}: {there} of {stored} violations are in the snapshot, {len(wrong)} wrong"
            )
            print("\n".join(wrong[:20]))
            good = good and not wrong
    return good


def main() -> None:
    """Do both; exit with 1 if something is wrong."""
    if sys.argv[1:2] in (["create"], ["restore"]):
        asyncio.run(_child(*sys.argv[1:4]))
        return
    parser = argparse.ArgumentParser(
        prog="python -m tests.load.snapshot_faults", description=__doc__
    )
    parser.add_argument("--kills", type=int, default=30, help="kills of each kind (30)")
    parser.add_argument("--files", type=int, default=500, help="files of the killed ones (500)")
    parser.add_argument(
        "--writes", type=int, default=200, help="violations before and after (200); 0: no writers"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the times of kills (1)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="snapshot-faults-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        good = not given.writes or _under_writers(folder / "writers", given.writes)
        kills(folder, count=given.kills, files=given.files, seed=given.seed, say=print)
    raise SystemExit(not good)


if __name__ == "__main__":
    main()
