"""Local disk: what lies where, and what no disk, file system or intruder may bring about."""

import asyncio
import contextlib
import errno
import os
import shutil
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.support.privileged import mounted, remount, small_memory_disk
from traffic_storage.adapters.blob_store.local_disk import LocalDiskBlobStore
from traffic_storage.adapters.clock.manual import ManualClock
from traffic_storage.adapters.threads.pool import Threads
from traffic_storage.domain.digests import SEGMENT_BYTES
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.identifiers import CatalogueId, Incarnation, StoreId
from traffic_storage.domain.identity import Marker
from traffic_storage.domain.manifest import BlobManifest
from traffic_storage.domain.verification import Span
from traffic_storage.entrypoints.testing.blobs import (
    NEVER,
    Blob,
    blob_with_sidecar,
    new_blob,
    random_blob,
)
from traffic_storage.entrypoints.testing.contracts.blob_store import stored
from traffic_storage.ports.blob_store import closing, is_empty
from traffic_storage.ports.clock import Clock
from traffic_storage.ports.errors import (
    BlobConflict,
    BlobCorrupt,
    BlobMissing,
    DeadlinePassed,
    StorageFull,
    StorageUnavailable,
    StoreReplaced,
)
from traffic_storage.ports.spool import FileBody

MIB = SEGMENT_BYTES
NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
ATTRIBUTE = "user.traffic_storage"


class GateClock(Clock):
    """Stands still; the thread that asks it waits until it is let through."""

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)
        self.gate = threading.Semaphore(0)
        self.time = NOON

    def now(self) -> datetime:
        self.asked.release()
        assert self.gate.acquire(timeout=60)
        return self.time

    def monotonic(self) -> float:
        return 0.0

    async def until_asked(self) -> None:
        """Wait until a thread asks."""
        assert await asyncio.to_thread(self.asked.acquire, timeout=60)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


@pytest.fixture
async def store(
    no_leaks: None, tmp_path: Path, clock: ManualClock
) -> AsyncIterator[LocalDiskBlobStore]:
    store = LocalDiskBlobStore(tmp_path / "blobs", clock)
    yield store
    await store.aclose()


def replace(root: Path, away: Path) -> None:
    """Move a folder away, and make an empty one in its place."""
    root.rename(away)
    root.mkdir()


