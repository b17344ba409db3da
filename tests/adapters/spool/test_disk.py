"""What is peculiar to the spool on disk."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from traffic_storage.adapters.spool.disk import DiskSpool
from traffic_storage.domain.digests import digests_of
from traffic_storage.domain.errors import StorageUnavailable
from traffic_storage.entrypoints.testing.contracts.spool import (
    Source,
    content,
    entered,
    read,
    taking,
)
from traffic_storage.ports.spool import Body, FileBody, MemoryBody

MIB = 1024 * 1024

HOLDER = """
import asyncio, sys
from pathlib import Path
from traffic_storage.adapters.spool.disk import DiskSpool

async def main():
    spool = DiskSpool(Path(sys.argv[1]), unnamed=False)
    async def source():
        yield bytes(3 << 20)
    async with spool.take(source(), limit_bytes=1 << 30, field_name="video"):
        print("holding", flush=True)
        sys.stdin.read()

asyncio.run(main())
"""

FILLER = """
import asyncio, os, sys
from pathlib import Path
from traffic_storage.adapters.spool.disk import DiskSpool
from traffic_storage.domain.errors import StorageFull

async def endless():
    while True:
        yield bytes(300_000)

async def main():
    spool = DiskSpool(Path(sys.argv[1], "spool"), unnamed=sys.argv[2] == "unnamed")
    before = len(os.listdir("/proc/self/fd"))
    for attempt in range(3):
        try:
            async with spool.take(endless(), limit_bytes=1 << 40, field_name="video"):
                print("taken")
        except StorageFull as error:
            print(error)
    async def little():
        yield bytes(2 << 20)
    async with spool.take(little(), limit_bytes=1 << 40, field_name="video") as body:
        pass
    print(body.digests.size_bytes)
    await spool.aclose()
    print(len(os.listdir("/proc/self/fd")) - before)

asyncio.run(main())
"""


async def endless() -> AsyncIterator[bytes]:
    chunk = bytes(64 * 1024)
    while True:
        yield chunk


def take(spool: DiskSpool, data: bytes) -> AbstractAsyncContextManager[Body]:
    return taking(spool, Source([data]))


def holder_of_a_body(folder: Path) -> subprocess.Popen[bytes]:
    """A process that holds a body of 3 MiB in a named file until its input ends."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout
    assert holder.stdout.readline() == b"holding\n"
    return holder


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture
async def spool(no_leaks: None, tmp_path: Path) -> AsyncIterator[DiskSpool]:
    spool = DiskSpool(tmp_path / "deep" / "spool", memory_bytes=1000)
    yield spool
    await spool.aclose()


async def test_memory_takes_what_it_may_and_a_file_the_rest(spool: DiskSpool) -> None:
    async with take(spool, bytes(1000)) as small, take(spool, bytes(1001)) as large:
        assert (type(small), type(large)) == (MemoryBody, FileBody)


async def test_its_folder_and_its_files_are_private(spool: DiskSpool, tmp_path: Path) -> None:
    async with take(spool, bytes(2000)) as body:
        assert isinstance(body, FileBody)
        assert stat.S_IMODE(os.fstat(body.fd).st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "deep" / "spool").stat().st_mode) == 0o700


async def test_a_held_body_has_no_name_but_can_be_given_one(
    spool: DiskSpool, tmp_path: Path
) -> None:
    data = content(3 * MIB)
    async with take(spool, data) as body:
        assert isinstance(body, FileBody)
        assert files_in(tmp_path) == []
        folder = os.open(tmp_path, os.O_RDONLY)
        os.link(f"/proc/self/fd/{body.fd}", "published", dst_dir_fd=folder, follow_symlinks=True)
        os.close(folder)
    assert (tmp_path / "published").read_bytes() == data


async def test_making_one_opens_and_makes_nothing(tmp_path: Path) -> None:
    spool = DiskSpool(tmp_path / "spool")
    await entered(take(spool, bytes(1000)))
    assert not (tmp_path / "spool").exists()
    await spool.aclose()


