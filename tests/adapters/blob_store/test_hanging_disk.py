"""A disk that hangs: nobody waits for it longer than the time that is set, and it comes back."""

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.hanging import Hang, hanging
from tests.support.leaks import open_descriptors
from tests.support.privileged import disk_image, frozen_while, new_image
from tests.support.waiting import until
from traffic_storage.adapters.blob_store.caching import CachingBlobStore
from traffic_storage.adapters.blob_store.caching.copies import Copies
from traffic_storage.adapters.blob_store.local_disk import LocalDiskBlobStore
from traffic_storage.adapters.blob_store.memory import InMemoryBlobStore
from traffic_storage.adapters.clock.manual import ManualClock
from traffic_storage.adapters.clock.system import SystemClock
from traffic_storage.adapters.files import blobs, descriptors
from traffic_storage.adapters.files.blobs import BlobFolder
from traffic_storage.adapters.spool import disk as spool_disk
from traffic_storage.adapters.spool.disk import DiskSpool
from traffic_storage.domain.digests import SEGMENT_BYTES
from traffic_storage.domain.files import Tier
from traffic_storage.domain.verification import Span
from traffic_storage.entrypoints.testing.blobs import NEVER, random_blob
from traffic_storage.entrypoints.testing.contracts.blob_store import stored
from traffic_storage.entrypoints.testing.contracts.spool import Source, content, entered, taking
from traffic_storage.ports.errors import BlobMissing, StorageUnavailable

MIB = 1024 * 1024
SECONDS = 0.5
SOON = 20.0
"""Nothing may take longer; a disk that is waited for would take a minute."""


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flush that takes long on a busy machine is no disk that hangs."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)


@pytest.fixture
async def store(
    no_leaks: None, tmp_path: Path, clock: ManualClock
) -> AsyncIterator[LocalDiskBlobStore]:
    store = LocalDiskBlobStore(tmp_path / "blobs", clock, readers=2, timeout_seconds=SECONDS)
    yield store
    await store.aclose()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2025, 11, 1, tzinfo=UTC))


@pytest.mark.parametrize("spooled", [False, True])
async def test_a_write_that_hangs_fails_and_so_do_others_until_it_ends(
    store: LocalDiskBlobStore,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
    spooled: bool,
) -> None:
    there, late, other = await stored(store, random_blob(10)), random_blob(5000), random_blob(10)
    with hanging(monkeypatch, blobs, "publish") as hang:
        async with asyncio.timeout(SOON):
            with late.spooled() as body, pytest.raises(StorageUnavailable, match="does not answer"):
                await store.put(
                    late.key, body if spooled else late.body, late.manifest, deadline=NEVER
                )
            # The caller has closed its file, and the thread still uses its own.
            assert "does not answer" in store.unavailable_reason()
            with pytest.raises(StorageUnavailable, match="disk_timeout_seconds"):
                await stored(store, other)
            assert hang.waiting == 1
            assert await store.read(there.key, there.digests) == there.data
        hang.release()
        await until(lambda: not store._writing.late)
    clock.advance(timedelta(seconds=11))
    assert store.unavailable_reason() == ""
    # What was given up is not published afterwards.
    with pytest.raises(BlobMissing):
        await store.head(late.key)
    await stored(store, other)
    await stored(store, late)
    assert await store.read(late.key, late.digests) == late.data


