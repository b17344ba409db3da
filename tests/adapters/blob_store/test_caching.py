"""The cache in front of a far store: within its budget, never in the way, never a replica."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.privileged import remount, small_memory_disk
from traffic_storage.adapters.blob_store.caching import CachingBlobStore
from traffic_storage.adapters.blob_store.memory import InMemoryBlobStore
from traffic_storage.adapters.clock.system import SystemClock
from traffic_storage.adapters.files.blobs import BlobFolder
from traffic_storage.domain.digests import SEGMENT_BYTES, Digests
from traffic_storage.domain.files import BlobKey, Tier
from traffic_storage.domain.verification import Span
from traffic_storage.entrypoints.testing.blobs import NEVER, Blob, random_blob
from traffic_storage.entrypoints.testing.contracts.blob_store import stored
from traffic_storage.entrypoints.testing.faults.blob_store import (
    Damage,
    FailingBlobStore,
    tamper,
)
from traffic_storage.entrypoints.testing.faults.plans import Fault, When
from traffic_storage.ports.blob_store import BlobEntry, closing
from traffic_storage.ports.errors import BlobCorrupt, BlobMissing, StorageUnavailable
from traffic_storage.ports.store_identity import MarkedBlobStore

MIB = SEGMENT_BYTES
LIMIT_BYTES = 8 * MIB
ITEM_BYTES = 6 * MIB


@pytest.fixture
def far() -> Iterator[FailingBlobStore]:
    inner = InMemoryBlobStore(SystemClock(), tier=Tier.CLOUD, location="memory:/cloud")
    far = FailingBlobStore(inner)
    yield far
    assert not far.unmet()


@pytest.fixture
async def cached(
    no_leaks: None, far: FailingBlobStore, tmp_path: Path
) -> AsyncIterator[CachingBlobStore]:
    store = caching(far, tmp_path / "cache")
    yield store
    await store.aclose()


def caching(far: MarkedBlobStore, folder: Path, limit_bytes: int = LIMIT_BYTES) -> CachingBlobStore:
    return CachingBlobStore(far, folder, limit_bytes=limit_bytes, item_bytes=ITEM_BYTES)


async def read(store: CachingBlobStore, blob: Blob) -> None:
    assert await store.read(blob.key, blob.digests) == blob.data
    await store.settled()


async def stream(store: CachingBlobStore, blob: Blob, start: int = 0) -> None:
    span = Span(start, len(blob.data))
    async with closing(store.open(blob.key, blob.digests, span)) as chunks:
        assert b"".join([chunk async for chunk in chunks]) == blob.data[start:]
    await store.settled()


def copies(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


class TestHits:
    async def test_what_was_put_is_read_from_the_copy(
        self, cached: CachingBlobStore, far: FailingBlobStore
    ) -> None:
        small, large = (
            await stored(cached, random_blob(1000)),
            await stored(cached, random_blob(5 * MIB)),
        )
        for blob in (small, large):
            await read(cached, blob)
            await stream(cached, blob)
        assert far.calls["read"] == far.calls["open"] == 0
        assert (cached.hits, cached.misses) == (4, 0)

    async def test_what_was_spooled_is_read_from_the_copy(
        self, cached: CachingBlobStore, far: FailingBlobStore
    ) -> None:
        blob = random_blob(5 * MIB)
        with blob.spooled() as body:
            await cached.put(blob.key, body, blob.manifest, deadline=NEVER)
        await read(cached, blob)
        assert far.calls["read"] == 0

    @pytest.mark.parametrize("size", [0, 1000, 5 * MIB])
    async def test_what_was_read_whole_is_kept(
        self, cached: CachingBlobStore, far: FailingBlobStore, size: int
    ) -> None:
        for how in (read, stream):
            blob = await stored(far, random_blob(size))
            await how(cached, blob)
            far.go_down()
            await read(cached, blob)
            await stream(cached, blob)
            far.come_back()
        assert (cached.hits, cached.misses) == (4, 2)

    async def test_a_part_of_a_large_blob_is_not_kept(
        self, cached: CachingBlobStore, far: FailingBlobStore, tmp_path: Path
    ) -> None:
        blob = await stored(far, random_blob(5 * MIB))
        await stream(cached, blob, start=1)
        assert copies(tmp_path) == set()
        await read(cached, blob)
        await stream(cached, blob, start=2 * MIB + 5)
        assert far.calls["open"] == 1

    async def test_a_stream_that_is_left_leaves_nothing(
        self, cached: CachingBlobStore, far: FailingBlobStore, tmp_path: Path
    ) -> None:
        blob = await stored(far, random_blob(5 * MIB))
        async with closing(cached.open(blob.key, blob.digests, Span(0, 5 * MIB))) as chunks:
            async for _ in chunks:
                break
        assert copies(tmp_path) == set()
        assert cached.cached_bytes == 0
        await stream(cached, blob)
        assert copies(tmp_path / "cache") == {blob.key}

    async def test_a_stream_that_breaks_leaves_nothing(
        self, cached: CachingBlobStore, far: FailingBlobStore, tmp_path: Path
    ) -> None:
        blob = await stored(far, random_blob(5 * MIB))
        far.plan(Fault("open", when=When.AFTER))
        with pytest.raises(StorageUnavailable):
            await stream(cached, blob)
        assert copies(tmp_path) == set()
        assert cached.cached_bytes == 0

    async def test_a_cloud_that_is_away_is_away_for_all_else(
        self, cached: CachingBlobStore, far: FailingBlobStore
    ) -> None:
        blob = await stored(cached, random_blob(10))
        far.go_down("gone fishing")
        assert cached.unavailable_reason() == "gone fishing"
        await read(cached, blob)
        with pytest.raises(StorageUnavailable):
            await stored(cached, random_blob(10))
        with pytest.raises(StorageUnavailable):
            await cached.head(blob.key)

    async def test_a_put_that_fails_keeps_no_copy(
        self, cached: CachingBlobStore, far: FailingBlobStore, tmp_path: Path
    ) -> None:
        far.plan(Fault("put"), Fault("put", nth=2, when=When.AFTER))
        for _ in range(2):
            with pytest.raises(StorageUnavailable):
                await stored(cached, random_blob(10))
        assert copies(tmp_path) == set()


class TestBudget:
    async def test_the_least_recently_used_go_first(
        self, cached: CachingBlobStore, tmp_path: Path
    ) -> None:
        first, second, third = [await stored(cached, random_blob(2 * MIB)) for _ in range(3)]
        await read(cached, first)
        fourth, fifth = [await stored(cached, random_blob(2 * MIB)) for _ in range(2)]
        assert copies(tmp_path / "cache") == {first.key, third.key, fourth.key, fifth.key}
        await read(cached, second)
        assert copies(tmp_path / "cache") == {first.key, fourth.key, fifth.key, second.key}

    async def test_the_order_survives_a_restart(
        self, cached: CachingBlobStore, far: FailingBlobStore, tmp_path: Path
    ) -> None:
        blobs = [await stored(cached, random_blob(2 * MIB)) for _ in range(4)]
        await read(cached, blobs[0])
        await cached.aclose()
        for age, blob in enumerate((blobs[0], blobs[3], blobs[2], blobs[1])):
            stamp = (tmp_path / "cache" / blob.key).stat().st_mtime - 10 * age
            os.utime(tmp_path / "cache" / blob.key, (stamp, stamp))
        again = caching(far, tmp_path / "cache")
        await stored(again, random_blob(2 * MIB))
        await stored(again, random_blob(2 * MIB))
        assert {blobs[0].key, blobs[3].key} <= copies(tmp_path / "cache")
        assert not {blobs[1].key, blobs[2].key} & copies(tmp_path / "cache")
        await again.aclose()

    async def test_a_read_is_noted_on_the_disk(
        self, cached: CachingBlobStore, tmp_path: Path
    ) -> None:
        blob = await stored(cached, random_blob(1000))
        path = tmp_path / "cache" / blob.key
        os.utime(path, (1, 1))
        await read(cached, blob)
        assert datetime.fromtimestamp(path.stat().st_mtime, UTC).year > 2000

    async def test_what_is_too_large_is_not_kept(
        self, cached: CachingBlobStore, tmp_path: Path
    ) -> None:
        blob = await stored(cached, random_blob(ITEM_BYTES + 1))
        await read(cached, blob)
        await stream(cached, blob)
        assert copies(tmp_path) == set()

    async def test_it_is_never_exceeded(
        self, cached: CachingBlobStore, far: FailingBlobStore, tmp_path: Path
    ) -> None:
        blobs = [await stored(far, random_blob(size * MIB // 3)) for size in range(1, 17)]
        worst = 0

        async def watch() -> None:
            nonlocal worst
            while True:
                worst = max(worst, await asyncio.to_thread(_held, tmp_path))
                await asyncio.sleep(0)

        watching = asyncio.ensure_future(watch())
        for _ in range(3):
            await asyncio.gather(*(read(cached, blob) for blob in blobs))
            await asyncio.gather(*(stream(cached, blob) for blob in blobs))
        watching.cancel()
        await asyncio.wait([watching])
        assert 0 < worst <= LIMIT_BYTES
        assert 0 < bytes_in(tmp_path) <= cached.cached_bytes <= LIMIT_BYTES

    async def test_a_smaller_budget_after_a_restart_is_kept_at_once(
        self, cached: CachingBlobStore, far: FailingBlobStore, tmp_path: Path
    ) -> None:
        blobs = [await stored(cached, random_blob(2 * MIB)) for _ in range(4)]
        await cached.aclose()
        smaller = caching(far, tmp_path / "cache", limit_bytes=5 * MIB)
        await read(smaller, blobs[3])
        assert bytes_in(tmp_path) <= 5 * MIB
        assert blobs[3].key in copies(tmp_path / "cache")
        await smaller.aclose()

    async def test_fills_of_one_key_at_once_do_not_collide(
        self, cached: CachingBlobStore, far: FailingBlobStore, tmp_path: Path
    ) -> None:
        for size in (1000, 5 * MIB):
            blob = await stored(far, random_blob(size))
            await asyncio.gather(*(how(cached, blob) for how in (read, stream) for _ in range(6)))
            far.go_down()
            await read(cached, blob)
            far.come_back()
        assert len(copies(tmp_path / "cache")) == 2


class TestBadCopies:
    @pytest.mark.parametrize("size", [1000, 5 * MIB])
    @pytest.mark.parametrize("how", ["flipped", "cut", "empty", "gone"])
    async def test_the_cloud_is_read_and_the_copy_replaced(
        self, cached: CachingBlobStore, tmp_path: Path, size: int, how: str
    ) -> None:
        for reading in (read, stream):
            blob = await stored(cached, random_blob(size))
            path = tmp_path / "cache" / blob.key
            path.chmod(0o600)
            match how:
                case "flipped":
                    path.write_bytes(blob.data[:-1] + bytes([blob.data[-1] ^ 1]))
                case "cut":
                    path.write_bytes(blob.data[:-1])
                case "empty":
                    path.write_bytes(b"")
                case _:
                    path.unlink()
            await reading(cached, blob)
            await read(cached, blob)
            assert path.read_bytes() == blob.data

    async def test_a_copy_that_turns_bad_in_mid_stream_is_left(
        self, cached: CachingBlobStore, tmp_path: Path
    ) -> None:
        blob = await stored(cached, random_blob(5 * MIB))
        given = b""
        async with closing(cached.open(blob.key, blob.digests, Span(7, 5 * MIB))) as chunks:
            async for chunk in chunks:
                given += chunk
                if copies(tmp_path):
                    os.truncate(tmp_path / "cache" / blob.key, 2 * MIB)
        assert given == blob.data[7:]
        assert copies(tmp_path) == set()

    async def test_a_copy_alone_is_no_blob(
        self, cached: CachingBlobStore, far: FailingBlobStore
    ) -> None:
        """Nothing but reads of the bytes asks the cache."""
        blob = await stored(cached, random_blob(10))
        await far.delete(blob.key)
        with pytest.raises(BlobMissing):
            await cached.head(blob.key)
        assert [entry async for entry in cached.list()] == []

    async def test_what_is_deleted_is_no_copy_any_more(
        self, cached: CachingBlobStore, tmp_path: Path
    ) -> None:
        for size in (10, 5 * MIB):
            blob = await stored(cached, random_blob(size))
            await cached.delete(blob.key)
            assert copies(tmp_path) == set()
            with pytest.raises(BlobMissing):
                await read(cached, blob)

    async def test_what_is_deleted_while_it_is_read_is_not_kept(
        self, cached: CachingBlobStore, far: FailingBlobStore, tmp_path: Path
    ) -> None:
        blob = await stored(far, random_blob(10))
        gate = asyncio.Event()
        held = FailingBlobStore(far)
        slow = caching(_Slow(held, gate), tmp_path / "slow")
        reading = asyncio.ensure_future(read(slow, blob))
        while not held.calls["read"]:  # noqa: ASYNC110
            await asyncio.sleep(0)
        await slow.delete(blob.key)
        gate.set()
        await reading
        assert copies(tmp_path) == set()
        await slow.aclose()

    async def test_what_is_deleted_while_it_streams_is_not_kept(
        self, cached: CachingBlobStore, far: FailingBlobStore, tmp_path: Path
    ) -> None:
        blob = await stored(far, random_blob(5 * MIB))
        async with closing(cached.open(blob.key, blob.digests, Span(0, 5 * MIB))) as chunks:
            await anext(chunks)
            await cached.delete(blob.key)
            assert [chunk async for chunk in chunks]
        assert copies(tmp_path) == set()
        assert cached.cached_bytes == 0

    async def test_what_else_is_deleted_is_no_reason_to_forget_a_fetch(
        self, far: FailingBlobStore, tmp_path: Path
    ) -> None:
        gate = asyncio.Event()
        held = FailingBlobStore(far)
        cached = caching(_Slow(held, gate), tmp_path / "cache")
        blob, other = await stored(far, random_blob(1000)), await stored(cached, random_blob(1000))
        reading = asyncio.create_task(cached.read(blob.key, blob.digests))
        while not held.calls["read"]:  # noqa: ASYNC110
            await asyncio.sleep(0)
        await cached.delete(other.key)
        gate.set()
        assert await reading == blob.data
        await cached.settled()
        assert copies(tmp_path / "cache") == {blob.key}
        await cached.aclose()

    @pytest.mark.parametrize("size", [1000, 5 * MIB])
    async def test_a_copy_answers_no_verification(
        self, cached: CachingBlobStore, far: FailingBlobStore, size: int
    ) -> None:
        """measure: "no cache answers"."""
        blob = await stored(cached, random_blob(size))
        await tamper(far, blob.key, Damage.FLIP)
        await read(cached, blob)
        assert (await cached.measure(blob.key)).sha256 != blob.digests.sha256
        with pytest.raises(BlobCorrupt):
            await cached.verify(blob.key, blob.digests)
        await tamper(far, blob.key, Damage.REMOVE)
        with pytest.raises(BlobMissing):
            await cached.verify(blob.key, blob.digests)


class TestFirstScan:
    async def test_many_first_reads_share_one(
        self, far: FailingBlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = tmp_path / "cache"
        before = caching(far, folder)
        blobs = [await stored(before, random_blob(1000)) for _ in range(4)]
        await before.aclose()
        scans: list[str] = []
        scan = BlobFolder.entries

        def counted(here: BlobFolder, prefix: str = "", after: str = "") -> Iterator[BlobEntry]:
            scans.append(here.place)
            return scan(here, prefix, after)

        monkeypatch.setattr(BlobFolder, "entries", counted)
        cached = caching(far, folder)
        impatient = asyncio.create_task(cached.read(blobs[0].key, blobs[0].digests))
        await asyncio.sleep(0)
        impatient.cancel()
        await asyncio.gather(*(read(cached, blob) for blob in blobs))
        assert scans == [str(folder)]
        assert (cached.hits, far.calls["read"]) == (4, 0)
        await cached.aclose()


class _Slow(FailingBlobStore):
    """Hands read bytes out only when the gate opens."""

    def __init__(self, inner: MarkedBlobStore, gate: asyncio.Event) -> None:
        super().__init__(inner)
        self._gate = gate

    async def read(self, key: BlobKey, digests: Digests) -> bytes:
        data = await super().read(key, digests)
        await self._gate.wait()
        return data


@pytest.mark.privileged
class TestCrowdedDisk:
    """Something else fills the disk on which the copies are."""

    @pytest.fixture
    async def crowd(
        self, far: FailingBlobStore, tmp_path: Path
    ) -> AsyncIterator[tuple[CachingBlobStore, Path]]:
        with small_memory_disk(tmp_path / "disk", "size=16m") as disk:
            store = CachingBlobStore(
                far,
                disk / "cache",
                limit_bytes=LIMIT_BYTES,
                item_bytes=ITEM_BYTES,
                reserve_bytes=6 * MIB,
            )
            yield store, disk
            await store.aclose()

    async def test_the_least_recently_used_copies_make_room(
        self, crowd: tuple[CachingBlobStore, Path]
    ) -> None:
        store, disk = crowd
        blobs = [await stored(store, random_blob(MIB)) for _ in range(6)]
        await read(store, blobs[0])
        await store.free_cache()
        assert len(await store.cached_keys()) == 6
        (disk / "else").write_bytes(bytes(7 * MIB))
        await store.free_cache()
        kept = set(await store.cached_keys())
        assert kept == {blobs[0].key, blobs[4].key, blobs[5].key}
        assert bytes_in(disk / "cache") == 3 * MIB
        assert store.cached_bytes == 3 * MIB
        for blob in blobs:
            await read(store, blob)

    async def test_no_copy_is_kept_at_the_cost_of_the_reserve(
        self, crowd: tuple[CachingBlobStore, Path]
    ) -> None:
        store, disk = crowd
        (disk / "else").write_bytes(bytes(10 * MIB))
        blob = await stored(store, random_blob(MIB))
        assert await store.cached_keys() == ()
        (disk / "else").unlink()
        await read(store, blob)
        assert await store.cached_keys() == (blob.key,)

    async def test_all_copies_go_if_the_reserve_needs_them(
        self, crowd: tuple[CachingBlobStore, Path]
    ) -> None:
        store, disk = crowd
        blobs = [await stored(store, random_blob(MIB)) for _ in range(4)]
        (disk / "else").write_bytes(bytes(12 * MIB - 64 * 1024))
        await store.free_cache()
        assert await store.cached_keys() == ()
        assert copies(disk / "cache") == set()
        for blob in blobs:
            await read(store, blob)


class TestBadDisks:
    async def test_no_folder_can_be_made(self, far: FailingBlobStore, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        await self._works(far, tmp_path / "file" / "cache")

    async def test_the_folder_goes_away(self, far: FailingBlobStore, tmp_path: Path) -> None:
        store = caching(far, tmp_path / "cache")
        blob, large = (
            await stored(store, random_blob(1000)),
            await stored(store, random_blob(5 * MIB)),
        )
        shutil.rmtree(tmp_path / "cache")
        for kept in (blob, large):
            await read(store, kept)
            await stream(store, kept)
        assert copies(tmp_path / "cache") == {blob.key, large.key}
        hits = store.hits
        await read(store, blob)
        await stream(store, large)
        assert store.hits == hits + 2
        await store.aclose()

    @pytest.mark.privileged
    async def test_a_full_disk(self, far: FailingBlobStore, tmp_path: Path) -> None:
        with small_memory_disk(tmp_path / "disk", "size=64k") as disk:
            await self._works(far, disk / "cache")
            assert copies(disk) == set()
            assert bytes_in(disk) <= 64 * 1024

    @pytest.mark.privileged
    async def test_a_disk_that_turns_read_only(self, far: FailingBlobStore, tmp_path: Path) -> None:
        with small_memory_disk(tmp_path / "disk", "size=16m") as disk:
            store = caching(far, disk / "cache")
            blob = await stored(store, random_blob(1000))
            remount(disk, "ro")
            await read(store, blob)
            await store.delete(blob.key)
            await store.aclose()
            await self._works(far, disk / "cache")

    async def _works(self, far: FailingBlobStore, folder: Path) -> None:
        store = caching(far, folder)
        for size in (0, 1000, 100_000, 5 * MIB):
            blob = await stored(store, random_blob(size))
            for _ in range(2):
                await read(store, blob)
                await stream(store, blob)
            await store.delete(blob.key)
        await store.aclose()


def _held(folder: Path) -> int:
    """Bytes in files while others write and remove some; those that were there at one moment.

    A path alone does not tell: its file may have been removed and written anew between the looks.
    """
    before, after = _files(folder), _files(folder)
    return sum(size for one, size in before.items() if one in after)


def _files(folder: Path) -> dict[tuple[int, int], int]:
    """Return the size of each file, by its inode and the time when it was written."""
    sizes = {}
    for root, _, names in os.walk(folder):
        for path in (Path(root, name) for name in names):
            with suppress(FileNotFoundError):
                found = path.stat()
                sizes[found.st_ino, found.st_mtime_ns] = found.st_size
    return sizes
