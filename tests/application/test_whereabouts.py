"""Copies of one store: of all of them one is the store, and whoever works on another is told."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.application.rig import (
    RememberingBlobStore,
    Rig,
    Service,
    picture,
)
from traffic_storage.adapters.blob_store.local_disk import LocalDiskBlobStore
from traffic_storage.application.stores import BoundStore
from traffic_storage.domain.errors import StorageUnavailable
from traffic_storage.domain.files import ReplicaState, Tier
from traffic_storage.domain.identifiers import FileId, StoreId
from traffic_storage.entrypoints.testing.faults.blob_store import FailingBlobStore
from traffic_storage.entrypoints.testing.faults.plans import Fault
from traffic_storage.ports.blob_store import BlobStore


def shared() -> Rig:
    """A catalogue in a database that several hosts share."""
    return Rig(db_host="db.example", db_name="d", db_user="u", db_password="p")


def local(service: Service) -> BoundStore:
    (found,) = [one for one in service.stores if one.store.tier is Tier.LOCAL]
    return found


def copy_of(rig: Rig, store: RememberingBlobStore, location: str) -> RememberingBlobStore:
    """All that lies in a store, at another place."""
    copy = RememberingBlobStore(rig.clock, store.tier, location)
    copy._blobs = dict(store._blobs)
    copy._marker, copy._holder = store._marker, store._holder
    return copy


def on_host(
    rig: Rig, host: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> LocalDiskBlobStore:
    """A folder as a process on this host sees it."""
    with monkeypatch.context() as patch:
        patch.setattr("socket.gethostname", lambda: host)
        return LocalDiskBlobStore(folder, rig.clock)


def boot(rig: Rig, store: BlobStore) -> Service:
    """A process that has this store, not started yet."""
    rig.local = FailingBlobStore(store)
    return rig.boot()


@asynccontextmanager
async def process(rig: Rig, store: BlobStore) -> AsyncIterator[Service]:
    """A process that has this store."""
    service = boot(rig, store)
    await service.start()
    try:
        yield service
    finally:
        await service.aclose()


async def location_of(rig: Rig, service: Service) -> str:
    store_id = local(service).store_id
    assert store_id is not None
    known = await rig.repo.enrolled(store_id)
    assert known is not None
    return known.location


async def check_taken_over(service: Service, by: str, file_id: str) -> None:
    """Nothing is written, nothing is proved; reading goes on; log and health say why."""
    why = f"was taken over by a process that has it at {by}"
    assert why in local(service).untrusted_reason
    assert "A restart of this service takes the store back over" in local(service).untrusted_reason
    with pytest.raises(StorageUnavailable, match=why):
        await service.image(picture(9))
    with pytest.raises(StorageUnavailable, match=why):
        await service.stores.confirm(local(service).store_id or StoreId(""))
    health = await service.container.runtime().health()
    assert any(why in part.detail for part in health.components)
    assert (await service.read.whole(file_id))[1].file_id == file_id


async def test_a_copy_that_takes_a_store_over_is_noticed_by_the_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A cloned host, or a mirrored bucket, on the same database."""
    rig = shared()
    first = rig.at_rest[Tier.LOCAL]
    async with process(rig, first) as one:
        await one.image(picture(), "X")
        copy = copy_of(rig, first, "clone:/blobs")
        async with process(rig, copy) as two:
            assert local(two).trusted
            # Before anybody could notice: what the first stored is no loss of the second.
            await one.image(picture(1), "Y")
            with pytest.raises(StorageUnavailable, match="was at host:/blobs until"):
                await two.read.whole("Y")
            await one.sweep()
            await check_taken_over(one, "clone:/blobs", "X")
            assert "was taken over by a process that has it at clone:/blobs" in caplog.text
            await one.sweep()
            await check_taken_over(one, "clone:/blobs", "X")
            await two.sweep()
            assert (await two.image(picture(2), "Z")).created
            with pytest.raises(StorageUnavailable, match="was taken over"):
                await one.read.whole("Z")
            async with process(rig, first) as again:
                assert (await again.read.whole("Y"))[1].file_id == "Y"
                assert (await again.image(picture(3), "W")).created
                await two.sweep()
                await check_taken_over(two, "host:/blobs", "X")
                # The first is where the store is again.
                await one.sweep()
                assert local(one).trusted
    states = [replica.state for file in rig.files.values() for replica in file.replicas]
    assert states == [ReplicaState.PRESENT] * 4
    assert rig.files[FileId("Z")].readable


async def test_a_takeover_is_noticed_before_a_replica_is_called_missing() -> None:
    rig = shared()
    first = rig.at_rest[Tier.LOCAL]
    async with process(rig, first) as one:
        await one.image(picture(), "X")
        copy = copy_of(rig, first, "clone:/blobs")
        async with process(rig, copy) as two:
            await two.image(picture(1), "Y")
            store_id = local(one).store_id
            assert store_id is not None
            assert local(one).trusted
            with pytest.raises(StorageUnavailable, match="was taken over"):
                await one.stores.confirm(store_id)


