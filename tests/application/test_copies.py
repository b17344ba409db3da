"""Copies of a store, old catalogues and crashes: whoever disagrees writes nothing."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from attrs import evolve

from tests.application.rig import RememberingBlobStore, Rig, Service, film, outcome, picture
from tests.application.script import Died, Script, Step
from traffic_storage.adapters.blob_store.local_disk import LocalDiskBlobStore
from traffic_storage.adapters.record_repo.memory import InMemoryRecordRepo
from traffic_storage.application.stores import BoundStore
from traffic_storage.domain.errors import StorageFull, StorageUnavailable
from traffic_storage.domain.files import ReplicaState, Tier
from traffic_storage.domain.identifiers import FileId, Incarnation
from traffic_storage.domain.identity import INCARNATION_LASTS, Marker, RegisteredStore
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.entrypoints.testing.faults.blob_store import FailingBlobStore
from traffic_storage.entrypoints.testing.faults.plans import Fault, When
from traffic_storage.ports.errors import CatalogueUnavailable
from traffic_storage.ports.store_identity import MarkedBlobStore

DISAGREE = "disagree on the incarnation"


def local(service: Service) -> BoundStore:
    (found,) = [one for one in service.stores if one.store.tier is Tier.LOCAL]
    return found


def copy_of(rig: Rig, store: RememberingBlobStore, location: str) -> RememberingBlobStore:
    """All that lies in a store, at another place."""
    copy = RememberingBlobStore(rig.clock, store.tier, location)
    copy._blobs = dict(store._blobs)
    copy._marker = store._marker
    return copy


def copy_of_catalogue(repo: InMemoryRecordRepo) -> InMemoryRecordRepo:
    """A backup of a catalogue."""
    copy = InMemoryRecordRepo(repo._catalogue_id)
    for name in ("_attempts", "_stores", "_files", "_violations"):
        setattr(copy, name, dict(getattr(repo, name)))
    copy._condemned = set(repo._condemned)
    copy._changes = list(repo._changes)
    return copy


def boot(rig: Rig, store: MarkedBlobStore) -> Service:
    """A process that has this store, not started yet."""
    rig.local = FailingBlobStore(store)
    return rig.boot()


@asynccontextmanager
async def process(rig: Rig, store: MarkedBlobStore) -> AsyncIterator[Service]:
    """A process that has this store."""
    service = boot(rig, store)
    await service.start()
    try:
        yield service
    finally:
        await service.aclose()


def registered(rig: Rig) -> RegisteredStore:
    (found,) = rig.repo._stores.values()
    return found


def marker_in(rig: Rig) -> Marker:
    marker = rig.at_rest[Tier.LOCAL]._marker
    assert marker is not None
    return marker


async def check_in_doubt(service: Service, file_id: str = "X") -> None:
    """Nothing is written, nothing is proved; reading goes on; health says why."""
    assert DISAGREE in local(service).untrusted_reason
    with pytest.raises(StorageUnavailable, match=DISAGREE):
        await service.image(picture(9))
    store_id = local(service).store_id
    assert store_id is not None
    with pytest.raises(StorageUnavailable, match=DISAGREE):
        await service.stores.confirm(store_id)
    health = await service.container.runtime().health()
    assert any(DISAGREE in part.detail for part in health.components)
    assert (await service.read.whole(file_id))[1].file_id == file_id


# Copies


async def test_a_copy_that_is_taken_into_use_is_noticed_by_the_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A cloned host, or a mirrored bucket, on the same database."""
    rig = Rig()
    first = rig.at_rest[Tier.LOCAL]
    async with process(rig, first) as one:
        await one.image(picture(), "X")
        async with process(rig, copy_of(rig, first, "clone:/blobs")) as two:
            assert local(two).trusted
            await one.sweep()
            await check_in_doubt(one)
            assert DISAGREE in caplog.text
            await two.sweep()
            assert (await two.image(picture(2), "Z")).created
            # What only the copy holds is no loss of the first.
            with pytest.raises(StorageUnavailable, match="is not trusted"):
                await one.read.whole("Z")
        # It does not become the store by being restarted.
        async with process(rig, first) as again:
            await check_in_doubt(again)
            assert rig.files[FileId("Z")].readable
            # An operator says which of both is the store.
            assert "was adopted as the store" in await again.stores.adopt(local(again))
            await again.sweep()
            assert (await again.image(picture(3), "W")).created