async def test_a_spool_can_be_opened_again_after_its_end(spool: DiskSpool) -> None:
    async with take(spool, bytes(2 * MIB)):
        await spool.aclose()
    async with take(spool, content(2 * MIB)) as body:
        assert await read(spool, body) == content(2 * MIB)


async def test_memory_stays_bounded_whatever_comes(spool: DiskSpool) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="more than"):
            await entered(taking(spool, endless(), 200 * MIB))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6 * MIB


async def test_a_chunk_of_any_size_is_written_in_one_hop(spool: DiskSpool) -> None:
    data = content(64 * MIB + 3)
    async with take(spool, data) as body:
        assert body.digests == digests_of(data)


@pytest.mark.parametrize("unnamed", [True, False])
async def test_where_no_folder_can_be_the_error_says_so(
    no_leaks: None, tmp_path: Path, unnamed: bool
) -> None:
    (tmp_path / "file").write_bytes(b"in the way")
    spool = DiskSpool(tmp_path / "file" / "spool", unnamed=unnamed)
    source = Source([bytes(2 * MIB)])
    with pytest.raises(StorageUnavailable, match="spool") as raised:
        await entered(taking(spool, source))
    assert raised.value.remedy
    assert source.closed
    await spool.aclose()


@pytest.mark.parametrize("kind", ["unnamed", "named"])
def test_a_full_disk_leaves_nothing_and_is_used_again_when_there_is_room(
    tmp_path: Path, kind: str
) -> None:
    # A mount of one's own in a namespace of one's own: needs no root.
    script = 'mount -t tmpfs -o size=8m tmpfs "$1" && exec "$2" -c "$3" "$1" "$4"'
    done = subprocess.run(
        [
            *("unshare", "--map-root-user", "--mount"),
            *("sh", "-c", script, "sh", tmp_path, sys.executable, FILLER, kind),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *errors, size, leaked = done.stdout.splitlines()
    assert len(errors) == 3
    assert all("is full" in error and "free space" in error for error in errors)
    assert (size, leaked) == (str(2 * MIB), "0")


async def test_named_files_of_the_dead_are_removed_and_those_of_the_living_kept(
    no_leaks: None, tmp_path: Path
) -> None:
    folder = tmp_path / "spool"
    holders = [holder_of_a_body(folder) for _ in range(2)]
    large = [path for path in files_in(folder) if path.stat().st_size]
    assert len(large) == 2
    holders[0].send_signal(signal.SIGKILL)
    holders[0].communicate()

    spool = DiskSpool(folder, unnamed=False)
    async with take(spool, bytes(5 * MIB)):
        left = [path for path in files_in(folder) if path.stat().st_size == 3 * MIB]
    assert len(left) == 1
    await spool.aclose()
    holders[1].communicate(b"")


@pytest.mark.parametrize("unnamed", [True, False])
@pytest.mark.parametrize("removed", ["", ".staging", ".staging/*", ".staging/*.lock"])
async def test_what_a_cleaner_removed_is_made_again(
    no_leaks: None, tmp_path: Path, unnamed: bool, removed: str
) -> None:
    """The folder, one in it, files or locks, between two uploads and during one."""
    folder = tmp_path / "spool"
    spool = DiskSpool(folder, unnamed=unnamed)
    async with taking(spool, Source([content(3 * MIB)])) as held:
        _removed(folder, removed)
        for _ in range(2):
            async with taking(spool, Source([content(2 * MIB)])) as body:
                assert await read(spool, body) == content(2 * MIB)
        assert await read(spool, held) == content(3 * MIB)
    await spool.aclose()
    assert not [path for path in folder.rglob("*") if path.is_file()]


async def test_a_folder_that_was_replaced_is_used(no_leaks: None, tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    spool = DiskSpool(folder, unnamed=False)
    async with taking(spool, Source([content(2 * MIB)])):
        pass
    folder.rename(tmp_path / "moved")
    folder.mkdir()
    async with taking(spool, Source([content(2 * MIB)])) as body:
        assert len(list(folder.rglob("*.1"))) == 1
        assert await read(spool, body) == content(2 * MIB)
    await spool.aclose()


def _removed(folder: Path, what: str) -> None:
    for path in folder.glob(what) if what else [folder]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
