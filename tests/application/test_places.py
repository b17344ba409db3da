"""Where files go while stores are full, away or coming back; and that the answer says so."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from tests.application.raw_images import raw_picture
from tests.application.rig import (
    LONG_AGO,
    RememberingBlobStore,
    Rig,
    film,
    outcome,
    picture,
    violation_record,
)
from traffic_storage.application.stores import BoundStore
from traffic_storage.application.stores.capacity import ROOM_IS_FRESH_SECONDS
from traffic_storage.domain.copies import COPY
from traffic_storage.domain.errors import Conflict, StorageFull, StorageUnavailable
from traffic_storage.domain.files import ReplicaState, Tier
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.entrypoints.testing.faults.plans import Fault, When
from traffic_storage.ports.blob_store import Room
from traffic_storage.ports.errors import DeadlinePassed

V001 = violation_record()
KB = 1_000 / 1e9


async def check_nothing(rig: Rig, service: Any) -> None:
    """Nothing is there, half or whole."""
    assert (dict(rig.files), rig.attempts, rig.findings(), rig.spool.held) == ({}, [], [], [])
    assert not rig.left()
    assert not any(service.reserved().values())
    assert await service.miscounts() == []


async def test_local_then_cloud_goes_to_the_cloud_above_the_high_water_mark() -> None:
    rig = Rig(StorageStrategy.LOCAL_THEN_CLOUD, max_local_size_gb=KB, high_water=0.5)
    async with rig.running() as service:
        for number in range(8):
            stored = await service.video(film(number, 100), f"f{number}")
            below = number < 5
            assert rig.tier(f"f{number}") is (Tier.LOCAL if below else Tier.CLOUD)
            words = "below" if below else "above"
            assert words in stored.file.placement.reason
        await service.sweep()
        assert rig.tier("f7") is Tier.CLOUD
        rig.cloud.go_down("the bucket does not answer")
        stored = await service.video(film(9, 100), "fallback")
        assert rig.tier("fallback") is Tier.LOCAL
        assert "the cloud is unavailable or full" in stored.file.placement.reason
        assert await service.miscounts() == []


@pytest.mark.parametrize("how", ["known to be away", "fails at the put", "fails after the put"])
@pytest.mark.parametrize("kind", ["image", "video", "evidence"])
async def test_hybrid_keeps_all_local_while_the_cloud_is_down_and_says_so(
    how: str, kind: str
) -> None:
    rig = Rig(StorageStrategy.HYBRID)
    async with rig.running() as service:
        match how:
            case "known to be away":
                rig.cloud.go_down("the bucket does not answer")
            case "fails at the put":
                away = lambda: StorageUnavailable("the bucket does not answer")  # noqa: E731
                rig.cloud.plan(Fault("put", away, times=None))
            case _:
                away = lambda: StorageUnavailable("the bucket does not answer")  # noqa: E731
                rig.cloud.plan(Fault("put", away, times=None, when=When.AFTER))
        if kind == "evidence":
            files = list((await service.evidence(V001, picture(), film())).files.values())
        elif kind == "image":
            files = [(await service.image(picture(), "X")).file]
        else:
            files = [(await service.video(film(), "X")).file]
        for file in files:
            (first,) = file.replicas
            assert (first.tier, first.state) == (Tier.LOCAL, ReplicaState.PRESENT)
            assert rig.copies_due[file.file_id] is Tier.CLOUD
            assert file.placement.decision == "local, then cloud"
            if file.kind == "video":
                assert file.placement.reason.endswith("the bucket does not answer")
            assert (await service.read.whole(file.file_id))[1] == file
        rig.cloud.come_back()
        rig.clock.advance(LONG_AGO)
        await service.sweep()
        assert (rig.attempts, rig.findings()) == ([], [])
        assert not rig.left(Tier.CLOUD)
        assert (await service.video(film(2), "later")).file.placement.decision == "cloud"


async def test_hybrid_with_a_cloud_that_was_away_from_the_start() -> None:
    rig = Rig(StorageStrategy.HYBRID)
    rig.cloud.go_down("the bucket does not answer")
    async with rig.running() as service:
        file = (await service.video(film(), "X")).file
        assert [replica.tier for replica in file.replicas] == [Tier.LOCAL]
        (due,) = rig.repo._jobs.values()
        assert (due.kind, due.store_id) == (COPY, file.replicas[0].store_id)
        assert "the bucket does not answer" in file.placement.reason
        rig.cloud.come_back()
        await service.sweep()
        (bucket,) = [b for b in service.stores if b.store.tier is Tier.CLOUD]
        assert (await service.sync()).copied == 1
        assert rig.files[file.file_id].readable[-1].store_id == bucket.store_id
        assert (await service.video(film(2), "later")).file.placement.decision == "cloud"


@pytest.mark.parametrize("strategy", [StorageStrategy.CLOUD_ONLY, StorageStrategy.CLOUD_WITH_CACHE])
@pytest.mark.parametrize("known", [True, False])
async def test_cloud_only_refuses_while_the_cloud_is_down(
    strategy: StorageStrategy, known: bool
) -> None:
    rig = Rig(strategy)
    async with rig.running() as service:
        if known:
            rig.cloud.go_down("the bucket does not answer")
        else:
            away = lambda: StorageUnavailable("the bucket does not answer")  # noqa: E731
            rig.cloud.plan(Fault("put", away, times=None))
        for work in (service.image(picture(), "X"), service.evidence(V001, picture(), film())):
            with pytest.raises(StorageUnavailable, match="cloud: the bucket does not answer"):
                await work
        assert not rig.files
        rig.cloud.come_back()
        rig.clock.advance(LONG_AGO)
        await service.sweep()
        await check_nothing(rig, service)
        assert (await service.evidence(V001, picture(), film())).created


async def test_a_store_that_is_away_before_it_was_ever_seen_is_not_written() -> None:
    rig = Rig()
    rig.local.go_down("the disk is not mounted")
    async with rig.running() as service:
        with pytest.raises(StorageUnavailable, match="the disk is not mounted"):
            await service.image(picture(), "X")
        await check_nothing(rig, service)
        rig.local.come_back()
        await service.sweep()
        assert (await service.image(picture(), "X")).created


# Full


@pytest.mark.parametrize("how", ["limit", "reserve", "inodes", "the put says so"])
@pytest.mark.parametrize("kind", ["image", "evidence"])
async def test_a_full_store_refuses_and_nothing_is_half_stored(how: str, kind: str) -> None:
    settings: dict[str, Any] = {"max_local_size_gb": KB} if how == "limit" else {}
    rig = Rig(local_reserve_gb=KB, **settings)
    room = {
        "reserve": Room(free_bytes=1_010),
        "inodes": Room(free_bytes=10**9, free_inodes=10),
    }.get(how, Room(free_bytes=10**9, free_inodes=10**6))
    _has_room(rig, room)
    async with rig.running() as service:
        if how == "the put says so":
            full = lambda: StorageFull("no space left on device")  # noqa: E731
            rig.local.plan(Fault("put", full, times=None))
        big = film(1, 2_000)
        alone = kind == "image"
        work = service.video(big, "X") if alone else service.evidence(V001, picture(), big)
        with pytest.raises(StorageFull, match="local: "):
            await work
        await check_nothing(rig, service)
        rig.local.come_back()
        if how == "the put says so":
            assert (await service.evidence(V001, picture(), big)).created
            assert rig.findings() == []


def _has_room(rig: Rig, room: Room) -> None:
    async def told() -> Room:
        return room

    rig.at_rest[Tier.LOCAL].room = told  # type: ignore[method-assign]


async def test_free_space_counts_what_was_stored_since_it_was_measured() -> None:
    rig = Rig(local_reserve_gb=KB)
    free = 3_000
    _has_room(rig, Room(free_bytes=free))
    async with rig.running() as service:
        kept = 0
        for number in range(10):
            result = await outcome(service.video(film(number, 300), f"f{number}"))
            if isinstance(result, StorageFull):
                break
            kept += 300
        assert kept == 1_800
        # Measured again it is as before, for this medium grows by itself.
        rig.clock.advance(timedelta(seconds=ROOM_IS_FRESH_SECONDS))
        assert (await service.video(film(77, 300), "more")).created


async def test_free_space_counts_what_is_being_stored() -> None:
    """Of uploads at once none is promised the room that another was promised."""
    rig = Rig(local_reserve_gb=KB)
    _has_room(rig, Room(free_bytes=3_000))
    async with rig.running() as service:
        gate = asyncio.Event()
        rig.local.plan(Fault("put", None, times=None, gate=gate))
        running = [
            asyncio.create_task(outcome(service.video(film(n, 300), f"f{n}"))) for n in range(10)
        ]
        while sum(task.done() for task in running) < 4:  # noqa: ASYNC110
            await asyncio.sleep(0)
        gate.set()
        results = await asyncio.gather(*running)
        assert sum(isinstance(result, StorageFull) for result in results) == 4
        assert len(rig.files) == 6


async def test_slow_puts_in_one_store_keep_none_from_another() -> None:
    """Slow videos on their way to the cloud, and images that stay local."""
    rig = Rig(StorageStrategy.HYBRID, parallel_uploads=4)
    async with rig.running() as service:
        gate = asyncio.Event()
        rig.cloud.plan(Fault("put", None, times=None, gate=gate))
        videos = [asyncio.create_task(outcome(service.video(film(n), f"V{n}"))) for n in range(6)]
        while rig.cloud.calls["put"] < 4:  # noqa: ASYNC110
            await asyncio.sleep(0)
        for number in range(8):
            assert (await service.image(picture(number), f"I{number}")).created
        assert rig.cloud.calls["put"] == 4
        # A unit that waits for its turn has entered no attempt: no deadline of its own runs.
        assert len(rig.attempts) == 4
        rig.clock.advance(timedelta(seconds=rig.settings.attempt_timeout_seconds))
        gate.set()
        results = await asyncio.gather(*videos)
        late = [isinstance(result, DeadlinePassed) for result in results]
        assert late == [True] * 4 + [False] * 2
        assert not any(service.reserved().values())


async def test_a_unit_with_more_files_than_slots_puts_them_one_by_one() -> None:
    rig = Rig(StorageStrategy.CLOUD_ONLY, parallel_uploads=1)
    async with rig.running() as service:
        stored = await asyncio.gather(
            *(service.evidence(violation_record(f"V{n}"), picture(n), film(n)) for n in range(4))
        )
        assert all(one.created for one in stored)
        assert rig.findings() == []


async def test_a_store_whose_room_cannot_be_told_is_tried() -> None:
    rig = Rig(local_reserve_gb=KB)
    _has_room(rig, Room(free_bytes=3_000))
    rig.local.plan(Fault("room", times=None))
    async with rig.running() as service:
        assert (await service.video(film(0, 2_500), "X")).created
        rig.local.come_back()
        rig.clock.advance(timedelta(seconds=ROOM_IS_FRESH_SECONDS))
        with pytest.raises(StorageFull):
            await service.video(film(1, 2_500), "Y")


async def test_a_full_local_disk_makes_hybrid_use_the_cloud_and_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig(StorageStrategy.HYBRID)
    async with rig.running() as service:
        rig.local.plan(Fault("put", lambda: StorageFull("no space left"), times=None))
        stored = await service.evidence(V001, picture(), film())
        for file in stored.files.values():
            assert [replica.tier for replica in file.replicas] == [Tier.CLOUD]
        assert rig.findings() == []
        assert "failed: no space left" in caplog.text
        rig.cloud.go_down("away")
        with pytest.raises(StorageUnavailable, match="cloud: away; local: no space left"):
            await service.image(picture(), "X")


@pytest.mark.parametrize("strategy", StorageStrategy)
@pytest.mark.parametrize("how", ["full", "away"])
async def test_a_retry_of_what_is_stored_is_recognised_though_no_place_is_left(
    strategy: StorageStrategy, how: str
) -> None:
    rig = Rig(strategy, max_local_size_gb=3 * KB, max_cloud_size_gb=3 * KB)
    async with rig.running() as service:
        first = await service.video(film(0, 500), "X")
        evidence = await service.evidence(V001, picture(), film(1, 500))
        if how == "full":
            number = 100
            while not isinstance(await outcome(service.video(film(number, 40))), StorageFull):
                number += 1
        else:
            rig.local.go_down("away")
            rig.cloud.go_down("away")
        again = await service.video(film(0, 500), "X")
        assert (again.created, again.file) == (False, first.file)
        repeated = await service.evidence(V001, picture(), film(1, 500))
        assert (repeated.created, dict(repeated.files)) == (False, dict(evidence.files))
        assert repeated.violation == evidence.violation
        with pytest.raises(Conflict):
            await service.video(film(5, 500), "X")
        with pytest.raises((StorageFull, StorageUnavailable)):
            await service.video(film(6, 500), "new")
        assert not any(service.reserved().values())


async def test_devices_go_to_the_bucket_of_their_route() -> None:
    rig = Rig(StorageStrategy.CLOUD_ONLY)
    for pattern in ("madrid-*", "*-7"):
        rig.routed[pattern] = RememberingBlobStore(rig.clock, Tier.CLOUD, f"s3.example/{pattern}")
    async with rig.running() as service:
        for device in ("madrid-7", "seville-7", "seville-1", None):
            name = device or "nobody"
            await service.image(picture(), name, device_id=device)
            assert (await service.read.whole(name))[1].device_id == device
        stores = [*rig.routed.values(), rig.at_rest[Tier.CLOUD]]
        assert [len(store.blobs) for store in stores] == [1, 1, 2]
        (used,) = {service.stores.occupied(id_of(b)).used_bytes for b in list(service.stores)[1:3]}
        assert used == len(raw_picture(picture())) + 8
        assert await service.miscounts() == []


def id_of(bound: BoundStore) -> StoreId:
    assert bound.store_id is not None
    return bound.store_id