async def test_an_older_copy_is_not_taken_into_use() -> None:
    rig = Rig()
    first = rig.at_rest[Tier.LOCAL]
    async with process(rig, first) as one:
        await one.image(picture(), "X")
    copy = copy_of(rig, first, "clone:/blobs")
    async with process(rig, first) as one:
        async with process(rig, copy) as two:
            await check_in_doubt(two)
            await one.image(picture(1), "Y")
            with pytest.raises(StorageUnavailable, match="Y can't be read now"):
                await two.read.whole("Y")
        await one.sweep()
        assert local(one).trusted
    assert [file.replicas[0].state for file in rig.files.values()] == [ReplicaState.PRESENT] * 2


async def test_a_takeover_is_noticed_before_a_replica_is_marked() -> None:
    """Missing, corrupt or present again: each look is confirmed first."""
    rig = Rig()
    first = rig.at_rest[Tier.LOCAL]
    async with process(rig, first) as one:
        await one.image(picture(), "X")
        copy = copy_of(rig, first, "clone:/blobs")
        async with process(rig, copy) as two:
            replica = (await two.find.file("X")).replicas[0]
            del copy._blobs[replica.key]
            with pytest.raises(Exception, match="X"):
                await two.read.whole("X")
            assert rig.files[FileId("X")].replicas[0].state is ReplicaState.MISSING
            # The first has not swept since, and has the bytes.
            assert local(one).trusted
            assert (await one.read.whole("X"))[1].file_id == "X"
            assert rig.files[FileId("X")].replicas[0].state is ReplicaState.MISSING


async def test_a_put_that_waited_is_not_written_to_a_store_that_was_taken_over() -> None:
    rig = Rig(StorageStrategy.HYBRID, parallel_uploads=1)
    first = rig.at_rest[Tier.LOCAL]
    async with process(rig, first) as one:
        await one.image(picture(), "X")
        held = rig.script.hold("local.put", 1)
        rig.script.begin()
        running = asyncio.create_task(one.image(picture(1), "A"))
        await held.reached.wait()
        waiting = asyncio.create_task(one.image(picture(2), "B"))
        await asyncio.sleep(0)
        first._marker = evolve(marker_in(rig), incarnation=Incarnation("of a copy"))
        await one.sweep()
        held.let_go.set()
        assert (await running).created
        assert (await waiting).file.replicas[0].tier is Tier.CLOUD


async def test_nothing_is_deleted_in_a_store_that_was_just_taken_over() -> None:
    rig = Rig()
    first = rig.at_rest[Tier.LOCAL]
    async with process(rig, first) as one:
        rig.local.plan(Fault("put", lambda: StorageUnavailable("no answer"), when=When.AFTER))
        assert isinstance(await outcome(one.image(picture(), "Y")), StorageUnavailable)
        rig.clock.advance(timedelta(days=1))
        await one.container.recover()()
        rig.clock.advance(timedelta(days=40))
        marker = marker_in(rig)
        first._marker = evolve(marker, incarnation=Incarnation("of a copy"))
        with pytest.raises(StorageUnavailable):
            await one.container.reconcile()(lambda _store_id, _progress: None)
        assert len(first.blobs) == 1
        first._marker = marker
        await one.container.reconcile()(lambda _store_id, _progress: None)
        assert (dict(first.blobs), rig.attempts) == ({}, [])


async def test_a_copy_of_folder_and_catalogue_goes_on_by_itself(tmp_path: Path) -> None:
    """The whole base folder, SQLite included: two catalogues, each with a store that agrees."""
    rig = Rig()
    folder, beside = tmp_path / "blobs", tmp_path / "restored"
    async with process(rig, LocalDiskBlobStore(folder, rig.clock)) as one:
        await one.image(picture(), "X")
    shutil.copytree(folder, beside)
    mine, theirs = rig.repo, copy_of_catalogue(rig.repo)
    for repo, path in ((mine, folder), (theirs, beside), (mine, folder)):
        rig.repo = repo
        async with process(rig, LocalDiskBlobStore(path, rig.clock)) as service:
            assert (await service.image(picture(1), f"Y{len(rig.files)}")).created
            store_id = local(service).store_id
            assert store_id is not None
            await service.stores.confirm(store_id)
    assert (len(mine._files), len(theirs._files)) == (3, 2)


