"""Jobs of copies: what is due is copied, what leaves local disk is safe elsewhere before."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest
from attrs import evolve

from tests.application.rig import (
    LONG_AGO,
    RememberingBlobStore,
    Rig,
    Service,
    film,
    key_in,
    picture,
    violation_record,
)
from tests.application.script import Step
from traffic_storage.application.sync_backends import Synchronised
from traffic_storage.domain.copies import MOVE, REMOVE_BLOB, copy_job, move_job, removal_job
from traffic_storage.domain.errors import StorageFull, StorageUnavailable
from traffic_storage.domain.events import EventKind
from traffic_storage.domain.files import FileState, ReplicaState, Tier, replica_id_of
from traffic_storage.domain.identifiers import FileId, StoreId
from traffic_storage.domain.identity import RegisteredStore
from traffic_storage.domain.jobs import Job, JobState
from traffic_storage.domain.placement import UNKNOWN_STORE, StorageStrategy
from traffic_storage.entrypoints.testing.containers import NOON
from traffic_storage.entrypoints.testing.faults.blob_store import Damage, tamper
from traffic_storage.entrypoints.testing.faults.plans import Fault, When
from traffic_storage.ports.blob_store import Room

KB = 1e-6
GONE, PRESENT = ReplicaState.GONE, ReplicaState.PRESENT


def live(rig: Rig) -> list[Job]:
    return [job for job in rig.repo._jobs.values() if job.ended_at is None]


def states(rig: Rig, file_id: str) -> dict[Tier, ReplicaState]:
    return {one.tier: one.state for one in rig.files[FileId(file_id)].replicas}


def tiers_of(rig: Rig, file_id: str) -> set[Tier]:
    """The tiers in which a file has a present copy."""
    return {one.tier for one in rig.files[FileId(file_id)].readable}


def local_bytes(rig: Rig) -> int:
    """The bytes of local copies that are not gone."""
    return sum(
        file.stored.size_bytes
        for file in rig.files.values()
        for one in file.readable
        if one.tier is Tier.LOCAL
    )


def local_id(service: Service) -> StoreId:
    """The id of the local store."""
    (found,) = [one.store_id for one in service.stores if one.store.tier is Tier.LOCAL]
    assert found is not None
    return found


async def fill(rig: Rig, service: Service, count: int, size: int = 100) -> list[str]:
    """Store videos, one a minute."""
    names = [f"X{number}" for number in range(count)]
    for number, name in enumerate(names):
        rig.clock.advance(timedelta(minutes=1))
        await service.video(film(number, size), name)
    return names


def rename_cloud(rig: Rig, location: str) -> None:
    """Let processes that start now reach the bucket by another name."""
    bucket = rig.at_rest[Tier.CLOUD]
    renamed = RememberingBlobStore(rig.clock, Tier.CLOUD, location)
    renamed._blobs, renamed._marker = bucket._blobs, bucket._marker
    rig.cloud.inner = rig.at_rest[Tier.CLOUD] = renamed


async def later(rig: Rig, service: Service, by: timedelta = timedelta(hours=2)) -> None:
    """Let the pauses of jobs pass."""
    rig.clock.advance(by)
    await service.sweep()


# Copies that are due


async def test_hybrid_copies_what_it_stored_locally() -> None:
    rig = Rig(StorageStrategy.HYBRID)
    async with rig.running() as service:
        await service.evidence(violation_record(), picture(), film())
        await service.image(picture(2), "X")
        assert len(rig.copies_due) == 3
        planned = await service.container.sync_backends().plan()
        assert (planned.copied, planned.remaining) == (0, 3)
        done = await service.sync()
        assert done == Synchronised(copied=3, bytes=planned.bytes)
        assert planned.bytes > 0
        for file in rig.files.values():
            assert file.readable[-1].tier is Tier.CLOUD
        assert states(rig, "X") == {Tier.LOCAL: PRESENT, Tier.CLOUD: PRESENT}
        assert await service.sync() == Synchronised()
        assert (live(rig), rig.attempts, rig.findings()) == ([], [], [])
        assert await service.miscounts() == []


async def test_what_is_stored_meanwhile_is_left_to_the_next_synchronisation() -> None:
    """So it ends although files are stored faster than they are copied."""
    rig = Rig(StorageStrategy.HYBRID)
    async with rig.running() as service:
        await service.image(picture(1), "X")
        held = rig.script.hold("cloud.put")
        syncing = asyncio.create_task(service.sync())
        await held.reached.wait()
        await service.image(picture(2), "Y")
        held.let_go.set()
        done = await syncing
        assert (done.copied, done.remaining) == (1, 1)
        assert (await service.sync()).copied == 1


async def test_a_copy_is_due_once_however_often_the_file_is_stored() -> None:
    rig = Rig(StorageStrategy.HYBRID)
    async with rig.running() as service:
        for _ in range(3):
            await service.image(picture(), "X")
        assert len(live(rig)) == 1
        await service.sync()
        await service.image(picture(), "X")
        assert live(rig) == []


async def test_a_copy_survives_a_target_that_fails() -> None:
    rig = Rig(StorageStrategy.HYBRID)
    async with rig.running() as service:
        await service.image(picture(), "X")
        rig.cloud.plan(Fault("put", lambda: StorageUnavailable("no answer")))
        assert await service.sync() == Synchronised(remaining=1)
        (job,) = live(rig)
        assert (job.state, job.attempts, job.error) == (JobState.READY, 0, "no answer")
        await later(rig, service)
        assert (await service.sync()).copied == 1
        await later(rig, service, LONG_AGO)
        assert (live(rig), rig.attempts, rig.findings()) == ([], [], [])


async def test_copies_owed_to_a_renamed_bucket_that_is_away_are_made_when_it_is_back() -> None:
    """Also those that another process planned, which ended before the bucket was back."""
    rig = Rig(StorageStrategy.HYBRID)
    async with rig.running() as service:
        await service.video(film(), "V")
    known = rig.files[FileId("V")].replicas[0].store_id
    rename_cloud(rig, "new-name.example/bucket")
    rig.cloud.go_down("no answer")
    async with rig.running() as ended:
        await ended.evidence(violation_record(), picture(), film(1))
    async with rig.running() as service:
        await service.image(picture(2), "X")
        assert len(rig.copies_due) == 4
        assert await service.sync() == Synchronised(remaining=4)
        rig.cloud.come_back()
        await service.sweep()
        assert (await service.sync()).copied == 4
        for file in rig.files.values():
            assert file.readable[-1].store_id == known
        assert (live(rig), rig.attempts, rig.findings()) == ([], [], [])


async def test_a_copy_that_waits_for_a_bucket_of_unknown_name_is_not_owed_once_more() -> None:
    rig = Rig(StorageStrategy.HYBRID)
    rig.cloud.go_down("no answer")
    async with rig.running() as service:
        names = await fill(rig, service, 3)
        rig.cloud.come_back()
        await service.sweep()
        waiting = live(rig)
        assert {job.target_id for job in waiting} == {UNKNOWN_STORE}
        found = await service.container.find_due_copies()(local_id(service))
        assert (found.done, live(rig)) == (3, waiting)
        assert (await service.sync()).copied == 3
        assert len(rig.at_rest[Tier.CLOUD]._blobs) == len(names)


async def test_copies_owed_to_a_bucket_that_never_was_there_are_made_in_the_one_that_is() -> None:
    """The first name was a misprint, so nothing is ever found under it."""
    rig = Rig(StorageStrategy.HYBRID)
    rig.cloud.go_down("no answer")
    async with rig.running() as service:
        await service.image(picture(), "X")
    rename_cloud(rig, "right.example/bucket")
    rig.cloud.come_back()
    async with rig.running() as service:
        assert (await service.sync()).copied == 1
        assert tiers_of(rig, "X") == {Tier.LOCAL, Tier.CLOUD}
        assert (live(rig), rig.attempts, rig.findings()) == ([], [], [])


@pytest.mark.parametrize("strategy", [StorageStrategy.HYBRID, StorageStrategy.LOCAL_THEN_CLOUD])
async def test_what_waits_for_a_bucket_that_is_configured_no_more_goes_to_the_present_one(
    strategy: StorageStrategy,
) -> None:
    """Jobs of an earlier version, or of an earlier configuration.

    What waits to be moved counts as leaving, so nothing else would leave in its place.
    """
    rig = Rig(strategy, max_local_size_gb=KB, high_water=0.85, low_water=0.75)
    gone = RegisteredStore(StoreId("cloud-gone"), Tier.CLOUD, "s3.example/gone", NOON)
    await rig.repo.register(gone)
    async with rig.running() as service:
        await service.image(picture(), "X")
        (replica,) = rig.files[FileId("X")].replicas
        for job in live(rig):
            await rig.repo.cancel_job(job.job_id)
        waiting = (
            copy_job(uuid4(), rig.files[FileId("X")], replica.store_id, gone.store_id)
            if strategy is StorageStrategy.HYBRID
            else move_job(uuid4(), rig.files[FileId("X")], replica, gone.store_id)
        )
        await rig.repo.enqueue([waiting])
        rig.cloud.go_down("no answer")
        await service.sync()
        assert [job.target_id for job in live(rig)] == [gone.store_id]
        rig.cloud.come_back()
        await service.sync()
        is_copied = strategy is StorageStrategy.HYBRID
        assert states(rig, "X") == {Tier.LOCAL: PRESENT if is_copied else GONE, Tier.CLOUD: PRESENT}
        assert (live(rig), rig.attempts, rig.findings()) == ([], [], [])


async def test_copies_owed_to_a_lost_bucket_are_made_in_the_empty_one_that_is_adopted() -> None:
    """An operator says that the new bucket under the old name takes its place."""
    rig = Rig(StorageStrategy.HYBRID)
    async with rig.running() as service:
        await service.video(film(), "V")
    lost = rig.files[FileId("V")].replicas[0].store_id
    bucket = RememberingBlobStore(rig.clock, Tier.CLOUD, rig.at_rest[Tier.CLOUD].location)
    rig.cloud.inner = rig.at_rest[Tier.CLOUD] = bucket
    async with rig.running() as service:
        await service.image(picture(), "X")
        assert [job.target_id for job in live(rig)] == [lost]
        (cloud,) = [one for one in service.stores if one.store.tier is Tier.CLOUD]
        await service.stores.adopt(cloud)
        await service.sweep()
        assert (await service.sync()).copied == 1
        assert rig.files[FileId("X")].readable[-1].store_id == cloud.store_id != lost
        assert live(rig) == []


@pytest.mark.parametrize("by_age", [False, True])
async def test_what_leaves_for_a_bucket_that_was_never_reached_leaves_when_it_is_there(
    by_age: bool,
) -> None:
    limit_gb, high_water, low_water = (1.0, 0.85, 0.75) if by_age else (KB, 0.5, 0.1)
    rig = Rig(
        StorageStrategy.LOCAL_THEN_CLOUD,
        max_local_size_gb=limit_gb,
        high_water=high_water,
        low_water=low_water,
    )
    rig.cloud.go_down("no answer")
    async with rig.running() as service:
        await fill(rig, service, 6)
        if by_age:
            rig.clock.advance(LONG_AGO)
            await service.container.archive()(rig.clock.now())
        waiting = await service.sync()
        assert (waiting.moved, waiting.remaining) == (0, len(live(rig)))
        assert {job.kind for job in live(rig)} == {MOVE}
        rig.cloud.come_back()
        await service.sweep()
        done = await service.sync()
        assert (done.moved, done.remaining) == (waiting.remaining, 0)
        assert rig.findings() == []


async def test_each_device_has_its_bucket_also_if_a_copy_was_owed_before_that_was_known() -> None:
    rig = Rig(StorageStrategy.HYBRID)
    rig.routed["madrid-*"] = RememberingBlobStore(rig.clock, Tier.CLOUD, "s3.example/madrid")
    async with rig.running() as service:
        rig.cloud.go_down("no answer")
    rename_cloud(rig, "new-name.example/bucket")
    async with rig.running() as service:
        madrid, rest = [one for one in service.stores if one.store.tier is Tier.CLOUD]
        await service.image(picture(1), "M", device_id="madrid-1")
        await service.image(picture(2), "X", device_id="other")
        # What is owed to a bucket that works does not wait for the other one.
        done = await service.sync()
        assert (done.copied, done.remaining) == (1, 1)
        await service.image(picture(3), "N", device_id="madrid-1")
        (replica,) = rig.files[FileId("N")].replicas
        for job in live(rig):
            if job.target_id != UNKNOWN_STORE:
                await rig.repo.cancel_job(job.job_id)
        await rig.repo.enqueue(
            [copy_job(uuid4(), rig.files[FileId("N")], replica.store_id, UNKNOWN_STORE)]
        )
        rig.cloud.come_back()
        await service.sweep()
        assert (await service.sync()).copied == 2
        places = {name: rig.files[FileId(name)].readable[-1].store_id for name in "MNX"}
        assert places == {"M": madrid.store_id, "N": madrid.store_id, "X": rest.store_id}
        assert live(rig) == []


async def test_a09_a_copy_that_its_destination_spoils_is_not_used() -> None:
    """A9 as a job: the source stays, and the file is copied under another key."""
    rig = Rig(StorageStrategy.HYBRID)
    async with rig.running() as service:
        await service.image(picture(), "X")
        held = rig.script.hold("cloud.put", when=When.AFTER)
        syncing = asyncio.create_task(service.sync())
        await held.reached.wait()
        (key,) = rig.at_rest[Tier.CLOUD].blobs
        await tamper(rig.at_rest[Tier.CLOUD], key, Damage.TRUNCATE, at=1)
        held.let_go.set()
        assert await syncing == Synchronised(failed=1, remaining=1)
        assert states(rig, "X") == {Tier.LOCAL: PRESENT}
        (refuted,) = [
            one.event
            for one in await rig.repo.events(limit=100)
            if one.event.kind is EventKind.COPY_REFUTED
        ]
        assert refuted.file_id == "X"
        assert refuted.details["replica_id"] == str(replica_id_of(key))
        await later(rig, service)
        assert (await service.sync()).copied == 1
        assert key_in(rig.files[FileId("X")], Tier.CLOUD) != key
        assert (await service.read.whole("X"))[1].file_id == "X"


@pytest.mark.parametrize("state", [FileState.PURGING, FileState.PURGED])
async def test_a_file_that_is_deleted_is_not_copied(state: FileState) -> None:
    rig = Rig(StorageStrategy.HYBRID)
    async with rig.running() as service:
        file = (await service.image(picture(), "X")).file
        rig.repo._files[file.file_id] = evolve(file, state=state)
        assert await service.sync() == Synchronised()
        assert live(rig) == []
        assert not rig.at_rest[Tier.CLOUD].blobs


async def test_a_file_that_is_marked_as_deleted_is_copied_once_it_is_available_again() -> None:
    rig = Rig(StorageStrategy.HYBRID)
    async with rig.running() as service:
        file = (await service.image(picture(), "X")).file
        rig.repo._files[file.file_id] = evolve(file, state=FileState.TOMBSTONED)
        assert await service.sync() == Synchronised(remaining=1)
        rig.repo._files[file.file_id] = file
        await later(rig, service)
        assert (await service.sync()).copied == 1


async def test_a_file_that_is_deleted_while_it_is_copied_gets_no_copy() -> None:
    rig = Rig(StorageStrategy.HYBRID)
    async with rig.running() as service:
        file = (await service.image(picture(), "X")).file
        held = rig.script.hold("cloud.verify", when=When.AFTER)
        syncing = asyncio.create_task(service.sync())
        await held.reached.wait()
        rig.repo._files[file.file_id] = evolve(file, state=FileState.PURGING)
        held.let_go.set()
        assert (await syncing).copied == 0
        assert rig.files[file.file_id].replicas == file.replicas
        await later(rig, service, LONG_AGO)
        await service.sync()
        assert (live(rig), rig.attempts) == ([], [])


async def test_a_full_target_postpones_the_copy() -> None:
    rig = Rig(StorageStrategy.HYBRID, max_cloud_size_gb=KB)
    async with rig.running() as service:
        await service.json({"a": "b" * 2000}, "X")
        for _ in range(20):
            assert (await service.sync()).remaining == 1
            await later(rig, service)
        (job,) = live(rig)
        assert (job.state, job.attempts) == (JobState.READY, 0)


async def test_copies_whose_jobs_were_lost_are_found_and_made() -> None:
    """A cancelled or dead job, a rebuilt catalogue, a strategy that was changed."""
    rig = Rig(StorageStrategy.LOCAL_ONLY)
    async with rig.running() as service:
        for number in range(3):
            await service.image(picture(number), f"old-{number}")
        deleted = (await service.image(picture(8), "deleted")).file
        rig.repo._files[deleted.file_id] = evolve(deleted, state=FileState.TOMBSTONED)
    rig.strategy = StorageStrategy.HYBRID
    async with rig.running() as service:
        await service.image(picture(9), "new")
        rig.repo._jobs.clear()
        await service.image(picture(10), "newer")
        found = await service.container.find_due_copies()(local_id(service))
        assert found.done == 5
        assert set(rig.copies_due) == {*(f"old-{number}" for number in range(3)), "new", "newer"}
        assert len(live(rig)) == 5
        assert (await service.sync()).copied == 5
        assert (await service.container.find_due_copies()(local_id(service))).done == 0
        assert live(rig) == []


# Spill


async def test_the_oldest_files_leave_until_the_low_water_mark() -> None:
    """LOCAL_THEN_CLOUD: from above 85 % to 75 %, the oldest first, and not one more (A7)."""
    rig = Rig(
        StorageStrategy.LOCAL_THEN_CLOUD,
        max_local_size_gb=KB,
        evidence_reserve_share=0,
        high_water=1.0,
    )
    async with rig.running() as service:
        names = await fill(rig, service, 10)
        assert await service.sync() == Synchronised()
        rig.settings = evolve(rig.settings, high_water=0.85)
    async with rig.running() as service:
        assert (await service.container.sync_backends().plan()).remaining == 3
        assert not rig.at_rest[Tier.CLOUD].blobs
        done = await service.sync()
        assert done == Synchronised(moved=3, bytes=300)
        for name in names[:3]:
            assert states(rig, name) == {Tier.LOCAL: GONE, Tier.CLOUD: PRESENT}
        for name in names[3:]:
            assert states(rig, name) == {Tier.LOCAL: PRESENT}
        assert await service.sync() == Synchronised()
        assert len(rig.at_rest[Tier.LOCAL].blobs) == 7
        assert (live(rig), rig.attempts, rig.findings()) == ([], [], [])
        await service.sweep()
        assert await service.miscounts() == []
        # A21: addresses and reads do not change with the tier.
        for name in names:
            assert (await service.read.whole(name))[0] == film(names.index(name), 100)


@pytest.mark.parametrize("workers", [2, 8])
async def test_a07_workers_that_move_at_once_overshoot_by_one_file_at_most(
    workers: int,
) -> None:
    """A7: whoever plans counts what others have begun to move."""
    rig = Rig(
        StorageStrategy.LOCAL_THEN_CLOUD,
        max_local_size_gb=10 * KB,
        evidence_reserve_share=0,
        high_water=1.0,
        copy_parallel=workers,
    )
    async with rig.running() as service:
        sizes = [90, 400, 310, 170, 50]
        for number in range(45):
            rig.clock.advance(timedelta(minutes=1))
            await service.video(film(number, sizes[number % 5]), f"X{number}")
        before = local_bytes(rig)
        rig.settings = evolve(rig.settings, high_water=0.85)
    assert before > 8500
    services = [rig.boot() for _ in range(workers)]
    for service in services:
        await service.start()
    held = rig.script.hold("cloud.put")
    done = asyncio.gather(*(service.sync() for service in services))
    await held.reached.wait()
    # Physical deletes are slower than those of the catalogue.
    rig.local.plan(Fault("delete", lambda: StorageUnavailable("slow"), times=20))
    for service in services:
        await service.container.spill()(local_id(service))
    held.let_go.set()
    await done
    for _ in range(5):
        for service in services:
            await later(rig, service)
            await service.sync()
    assert 7500 - max(sizes) < local_bytes(rig) <= 7500
    assert live(rig) == []
    for service in services:
        await service.aclose()


async def test_a08_an_unrelated_file_that_fills_the_disk_starts_no_purge() -> None:
    """A8: the bytes of our own files alone count."""
    rig = Rig(StorageStrategy.LOCAL_THEN_CLOUD, max_local_size_gb=KB, evidence_reserve_share=0)
    async with rig.running() as service:
        await fill(rig, service, 5)
        rig.local.plan(Fault("room", None, times=None))
        for bound in service.stores:
            bound.room = Room(free_bytes=0, total_bytes=10**9)
        assert await service.sync() == Synchronised()
        assert local_bytes(rig) == 500
        assert not rig.at_rest[Tier.CLOUD].blobs


async def test_verified_copies_leave_early_while_the_store_is_soon_full() -> None:
    """Below the high-water mark only what is safe elsewhere leaves, until the low-water mark."""
    rig = Rig(
        StorageStrategy.HYBRID,
        max_local_size_gb=KB,
        evidence_reserve_share=0,
        high_water=0.85,
        low_water=0.5,
        hybrid_local_kinds=("video",),
    )
    async with rig.running() as service:
        names = await fill(rig, service, 8)
        # 800 bytes came on this day, and 200 are left; nothing is copied yet.
        assert (await service.container.spill()(local_id(service))).files == 0
        assert (await service.sync()).copied == 8
        assert (await service.container.spill()(local_id(service), dry_run=True)).files == 3
        assert (await service.sync()).moved == 3
        assert [name for name in names if Tier.LOCAL in tiers_of(rig, name)] == names[3:]
        assert local_bytes(rig) == 500
        assert await service.sync() == Synchronised()


async def test_a_store_that_fills_slowly_keeps_its_copies() -> None:
    rig = Rig(
        StorageStrategy.HYBRID,
        max_local_size_gb=KB,
        evidence_reserve_share=0,
        low_water=0.5,
        hybrid_local_kinds=("video",),
    )
    async with rig.running() as service:
        await fill(rig, service, 8)
        assert (await service.sync()).copied == 8
        rig.clock.advance(timedelta(days=30))
        assert await service.sync() == Synchronised()
        assert local_bytes(rig) == 800


async def test_hybrid_evicts_only_what_is_verified_in_the_cloud() -> None:
    rig = Rig(
        StorageStrategy.HYBRID,
        max_local_size_gb=KB,
        evidence_reserve_share=0,
        high_water=1.0,
        low_water=0.5,
    )
    rig.settings = evolve(rig.settings, hybrid_local_kinds=("video",))
    async with rig.running() as service:
        names = await fill(rig, service, 10)
        rig.settings = evolve(rig.settings, high_water=0.6)
    rig.cloud.go_down("no answer")
    async with rig.running() as service:
        assert (await service.sync()).remaining == 10
        assert local_bytes(rig) == 1000
        rig.cloud.come_back()
        await later(rig, service)
        assert (await service.sync()).copied == 10
        done = await service.sync()
        assert (done.moved, done.remaining) == (5, 0)
        assert local_bytes(rig) == 500
        for number, name in enumerate(names):
            assert states(rig, name)[Tier.CLOUD] is PRESENT
            assert states(rig, name)[Tier.LOCAL] is (GONE if number < 5 else PRESENT)
        assert rig.findings() == []


@pytest.mark.parametrize("how", Damage)
async def test_nothing_leaves_whose_other_copy_turns_out_bad(how: Damage) -> None:
    """A12 and the rule of release: the last good copy never goes."""
    rig = Rig(
        StorageStrategy.LOCAL_THEN_CLOUD,
        max_local_size_gb=KB,
        evidence_reserve_share=0,
        high_water=0.05,
        low_water=0,
    )
    rig.settings = evolve(rig.settings, high_water=1.0)
    async with rig.running() as service:
        file = (await service.video(film(1, 100), "X")).file
        target = service.stores.cloud_for(None)
        assert target is not None
        change = await service.container.copy_file()(file, target)
        await rig.repo.apply(change)
        await tamper(rig.at_rest[Tier.CLOUD], change.replica.key, how, at=3)
        rig.settings = evolve(rig.settings, high_water=0.05)
    async with rig.running() as service:
        await service.sync()
        assert states(rig, "X")[Tier.LOCAL] is PRESENT
        assert (await service.read.whole("X"))[0] == film(1, 100)
        # The bad copy is known now, so the file is copied anew, and leaves then.
        await service.sync()
        copies = [one for one in rig.files[FileId("X")].readable if one.tier is Tier.CLOUD]
        assert len(copies) == 1
        assert states(rig, "X")[Tier.LOCAL] is GONE
        assert rig.findings() == []


async def test_a12_the_source_of_a_stuck_move_does_not_go() -> None:
    """A12: while the copy of the last replica is stuck, nothing releases it."""
    rig = Rig(
        StorageStrategy.LOCAL_THEN_CLOUD,
        max_local_size_gb=KB,
        evidence_reserve_share=0,
        high_water=1.0,
        low_water=0,
    )
    async with rig.running() as service:
        file = (await service.video(film(1, 900), "X")).file
        rig.settings = evolve(rig.settings, high_water=0.5)
    async with rig.running() as service:
        rig.cloud.plan(Fault("verify", lambda: StorageUnavailable("no answer"), times=None))
        for _ in range(10):
            assert (await service.sync()).moved == 0
            (source,) = file.replicas
            assert await service.container.release_copy()(file, source.replica_id) is None
            await later(rig, service)
        assert states(rig, "X") == {Tier.LOCAL: PRESENT}
        assert rig.at_rest[Tier.LOCAL].blobs
        rig.cloud.come_back()
        assert (await service.sync()).moved == 1


# Promotion


async def read_often(service: Service, name: str, times: int) -> None:
    for _ in range(times):
        assert (await service.read.whole(name))[1].file_id == name


@pytest.mark.parametrize(
    ("strategy", "promotes"),
    [(one, one is StorageStrategy.HYBRID) for one in StorageStrategy if one.needs_cloud],
)
async def test_a_cloud_file_that_is_read_often_gets_a_local_copy(
    strategy: StorageStrategy, promotes: bool
) -> None:
    """Where the strategy keeps files on local disk; LOCAL_THEN_CLOUD stored this one there."""
    rig = Rig(strategy, promote_reads=3)
    async with rig.running() as service:
        await service.video(film(1, 500), "X")
        await read_often(service, "X", 2)
        assert live(rig) == []
        await read_often(service, "X", 1)
        assert len(live(rig)) == promotes
        await service.sync()
        if promotes:
            assert states(rig, "X") == {Tier.LOCAL: PRESENT, Tier.CLOUD: PRESENT}
            await read_often(service, "X", 9)
            assert live(rig) == []
        assert rig.findings() == []


async def test_a_file_is_not_promoted_for_reads_over_a_long_time_or_into_a_full_disk() -> None:
    rig = Rig(
        StorageStrategy.HYBRID,
        promote_reads=3,
        max_local_size_gb=KB,
        evidence_reserve_share=0,
        low_water=0.5,
    )
    async with rig.running() as service:
        await service.video(film(1, 400), "X")
        await service.video(film(2, 501), "large")
        for _ in range(8):
            await read_often(service, "X", 2)
            rig.clock.advance(timedelta(hours=1, seconds=1))
        await read_often(service, "large", 9)
        assert live(rig) == []
        rig.script.begin((Step("repo.enqueue", 1, When.BEFORE), lambda: StorageFull("full")))
        await read_often(service, "X", 3)
        assert live(rig) == []
        await read_often(service, "X", 3)
        assert len(live(rig)) == 1


async def test_few_reads_are_counted_at_once() -> None:
    rig = Rig(StorageStrategy.HYBRID, promote_reads=3)
    async with rig.running() as service:
        promote = service.container.promote()
        file = (await service.video(film(1, 400), "X")).file
        for number in range(20_000):
            await promote(evolve(file, file_id=FileId(f"F{number}")))
        assert len(promote._counted) == 10_000


# Removal


async def test_bytes_of_a_replica_that_is_not_gone_are_never_removed() -> None:
    rig = Rig()
    async with rig.running() as service:
        file = (await service.video(film(1, 100), "X")).file
        await rig.repo.enqueue([removal_job(uuid4(), file.file_id, file.replicas[0])])
        await service.sync()
        (job,) = rig.repo._jobs.values()
        assert (job.kind, job.state) == (REMOVE_BLOB, JobState.DEAD)
        assert "its replica is not gone" in job.error
        assert (await service.read.whole("X"))[0] == film(1, 100)


async def test_bytes_are_removed_in_the_registered_store_only() -> None:
    rig = Rig(
        StorageStrategy.LOCAL_THEN_CLOUD,
        max_local_size_gb=KB,
        evidence_reserve_share=0,
        high_water=1.0,
        low_water=0,
    )
    async with rig.running() as service:
        await service.video(film(1, 900), "X")
        rig.settings = evolve(rig.settings, high_water=0.5)
    async with rig.running() as service:
        rig.local.plan(Fault("delete", lambda: StorageUnavailable("no answer")))
        assert (await service.sync()).moved == 1
        assert len(rig.at_rest[Tier.LOCAL].blobs) == 1
        # Another folder is mounted at the path.
        marker, rig.at_rest[Tier.LOCAL]._marker = rig.at_rest[Tier.LOCAL]._marker, None
        rig.clock.advance(timedelta(hours=1))
        await service.sync()
        assert len(rig.at_rest[Tier.LOCAL].blobs) == 1
        rig.at_rest[Tier.LOCAL]._marker = marker
        await later(rig, service)
        await service.sync()
        assert not rig.at_rest[Tier.LOCAL].blobs
        assert live(rig) == []


# Store and forward


async def test_a18_a_cloud_that_is_away_for_72_hours_gets_evidence_first() -> None:
    """A18: the local store fills meanwhile; nothing unsent is lost or evicted."""
    rig = Rig(
        StorageStrategy.HYBRID,
        max_local_size_gb=100 * KB,
        high_water=0.1,
        low_water=0.05,
        hybrid_local_kinds=("image", "metadata", "video"),
        copy_parallel=1,
    )
    rig.cloud.go_down("no route to host")
    rig.clock.advance(timedelta(minutes=1))
    async with rig.running() as service:
        for hour in range(72):
            rig.clock.advance(timedelta(minutes=40))
            await service.video(film(hour, 200), f"X{hour}")
            await service.evidence(violation_record(f"V{hour}"), None, film(1000 + hour, 50))
            await later(rig, service, timedelta(minutes=20))
            assert (await service.sync()).copied == 0
        waiting = live(rig)
        assert len(waiting) == len(rig.files) == 72 * 3
        # Jobs that wait for a store are not tried, so they never die of it.
        assert {(job.state, job.attempts) for job in waiting} == {(JobState.READY, 0)}
        assert all(len(file.readable) == 1 for file in rig.files.values())
        assert rig.findings() == []
        rig.cloud.come_back()
        await service.sweep()
        done = await service.sync()
        assert done.copied == 72 * 3
        cloud = rig.at_rest[Tier.CLOUD]
        sent = [cloud.manifest[key].file_id for key in cloud.history]
        evidence = [name for name in sent if name.startswith("V")]
        assert sent[: len(evidence)] == evidence
        assert sent[len(evidence) :] == [f"X{hour}" for hour in range(72)]
        hours = [int(name[1:].partition("~")[0]) for name in evidence]
        assert hours == sorted(hours)
        assert rig.findings() == []
        # Now that everything is safe, local disk is brought below its mark.
        assert (await service.sync()).moved > 0
        assert local_bytes(rig) <= 5000
        assert rig.findings() == []
