# ruff: noqa: ASYNC240 - the files that are looked at are small and at hand
"""SQLite: several processes on one file, full and broken disks, other people's files."""

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, closing
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.support.privileged import (
    disk_image,
    fill_up,
    frozen_while,
    new_image,
    remount,
    small_memory_disk,
)
from tests.support.waiting import until
from traffic_storage.adapters.record_repo.sql import (
    migrations,
    sqlite,
    sqlite_unwritable,
    statements,
)
from traffic_storage.adapters.record_repo.sql.repo import SqlRecordRepo
from traffic_storage.adapters.record_repo.sql.sqlite import (
    SqliteDriver,
    SqliteSettings,
    sqlite_repo,
)
from traffic_storage.adapters.record_repo.sql.statement import Statement
from traffic_storage.domain.changes import ObserveReplica
from traffic_storage.domain.errors import ConfigurationError, StorageFull
from traffic_storage.domain.files import ReplicaState
from traffic_storage.domain.identity import RegisteredStore
from traffic_storage.domain.ingest import Attempt, ClaimedIds, Unit
from traffic_storage.domain.query import ViolationQuery
from traffic_storage.entrypoints.testing.contracts.record_repo import is_whole, local, recount
from traffic_storage.entrypoints.testing.units import (
    LATER,
    NOON,
    new_attempt,
    new_evidence,
    new_file,
    new_record,
    store,
)
from traffic_storage.ports.errors import (
    CatalogueReadOnly,
    CatalogueUnavailable,
    OutcomeUnknown,
)
from traffic_storage.ports.record_repo import RecordRepo

SYNCHRONOUS_FULL = 2
BALLAST_BYTES = 1024 * 1024
_SOON = 30.0
"""Nothing may take longer; what waited for a disk that hangs would take a minute."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalogue.sqlite3"


@pytest.fixture
async def repo(no_leaks: None, path: Path) -> AsyncIterator[SqlRecordRepo]:
    repo = sqlite_repo(SqliteSettings(path, timeout_seconds=60))
    await repo.upgrade()
    yield repo
    await repo.aclose()


def run(script: str, *args: object) -> "subprocess.Popen[str]":
    """A process that runs `script` as the body of an asynchronous function."""
    body = "\n".join(f"    {line}" for line in script.strip().splitlines())
    return subprocess.Popen(
        [
            sys.executable,
            "-W",
            "error",
            "-c",
            f"{_PRELUDE}\nasync def main():\n{body}\n\nasyncio.run(main())",
            *map(str, args),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def ended(process: "subprocess.Popen[str]") -> str:
    """What a process has said, when it has ended well."""
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return said


_PRELUDE = """
import asyncio, os, sys
from contextlib import suppress
from traffic_storage.domain.changes import CommitUnit
from traffic_storage.adapters.record_repo.sql.sqlite import SqliteSettings, sqlite_repo
from traffic_storage.entrypoints.testing.contracts.record_repo import local
from traffic_storage.entrypoints.testing.units import *
from traffic_storage.ports.errors import *
"""

_WRITER = """
repo = sqlite_repo(SqliteSettings(sys.argv[1], timeout_seconds=60))
place = await local(repo)
async def work():
    for _ in range(20):
        await store(repo, new_evidence(new_record(), place))
    with suppress(IdsTaken):
        await store(repo, new_evidence(new_record("shared"), place))
await asyncio.gather(*(work() for _ in range(4)))
await repo.aclose()
"""

_MIGRATOR = """
repo = sqlite_repo(SqliteSettings(sys.argv[1], timeout_seconds=60))
print("ready", flush=True)
sys.stdin.readline()
await repo.upgrade()
print(await repo.catalogue_id())
await repo.aclose()
"""

_KILLED = """
repo = sqlite_repo(SqliteSettings(sys.argv[1]))
place = await local(repo)
async def work():
    while True:
        unit = await store(repo, new_evidence(new_record(), place))
        os.write(1, unit.violation.violation_id.encode() + b"\\n")
