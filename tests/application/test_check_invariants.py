"""CheckInvariants: each invariant, broken on purpose, is found; what is whole is no finding."""

from datetime import timedelta
from unittest.mock import AsyncMock
from uuid import uuid4

from attrs import evolve

from tests.application.rig import Rig, Service, film, picture, violation_record
from traffic_storage.application.check_invariants import CheckBudget
from traffic_storage.domain.digests import digests_of
from traffic_storage.domain.files import FileKind, FileState, ReplicaState, Tier, blob_key
from traffic_storage.domain.holds import HeldFile, Hold, PlaceHold
from traffic_storage.domain.identifiers import FileId
from traffic_storage.domain.manifest import manifest_of
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.ports.spool import MemoryBody

LATER = timedelta(days=2)
BUDGET = CheckBudget()
FILE = FileId("clip")


async def broken(service: Service, budget: CheckBudget = BUDGET) -> dict[str, list[str]]:
    """The broken invariants."""
    checks = await service.container.check_invariants()(budget)
    return {check.number: check.broken for check in checks if check.broken_count}


async def stored(rig: Rig, service: Service) -> None:
    """Store a violation and a video, and let two days pass."""
    await service.evidence(violation_record(), picture(), film())
    await service.video(film(1), FILE)
    rig.clock.advance(LATER)
    await service.sweep()


async def test_nothing_is_found_where_nothing_is_wrong() -> None:
    rig = Rig(StorageStrategy.HYBRID)
    async with rig.running() as service:
        await stored(rig, service)
        checks = {one.number: one for one in await service.container.check_invariants()(BUDGET)}
        assert not any(check.broken_count for check in checks.values())
        assert (checks["I1"].looked_at, checks["I1"].total) == (4, 4)
        assert (checks["I2"].looked_at, checks["I2"].total) == (4, 4)
        assert checks["I3"].looked_at == 4


async def test_an_empty_service_is_whole() -> None:
    rig = Rig()
    async with rig.running() as service:
        assert await broken(service) == {}


async def test_an_available_file_without_a_good_copy_is_found() -> None:
    rig = Rig()
    async with rig.running() as service:
        await stored(rig, service)
        file = rig.files[FILE]
        (copy,) = file.replicas
        rig.repo._files[FILE] = evolve(file, replicas=(copy.become(ReplicaState.CORRUPT),))
        assert await broken(service) == {"I1": [f"{FILE} has no present copy"]}


async def test_changed_and_lost_bytes_are_found() -> None:
    rig = Rig()
    async with rig.running() as service:
        await stored(rig, service)
        store, (copy,) = rig.at_rest[Tier.LOCAL], rig.files[FILE].replicas
        blob = store._blobs[copy.key]
        store._blobs[copy.key] = evolve(blob, data=blob.data[:-1] + b"?")
        found = await broken(service)
        assert list(found) == ["I2"]
        assert found["I2"][0].startswith(f"{FILE} in ")
        # Without bytes to read, only the size is compared.
        assert await broken(service, CheckBudget(bytes=0)) == {}
        store._blobs[copy.key] = evolve(blob, data=blob.data[:-1])
        assert list(await broken(service, CheckBudget(bytes=0))) == ["I2"]
        del store._blobs[copy.key]
        assert list(await broken(service)) == ["I2"]


async def test_a_blob_that_nothing_explains_is_found() -> None:
    rig = Rig()
    async with rig.running() as service:
        await stored(rig, service)
        store, file = rig.at_rest[Tier.LOCAL], rig.files[FILE]
        digests = digests_of(b"dark")
        ids = service.container.ids()
        key = blob_key(FileKind.VIDEO, ids.uuid7(), digests.sha256)
        manifest = manifest_of(file)
        deadline = rig.clock.now() + LATER
        await store.put(key, MemoryBody(b"dark", digests), manifest, deadline=deadline)
        # It may be in the middle of being stored.
        assert await broken(service) == {}
        rig.clock.advance(LATER)
        found = await broken(service)
        assert list(found) == ["I3"]
        assert key in found["I3"][0]


async def test_a_replica_with_two_keys_is_found() -> None:
    rig = Rig()
    async with rig.running() as service:
        await stored(rig, service)
        store, file = rig.at_rest[Tier.LOCAL], rig.files[FILE]
        (copy,) = file.replicas
        other = digests_of(b"other")
        key = blob_key(FileKind.VIDEO, copy.replica_id, other.sha256)
        deadline = rig.clock.now() + LATER
        await store.put(key, MemoryBody(b"other", other), manifest_of(file), deadline=deadline)
        found = await broken(service)
        assert found["I7"] == [f"the replica {copy.replica_id} has two keys"]


async def test_a_file_that_is_in_a_cache_alone_is_found() -> None:
    rig = Rig()
    async with rig.running() as service:
        await stored(rig, service)
        file = rig.files[FILE]
        (copy,) = file.replicas
        rig.local.cached_keys = AsyncMock(return_value=[copy.key])  # type: ignore[method-assign]
        assert await broken(service) == {}
        rig.repo._files[FILE] = evolve(file, replicas=(copy.become(ReplicaState.MISSING),))
        found = await broken(service)
        assert len(found["I8"]) == 1
        assert found["I8"][0].startswith(f"{FILE} is in the cache of ")


async def test_a_held_file_that_is_purged_is_found() -> None:
    rig = Rig()
    async with rig.running() as service:
        await stored(rig, service)
        hold = Hold(uuid4(), HeldFile(FILE), "K-1", "court", "clerk", rig.clock.now())
        await rig.repo.apply(PlaceHold(hold))
        assert await broken(service) == {}
        rig.clock.advance(timedelta(hours=1))
        file = rig.files[FILE]
        rig.repo._files[FILE] = evolve(file, state=FileState.PURGED, state_at=rig.clock.now())
        found = await broken(service)
        assert sorted(found) == ["I4", "I5"]
        assert FILE in found["I4"][0]


async def test_a_hold_that_comes_after_the_purge_has_begun_is_no_break() -> None:
    rig = Rig(deletion_grace_days=0)
    async with rig.running() as service:
        await stored(rig, service)
        rig.local.go_down()
        await service.container.delete_files().file(FILE, "a test", "clerk", override=True)
        assert rig.files[FILE].state is FileState.PURGING
        rig.clock.advance(LATER)
        hold = Hold(uuid4(), HeldFile(FILE), "K-1", "court", "clerk", rig.clock.now())
        await rig.repo.apply(PlaceHold(hold))
        rig.local.come_back()
        rig.clock.advance(LATER)
        await service.sweep()
        await service.container.purge().due()
        assert rig.files[FILE].state is FileState.PURGED
        checks = {one.number: one for one in await service.container.check_invariants()(BUDGET)}
        assert (checks["I4"].broken, checks["I4"].unknown) == ([], 1)


async def test_a_store_that_is_away_is_told_and_is_no_break() -> None:
    rig = Rig()
    async with rig.running() as service:
        await stored(rig, service)
        rig.local.go_down()
        checks = {one.number: one for one in await service.container.check_invariants()(BUDGET)}
        assert not any(check.broken_count for check in checks.values())
        assert checks["I2"].unreadable


async def test_the_budget_of_time_ends_the_check() -> None:
    rig = Rig()
    async with rig.running() as service:
        for number in range(250):
            await service.video(film(number))
        rig.clock.advance(LATER)
        checks = {
            one.number: one
            for one in await service.container.check_invariants()(CheckBudget(seconds=0))
        }
        assert (checks["I2"].looked_at, checks["I2"].total) == (100, 250)