async def test_a_restart_under_another_host_name_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = shared()
    for number, host in enumerate(("pod-1", "pod-2", "pod-1", "pod-3")):
        async with process(rig, on_host(rig, host, tmp_path, monkeypatch)) as service:
            assert (await service.image(picture(number), f"f{number}")).created
            await service.sweep()
            assert (await service.read.whole("f0"))[1].file_id == "f0"
            assert await location_of(rig, service) == f"{host}:{tmp_path}"


async def test_processes_that_reach_one_folder_by_many_names_all_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Containers with one volume, which start at once and come and go."""
    rig = shared()
    async with AsyncExitStack() as running:
        services = [
            boot(rig, on_host(rig, f"pod-{number}", tmp_path, monkeypatch)) for number in range(6)
        ]
        for service in services:
            running.push_async_callback(service.aclose)
        for _ in range(4):
            await asyncio.gather(*(service.start() for service in services))
            await asyncio.gather(*(service.sweep() for service in services))
            assert [local(service).untrusted_reason for service in services] == [""] * 6
            late = boot(rig, on_host(rig, "late", tmp_path, monkeypatch))
            await late.start()
            await late.aclose()
        results = await asyncio.gather(
            *(service.image(picture(n), f"f{n}") for n, service in enumerate(services))
        )
        assert all(result.created for result in results)


async def test_a_process_that_died_while_it_took_a_store_over_leaves_no_doubt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = shared()
    one = on_host(rig, "pod-1", tmp_path, monkeypatch)
    two = on_host(rig, "pod-2", tmp_path, monkeypatch)
    async with process(rig, one) as first, process(rig, two) as second:
        await one.note_holder(f"pod-3:{tmp_path}")
        await first.sweep()
        await second.sweep()
        await first.sweep()
        assert local(first).trusted
        assert local(second).trusted
        assert await one.holder() == await location_of(rig, first) == f"pod-2:{tmp_path}"


@pytest.mark.parametrize("call", ["note_holder", "is_copied_at"])
async def test_a_store_that_can_not_be_told_where_it_is_moves_nevertheless(call: str) -> None:
    """As a full disk can't."""
    rig = shared()
    first = rig.at_rest[Tier.LOCAL]
    async with process(rig, first) as one:
        await one.image(picture(), "X")
    service = boot(rig, copy_of(rig, first, "other:/blobs"))
    rig.local.plan(Fault(call))
    await service.start()
    assert local(service).trusted
    assert await location_of(rig, service) == "other:/blobs"
    await service.aclose()


async def test_a_copy_beside_the_store_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = shared()
    folder, beside = tmp_path / "blobs", tmp_path / "blobs-2"
    async with process(rig, on_host(rig, "host", folder, monkeypatch)) as one:
        await one.image(picture(), "X")
        shutil.copytree(folder, beside)
        async with process(rig, on_host(rig, "host", beside, monkeypatch)) as two:
            unavailable_reason = local(two).untrusted_reason
            assert (
                f"two copies of one store exist, at host:{folder} and at host:{beside}"
                in unavailable_reason
            )
            assert "move away the one that is out of date" in unavailable_reason
            with pytest.raises(StorageUnavailable, match="two copies of one store"):
                await two.image(picture(1), "Y")
            assert (await two.read.whole("X"))[1].file_id == "X"
            await one.sweep()
            assert local(one).trusted
            assert (await one.image(picture(2), "Z")).created
            with pytest.raises(StorageUnavailable, match="two copies of one store"):
                await two.read.whole("Z")
            # The first is given up: the second is the store now.
            shutil.copytree(folder, beside, dirs_exist_ok=True)
            (folder / ".traffic-storage").unlink()
            await two.sweep()
            assert local(two).trusted
            assert (await two.read.whole("Z"))[1].file_id == "Z"
            assert (await two.image(picture(3), "W")).created
            await one.sweep()
            assert not local(one).trusted


async def test_a_copy_that_brings_its_own_catalogue_goes_on_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup that is brought back beside what it was made from."""
    rig = Rig()
    folder, beside = tmp_path / "blobs", tmp_path / "restored"
    async with process(rig, on_host(rig, "host", folder, monkeypatch)) as one:
        await one.image(picture(), "X")
    shutil.copytree(folder, beside)
    async with process(rig, on_host(rig, "host", beside, monkeypatch)) as two:
        assert (await two.image(picture(1), "Y")).created
        store_id = local(two).store_id
        assert store_id is not None
        await two.stores.confirm(store_id)


@pytest.mark.parametrize("how", ["moved", "linked"])
async def test_a_folder_with_another_path_is_no_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    rig = shared()
    folder, other = tmp_path / "blobs", tmp_path / "other"
    async with process(rig, on_host(rig, "host", folder, monkeypatch)) as one:
        await one.image(picture(), "X")
    if how == "moved":
        folder.rename(other)
    else:
        other.symlink_to(folder)
    async with process(rig, on_host(rig, "host", other, monkeypatch)) as two:
        assert (await two.read.whole("X"))[1].file_id == "X"
        store_id = local(two).store_id
        assert store_id is not None
        await two.stores.confirm(store_id)
        assert (await two.image(picture(1), "Y")).created
        assert await location_of(rig, two) == f"host:{other}"
