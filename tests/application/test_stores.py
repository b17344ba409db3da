"""Store identity: nothing is written or deleted where marker and catalogue disagree."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from tests.application.rig import (
    LONG_AGO,
    RememberingBlobStore,
    Rig,
    Service,
    film,
    outcome,
    picture,
    violation_record,
)
from traffic_storage.adapters.blob_store.local_disk import LocalDiskBlobStore
from traffic_storage.adapters.record_repo.memory import InMemoryRecordRepo
from traffic_storage.application.stores import BoundStore
from traffic_storage.application.stores.directory import NOT_USED
from traffic_storage.domain.errors import (
    InvalidInput,
    StorageFull,
    StorageUnavailable,
)
from traffic_storage.domain.files import Tier
from traffic_storage.domain.identifiers import CatalogueId, FileId, Incarnation, StoreId
from traffic_storage.domain.identity import Marker
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.entrypoints.testing.faults.plans import Fault, When
from traffic_storage.ports.errors import CatalogueUnavailable


def bound(service: Service, tier: Tier = Tier.LOCAL) -> BoundStore:
    (found,) = [one for one in service.stores if one.store.tier is tier]
    return found


@asynccontextmanager
async def filled(strategy: StorageStrategy = StorageStrategy.LOCAL_ONLY) -> AsyncIterator[Rig]:
    """A rig with one file in it, its service closed."""
    rig = Rig(strategy)
    async with rig.running() as service:
        await service.image(picture(), "X")
    yield rig


async def check_refused(rig: Rig, service: Service, why: str, tier: Tier = Tier.LOCAL) -> None:
    """Nothing is written to a store, nothing is deleted there; the reason is given."""
    before = dict(rig.at_rest[tier].blobs)
    assert why in bound(service, tier).untrusted_reason
    with pytest.raises(StorageUnavailable, match=why):
        await service.image(picture(1), "new")
    with pytest.raises(StorageUnavailable, match=why):
        await service.evidence(violation_record(), picture(2), film())
    await service.sweep()
    assert rig.at_rest[tier].blobs == before
    assert not any(service.reserved().values())
    health = await service.container.runtime().health()
    assert health.degraded
    assert any(why in part.detail for part in health.components)


async def test_a_new_store_is_marked_and_known_again_by_its_marker() -> None:
    async with filled() as rig:
        marker = rig.at_rest[Tier.LOCAL]._marker
        assert marker is not None
        assert marker.catalogue_id == await rig.repo.catalogue_id()
        async with rig.running() as service:
            assert bound(service).store_id == marker.store_id
            assert bound(service).trusted
            assert (await service.find.file("X")).readable[0].store_id == marker.store_id
            assert (await service.image(picture(1), "Y")).created
        registered = await rig.repo.registered(marker.store_id)
        now = rig.at_rest[Tier.LOCAL]._marker
        assert registered is not None
        assert now is not None
        assert now.incarnation == registered.incarnation != marker.incarnation
        assert registered.intended is None


async def test_what_is_not_started_stores_nothing_and_says_so() -> None:
    rig = Rig()
    service = rig.boot()
    with pytest.raises(StorageUnavailable, match=r"not started.*runtime\(\).start\(\)"):
        await service.image(picture(), "X")
    assert not rig.files
    assert not rig.attempts


async def test_an_empty_catalogue_on_a_full_store_changes_nothing_there() -> None:
    """A4: the wrong database."""
    async with filled() as rig:
        rig.repo = InMemoryRecordRepo()
        async with rig.running() as service:
            await check_refused(rig, service, "belongs to another catalogue")


async def test_files_without_a_marker_in_a_new_catalogue_are_left_alone() -> None:
    async with filled() as rig:
        rig.repo = InMemoryRecordRepo()
        rig.at_rest[Tier.LOCAL]._marker = None
        async with rig.running() as service:
            await check_refused(rig, service, "catalogue has no store at this location")
        assert rig.at_rest[Tier.LOCAL]._marker is None


async def test_a_full_catalogue_on_an_empty_mount_writes_nothing_and_believes_nothing() -> None:
    """A4: the empty mount point."""
    async with filled() as rig:
        at_rest = rig.at_rest[Tier.LOCAL]
        blobs, marker, before = at_rest._blobs, at_rest._marker, dict(rig.files)
        at_rest._blobs, at_rest._marker = {}, None
        async with rig.running() as service:
            await check_refused(rig, service, "has lost its identification file")
            with pytest.raises(StorageUnavailable, match="has lost its identification file"):
                await service.read.whole("X")
            assert rig.files == before
            at_rest._blobs, at_rest._marker = blobs, marker
            await service.sweep()
            assert (await service.read.whole("X"))[1] == before[FileId("X")]
            assert (await service.image(picture(1), "Y")).created


async def test_a_store_that_is_swapped_while_the_service_runs_is_not_written() -> None:
    async with filled() as rig, rig.running() as service:
        at_rest = rig.at_rest[Tier.LOCAL]
        marker = at_rest._marker
        at_rest._marker = Marker(
            CatalogueId("of-somebody-else"), StoreId("local-9"), Incarnation("i")
        )
        await service.sweep()
        await check_refused(rig, service, "belongs to another catalogue")
        assert (await service.read.whole("X"))[1].file_id == "X"
        at_rest._marker = marker
        await service.sweep()
        assert (await service.image(picture(1), "new")).created


async def test_a_folder_that_is_replaced_under_the_service_is_not_written_until_it_is_back(
    tmp_path: Path,
) -> None:
    """A4: moved away, with an empty one in its place."""
    rig = Rig()
    root, away = tmp_path / "blobs", tmp_path / "old"
    rig.local.inner = LocalDiskBlobStore(root, rig.clock)
    why = "was replaced while in use"
    async with rig.running() as service:
        await service.image(picture(), "X")
        root.rename(away)
        root.mkdir()
        # Before a sweep as after it.
        for _ in range(2):
            with pytest.raises(StorageUnavailable, match=why):
                await service.image(picture(1), "Y")
            health = await service.container.runtime().health()
            assert any(why in part.detail for part in health.components)
            assert (await service.read.whole("X"))[1].file_id == "X"
            rig.clock.advance(LONG_AGO)
            await service.sweep()
        store_id = bound(service).store_id
        assert store_id is not None
        with pytest.raises(StorageUnavailable, match=why):
            await service.stores.confirm(store_id)
        assert list(root.iterdir()) == []
        root.rmdir()
        away.rename(root)
        await service.sweep()
        assert rig.attempts == []
        assert (await service.image(picture(1), "Y")).created
        assert not (await service.container.runtime().health()).degraded


async def test_a_blob_in_a_store_in_doubt_is_not_deleted() -> None:
    async with filled() as rig, rig.running() as service:
        away = lambda: StorageUnavailable("no answer")  # noqa: E731
        rig.local.plan(Fault("put", away, when=When.AFTER))
        assert isinstance(await outcome(service.image(picture(1), "Y")), StorageUnavailable)
        at_rest = rig.at_rest[Tier.LOCAL]
        rig.clock.advance(LONG_AGO)
        await service.sweep()
        assert rig.attempts == []
        rig.clock.advance(timedelta(days=40))
        reconcile = service.container.reconcile().store
        store_id = bound(service).store_id
        assert store_id is not None
        marker = at_rest._marker
        at_rest._marker = Marker(CatalogueId("other"), StoreId("x"), Incarnation("i"))
        with pytest.raises(StorageUnavailable, match="identification file"):
            await reconcile(store_id, lambda _progress: None)
        assert len(at_rest.blobs) == 2
        at_rest._marker = marker
        await reconcile(store_id, lambda _progress: None)
        assert (rig.findings(), len(at_rest.blobs)) == ([], 1)


async def test_an_unreadable_marker_stops_writing_and_says_so() -> None:
    async with filled() as rig, rig.running() as service:
        refuse = lambda: InvalidInput.of("marker", "is unreadable: 'xyz'")  # noqa: E731
        rig.local.plan(Fault("marker", refuse, times=None))
        await service.sweep()
        await check_refused(rig, service, "marker: is unreadable")
        assert (await service.read.whole("X"))[1].file_id == "X"
        rig.local.come_back()
        await service.sweep()
        assert (await service.image(picture(1), "new")).created


async def test_an_unreadable_marker_at_the_start_leaves_reading_as_it_is() -> None:
    async with filled() as rig:
        refuse = lambda: InvalidInput.of("marker", "is unreadable: 'xyz'")  # noqa: E731
        rig.local.plan(Fault("marker", refuse, times=None))
        async with rig.running() as service:
            await check_refused(rig, service, "marker: is unreadable")
            assert (await service.read.whole("X"))[1].file_id == "X"


async def test_a_store_that_moved_is_found_by_its_marker_and_its_files_with_it() -> None:
    async with filled() as rig:
        old = rig.at_rest[Tier.LOCAL]
        moved = RememberingBlobStore(rig.clock, Tier.LOCAL, "host:/elsewhere")
        moved._blobs, moved._marker = old._blobs, old._marker
        rig.local.inner = rig.at_rest[Tier.LOCAL] = moved
        async with rig.running() as service:
            assert (await service.read.whole("X"))[1].file_id == "X"
            assert (await service.image(picture(1), "Y")).created
            store_id = bound(service).store_id
            assert store_id is not None
            registered = await rig.repo.registered(store_id)
            assert registered is not None
            assert registered.location == "host:/elsewhere"
        assert rig.findings() == []


async def test_a_moved_store_that_was_away_at_the_start_is_known_when_it_comes() -> None:
    async with filled(StorageStrategy.HYBRID) as rig:
        old = rig.at_rest[Tier.CLOUD]
        moved = RememberingBlobStore(rig.clock, Tier.CLOUD, "s3.example/other-bucket")
        moved._blobs, moved._marker = old._blobs, old._marker
        rig.cloud.inner = rig.at_rest[Tier.CLOUD] = moved
        rig.cloud.go_down("no answer")
        async with rig.running() as service:
            assert (await service.image(picture(1), "Y")).created
            assert "no answer" in bound(service, Tier.CLOUD).untrusted_reason
            rig.cloud.come_back()
            await service.sweep()
            assert old._marker is not None
            assert bound(service, Tier.CLOUD).store_id == old._marker.store_id
            assert bound(service, Tier.CLOUD).trusted
            assert (await service.video(film(), "V")).file.placement.decision == "cloud"
            assert rig.findings() == []


async def test_a_store_that_changes_while_the_service_runs_leaves_nothing_of_the_old_behind() -> (
    None
):
    """Two disks of one catalogue change places: neither's files count as lost."""
    async with filled() as rig:
        first = rig.at_rest[Tier.LOCAL]
        second = RememberingBlobStore(rig.clock, Tier.LOCAL, "host:/second")
        rig.local.inner = second
        async with rig.running() as service:
            await service.image(picture(2), "Z")
            other_id = bound(service).store_id
            assert second._marker is not None
            assert first._marker is not None
            assert other_id == second._marker.store_id
            assert other_id != first._marker.store_id
            # Now the first disk is mounted where the second was.
            second._blobs, first._blobs = first._blobs, second._blobs
            second._marker, first._marker = first._marker, second._marker
            await service.sweep()
            assert bound(service).store_id == second._marker.store_id != other_id
            assert (await service.read.whole("X"))[1].file_id == "X"
            with pytest.raises(
                StorageUnavailable, match=f"{other_id} is not configured in this process"
            ):
                await service.read.whole("Z")
            assert all(file.readable for file in rig.files.values())
            assert (await service.image(picture(3), "W")).created
            assert await service.miscounts() == []