async def test_reads_that_hang_fail_and_the_next_ones_at_once(
    store: LocalDiskBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = await stored(store, random_blob(1000))
    with hanging(monkeypatch, blobs, "read_all") as hang:
        async with asyncio.timeout(SOON):
            for _ in range(20):
                with pytest.raises(StorageUnavailable, match="does not answer"):
                    await store.read(blob.key, blob.digests)
            assert hang.waiting == 2
            for call in (store.head(blob.key), store.room(), store.measure(blob.key)):
                with pytest.raises(StorageUnavailable):
                    await call
        hang.release()
        await until(lambda: not store._reading.late)
    assert await store.read(blob.key, blob.digests) == blob.data


async def test_the_end_waits_for_no_call_that_hangs(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalDiskBlobStore(tmp_path / "blobs", clock, timeout_seconds=SECONDS)
    blob = await stored(store, random_blob(10))
    with (
        hanging(monkeypatch, blobs, "publish") as writes,
        hanging(monkeypatch, blobs, "read_all") as reads,
        hanging(monkeypatch, blobs, "_hashed") as examinations,
    ):
        async with asyncio.timeout(SOON):
            putting = asyncio.create_task(stored(store, random_blob(10)))
            reading = asyncio.create_task(store.read(blob.key, blob.digests))
            examining = asyncio.create_task(store.examine([(blob.key, blob.digests)]))
            await until(lambda: bool(writes.waiting and reads.waiting and examinations.waiting))
            examining.cancel()
            for running in (putting, reading):
                with pytest.raises(StorageUnavailable):
                    await running
            await store.aclose()
    await asyncio.gather(examining, return_exceptions=True)


@pytest.mark.privileged
async def test_a_frozen_file_system_is_unavailable_until_it_goes_on(
    no_leaks: None, tmp_path: Path, clock: ManualClock
) -> None:
    with disk_image(new_image(tmp_path / "image", 32 * MIB), tmp_path / "disk") as disk:
        store = LocalDiskBlobStore(disk / "blobs", clock, timeout_seconds=SECONDS)
        blob = await stored(store, random_blob(5000))
        with frozen_while(disk, lambda: None):
            async with asyncio.timeout(SOON):
                for _ in range(2):
                    with pytest.raises(StorageUnavailable, match="does not answer"):
                        await stored(store, random_blob(100))
                assert await store.read(blob.key, blob.digests) == blob.data
        await until(lambda: not store._writing.late)
        await stored(store, random_blob(100))
        await store.aclose()


@pytest.fixture
def far() -> InMemoryBlobStore:
    return InMemoryBlobStore(SystemClock(), tier=Tier.CLOUD, location="memory:/cloud")


def caching(far: InMemoryBlobStore, folder: Path) -> CachingBlobStore:
    return CachingBlobStore(
        far, folder, limit_bytes=20 * MIB, item_bytes=10 * MIB, timeout_seconds=SECONDS
    )


@pytest.mark.parametrize("name", ["read", "write", "entries", "open", "remove"])
async def test_a_cache_whose_disk_hangs_holds_up_no_request(
    far: InMemoryBlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    whole, large = random_blob(1000), random_blob(SEGMENT_BYTES * 5)
    before = caching(far, tmp_path / "cache")
    for blob in (whole, large):
        await stored(before, blob)
    await before.aclose()
    cached, new = caching(far, tmp_path / "cache"), random_blob(1000)
    await stored(far, new)
    with hanging(monkeypatch, BlobFolder, name):
        async with asyncio.timeout(SOON):
            for blob in (whole, new, whole, new):
                assert await cached.read(blob.key, blob.digests) == blob.data
            await stored(cached, random_blob(2000))
            whole_of_it = Span(0, len(large.data))
            for _ in range(2):
                chunks = [
                    chunk async for chunk in cached.open(large.key, large.digests, whole_of_it)
                ]
                assert b"".join(chunks) == large.data
            await cached.delete(whole.key)
            await cached.aclose()


async def test_a_read_does_not_wait_for_its_copy(
    no_leaks: None, far: InMemoryBlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does it keep a copy of what is deleted before the copy is written."""
    cached = CachingBlobStore(
        far, tmp_path / "cache", limit_bytes=20 * MIB, item_bytes=MIB, timeout_seconds=60
    )
    kept, deleted = await stored(far, random_blob(1000)), await stored(far, random_blob(1000))
    with hanging(monkeypatch, blobs, "publish") as hang:
        async with asyncio.timeout(SOON):
            for blob in (kept, deleted):
                assert await cached.read(blob.key, blob.digests) == blob.data
            await until(lambda: hang.waiting == 2)
            await cached.delete(deleted.key)
    await cached.settled()
    assert await cached.cached_keys() == (kept.key,)
    assert [p.name for p in (tmp_path / "cache").rglob("*") if p.is_file()] == [
        kept.key.rpartition("/")[2]
    ]
    await cached.aclose()


async def test_a_spool_whose_disk_hangs_refuses_uploads_in_time(
    no_leaks: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = DiskSpool(tmp_path / "spool", timeout_seconds=SECONDS)
    with hanging(monkeypatch, spool_disk, "write_all") as hang:
        async with asyncio.timeout(SOON):
            for _ in range(6):
                with pytest.raises(StorageUnavailable, match=r"the spool .* does not answer"):
                    await entered(taking(spool, Source([content(3 * MIB)])))
        hang.release()
        await until(lambda: not spool._threads.late)
    async with taking(spool, Source([content(3 * MIB)])):
        pass
    await spool.aclose()
    assert not spool._ended


def open_files_below(folder: Path) -> list[str]:
    """The files without folders and locks, by path."""
    below = [path for path in open_descriptors() if path.startswith(f"{folder}/")]
    return [path for path in below if not Path(path).is_dir() and not path.endswith(".lock")]


async def test_a_late_write_of_the_spool_reaches_no_other_file(
    no_leaks: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that hung may write a part; the rest must not follow into a file opened since."""
    spool = DiskSpool(tmp_path / "spool", timeout_seconds=SECONDS)
    real, others = os.write, list[int]()

    def part(fd: int, data: memoryview) -> int:
        return real(fd, data[:1000])

    hang = Hang(part)
    with monkeypatch.context() as patched:
        patched.setattr(descriptors, "os", SimpleNamespace(**{**vars(os), "write": hang}))
        async with asyncio.timeout(SOON):
            with pytest.raises(StorageUnavailable, match="does not answer"):
                await entered(taking(spool, Source([content(3 * MIB)])))
        # Enough files to get every number that is free.
        others += [os.open(tmp_path / str(n), os.O_RDWR | os.O_CREAT) for n in range(20)]
        hang.release()
        await until(lambda: not spool._threads.late)
    try:
        assert [os.fstat(fd).st_size for fd in others] == [0] * len(others)
    finally:
        for fd in others:
            os.close(fd)
        await spool.aclose()


@pytest.mark.parametrize("unnamed", [True, False])
async def test_a_spool_file_that_is_made_too_late_is_closed(
    no_leaks: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unnamed: bool
) -> None:
    spool = DiskSpool(tmp_path / "spool", timeout_seconds=SECONDS, unnamed=unnamed)
    with hanging(monkeypatch, spool._staging, "new") as hang:
        async with asyncio.timeout(SOON):
            for _ in range(2):
                with pytest.raises(StorageUnavailable, match="does not answer"):
                    await entered(taking(spool, Source([content(3 * MIB)])))
        hang.release()
        await until(lambda: not spool._threads.late)
    assert not open_files_below(tmp_path)
    left = {path.suffix for path in (tmp_path / "spool").rglob("*") if path.is_file()}
    assert left <= {".lock"}
    await spool.aclose()


@pytest.mark.parametrize("name", ["write_all", "new", "publish"])
async def test_pieces_of_a_copy_that_hang_keep_no_space(
    no_leaks: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Neither the copy whose call hangs, nor one whose calls are refused meanwhile."""
    copies = Copies(
        tmp_path / "c",
        limit_bytes=20 * MIB,
        item_bytes=MIB,
        reserve_bytes=0,
        timeout_seconds=SECONDS,
    )
    late, other = random_blob(2000), random_blob(2000)
    await copies.keys()
    async with asyncio.timeout(SOON):
        async with copies.filling(other.key, 2000) as idle:
            await idle.write(other.data[:1000])
            target = copies._folder._staging if name == "new" else blobs
            with hanging(monkeypatch, target, name) as hang:
                async with copies.filling(late.key, 2000) as filling:
                    await filling.write(late.data)
                    filling.complete()
                assert hang.waiting == 1
                await idle.write(other.data[1000:])
                idle.complete()
                await idle.end()
                hang.release()
                await until(lambda: not copies._threads.late)
        await copies.drop(other.key)
    assert copies.held_bytes == 0
    assert not open_files_below(tmp_path)
    assert not [path for path in (tmp_path / "c").rglob("*") if path.is_file()]
    await copies.aclose()