await asyncio.gather(*(work() for _ in range(8)))
"""

_FAILING_DISK = """
import resource
repo = sqlite_repo(SqliteSettings(sys.argv[1], ballast_bytes=0))
await repo.upgrade()
place = await local(repo)
unit = new_evidence(new_record("V001"), place)
attempt = new_attempt(unit)
await repo.begin(attempt, unit.names)
there = os.path.getsize(sys.argv[1] + "-wal")
# From here on a write beyond what is there fails, with an error other than a full disk.
resource.setrlimit(resource.RLIMIT_FSIZE, (there, resource.RLIM_INFINITY))
try:
    await repo.apply(CommitUnit(attempt.attempt_id, unit))
except CatalogueUnavailable as error:
    print(type(error).__name__)
print(await repo.file(unit.files[0].file_id))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
await repo.apply(CommitUnit(attempt.attempt_id, unit))
print((await repo.file(unit.files[0].file_id)) == unit.files[0])
await repo.aclose()
"""


class TestFile:
    async def test_it_is_for_this_user_alone(self, repo: RecordRepo, path: Path) -> None:
        await local(repo)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.with_name(f"{path.name}-wal").stat().st_mode) == 0o600

    async def test_it_loses_no_commit(
        self, repo: RecordRepo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What flushing less costs is shown by the power cuts of `tests.crash.careless`."""
        opened: list[sqlite3.Connection] = []
        open_one = sqlite._open

        def noting(settings: SqliteSettings) -> sqlite3.Connection:
            opened.append(open_one(settings))
            return opened[-1]

        monkeypatch.setattr(sqlite, "_open", noting)
        await local(repo)
        await repo.usage()
        for pragma, wanted in (("journal_mode", "wal"), ("synchronous", SYNCHRONOUS_FULL)):
            found = [one.execute(f"PRAGMA {pragma}").fetchone() for one in opened]
            assert found == [(wanted,)] * 2  # the one that reads and the one that writes

    async def test_nothing_is_opened_before_it_is_used(self, no_leaks: None, path: Path) -> None:
        repo = sqlite_repo(SqliteSettings(path))
        assert not path.exists()
        await repo.aclose()

    async def test_a_closed_catalogue_opens_again(self, repo: RecordRepo) -> None:
        unit = await store(repo, new_evidence(new_record(), await local(repo)))
        await repo.aclose()
        assert await is_whole(repo, unit)

    async def test_it_leaves_one_file_and_its_ballast(self, repo: RecordRepo, path: Path) -> None:
        await local(repo)
        await repo.aclose()
        assert sorted(path.parent.iterdir()) == [path, path.with_name(f"{path.name}-ballast")]

    async def test_a_path_of_any_letters(self, no_leaks: None, tmp_path: Path) -> None:
        repo = sqlite_repo(SqliteSettings(tmp_path / "Señal 速度 100%?#&=" / "a b.sqlite3"))
        await repo.upgrade()
        await repo.usage()
        await repo.aclose()