@pytest.mark.parametrize("how", ["moved", "linked"])
async def test_a_folder_with_another_path_is_no_copy(tmp_path: Path, how: str) -> None:
    rig = Rig()
    folder, other = tmp_path / "blobs", tmp_path / "other"
    async with process(rig, LocalDiskBlobStore(folder, rig.clock)) as one:
        await one.image(picture(), "X")
    if how == "moved":
        folder.rename(other)
    else:
        other.symlink_to(folder)
    async with process(rig, LocalDiskBlobStore(other, rig.clock)) as two:
        assert (await two.read.whole("X"))[1].file_id == "X"
        assert (await two.image(picture(1), "Y")).created
        assert registered(rig).location == str(other)


# Old catalogues


async def test_a_catalogue_from_a_backup_is_older_than_its_store() -> None:
    rig = Rig()
    first = rig.at_rest[Tier.LOCAL]
    async with process(rig, first) as one:
        await one.image(picture(), "X")
        backup = copy_of_catalogue(rig.repo)
    async with process(rig, first) as one:
        await one.image(picture(1), "Y")
    rig.repo = backup
    async with process(rig, first) as one:
        await check_in_doubt(one)
        assert len(first.blobs) == 2
        await one.stores.adopt(local(one))
        await one.sweep()
        assert (await one.image(picture(2), "Z")).created


async def test_a_backup_that_is_restored_under_a_running_service_is_noticed() -> None:
    rig = Rig()
    async with rig.running() as service:
        await service.image(picture(), "X")
        backup = dict(rig.repo._stores)
        rig.clock.advance(INCARNATION_LASTS)
        await service.sweep()
        rig.repo._stores = backup
        await service.sweep()
        await check_in_doubt(service)


# Introducing incarnations


async def test_an_incarnation_is_introduced_at_each_start_and_each_hour() -> None:
    rig = Rig()
    seen: list[Incarnation] = []
    for _ in range(2):
        async with rig.running() as service:
            for minutes in (0, 30, 31):
                rig.clock.advance(timedelta(minutes=minutes))
                await service.sweep()
                assert registered(rig).incarnation == marker_in(rig).incarnation
                assert registered(rig).intended is None
                seen.append(marker_in(rig).incarnation)
    assert seen[0] == seen[1] != seen[2] != seen[3] == seen[4] != seen[5]
    assert len(set(seen)) == 4


async def test_an_unused_store_keeps_its_incarnation() -> None:
    rig = Rig()
    async with rig.running() as service:
        await service.image(picture(), "X")
    before = marker_in(rig)
    rig.strategy = StorageStrategy.CLOUD_ONLY
    async with rig.running() as service:
        assert local(service).trusted
    assert marker_in(rig) == before


async def test_processes_that_start_at_once_all_go_on(tmp_path: Path) -> None:
    """Containers with one volume, which start at once and come and go."""
    rig = Rig()
    async with AsyncExitStack() as running:
        services = [boot(rig, LocalDiskBlobStore(tmp_path, rig.clock)) for _ in range(6)]
        for service in services:
            running.push_async_callback(service.aclose)
        for _ in range(4):
            await asyncio.gather(*(service.start() for service in services))
            await asyncio.gather(*(service.sweep() for service in services))
            assert [local(service).untrusted_reason for service in services] == [""] * 6
            rig.clock.advance(INCARNATION_LASTS)
            async with process(rig, LocalDiskBlobStore(tmp_path, rig.clock)) as late:
                assert local(late).trusted
        results = await asyncio.gather(
            *(service.image(picture(n), f"f{n}") for n, service in enumerate(services))
        )
        assert all(result.created for result in results)
    assert len([store for store in rig.repo._stores.values() if store.incarnation]) == 1