async def test_storing_goes_on_while_stores_are_being_verified() -> None:
    async with filled(StorageStrategy.HYBRID) as rig, rig.running() as service:
        for call in ("local.marker", "repo.usage", "cloud.marker"):
            held = rig.script.hold(call, 1)
            rig.script.begin()
            sweep = asyncio.create_task(service.sweep())
            await held.reached.wait()
            assert (await service.evidence(violation_record(f"during-{call}"), picture())).created
            held.let_go.set()
            await sweep
        usage = await rig.repo.usage()
        for one in service.stores:
            assert one.store_id is not None
            kept = sum(row.bytes for row in usage.stores if row.store_id == one.store_id)
            # What was stored during a recount may count twice until the next.
            assert service.stores.occupied(one.store_id).used_bytes >= kept
        await service.stores.recount()
        assert await service.miscounts() == []


async def test_a_store_that_was_trusted_stays_so_while_it_is_away() -> None:
    async with filled() as rig, rig.running() as service:
        rig.local.go_down("no answer")
        await service.sweep()
        assert bound(service).trusted
        assert (await service.container.runtime().health()).degraded
        rig.local.come_back()
        assert (await service.image(picture(1), "Y")).created


async def test_a_database_that_goes_away_during_a_sweep_leaves_all_as_it_was() -> None:
    async with filled(StorageStrategy.HYBRID) as rig, rig.running() as service:
        rig.script.begin()
        await service.sweep()
        calls = [step for step in rig.script.steps if step.call.startswith("repo.")]
        for number, step in enumerate(calls):
            gone = lambda: CatalogueUnavailable("the database went away")  # noqa: E731
            rig.script.begin((step, gone))
            with pytest.raises(CatalogueUnavailable):
                await service.sweep()
            rig.script.begin()
            assert all(one.trusted for one in service.stores)
            assert (await service.image(picture(), f"after-{number}")).created
        assert len(calls) > 4