class TestProcesses:
    async def test_two_processes_share_one_file(self, repo: RecordRepo, path: Path) -> None:
        """Counters, names and attempts stay right; nobody waits in vain."""
        place = await local(repo)
        others = [run(_WRITER, path) for _ in range(2)]
        unit = await store(repo, new_evidence(new_record(), place))
        for other in others:
            await asyncio.to_thread(ended, other)
        shown = (await repo.violations(ViolationQuery(limit=1000))).items
        assert len(shown) == 2 * 80 + 2
        assert (await repo.usage()).violations == len(shown)
        names = [name for v in shown for name in (v.metadata_file_id, v.image_file_id) if name]
        assert list((await repo.usage()).stores) == await recount(repo, names)
        # Those who lost the shared name have begun, and not committed.
        assert len(await repo.condemn(LATER)) == 7
        assert await is_whole(repo, unit)

    async def test_four_processes_make_the_tables_once(self, path: Path) -> None:
        processes = [run(_MIGRATOR, path) for _ in range(4)]
        for process in processes:
            assert process.stdout
            assert await asyncio.to_thread(process.stdout.readline) == "ready\n"
        for process in processes:
            assert process.stdin
            process.stdin.write("\n")
            process.stdin.flush()
        assert len({await asyncio.to_thread(ended, process) for process in processes}) == 1

    async def test_what_was_acknowledged_survives_a_kill(
        self, repo: RecordRepo, path: Path
    ) -> None:
        await local(repo)
        with run(_KILLED, path) as process:
            assert process.stdout
            first = [await asyncio.to_thread(process.stdout.readline) for _ in range(50)]
            process.send_signal(signal.SIGKILL)
            told = [*first, *(await asyncio.to_thread(process.stdout.read)).splitlines()]
        acknowledged = {line.strip() for line in told}
        shown = (await repo.violations(ViolationQuery(limit=1000))).items
        assert acknowledged <= {v.violation_id for v in shown}
        assert (await repo.usage()).violations == len(shown)

    async def test_a_lock_that_is_not_released_is_an_error_in_time(
        self, no_leaks: None, path: Path
    ) -> None:
        repo = sqlite_repo(SqliteSettings(path, timeout_seconds=0.2))
        await repo.upgrade()
        place = await local(repo)
        unit = new_evidence(new_record(), place)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(CatalogueUnavailable, match=r"locked.*end the process"):
                await store(repo, unit)
            await repo.usage()
            other.execute("COMMIT")
        await store(repo, unit)
        await repo.aclose()

    async def test_a_read_that_takes_too_long_ends_in_time(
        self, repo: RecordRepo, path: Path
    ) -> None:
        endless = (
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
        )
        async with aclosing(SqliteDriver(SqliteSettings(path, read_seconds=0.05))) as driver:
            with pytest.raises(CatalogueUnavailable, match=r"took longer than 0\.05 s") as failure:
                await driver.read(Statement(text(endless), ()), [()])
            assert "db_timeout_seconds" in str(failure.value)
            # The thread is free for the next read, and each read has all of its time.
            assert await driver.read(statements.IS_READ_ONLY, [()] * 100) == [(0,)] * 100


class TestUpgrade:
    async def test_newer_tables_are_refused(self, repo: RecordRepo, path: Path) -> None:
        with closing(sqlite3.connect(path)) as other:
            other.execute("UPDATE alembic_version SET version_num = '9999'")
            other.commit()
        with pytest.raises(ConfigurationError, match=r"9999.*newer"):
            await repo.upgrade()

    async def test_the_steps_that_are_due_are_told_and_not_taken(
        self, no_leaks: None, path: Path
    ) -> None:
        repo = sqlite_repo(SqliteSettings(path))
        assert list(await repo.pending()) == [
            "v0001_first_tables",
            "v0002_labels",
            "v0003_keyed_uploads",
        ]
        assert not path.exists()
        await repo.upgrade()
        assert list(await repo.pending()) == []
        with closing(sqlite3.connect(path)) as other:
            other.execute("UPDATE alembic_version SET version_num = '9999'")
            other.commit()
        with pytest.raises(ConfigurationError, match=r"9999.*newer"):
            await repo.pending()
        await repo.aclose()

    async def test_before_the_upgrade_it_says_what_to_do(self, no_leaks: None, path: Path) -> None:
        path.touch()
        repo = sqlite_repo(SqliteSettings(path))
        for call in (repo.usage, lambda: local(repo)):
            with pytest.raises(CatalogueUnavailable, match=r"no tables.*db upgrade"):
                await call()
        await repo.aclose()

    async def test_a_missing_file_is_not_made_by_reading(self, no_leaks: None, path: Path) -> None:
        repo = sqlite_repo(SqliteSettings(path))
        with pytest.raises(CatalogueUnavailable, match=r"db upgrade"):
            await repo.usage()
        assert not path.exists()
        await repo.upgrade()
        await repo.usage()
        await repo.aclose()

    def test_the_newest_step_is_the_version_of_the_code(self) -> None:
        steps = Path(migrations.__file__).parent.glob("versions/v*.py")
        assert max(step.name for step in steps).startswith(f"v{migrations.HEAD}_")