@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize("call", ["repo.exchange", "local.replace_marker", "local.create_marker"])
async def test_a_process_that_dies_between_two_steps_leaves_no_doubt(call: str, when: When) -> None:
    rig = Rig()
    if call != "local.create_marker":
        async with rig.running() as service:
            await service.image(picture(), "X")
    for number in (1, 2):
        rig.script.begin((Step(call, number, when), Died))
        service = rig.boot()
        with suppress(Died):
            await service.start()
        with suppress(Died):
            await service.aclose()
        rig.script = Script()
        async with rig.running() as service:
            assert local(service).trusted
            assert registered_marker(rig).incarnation == marker_in(rig).incarnation
            assert (await service.image(picture(number), f"Y{number}")).created


def registered_marker(rig: Rig) -> RegisteredStore:
    """The registered store that the marker names."""
    return rig.repo._stores[marker_in(rig).store_id]


@pytest.mark.parametrize("error", [StorageFull("no space left"), StorageUnavailable("read-only")])
@pytest.mark.parametrize("call", ["repo.exchange", "local.replace_marker"])
async def test_a_store_that_takes_no_new_incarnation_stays_the_store(
    error: Exception, call: str
) -> None:
    """As a full or read-only disk; the next sweep tries again."""
    rig = Rig()
    async with rig.running() as service:
        await service.image(picture(), "X")
    before = registered(rig).incarnation
    rig.script.begin((Step(call, 1, When.BEFORE), lambda: error))
    async with rig.running() as service:
        assert local(service).trusted
        assert (await service.read.whole("X"))[1].file_id == "X"
        assert registered(rig).incarnation == before
        rig.script.begin()
        await service.sweep()
        assert registered(rig).incarnation == marker_in(rig).incarnation != before
        assert (await service.image(picture(1), "Y")).created


async def test_a_full_disk_at_the_start_refuses_no_read() -> None:
    """The catalogue lies on the same disk: neither marker nor journal can be written."""
    rig = Rig()
    async with rig.running() as service:
        await service.image(picture(), "X")
        rig.script.begin((Step("repo.apply", 1, When.BEFORE), lambda: CatalogueUnavailable("-")))
        assert isinstance(await outcome(service.video(film(), "Y")), CatalogueUnavailable)
    rig.clock.advance(timedelta(days=1))
    full = lambda: StorageFull("no space left on device")  # noqa: E731
    rig.script.begin(
        (Step("repo.exchange", 1, When.BEFORE), full), (Step("repo.condemn", 1, When.BEFORE), full)
    )
    async with rig.running() as service:
        assert (await service.read.whole("X"))[1].file_id == "X"
        assert len(rig.attempts) == 1
        await service.sweep()
        assert rig.attempts == []


# A store that is away, or new


async def test_a_renamed_endpoint_that_is_away_does_not_stop_storing() -> None:
    """HYBRID goes on locally before and after another process meets the bucket."""
    rig = Rig(StorageStrategy.HYBRID)
    async with rig.running() as service:
        await service.video(film(), "V")
    old = rig.at_rest[Tier.CLOUD]
    renamed = RememberingBlobStore(rig.clock, Tier.CLOUD, "new-name.example/bucket")
    renamed._blobs, renamed._marker = old._blobs, old._marker
    rig.cloud.inner = rig.at_rest[Tier.CLOUD] = renamed
    rig.cloud.go_down("no answer")
    async with rig.running() as first:
        for number in range(3):
            stored = await first.image(picture(number), f"before-{number}")
            assert stored.file.placement.decision.startswith("local")
        assert (await first.video(film(7), "W")).file.replicas[0].tier is Tier.LOCAL
        rig.cloud.come_back()
        async with rig.running() as second:
            assert (await second.video(film(8), "V2")).file.replicas[0].tier is Tier.CLOUD
            for number in range(3, 6):
                stored = await first.image(picture(number), f"after-{number}")
                assert stored.created
            await first.sweep()
            assert (await first.video(film(9), "V3")).file.replicas[0].tier is Tier.CLOUD
    assert rig.findings() == []