def files_below(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def make_socket(path: Path) -> None:
    """A socket with this name; the address of one is short."""
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s")
        Path("s").rename(path)


class TestReplaced:
    """The root is moved away, or mounted over, under a store in use."""

    MARKER = Marker(CatalogueId("c"), StoreId("s"), Incarnation("i"))

    @pytest.mark.parametrize("made_anew", [True, False])
    async def test_nothing_is_written_or_removed_until_it_is_back(
        self, store: LocalDiskBlobStore, tmp_path: Path, clock: ManualClock, made_anew: bool
    ) -> None:
        await store.create_marker(self.MARKER)
        first, second = await stored(store, random_blob(10)), random_blob(10)
        for _ in range(2):
            store.root.rename(tmp_path / "old")
            if made_anew:
                store.root.mkdir()
            before = files_below(tmp_path / "old")
            with pytest.raises(StoreReplaced, match="was replaced while in use"):
                await stored(store, second)
            assert "was replaced while in use" in store.unavailable_reason()
            with pytest.raises(StoreReplaced):
                await store.delete(first.key)
            with pytest.raises(StoreReplaced):
                await store.marker()
            with pytest.raises(StoreReplaced):
                await store.create_marker(self.MARKER)
            assert files_below(tmp_path / "old") == before
            assert files_below(tmp_path) == [f"old/{name}" for name in before]
            assert await store.read(first.key, first.digests) == first.data
            if made_anew:
                store.root.rmdir()
            (tmp_path / "old").rename(store.root)
            clock.advance(timedelta(seconds=11))
            assert store.unavailable_reason() == ""
            assert await store.marker() == self.MARKER
            await stored(store, second)
            assert (store.root / second.key).exists()

    async def test_another_folder_takes_its_place_if_it_is_marked_as_it_was(
        self, store: LocalDiskBlobStore, tmp_path: Path
    ) -> None:
        await store.create_marker(self.MARKER)
        first = await stored(store, random_blob(10))
        replace(store.root, tmp_path / "old")
        (store.root / ".traffic-storage").write_text("traffic-storage-marker:2:c:another:i\n")
        with pytest.raises(StoreReplaced):
            await store.marker()
        (store.root / ".traffic-storage").unlink()
        shutil.copytree(tmp_path / "old", store.root, dirs_exist_ok=True)
        assert await store.marker() == self.MARKER
        second = await stored(store, random_blob(10))
        assert (store.root / second.key).read_bytes() == second.data
        shutil.rmtree(tmp_path / "old")
        assert await store.read(first.key, first.digests) == first.data

    async def test_replacing_the_marker_removes_what_a_killed_process_left(
        self, store: LocalDiskBlobStore
    ) -> None:
        await store.create_marker(self.MARKER)
        for name in (".traffic-storage.0123456789abcdef", ".traffic-storage.of-somebody-else"):
            (store.root / name).touch()
        later = attrs.evolve(self.MARKER, incarnation=Incarnation("j"))
        await store.replace_marker(self.MARKER, later)
        assert await store.marker() == later
        names = {entry.name for entry in store.root.iterdir() if entry.is_file()}
        assert names == {".traffic-storage", ".traffic-storage.of-somebody-else"}

    async def test_a_marker_that_cannot_be_replaced_stays_and_leaves_nothing_beside_it(
        self, store: LocalDiskBlobStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await store.create_marker(self.MARKER)

        def failing(*args: object, **kwargs: object) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        with monkeypatch.context() as patched:
            patched.setattr(os, "rename", failing)
            with pytest.raises(StorageUnavailable):
                await store.replace_marker(
                    self.MARKER, attrs.evolve(self.MARKER, incarnation=Incarnation("j"))
                )
        assert await store.marker() == self.MARKER
        assert [entry.name for entry in store.root.iterdir()] == [".traffic-storage"]

    async def test_a_folder_that_never_was_marked_gives_way_to_one_that_is(
        self, store: LocalDiskBlobStore, tmp_path: Path
    ) -> None:
        """The service began on an empty mount point; now the disk is mounted."""
        assert await store.marker() is None
        replace(store.root, tmp_path / "old")
        (store.root / ".traffic-storage").write_text(self.MARKER.to_text())
        assert await store.marker() == self.MARKER
        blob = await stored(store, random_blob(10))
        assert (store.root / blob.key).exists()

    async def test_a_folder_in_another_incarnation_of_the_store_takes_its_place(
        self, store: LocalDiskBlobStore, tmp_path: Path
    ) -> None:
        """Another process introduced one while the disk was mounted elsewhere."""
        await store.create_marker(self.MARKER)
        replace(store.root, tmp_path / "old")
        later = attrs.evolve(self.MARKER, incarnation=Incarnation("later"))
        (store.root / ".traffic-storage").write_text(f"{later.to_text()}\n")
        assert await store.marker() == later

    async def test_its_marker_is_not_replaced_elsewhere(
        self, store: LocalDiskBlobStore, tmp_path: Path
    ) -> None:
        await store.create_marker(self.MARKER)
        replace(store.root, tmp_path / "old")
        later = attrs.evolve(self.MARKER, incarnation=Incarnation("later"))
        with pytest.raises(StoreReplaced):
            await store.replace_marker(self.MARKER, later)
        assert files_below(tmp_path) == ["old/.traffic-storage"]
        text = (tmp_path / "old" / ".traffic-storage").read_text()
        assert text == f"{self.MARKER.to_text()}\n"

    async def test_a_put_looks_at_the_path_once_and_a_read_not_at_all(
        self, store: LocalDiskBlobStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        blob = await stored(store, random_blob(10))
        looks: list[object] = []
        real = os.stat

        def counted(*args: Any, **kwargs: Any) -> os.stat_result:
            looks.append(args[0])
            return real(*args, **kwargs)

        monkeypatch.setattr("traffic_storage.adapters.files.folders.os.stat", counted)
        await store.read(blob.key, blob.digests)
        assert looks == []
        await stored(store, random_blob(10))
        assert len(looks) == 1


class TestLayout:
    async def test_a_blob_is_one_file_with_its_facts(self, store: LocalDiskBlobStore) -> None:
        blob = await stored(store, random_blob(1000))
        path = store.root / blob.key
        assert files_below(store.root) == [blob.key]
        assert path.read_bytes() == blob.data
        assert BlobManifest.from_text(os.getxattr(path, ATTRIBUTE).decode()) == blob.manifest

    async def test_nobody_else_may_read_and_nobody_may_write(
        self, store: LocalDiskBlobStore
    ) -> None:
        blob = await stored(store, random_blob(1000))
        path = store.root / blob.key
        assert stat.S_IMODE(path.stat().st_mode) == 0o400
        while path != store.root.parent:
            path = path.parent
            if path != store.root.parent:
                assert stat.S_IMODE(path.stat().st_mode) == 0o700

    async def test_a_new_store_finds_what_was_written(
        self, store: LocalDiskBlobStore, clock: ManualClock
    ) -> None:
        blob = await stored(store, random_blob(1000))
        await store.create_marker(Marker(CatalogueId("c"), StoreId("s"), Incarnation("i")))
        other = LocalDiskBlobStore(store.root, clock)
        assert await other.read(blob.key, blob.digests) == blob.data
        assert await other.marker() == await store.marker()
        assert (store.root / ".traffic-storage").read_text() == "traffic-storage-marker:2:c:s:i\n"
        await other.aclose()

    async def test_a_store_can_be_used_again_after_its_end(self, store: LocalDiskBlobStore) -> None:
        blob = await stored(store, random_blob(10))
        await store.aclose()
        assert await store.read(blob.key, blob.digests) == blob.data

    async def test_making_one_touches_nothing(self, tmp_path: Path, clock: ManualClock) -> None:
        threads = threading.active_count()
        store = LocalDiskBlobStore(tmp_path / "none", clock)
        assert store.unavailable_reason() == ""
        assert store.location == f"{tmp_path}/none"
        assert not (tmp_path / "none").exists()
        assert threading.active_count() == threads

    async def test_a_folder_that_is_not_there_is_no_proof_that_its_blobs_are_lost(
        self, store: LocalDiskBlobStore
    ) -> None:
        blob = await stored(store, random_blob(10))
        (store.root / blob.key).unlink()
        with pytest.raises(BlobMissing) as one:
            await store.read(blob.key, blob.digests)
        assert one.value.absent_part == ""
        kind = blob.key.partition("/")[0]
        (store.root / kind).rename(store.root / "away")
        (store.root / kind).mkdir()
        for call in (store.read(blob.key, blob.digests), store.measure(blob.key)):
            with pytest.raises(BlobMissing) as all_of_them:
                await call
            assert all_of_them.value.absent_part == str((store.root / blob.key).parent)

    async def test_an_unreadable_marker_is_an_error(self, store: LocalDiskBlobStore) -> None:
        await stored(store, random_blob(1))
        (store.root / ".traffic-storage").write_bytes(b"\xff\x00 something else")
        with pytest.raises(InvalidInput):
            await store.marker()
        with pytest.raises(BlobConflict):
            await store.create_marker(Marker(CatalogueId("c"), StoreId("s"), Incarnation("i")))

    async def test_a_long_manifest_is_a_file_beside_the_blob(
        self, store: LocalDiskBlobStore
    ) -> None:
        blob = await stored(store, blob_with_sidecar())
        beside = store.root / f"{blob.key}.manifest"
        assert files_below(store.root) == [blob.key, f"{blob.key}.manifest"]
        assert BlobManifest.from_text(beside.read_text()) == blob.manifest
        assert stat.S_IMODE(beside.stat().st_mode) == 0o400
        assert [entry.key async for entry in store.list()] == [blob.key]
        await store.delete(blob.key)
        assert files_below(store.root) == []

    @pytest.mark.parametrize("left", [None, b"", b"{}", b"\xff"])
    async def test_without_its_sidecar_a_manifest_is_a_summary(
        self, store: LocalDiskBlobStore, left: bytes | None
    ) -> None:
        blob = await stored(store, blob_with_sidecar())
        beside = store.root / f"{blob.key}.manifest"
        beside.unlink()
        if left is not None:
            beside.write_bytes(left)
        manifest = (await store.head(blob.key)).manifest
        assert manifest == BlobManifest.from_text(blob.manifest.kept().summary)
        assert manifest.sidecar_sha256 is not None

    async def test_a_sidecar_that_a_failed_put_left_is_replaced(
        self, store: LocalDiskBlobStore
    ) -> None:
        blob = blob_with_sidecar()
        beside = store.root / f"{blob.key}.manifest"
        beside.parent.mkdir(parents=True)
        beside.write_text(blob_with_sidecar().manifest.to_text())
        await stored(store, blob)
        assert (await store.head(blob.key)).manifest == blob.manifest

    async def test_a_blob_whose_name_is_taken_gets_no_sidecar(
        self, store: LocalDiskBlobStore
    ) -> None:
        blob = await stored(store, random_blob(10))
        await stored(store, attrs.evolve(blob, manifest=blob_with_sidecar().manifest))
        assert files_below(store.root) == [blob.key]

    @pytest.mark.parametrize("manifest", [b"{", b"\xff\xfe", b"z:AAAA", None])
    async def test_a_manifest_that_cannot_be_read_is_none(
        self, store: LocalDiskBlobStore, manifest: bytes | None
    ) -> None:
        blob = await stored(store, random_blob(10))
        if manifest is None:
            os.removexattr(store.root / blob.key, ATTRIBUTE)
        else:
            os.setxattr(store.root / blob.key, ATTRIBUTE, manifest)
        head = await store.head(blob.key)
        assert (head.size_bytes, head.manifest) == (10, None)

    async def test_what_is_not_ours_is_passed_over(self, store: LocalDiskBlobStore) -> None:
        blob = await stored(store, random_blob(10))
        day = (store.root / blob.key).parent
        for foreign in (
            *(store.root / "lost+found" / "x", store.root / "image" / "notes.txt"),
            *(day / "README", day / f"{blob.key[-101:]}.manifest", day / f"{blob.key[-101:]}#1"),
        ):
            foreign.parent.mkdir(exist_ok=True)
            foreign.touch()
        (day / random_blob(1).key[-101:]).mkdir()
        assert [entry.key async for entry in store.list()] == [blob.key]


class TestSpooled:
    async def test_on_the_same_file_system_nothing_is_copied(
        self, store: LocalDiskBlobStore, tmp_path: Path
    ) -> None:
        blob = random_blob(5 * MIB)
        with unnamed_file(tmp_path, blob.data) as fd:
            await store.put(blob.key, FileBody(fd, blob.digests), blob.manifest, deadline=NEVER)
            assert os.fstat(fd).st_ino == (store.root / blob.key).stat().st_ino
        assert await store.read(blob.key, blob.digests) == blob.data

    @pytest.mark.parametrize("place", ["/dev/shm", "named"])
    async def test_elsewhere_or_named_it_is_copied(
        self, store: LocalDiskBlobStore, tmp_path: Path, place: str
    ) -> None:
        blob = random_blob(5 * MIB + 1)
        if place == "named":
            (tmp_path / "named").write_bytes(blob.data)
            fd = os.open(tmp_path / "named", os.O_RDONLY)
            await store.put(blob.key, FileBody(fd, blob.digests), blob.manifest, deadline=NEVER)
            os.close(fd)
            (tmp_path / "named").write_bytes(b"changed later")
        else:
            with unnamed_file(Path(place), blob.data) as fd:
                body = FileBody(fd, blob.digests)
                await store.put(blob.key, body, blob.manifest, deadline=NEVER)
        assert await store.read(blob.key, blob.digests) == blob.data

    async def test_a_copy_is_checked(self, store: LocalDiskBlobStore) -> None:
        blob, other = random_blob(5 * MIB), random_blob(5 * MIB)
        with unnamed_file(Path("/dev/shm"), other.data) as fd, pytest.raises(BlobCorrupt):
            await store.put(blob.key, FileBody(fd, blob.digests), blob.manifest, deadline=NEVER)
        assert await is_empty(store)


async def test_blobs_are_lent_as_files_and_never_linked(store: LocalDiskBlobStore) -> None:
    """Two blobs that share a file would be damaged together."""
    blob = random_blob(5 * MIB)
    other = new_blob(blob.data)
    await stored(store, blob)
    async with store.lend(blob.key, blob.digests) as body:
        assert body is not None
        await store.put(other.key, body, other.manifest, deadline=NEVER)
    assert (store.root / blob.key).stat().st_ino != (store.root / other.key).stat().st_ino
    assert await store.read(other.key, blob.digests) == blob.data


class TestIntruders:
    """Somebody can write into the folder, and lays traps there."""

    @pytest.mark.parametrize("level", range(4))
    async def test_a_link_in_place_of_a_folder_is_not_followed(
        self, store: LocalDiskBlobStore, tmp_path: Path, level: int
    ) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        blob = random_blob(10)
        trap = store.root.joinpath(*blob.key.split("/")[: level + 1])
        trap.parent.mkdir(parents=True)
        trap.symlink_to(outside)
        with pytest.raises(StorageUnavailable, match="symbolic link"):
            await stored(store, blob)
        with pytest.raises(StorageUnavailable):
            await store.read(blob.key, blob.digests)
        with pytest.raises(StorageUnavailable):
            await store.delete(blob.key)
        with pytest.raises(StorageUnavailable):
            await is_empty(store)
        assert not list(outside.iterdir())

    @pytest.mark.parametrize("size", [10, 5 * MIB])
    async def test_a_link_in_place_of_a_blob_is_not_followed(
        self, store: LocalDiskBlobStore, tmp_path: Path, size: int
    ) -> None:
        blob = await stored(store, random_blob(size))
        path = store.root / blob.key
        path.rename(tmp_path / "outside")
        path.symlink_to(tmp_path / "outside")
        with pytest.raises(BlobCorrupt, match="symbolic link"):
            await store.read(blob.key, blob.digests)
        with pytest.raises(BlobConflict):
            await stored(store, blob)
        assert await is_empty(store)
        await store.delete(blob.key)
        assert (tmp_path / "outside").read_bytes() == blob.data
        with pytest.raises(BlobMissing):
            await store.read(blob.key, blob.digests)

    async def test_a_link_that_leads_nowhere_is_not_written_through(
        self, store: LocalDiskBlobStore, tmp_path: Path
    ) -> None:
        blob = random_blob(10)
        path = store.root / blob.key
        path.parent.mkdir(parents=True)
        path.symlink_to(tmp_path / "nowhere")
        with pytest.raises(BlobConflict):
            await stored(store, blob)
        assert not (tmp_path / "nowhere").exists()

    async def test_a_pipe_in_place_of_a_blob_holds_nobody_up(
        self, store: LocalDiskBlobStore
    ) -> None:
        blob = await stored(store, random_blob(10))
        path = store.root / blob.key
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(BlobCorrupt, match="regular"):
            await store.read(blob.key, blob.digests)

    async def test_a_socket_in_place_of_a_blob_is_damage(self, store: LocalDiskBlobStore) -> None:
        blob = await stored(store, random_blob(10))
        path = store.root / blob.key
        path.unlink()
        make_socket(path)
        with pytest.raises(BlobCorrupt, match="socket"):
            await store.read(blob.key, blob.digests)

    async def test_a_blob_that_can_not_be_removed_is_no_reason_to_write_no_others(
        self, store: LocalDiskBlobStore
    ) -> None:
        blob = random_blob(10)
        (store.root / blob.key).mkdir(parents=True)
        with pytest.raises(StorageUnavailable):
            await store.delete(blob.key)
        assert store.unavailable_reason() == ""

    async def test_a_folder_that_was_moved_away_is_made_anew(
        self, store: LocalDiskBlobStore, tmp_path: Path
    ) -> None:
        before = await stored(store, random_blob(10))
        (store.root / "image").rename(tmp_path / "moved")
        after = await stored(store, random_blob(10))
        assert files_below(store.root) == [after.key]
        assert await store.read(after.key, after.digests) == after.data
        (tmp_path / "moved" / before.key.removeprefix("image/")).unlink()
        with pytest.raises(BlobMissing):
            await store.read(before.key, before.digests)

    async def test_a_folder_that_was_put_back_is_found(
        self, store: LocalDiskBlobStore, tmp_path: Path
    ) -> None:
        blob = await stored(store, random_blob(10))
        (store.root / "image").rename(tmp_path / "moved")
        await stored(store, random_blob(10))
        shutil.rmtree(store.root / "image")
        (tmp_path / "moved").rename(store.root / "image")
        assert await store.read(blob.key, blob.digests) == blob.data

    async def test_a_range_is_read_and_checked_in_one_call_of_a_thread(
        self, store: LocalDiskBlobStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        blob = await stored(store, random_blob(9 * MIB))
        run, calls = Threads.run, 0

        async def counted(self: Threads, call: Callable[..., object], *args: object) -> object:
            nonlocal calls
            calls += 1
            return await run(self, call, *args)

        monkeypatch.setattr(Threads, "run", counted)
        for span, expected in (
            (Span(MIB - 5, 2 * MIB + 5), 1),
            (Span(5, 4 * MIB + 5), 1),
            (Span(7, 7), 1),
            (Span(5, 4 * MIB + 6), 5),
            (Span(0, 9 * MIB), 9),
        ):
            async with closing(store.open(blob.key, blob.digests, span)) as stream:
                chunks = [chunk async for chunk in stream]
            assert b"".join(chunks) == blob.data[span.start : span.stop]
            assert all(chunks)
            assert calls == expected
            calls = 0

    async def test_a_file_that_is_cut_while_it_streams_ends_the_stream(
        self, store: LocalDiskBlobStore
    ) -> None:
        blob = await stored(store, random_blob(9 * MIB))
        given = b""

        async def take() -> None:
            nonlocal given
            async with closing(store.open(blob.key, blob.digests, Span(0, 9 * MIB))) as stream:
                async for chunk in stream:
                    given += chunk
                    os.truncate(store.root / blob.key, 3 * MIB + 5)

        async with asyncio.timeout(60):
            with pytest.raises(BlobCorrupt, match="ends early"):
                await take()
        assert given == blob.data[: 3 * MIB]


class TestDeadline:
    async def test_it_is_checked_when_all_is_written(self, tmp_path: Path) -> None:
        clock = GateClock()
        store = LocalDiskBlobStore(tmp_path, clock)
        blob = random_blob(10)
        putting = asyncio.ensure_future(stored(store, blob, NOON + timedelta(seconds=1)))
        await clock.until_asked()
        clock.time += timedelta(seconds=1)
        clock.gate.release()
        with pytest.raises(DeadlinePassed):
            await putting
        assert files_below(tmp_path) == []
        await store.aclose()

    @pytest.mark.parametrize("attributes", [True, False])
    async def test_who_sleeps_past_it_while_publishing_takes_it_back(
        self, tmp_path: Path, attributes: bool
    ) -> None:
        clock = GateClock()
        store = LocalDiskBlobStore(tmp_path, clock, attributes=attributes)
        blob = random_blob(10)
        putting = asyncio.ensure_future(stored(store, blob, NOON + timedelta(seconds=1)))
        await clock.until_asked()
        clock.gate.release()
        await clock.until_asked()
        assert blob.key in files_below(tmp_path)
        clock.time += timedelta(hours=1)
        clock.gate.release()
        with pytest.raises(DeadlinePassed):
            await putting
        assert files_below(tmp_path) == []
        await store.aclose()

    async def test_nobody_builds_on_what_may_be_taken_back(self, tmp_path: Path) -> None:
        clock = GateClock()
        store = LocalDiskBlobStore(tmp_path, clock)
        blob = random_blob(10)
        late = asyncio.ensure_future(stored(store, blob, NOON + timedelta(seconds=1)))
        await clock.until_asked()
        clock.gate.release()
        await clock.until_asked()
        other = asyncio.ensure_future(stored(store, blob))
        await asyncio.wait([other], timeout=0.05)
        assert not other.done()
        clock.time += timedelta(hours=1)
        clock.gate.release(3)
        with pytest.raises(DeadlinePassed):
            await late
        await other
        assert await store.read(blob.key, blob.digests) == blob.data
        await store.aclose()

    @pytest.mark.parametrize("passed", [0, 1])
    async def test_a_cancelled_put_is_over_when_it_ends(self, tmp_path: Path, passed: int) -> None:
        """Cancelled before or after the blob got its name: either way it is not there."""
        clock = GateClock()
        store = LocalDiskBlobStore(tmp_path, clock)
        blob = random_blob(10)
        putting = asyncio.ensure_future(stored(store, blob))
        await clock.until_asked()
        for _ in range(passed):
            clock.gate.release()
            await clock.until_asked()
        putting.cancel()
        await asyncio.wait([putting], timeout=0.05)
        assert not putting.done()
        clock.gate.release(3)
        await asyncio.wait([putting])
        assert putting.cancelled()
        await store.aclose()
        assert files_below(tmp_path) == []


class TestBadDisks:
    async def test_a_staging_folder_that_was_removed_is_made_again(
        self, no_leaks: None, tmp_path: Path, clock: ManualClock
    ) -> None:
        store = LocalDiskBlobStore(tmp_path, clock, unnamed=False)
        for _ in range(2):
            blob = await stored(store, random_blob(100))
            shutil.rmtree(tmp_path / ".staging")
            assert await store.read(blob.key, blob.digests) == blob.data
        await store.aclose()

    @pytest.mark.privileged
    async def test_a_full_disk(self, tmp_path: Path, clock: ManualClock) -> None:
        with small_memory_disk(tmp_path / "disk", "size=1m") as disk:
            store = LocalDiskBlobStore(disk / "blobs", clock)
            small = await stored(store, random_blob(100_000))
            for size in (2 * MIB, 5 * MIB):
                large = random_blob(size)
                with pytest.raises(StorageFull, match="full"):
                    await stored(store, large)
                with large.spooled() as body, pytest.raises(StorageFull):
                    await store.put(large.key, body, large.manifest, deadline=NEVER)
                with pytest.raises(BlobMissing):
                    await store.head(large.key)
            assert files_below(disk / "blobs") == [small.key]
            assert store.unavailable_reason() == ""
            await stored(store, random_blob(100_000))
            assert await store.read(small.key, small.digests) == small.data
            room = await store.room()
            assert room.total_bytes == MIB
            assert 0 < (room.free_bytes or 0) < MIB - 200_000
            await store.delete(small.key)
            await store.aclose()

    @pytest.mark.privileged
    @pytest.mark.parametrize("unnamed", [True, False])
    async def test_no_inode_left(self, tmp_path: Path, clock: ManualClock, unnamed: bool) -> None:
        with small_memory_disk(tmp_path / "disk", "size=1m,nr_inodes=16") as disk:
            store = LocalDiskBlobStore(disk, clock, unnamed=unnamed)
            blobs: list[Blob] = []

            async def fill() -> None:
                for _ in range(16):
                    blobs.append(await stored(store, random_blob(10)))  # noqa: PERF401

            with pytest.raises(StorageFull, match="inode"):
                await fill()
            assert blobs
            assert [entry.key async for entry in store.list()] == sorted(b.key for b in blobs)
            await store.delete(blobs[0].key)
            await stored(store, random_blob(10))
            await store.aclose()

    @pytest.mark.privileged
    async def test_a_disk_that_turns_read_only(self, tmp_path: Path, clock: ManualClock) -> None:
        with small_memory_disk(tmp_path / "disk", "size=1m") as disk:
            store = LocalDiskBlobStore(disk, clock)
            blob = await stored(store, random_blob(10))
            remount(disk, "ro")
            with pytest.raises(StorageUnavailable, match="read-only") as caught:
                await stored(store, random_blob(10))
            assert "mount it writable" in caught.value.remedy
            assert "read-only" in store.unavailable_reason()
            assert await store.read(blob.key, blob.digests) == blob.data
            with pytest.raises(StorageUnavailable):
                await store.delete(blob.key)
            clock.advance(timedelta(seconds=9))
            assert store.unavailable_reason()
            clock.advance(timedelta(seconds=2))
            assert store.unavailable_reason() == ""
            remount(disk, "rw")
            await stored(store, random_blob(10))
            await store.aclose()

    @pytest.mark.privileged
    async def test_success_ends_an_obstacle_at_once(
        self, tmp_path: Path, clock: ManualClock
    ) -> None:
        with small_memory_disk(tmp_path / "disk", "size=1m") as disk:
            store = LocalDiskBlobStore(disk, clock)
            remount(disk, "ro")
            with pytest.raises(StorageUnavailable):
                await stored(store, random_blob(10))
            remount(disk, "rw")
            await stored(store, random_blob(10))
            assert store.unavailable_reason() == ""
            await store.aclose()

    @pytest.mark.privileged
    async def test_a_file_system_without_attributes(
        self, tmp_path: Path, clock: ManualClock
    ) -> None:
        with mounted(tmp_path / "disk", "ramfs", "defaults") as disk:
            store = LocalDiskBlobStore(disk, clock)
            blob = await stored(store, random_blob(10))
            assert files_below(disk) == [blob.key, f"{blob.key}.manifest"]
            assert (await store.head(blob.key)).manifest == blob.manifest
            await store.delete(blob.key)
            assert files_below(disk) == []
            await store.aclose()

    @pytest.mark.privileged
    async def test_a_mount_point_is_not_written_under_a_new_mount(
        self, tmp_path: Path, clock: ManualClock
    ) -> None:
        """The root is opened once: what is mounted over it later is another place."""
        store = LocalDiskBlobStore(tmp_path / "disk", clock)
        first = await stored(store, random_blob(10))
        with small_memory_disk(tmp_path / "disk", "size=1m") as disk:
            with pytest.raises(StoreReplaced, match="was replaced while in use"):
                await stored(store, random_blob(10))
            assert files_below(disk) == []
            assert await store.read(first.key, first.digests) == first.data
        second = await stored(store, random_blob(10))
        assert files_below(tmp_path / "disk") == sorted([first.key, second.key])
        await store.aclose()

    @pytest.mark.privileged
    async def test_a_disk_that_is_mounted_anew_is_known_by_its_marker(
        self, tmp_path: Path, clock: ManualClock
    ) -> None:
        marker = Marker(CatalogueId("c"), StoreId("s"), Incarnation("i"))
        with small_memory_disk(tmp_path / "disk", "size=1m") as disk:
            store = LocalDiskBlobStore(disk, clock)
            await store.create_marker(marker)
            blob = await stored(store, random_blob(10))
            shutil.copytree(disk, tmp_path / "kept")
        with pytest.raises(StoreReplaced):
            await stored(store, random_blob(10))
        with pytest.raises(StoreReplaced):
            await store.marker()
        with small_memory_disk(tmp_path / "disk", "size=1m") as disk:
            with pytest.raises(StoreReplaced):
                await store.marker()
            shutil.copytree(tmp_path / "kept", disk, dirs_exist_ok=True)
            assert await store.marker() == marker
            assert await store.read(blob.key, blob.digests) == blob.data
            more = await stored(store, random_blob(10))
            assert (disk / more.key).exists()
            await store.aclose()

    async def test_a_folder_that_can_not_be_made(self, tmp_path: Path, clock: ManualClock) -> None:
        (tmp_path / "file").touch()
        store = LocalDiskBlobStore(tmp_path / "file" / "blobs", clock)
        with pytest.raises(StorageUnavailable):
            await stored(store, random_blob(10))
        assert store.unavailable_reason()
        with pytest.raises(StorageUnavailable):
            await store.room()
        await store.aclose()


_DIES_WHILE_WRITING = """
import os, sys
from pathlib import Path
from typing import Any
from traffic_storage.adapters.files.descriptors import open_folder
from traffic_storage.adapters.files.staging import Staging
root = open_folder(sys.argv[1])
staged = Staging(unnamed=False).new(root, root)
os.write(staged.fd, b"half")
print("ready", flush=True)
sys.stdin.read()
"""


class TestLeftovers:
    async def test_what_a_dead_process_left_is_removed_and_a_living_ones_is_not(
        self, tmp_path: Path, clock: ManualClock
    ) -> None:
        with half_written(tmp_path) as dead, half_written(tmp_path):
            assert len(files_below(tmp_path)) == 4
            dead.kill()
            dead.wait()
            store = LocalDiskBlobStore(tmp_path, clock, unnamed=False)
            blob = await stored(store, random_blob(10))
            left = set(files_below(tmp_path)) - {blob.key}
            assert len([name for name in left if name.endswith(".lock")]) == 2
            assert len([name for name in left if not name.endswith(".lock")]) == 1
            await store.aclose()
            assert len(files_below(tmp_path)) == 3

    async def test_a_failed_put_leaves_nothing(self, tmp_path: Path, clock: ManualClock) -> None:
        for unnamed in (True, False):
            store = LocalDiskBlobStore(tmp_path, clock, unnamed=unnamed, attributes=False)
            blob = random_blob(10)
            with pytest.raises(DeadlinePassed):
                await stored(store, blob, NOON)
            wrong = attrs.evolve(blob, data=b"x")
            with pytest.raises(BlobCorrupt):
                await stored(store, wrong)
            await store.aclose()
            assert files_below(tmp_path) == []


@contextmanager
def half_written(root: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-c", _DIES_WHILE_WRITING, str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process
        process.kill()


@contextmanager
def unnamed_file(folder: Path, data: bytes) -> Iterator[int]:
    """A file as the spool makes them."""
    fd = os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600)
    try:
        os.write(fd, data)
        yield fd
    finally:
        os.close(fd)