class TestBadFiles:
    @pytest.mark.parametrize("content", [b"not a database at all" * 100, b"SQLite format 3\0" * 9])
    async def test_another_file(self, no_leaks: None, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        repo = sqlite_repo(SqliteSettings(path))
        for call in (repo.upgrade, repo.usage, lambda: local(repo)):
            with pytest.raises(CatalogueUnavailable, match=r"catalogue.sqlite3"):
                await call()
        await repo.aclose()
        assert path.read_bytes() == content

    async def test_damaged_pages(self, repo: RecordRepo, path: Path) -> None:
        place = await local(repo)
        for _ in range(50):
            await store(repo, new_evidence(new_record(), place))
        await repo.aclose()
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(os.urandom(path.stat().st_size - 4096))
        for call in (
            lambda: repo.violations(ViolationQuery()),
            lambda: store(repo, new_evidence(new_record(), place)),
        ):
            with pytest.raises(CatalogueUnavailable, match=r"damaged.*backup"):
                await call()

    @pytest.mark.parametrize("again", [True, False])
    async def test_a_removed_file_is_not_written_on(
        self, repo: RecordRepo, path: Path, *, again: bool
    ) -> None:
        """What nobody will find again is never acknowledged."""
        place = await local(repo)
        await repo.usage()
        moved = path.with_name("moved")
        path.rename(moved)
        if again:
            path.touch()
        for call in (repo.usage, lambda: store(repo, new_evidence(new_record(), place))):
            for _ in range(2):
                with pytest.raises(CatalogueUnavailable, match=r"removed or replaced"):
                    await call()
        moved.rename(path)
        await store(repo, new_evidence(new_record(), place))

    async def test_a_folder_that_may_not_be_made(self, no_leaks: None, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        repo = sqlite_repo(SqliteSettings(tmp_path / "file" / "catalogue.sqlite3"))
        with pytest.raises(CatalogueUnavailable, match=r"folder"):
            await repo.upgrade()
        await repo.aclose()


class TestBadDisks:
    @pytest.fixture
    def disk(self, tmp_path: Path) -> Iterator[Path]:
        with small_memory_disk(tmp_path / "disk", "size=6m") as disk:
            yield disk

    @pytest.fixture
    async def repo(self, no_leaks: None, disk: Path) -> AsyncIterator[SqlRecordRepo]:
        settings = SqliteSettings(disk / "catalogue.sqlite3", ballast_bytes=BALLAST_BYTES)
        repo = sqlite_repo(settings)
        await repo.upgrade()
        yield repo
        await repo.aclose()

    @pytest.mark.privileged
    async def test_a_full_disk_refuses_and_still_forgets(
        self, repo: RecordRepo, disk: Path
    ) -> None:
        """StorageFull for what takes room; deleting, condemning and marking go on."""
        place = await local(repo)
        there = await store(repo, new_evidence(new_record(), place))
        done, begun = [there], await _begun(repo, place, 5)
        fill_up(disk)
        for _ in range(3):
            with pytest.raises(StorageFull, match=r"full.*free space"):
                await store(repo, new_evidence(new_record(), place))
        assert await repo.condemn(LATER, 1000) == begun
        for attempt in begun:
            await repo.forget(attempt.attempt_id)
        assert await repo.condemn(LATER) == []
        copy = there.files[0].replicas[0]
        assert await repo.apply(
            ObserveReplica(there.files[0].file_id, copy.replica_id, ReplicaState.MISSING, NOON)
        )
        with pytest.raises(StorageFull):
            await store(repo, new_evidence(new_record(), place))
        (disk / "filler").unlink()
        done.append(await store(repo, new_evidence(new_record(), place)))
        assert (disk / "catalogue.sqlite3-ballast").stat().st_size == BALLAST_BYTES
        assert (await repo.usage()).violations == len(done)

    @pytest.mark.privileged
    async def test_a_full_disk_can_be_opened(self, repo: RecordRepo, disk: Path) -> None:
        """Started on a full disk, it reads and forgets."""
        unit = await store(repo, new_evidence(new_record(), await local(repo)))
        attempt = new_attempt(unit)
        await repo.begin(attempt, unit.names)
        await repo.aclose()
        fill_up(disk)
        assert await is_whole(repo, unit)
        assert await repo.condemn(LATER) == [attempt]
        await repo.forget(attempt.attempt_id)
        assert await repo.condemn(LATER) == []

    @pytest.mark.privileged
    async def test_no_room_for_the_tables(self, no_leaks: None, disk: Path) -> None:
        fill_up(disk)
        repo = sqlite_repo(SqliteSettings(disk / "catalogue.sqlite3"))
        with pytest.raises(StorageFull, match=r"full"):
            await repo.upgrade()
        (disk / "filler").unlink()
        await repo.upgrade()
        await repo.usage()
        await repo.aclose()

    @pytest.mark.privileged
    async def test_a_disk_that_became_read_only(self, repo: RecordRepo, disk: Path) -> None:
        unit = await store(repo, new_evidence(new_record(), await local(repo)))
        await repo.aclose()
        remount(disk, "ro")
        with pytest.raises(CatalogueUnavailable, match=r"write|opened"):
            await repo.forget(new_attempt(unit).attempt_id)
        remount(disk, "rw")
        assert await is_whole(repo, unit)
        await repo.forget(new_attempt(unit).attempt_id)

    @pytest.mark.privileged
    async def test_a_disk_that_turns_read_only_while_the_file_is_open(
        self, repo: RecordRepo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As by a failing disk; `mount` refuses it as long as files are open."""
        await repo.ping()
        with monkeypatch.context() as patched:
            patched.setattr(sqlite, "is_read_only", lambda path: True)
            with pytest.raises(CatalogueReadOnly, match="read but not written"):
                await repo.ping()
        await repo.ping()

    @pytest.mark.privileged
    async def test_a_full_disk_without_ballast_can_be_read(
        self, repo: RecordRepo, disk: Path
    ) -> None:
        """Started on a full disk whose reserve was used before; storing goes on once it has space."""
        unit = await store(repo, new_evidence(new_record(), await local(repo)))
        await repo.aclose()
        (disk / "catalogue.sqlite3-ballast").unlink()
        filler = fill_up(disk)
        await repo.upgrade()
        assert await is_whole(repo, unit)
        with pytest.raises(StorageFull):
            await local(repo)
        filler.unlink()
        await store(repo, new_evidence(new_record(), await local(repo)))
        assert (await repo.usage()).violations == 2

    @pytest.mark.privileged
    @pytest.mark.parametrize("left", [(), ("-wal",), ("-wal", "-shm")])
    async def test_a_read_only_disk_can_be_read(
        self, repo: RecordRepo, disk: Path, left: Sequence[str]
    ) -> None:
        """`left`: the files that a killed process or a snapshot has left beside the database."""
        unit = await store(repo, new_evidence(new_record(), await local(repo)))
        kept = {end: (disk / f"catalogue.sqlite3{end}").read_bytes() for end in ("", *left)}
        await repo.aclose()
        for end, content in kept.items() if left else ():
            (disk / f"catalogue.sqlite3{end}").write_bytes(content)
        remount(disk, "ro")
        other = sqlite_repo(SqliteSettings(disk / "catalogue.sqlite3"))
        if left == ("-wal",):  # What the log has would be missing without a word.
            with pytest.raises(CatalogueReadOnly, match="newest rows are in its write-ahead log"):
                await other.upgrade()
        else:
            await other.upgrade()
            assert await is_whole(other, unit)
            # What asks whether the service is ready is told, too.
            with pytest.raises(CatalogueReadOnly, match=r"read but not written.*mounted read-only"):
                await other.ping()
            with pytest.raises(CatalogueReadOnly, match="is read-only"):
                await store(other, new_evidence(new_record(), await local(other)))
        await other.aclose()

    async def test_what_is_read_as_unwritten_is_read_anew_once_it_is_written(
        self, path: Path, no_leaks: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A process that may write, beside one that may only read."""
        writing, reading = sqlite_repo(SqliteSettings(path)), sqlite_repo(SqliteSettings(path))
        await writing.upgrade()
        await writing.aclose()

        def refused(settings: SqliteSettings) -> sqlite3.Connection:
            error = sqlite3.OperationalError("unable to open database file")
            error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
            raise error

        with monkeypatch.context() as patched:
            patched.setattr(sqlite, "_open", refused)
            patched.setattr(sqlite_unwritable, "is_read_only", lambda path: True)
            await reading.upgrade()
            assert (await reading.usage()).violations == 0
        await store(writing, new_evidence(new_record(), await local(writing)))
        assert (await reading.usage()).violations == 1
        await reading.aclose()
        await writing.aclose()

    async def test_a_commit_that_fails_half_way_is_open_until_it_is_repeated(
        self, path: Path
    ) -> None:
        """OutcomeUnknown: "it may have happened"; a repetition finds out."""
        said = await asyncio.to_thread(ended, run(_FAILING_DISK, path))
        assert said.splitlines() == [OutcomeUnknown.__name__, "None", "True"]


@pytest.mark.privileged
async def test_a_disk_that_hangs_is_unavailable_and_comes_back(
    no_leaks: None, tmp_path: Path
) -> None:
    with disk_image(new_image(tmp_path / "image", 64 * 1024 * 1024), tmp_path / "disk") as disk:
        settings = SqliteSettings(
            disk / "catalogue.sqlite3", 0.3, 0.3, disk_seconds=0.3, ballast_bytes=0
        )
        driver = SqliteDriver(settings)
        repo = SqlRecordRepo(driver)
        await repo.upgrade()
        place = await local(repo)
        there, late, other = (new_evidence(new_record(), place) for _ in range(3))
        await store(repo, there)
        with frozen_while(disk, lambda: None):
            async with asyncio.timeout(_SOON):
                waiting = [store(repo, late), repo.forget(new_attempt(other).attempt_id)]
                for failed in await asyncio.gather(*waiting, return_exceptions=True):
                    assert isinstance(failed, OutcomeUnknown)
                    assert "does not answer" in str(failed)
                with pytest.raises(CatalogueUnavailable, match="disk_timeout_seconds") as refused:
                    await store(repo, other)
                assert not isinstance(refused.value, OutcomeUnknown)
                # A reader notes in shared memory what it reads, which is on this disk, too.
                with pytest.raises(CatalogueUnavailable, match="does not answer"):
                    await is_whole(repo, there)
        await until(lambda: not driver._writing.is_late and not driver._reading.is_late)
        assert await is_whole(repo, there)
        await store(repo, late)
        assert await is_whole(repo, late)
        await repo.aclose()


async def _begun(repo: RecordRepo, place: RegisteredStore, count: int) -> list[Attempt]:
    """Attempts that have begun, in the order in which they are condemned."""
    attempts = [new_attempt(Unit((new_file(place),))) for _ in range(count)]
    for attempt in attempts:
        await repo.begin(attempt, ClaimedIds(()))
    return sorted(attempts, key=lambda one: one.attempt_id)