async def test_copies_are_due_in_a_known_bucket_that_is_away_at_the_start() -> None:
    rig = Rig(StorageStrategy.HYBRID)
    async with rig.running() as service:
        await service.video(film(), "V")
    rig.cloud.go_down("no answer")
    async with rig.running() as service:
        await service.image(picture(), "X")
        (due,) = rig.repo._jobs.values()
        assert due.target_id == rig.files[FileId("V")].replicas[0].store_id


async def test_an_empty_folder_at_a_known_place_is_taken_as_a_new_store_if_an_operator_says_so() -> (
    None
):
    """A second host with a disk of its own at the same path."""
    rig = Rig()
    async with rig.running() as service:
        await service.image(picture(), "X")
    rig.at_rest[Tier.LOCAL] = RememberingBlobStore(rig.clock, Tier.LOCAL, "host:/blobs")
    async with process(rig, rig.at_rest[Tier.LOCAL]) as service:
        assert "has lost its identification file" in local(service).untrusted_reason
        assert "a new identification file" in await service.stores.adopt(local(service))
        await service.sweep()
        assert (await service.image(picture(1), "Y")).created
        assert marker_in(rig).store_id != rig.files[FileId("X")].replicas[0].store_id


async def test_a_marker_that_was_removed_is_written_again_if_an_operator_says_so() -> None:
    rig = Rig()
    async with rig.running() as service:
        await service.image(picture(), "X")
        store_id = marker_in(rig).store_id
        rig.at_rest[Tier.LOCAL]._marker = None
        await service.sweep()
        assert "has lost its identification file" in local(service).untrusted_reason
        await service.stores.adopt(local(service))
        assert marker_in(rig).store_id == store_id
        await service.sweep()
        assert (await service.image(picture(1), "Y")).created


async def test_another_catalogues_store_is_never_adopted() -> None:
    rig = Rig()
    async with rig.running() as service:
        await service.image(picture(), "X")
    rig.repo = InMemoryRecordRepo()
    before = marker_in(rig)
    async with rig.running() as service:
        with pytest.raises(StorageUnavailable, match="belongs to another catalogue"):
            await service.stores.adopt(local(service))
    assert marker_in(rig) == before


@pytest.mark.parametrize("strategy", [StorageStrategy.LOCAL_ONLY, StorageStrategy.HYBRID])
async def test_a_write_that_waited_is_not_recorded_in_a_store_that_was_taken_over(
    strategy: StorageStrategy,
) -> None:
    rig = Rig(strategy)
    first = rig.at_rest[Tier.LOCAL]
    async with process(rig, first) as one:
        rig.script.begin()
        written = rig.script.hold("local.put", when=When.AFTER)
        storing = asyncio.create_task(outcome(one.image(picture(), "X")))
        await written.reached.wait()
        async with process(rig, copy_of(rig, first, "clone:/blobs")) as two:
            await one.stores.bind()
            assert not local(one).trusted
            written.let_go.set()
            result = await storing
            if strategy is StorageStrategy.LOCAL_ONLY:
                assert DISAGREE in str(result)
                assert FileId("X") not in rig.files
                assert (await two.image(picture(), "X")).created
            else:
                (copy,) = result.file.readable
                assert copy.tier is Tier.CLOUD
        # What was written there is left to recovery.
        assert len(rig.attempts) == 1


async def test_a_copy_that_waited_is_not_recorded_in_a_store_that_was_taken_over() -> None:
    rig = Rig(StorageStrategy.HYBRID, hybrid_local_kinds=())
    first = rig.at_rest[Tier.LOCAL]
    async with process(rig, first) as one:
        file = (await one.image(picture(), "X")).file
        assert [copy.tier for copy in file.readable] == [Tier.CLOUD]
        target = local(one).store_id
        assert target is not None
        rig.script.begin()
        verified = rig.script.hold("local.verify", when=When.AFTER)
        copying = asyncio.create_task(outcome(one.container.copy_file()(file, target)))
        await verified.reached.wait()
        async with process(rig, copy_of(rig, first, "clone:/blobs")):
            await one.stores.bind()
            verified.let_go.set()
            assert DISAGREE in str(await copying)