async def test_a_store_of_another_process_is_named_by_its_place() -> None:
    rig = Rig(StorageStrategy.CLOUD_ONLY)
    async with rig.running() as service:
        await service.image(picture(), "X")
    other = RememberingBlobStore(rig.clock, Tier.CLOUD, "s3.example/another-bucket")
    rig.cloud.inner = rig.at_rest[Tier.CLOUD] = other
    async with rig.running() as service:
        with pytest.raises(StorageUnavailable) as caught:
            await service.read.whole("X")
        assert "s3.example/bucket: the store cloud-" in str(caught.value)
        assert "is not configured in this process" in str(caught.value)


# Before anything is called missing


async def test_a_store_that_shows_its_marker_now_is_confirmed() -> None:
    async with filled() as rig, rig.running() as service:
        store_id = bound(service).store_id
        assert store_id is not None
        await service.stores.confirm(store_id)
        at_rest = rig.at_rest[Tier.LOCAL]
        marker, at_rest._marker = at_rest._marker, None
        with pytest.raises(StorageUnavailable, match="does not contain the identification file"):
            await service.stores.confirm(store_id)
        at_rest._marker = Marker(CatalogueId("of-somebody-else"), store_id, Incarnation("i"))
        with pytest.raises(StorageUnavailable, match="does not contain the identification file"):
            await service.stores.confirm(store_id)
        await service.sweep()
        with pytest.raises(StorageUnavailable, match="is not trusted"):
            await service.stores.confirm(store_id)
        at_rest._marker = marker
        await service.sweep()
        await service.stores.confirm(store_id)


