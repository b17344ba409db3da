"""CopyFile: what is copied is verified on both ends, and the source stays."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta

import pytest
from attrs import evolve

from tests.application.rig import LONG_AGO, Rig, Service, film, key_in, streamed, two_copies
from traffic_storage.adapters.clock.manual import ManualClock
from traffic_storage.application.pace import Pace
from traffic_storage.application.read_back import CopyRefuted
from traffic_storage.domain.changes import ObserveReplica
from traffic_storage.domain.copies import AddReplica
from traffic_storage.domain.digests import WHOLE_READ_BYTES
from traffic_storage.domain.errors import NoGoodReplica, StorageFull, StorageUnavailable
from traffic_storage.domain.files import BlobKey, ReplicaState, StoredFile, Tier
from traffic_storage.domain.identifiers import FileId, StoreId
from traffic_storage.domain.manifest import BlobManifest, manifest_of
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.entrypoints.testing.containers import NOON
from traffic_storage.entrypoints.testing.faults.blob_store import Damage, FailingBlobStore, tamper
from traffic_storage.entrypoints.testing.faults.plans import Fault, When
from traffic_storage.ports.errors import AttemptCondemned, BlobConflict, DeadlinePassed
from traffic_storage.ports.spool import Body

SMALL, LARGE = film(1, 400), film(2, WHOLE_READ_BYTES + 700_000)
SIZES = pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])


class SpoilingBlobStore(FailingBlobStore):
    """A store that damages what it has just written and acknowledged."""

    how: Damage | None = None

    async def put(
        self, key: BlobKey, body: Body, manifest: BlobManifest, *, deadline: datetime
    ) -> None:
        await super().put(key, body, manifest, deadline=deadline)
        if self.how is not None:
            await tamper(self.inner, key, self.how, at=3)


@pytest.fixture
def rig() -> Rig:
    """A service that stores local first."""
    rig = Rig(StorageStrategy.LOCAL_THEN_CLOUD, attempt_timeout_seconds=60)
    rig.cloud = SpoilingBlobStore(rig.at_rest[Tier.CLOUD])
    return rig


@pytest.fixture
async def service(rig: Rig) -> AsyncIterator[Service]:
    async with rig.running() as service:
        yield service


def id_of(service: Service, tier: Tier) -> StoreId:
    """The id of the store of a tier."""
    (found,) = [one.store_id for one in service.stores if one.store.tier is tier]
    assert found is not None
    return found


async def stored(service: Service, content: bytes) -> StoredFile:
    return (await service.video(streamed(content, 1_000_000), "X", device_id="cam-1")).file


async def copied(service: Service, file: StoredFile) -> AddReplica:
    """Copy a file to the cloud, without adding the copy."""
    return await service.container.copy_file()(file, id_of(service, Tier.CLOUD))


async def check_nothing_happened(rig: Rig, service: Service, file: StoredFile) -> None:
    """The source is as it was, and recovery removes what was left."""
    assert rig.files[FileId("X")] == file
    assert (await service.read.whole("X"))[1] == file
    rig.clock.advance(LONG_AGO)
    await service.sweep()
    assert not rig.left(Tier.CLOUD)
    assert (rig.attempts, rig.findings(), +service.reserved()) == ([], [], {})
    assert await service.miscounts() == []


@SIZES
async def test_a_copy_is_added_with_all_that_is_known_of_the_file(
    rig: Rig, service: Service, content: bytes
) -> None:
    """A20: capture time, retention and digests of the copy are those of the file."""
    file = await stored(service, content)
    rig.clock.advance(timedelta(days=3))
    change = await copied(service, file)
    assert rig.files[FileId("X")] == file
    assert await rig.repo.apply(change)
    now = rig.files[FileId("X")]
    assert now == evolve(file, replicas=(*file.replicas, change.replica))
    assert change.replica.verified_at == rig.clock.now()
    key = key_in(now, Tier.CLOUD)
    assert rig.at_rest[Tier.CLOUD].blobs[key] == content
    assert rig.at_rest[Tier.CLOUD].manifest[key] == manifest_of(file)
    assert rig.cloud.calls["verify"] == 1
    assert (rig.attempts, rig.findings(), +service.reserved()) == ([], [], {})
    assert await service.miscounts() == []
    rig.local.go_down("the disk was removed")
    assert (await service.read.whole("X"))[0] == content


@SIZES
@pytest.mark.parametrize("how", Damage)
async def test_a_destination_that_spoils_the_bytes_gets_no_copy(
    rig: Rig, service: Service, content: bytes, how: Damage
) -> None:
    """A9: the source is kept, the spoiled copy is not used, and a later try succeeds."""
    file = await stored(service, content)
    assert isinstance(rig.cloud, SpoilingBlobStore)
    rig.cloud.how = how
    with pytest.raises(CopyRefuted, match="does not have the bytes that were written"):
        await copied(service, file)
    rig.cloud.how = None
    assert await rig.repo.apply(await copied(service, file))
    assert len(rig.files[FileId("X")].readable) == 2
    rig.clock.advance(LONG_AGO)
    await service.sweep()
    assert (rig.attempts, rig.findings()) == ([], [])


@SIZES
@pytest.mark.parametrize("how", Damage)
async def test_a_bad_source_is_recorded_and_another_one_is_read(
    rig: Rig, service: Service, content: bytes, how: Damage
) -> None:
    file = await two_copies(rig, service, content)
    bad, good = file.replicas
    await tamper(rig.at_rest[Tier.LOCAL], bad.key, how, at=3)
    change = await service.container.copy_file()(
        evolve(file, replicas=(bad, good)), id_of(service, Tier.LOCAL)
    )
    state = ReplicaState.MISSING if how is Damage.REMOVE else ReplicaState.CORRUPT
    assert rig.files[FileId("X")].replicas[0].state is state
    assert await rig.repo.apply(change)
    assert rig.at_rest[Tier.LOCAL].blobs[change.replica.key] == content


async def test_a_file_without_a_good_source_is_not_copied(rig: Rig, service: Service) -> None:
    file = await stored(service, SMALL)
    await tamper(rig.at_rest[Tier.LOCAL], file.replicas[0].key, Damage.FLIP)
    with pytest.raises(NoGoodReplica):
        await copied(service, file)
    assert rig.attempts == []
    assert not rig.at_rest[Tier.CLOUD].blobs


async def test_a_replica_that_is_replaced_is_not_read(rig: Rig, service: Service) -> None:
    """Nothing is healed from the copy that is bad, though it may read well at this moment."""
    file = await two_copies(rig, service, SMALL)
    bad = file.replicas[0]
    observed = ObserveReplica(file.file_id, bad.replica_id, ReplicaState.CORRUPT, NOON)
    assert await rig.repo.apply(observed)
    rig.cloud.go_down("no answer")
    now = rig.files[FileId("X")]
    with pytest.raises(StorageUnavailable, match="no answer"):
        await service.container.copy_file()(
            now, id_of(service, Tier.LOCAL), replaces=bad.replica_id
        )
    rig.cloud.come_back()
    change = await service.container.copy_file()(
        now, id_of(service, Tier.LOCAL), replaces=bad.replica_id
    )
    assert await rig.repo.apply(change)
    states = {one.replica_id: one.state for one in rig.files[FileId("X")].replicas}
    assert states[bad.replica_id] is ReplicaState.GONE
    assert states[change.replica.replica_id] is ReplicaState.PRESENT


def _away() -> Exception:
    return StorageUnavailable("no answer")


@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize("method", ["put", "verify"])
async def test_a_target_that_fails_gets_no_copy_and_keeps_none(
    rig: Rig, service: Service, method: str, when: When
) -> None:
    file = await stored(service, SMALL)
    rig.cloud.plan(Fault(method, _away, when=when))
    with pytest.raises(StorageUnavailable, match="no answer"):
        await copied(service, file)
    # What may have been written is in the journal.
    assert len(rig.attempts) == 1
    await check_nothing_happened(rig, service, file)


@pytest.mark.parametrize(
    "error",
    [
        lambda: StorageFull("full"),
        lambda: DeadlinePassed("late"),
        lambda: BlobConflict("other bytes"),
    ],
)
async def test_a_copy_that_was_certainly_not_published_leaves_nothing_to_recover(
    rig: Rig, service: Service, error: Callable[[], Exception]
) -> None:
    file = await stored(service, SMALL)
    rig.cloud.plan(Fault("put", error))
    with pytest.raises(type(error())):
        await copied(service, file)
    assert rig.attempts == []
    await check_nothing_happened(rig, service, file)


async def test_a_copy_that_takes_longer_than_its_deadline_is_not_added(
    rig: Rig, service: Service
) -> None:
    file = await stored(service, SMALL)
    change = await copied(service, file)
    rig.clock.advance(LONG_AGO)
    await service.sweep()
    with pytest.raises(AttemptCondemned):
        await rig.repo.apply(change)
    await check_nothing_happened(rig, service, file)


async def test_a_cancelled_copy_is_recovered(rig: Rig, service: Service) -> None:
    file = await stored(service, SMALL)
    held = rig.script.hold("cloud.put", when=When.AFTER)
    copying = asyncio.create_task(copied(service, file))
    await held.reached.wait()
    copying.cancel()
    await asyncio.gather(copying, return_exceptions=True)
    assert copying.cancelled()
    assert len(rig.at_rest[Tier.CLOUD].blobs) == 1
    await check_nothing_happened(rig, service, file)


async def test_a_store_without_space_gets_no_copy() -> None:
    rig = Rig(StorageStrategy.LOCAL_THEN_CLOUD, max_cloud_size_gb=1e-6)
    async with rig.running() as service:
        file = (await service.video(film(1, 1001), "X")).file
        with pytest.raises(StorageFull, match="has no space for 1001 bytes"):
            await copied(service, file)
        assert rig.cloud.calls["put"] == 0
        await check_nothing_happened(rig, service, file)


async def test_a_store_that_is_not_trusted_gets_no_copy(rig: Rig) -> None:
    async with rig.running() as service:
        file = await stored(service, SMALL)
        target = id_of(service, Tier.CLOUD)
        rig.at_rest[Tier.CLOUD]._marker = None
        await service.sweep()
        with pytest.raises(StorageUnavailable, match="is not trusted"):
            await service.container.copy_file()(file, target)
        assert not rig.at_rest[Tier.CLOUD].blobs


async def test_few_files_are_copied_at_once() -> None:
    rig = Rig(StorageStrategy.LOCAL_THEN_CLOUD, copy_parallel=2, parallel_uploads=16)
    async with rig.running() as service:
        files = [(await service.video(film(n), f"X{n}")).file for n in range(6)]
        gate = asyncio.Event()
        rig.cloud.plan(Fault("put", None, times=None, gate=gate))
        copying = [asyncio.create_task(copied(service, file)) for file in files]
        for _ in range(200):
            await asyncio.sleep(0)
        assert rig.cloud.calls["put"] == 2
        gate.set()
        changes = await asyncio.gather(*copying)
        assert len({change.replica.key for change in changes}) == 6


async def test_copies_keep_to_the_pace() -> None:
    """On average, over files; the first begins at once."""
    clock = ManualClock(NOON)
    begun: list[tuple[float, int]] = []

    async def sleep(seconds: float) -> None:
        clock.advance(timedelta(seconds=seconds))

    pace = Pace(100, clock, sleep)
    for size in (50, 200, 0, 100):
        await pace.take(size)
        begun.append((clock.monotonic(), size))
    assert begun == [(0.0, 50), (0.5, 200), (2.5, 0), (2.5, 100)]
    clock.advance(timedelta(hours=1))
    # Time without a copy is not saved up.
    start = clock.monotonic()
    for size in (100, 100):
        await pace.take(size)
    assert clock.monotonic() == start + 1.0
    unlimited = Pace(0, clock, sleep)
    await unlimited.take(10**12)
    await unlimited.take(1)
    assert clock.monotonic() == start + 1.0