async def test_a_store_that_answers_nothing_or_nonsense_is_not_confirmed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("traffic_storage.application.stores.identity.CONFIRM_SECONDS", 0.05)
    refuse = lambda: InvalidInput.of("marker", "is unreadable: 'xyz'")  # noqa: E731
    away = lambda: StorageUnavailable("no answer")  # noqa: E731
    faults = [
        (Fault("marker", gate=asyncio.Event()), "could not be read within"),
        (Fault("marker", refuse), "is unreadable"),
        (Fault("marker", away), "no answer"),
    ]
    async with filled() as rig, rig.running() as service:
        replica = (await service.find.file("X")).readable[0]
        for fault, why in faults:
            rig.local.plan(fault)
            with pytest.raises(StorageUnavailable, match=why):
                await service.stores.confirm(replica.store_id)
        await service.stores.confirm(replica.store_id)
        with pytest.raises(StorageUnavailable, match="is not configured in this process"):
            await service.stores.confirm(StoreId("local-9"))


async def test_a_store_whose_part_is_away_is_not_confirmed_for_what_lies_there(
    tmp_path: Path,
) -> None:
    """A folder that is a mount point of its own."""
    rig = Rig()
    rig.local.inner = LocalDiskBlobStore(tmp_path, rig.clock)
    async with rig.running() as service:
        await service.image(picture(), "X")
        replica = (await service.find.file("X")).readable[0]
        part = (tmp_path / replica.key).parent
        part.rename(tmp_path / "away")
        await service.stores.confirm(replica.store_id)
    # The running process has the folder open; one that starts has not.
    rig.local.inner = LocalDiskBlobStore(tmp_path, rig.clock)
    async with rig.running() as later:
        with pytest.raises(StorageUnavailable, match=f"the folder {part} is absent"):
            await later.read.whole("X")
        assert rig.files[FileId("X")].readable
        (tmp_path / "away").rename(part)
        assert (await later.read.whole("X"))[1].file_id == "X"


# The first time


@pytest.mark.parametrize(
    "error", [StorageUnavailable("no answer"), StorageFull("no space left on device")]
)
@pytest.mark.parametrize("call", ["marker", "create_marker", "list"])
async def test_a_store_that_cannot_be_marked_does_not_keep_the_service_from_starting(
    error: Exception, call: str
) -> None:
    rig = Rig(StorageStrategy.HYBRID)
    rig.local.plan(Fault(call, lambda: error))
    async with rig.running() as service:
        assert str(error) in bound(service).untrusted_reason
        assert (await service.image(picture(), "X")).file.placement.decision == "cloud"
        await service.sweep()
        assert bound(service).trusted
        assert (await service.image(picture(), "Y")).file.placement.decision.startswith("local")


async def test_many_processes_bind_a_new_store_at_once_to_the_same_identity() -> None:
    rig = Rig(StorageStrategy.HYBRID)
    services = [rig.boot() for _ in range(6)]
    await asyncio.gather(*(service.start() for service in services))
    for tier in Tier:
        marker = rig.at_rest[tier]._marker
        assert marker is not None
        assert {bound(service, tier).store_id for service in services} == {marker.store_id}
        assert all(bound(service, tier).trusted for service in services)
    results = await asyncio.gather(
        *(service.image(picture(n), f"f{n}") for n, service in enumerate(services))
    )
    assert all(result.created for result in results)
    assert rig.findings() == []
    for service in services:
        await service.aclose()


async def test_of_two_catalogues_that_want_a_new_store_at_once_one_gets_it() -> None:
    rig = Rig()
    mine, theirs = InMemoryRecordRepo(), InMemoryRecordRepo()
    services = []
    for repo in (mine, theirs):
        rig.repo = repo
        services.append(rig.boot())
    await asyncio.gather(*(service.start() for service in services))
    trusting = [service for service in services if bound(service).trusted]
    assert len(trusting) == 1
    (loser,) = [service for service in services if service not in trusting]
    with pytest.raises(StorageUnavailable):
        await loser.image(picture(), "X")
    await loser.sweep()
    assert "belongs to another catalogue" in bound(loser).untrusted_reason
    assert (await trusting[0].image(picture(), "X")).created
    for service in services:
        await service.aclose()


async def test_one_place_that_is_configured_twice_is_one_store() -> None:
    rig = Rig(StorageStrategy.CLOUD_ONLY)
    copy = RememberingBlobStore(rig.clock, Tier.CLOUD, "s3.example/copy")
    async with rig.running() as service:
        await service.image(picture(), "X")
    copy._blobs = dict(rig.at_rest[Tier.CLOUD]._blobs)
    copy._marker = rig.at_rest[Tier.CLOUD]._marker
    rig.routed["madrid-*"] = copy
    async with rig.running() as service:
        clouds = [one for one in service.stores if one.store.tier is Tier.CLOUD]
        assert [one.trusted for one in clouds] == [True, False]
        assert "one store is a copy of the other" in clouds[1].untrusted_reason
        assert (await service.read.whole("X"))[1].file_id == "X"


async def test_a_catalogue_that_forgot_a_store_is_an_old_backup() -> None:
    """A database restored from before the store was registered."""
    async with filled() as rig:
        rig.repo._stores.clear()
        async with rig.running() as service:
            await check_refused(rig, service, "the catalogue has never confirmed this store")
            assert (await service.read.whole("X"))[1].file_id == "X"
            assert await service.stores.adopt(bound(service))
            await service.sweep()
            assert (await service.image(picture(1), "Y")).created


# Stores that the strategy does not use


async def test_a_store_that_the_strategy_does_not_use_is_left_unmarked() -> None:
    rig = Rig(StorageStrategy.CLOUD_ONLY)
    async with rig.running() as service:
        assert bound(service).untrusted_reason == NOT_USED
        assert (await service.image(picture(), "X")).created
        health = await service.container.runtime().health()
        assert not health.degraded
    assert rig.at_rest[Tier.LOCAL]._marker is None


async def test_files_of_an_earlier_strategy_stay_readable() -> None:
    async with filled() as rig:
        rig.strategy = StorageStrategy.CLOUD_ONLY
        async with rig.running() as service:
            assert bound(service).trusted
            assert (await service.read.whole("X"))[1].file_id == "X"
            assert (await service.image(picture(1), "Y")).file.placement.decision == "cloud"
            assert list(rig.at_rest[Tier.LOCAL].blobs) == [
                rig.files[next(iter(rig.files))].replicas[0].key
            ]


@pytest.mark.parametrize("tier", Tier)
async def test_an_unused_store_that_is_away_bothers_nobody(tier: Tier) -> None:
    rig = Rig(StorageStrategy.CLOUD_ONLY if tier is Tier.LOCAL else StorageStrategy.LOCAL_ONLY)
    (rig.local if tier is Tier.LOCAL else rig.cloud).go_down("no answer")
    async with rig.running() as service:
        assert (await service.image(picture(), "X")).created
        assert bound(service, tier).store_id is None


def test_nothing_is_asked_of_a_store_when_the_service_is_composed() -> None:
    rig = Rig(StorageStrategy.HYBRID)
    rig.boot()
    assert rig.script.steps == []
