"""Accidents of other systems that concern several use cases at once; each number is a row of a list.

`tests/house/test_accidents.py` has the numbers and where the other tests are.
"""

import asyncio
from contextlib import suppress
from datetime import timedelta
from uuid import uuid4

import pytest
from attrs import evolve

from tests.application.rig import Rig, Service, film, key_in
from tests.application.script import Died, Step
from traffic_storage.adapters.record_repo.memory import InMemoryRecordRepo
from traffic_storage.application.watch_pressure import WATCH_PRESSURE
from traffic_storage.domain.digests import sha256_of
from traffic_storage.domain.errors import StorageFull, StorageUnavailable
from traffic_storage.domain.events import EventKind
from traffic_storage.domain.files import FileState, ReplicaState, Tier
from traffic_storage.domain.holds import HeldFile, Hold, PlaceHold
from traffic_storage.domain.identifiers import FileId
from traffic_storage.domain.jobs import Run
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.entrypoints.testing.containers import NOON
from traffic_storage.entrypoints.testing.faults.plans import When

LOCAL, CLOUD = Tier.LOCAL, Tier.CLOUD
DAY = timedelta(days=1)
TWENTY_KB = 2e-5


async def upkeep(rig: Rig, service: Service) -> None:
    """Do all periodic work that may remove bytes, and what a person does to get space."""
    container = service.container
    for _ in range(3):
        rig.clock.advance(2 * DAY)
        await service.sweep()
        await service.sync()
        await container.reconcile()(lambda *_: None, override_limit=True)
        await container.clean_up()(by="admin", dry_run=False, override_limit=True)
        await container.purge().due()


async def test_a03_a_full_disk_with_held_and_unexpired_evidence_refuses_and_deletes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No step of last resort ignores a hold or a retention; the operator is told."""
    rig = Rig(
        StorageStrategy.LOCAL_THEN_CLOUD,
        max_local_size_gb=TWENTY_KB,
        max_cloud_size_gb=1e-6,
        high_water=0.9,
        low_water=0.1,
    )
    async with rig.running() as service:
        for number in range(5):
            await service.video(film(number, 2000), f"held-{number}")
            held = Hold(uuid4(), HeldFile(FileId(f"held-{number}")), "C-1", "trial", "judge", NOON)
            await rig.repo.apply(PlaceHold(held))
        rig.clock.advance(40 * DAY)
        for number in range(5):
            await service.video(film(9 + number, 2000), f"unexpired-{number}")
        blobs = dict(rig.at_rest[LOCAL].blobs)
        assert len(blobs) == 10
        with pytest.raises(StorageFull, match="local: "):
            await service.video(film(20, 2000), "new")
        await upkeep(rig, service)
        run = Run(uuid4(), uuid4(), WATCH_PRESSURE, {}, 1, 1)
        await service.container.watch_pressure().run(run, lambda _: None)
        with pytest.raises(StorageFull):
            await service.video(film(20, 2000), "new")
        assert rig.at_rest[LOCAL].blobs == blobs
        assert {file.state for file in rig.files.values()} == {FileState.AVAILABLE}
        assert "fills up (full)" in caplog.text
        told = [one.event for one in await rig.repo.events(0, 1000)]
        levels = [one.details["level"] for one in told if one.kind is EventKind.PRESSURE]
        assert "full" in levels
        assert rig.findings() == []


@pytest.mark.parametrize("away", ["catalogue", "disk", "disk of a running process"])
async def test_a04_an_empty_catalogue_or_an_empty_mount_leads_to_no_deletion(
    away: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is written or deleted, no copy is recorded as missing, and the reason is logged."""
    rig = Rig()
    async with rig.running() as service:
        for number in range(3):
            await service.video(film(number), f"F{number}")
        await service.container.delete_files().file("F0", "asked", "clerk", override=True)
        store = rig.at_rest[LOCAL]
        blobs, marker = dict(store._blobs), store._marker
        if away == "disk of a running process":
            store._blobs, store._marker = {}, None
            await periodic_work(rig, service)
    known = dict(rig.files)
    if away == "catalogue":
        rig.repo = InMemoryRecordRepo(now=rig.clock.now)
    else:
        store._blobs, store._marker = {}, None
    async with rig.running() as service:
        await periodic_work(rig, service)
        with pytest.raises(StorageUnavailable):
            await service.video(film(9), "new")
    if away == "catalogue":
        assert (store._blobs, store._marker) == (blobs, marker)
    else:
        assert store._blobs == {}
        assert {file.file_id: file.replicas for file in rig.files.values()} == {
            file.file_id: file.replicas for file in known.values()
        }
    assert not rig.repo._quarantine
    assert "nothing is written to" in caplog.text


async def periodic_work(rig: Rig, service: Service) -> None:
    """Do the periodic work, each step whatever became of the one before."""
    container = service.container
    rig.clock.advance(8 * DAY)
    await service.sweep()
    with suppress(StorageUnavailable):
        await container.reconcile()(lambda *_: None)
    assert (await container.purge().due()).purged == 0
    await container.clean_up()(by="admin", dry_run=False)


async def test_a15_the_same_content_stored_while_another_file_of_it_is_purged_is_untouched() -> (
    None
):
    """Each file has its own bytes under its own key, whatever the interleaving."""
    rig = Rig(deletion_grace_days=0)
    async with rig.running() as service:
        await service.video(film(1), "deleted")
        before = rig.script.hold("local.delete")
        after = rig.script.hold("local.delete", when=When.AFTER)
        deleting = asyncio.create_task(
            service.container.delete_files().file("deleted", "asked", "clerk", override=True)
        )
        await before.reached.wait()
        await service.video(film(1), "stored-before")
        before.let_go.set()
        await after.reached.wait()
        await service.video(film(1), "stored-after")
        after.let_go.set()
        assert (await deleting).state is FileState.PURGED
        await upkeep(rig, service)
        for name in ("stored-before", "stored-after"):
            content, file = await service.read.whole(name)
            assert sha256_of(content) == file.content.sha256 == sha256_of(film(1))
        assert len(rig.at_rest[LOCAL].blobs) == 2
        assert rig.findings() == []


@pytest.mark.parametrize(
    "step",
    [
        Step("cloud.put", 1, When.AFTER),
        Step("cloud.verify", 1, When.AFTER),
        Step("repo.finish", 1, When.AFTER),
        Step("repo.finish", 2, When.AFTER),
        Step("local.delete", 1, When.AFTER),
    ],
    ids=str,
)
async def test_a20_a_move_that_is_restarted_half_way_changes_nothing_that_is_known(
    step: Step,
) -> None:
    """Capture time, start and end of retention, digests: all but the copies are as before."""
    rig = Rig(StorageStrategy.LOCAL_THEN_CLOUD, max_local_size_gb=1e-6, high_water=1.0, low_water=0)
    async with rig.running() as service:
        captured = {"device_id": "cam-1", "timestamp": (NOON - DAY).isoformat()}
        file = (await service.video(film(1, 900), "X", metadata=captured)).file
    assert file.captured_at == NOON - DAY
    manifest = rig.at_rest[LOCAL].manifest[key_in(file, LOCAL)]
    rig.clock.advance(3 * DAY)
    rig.settings = evolve(rig.settings, high_water=0.5)
    service = rig.boot()
    await service.start()
    rig.script.begin((step, Died))
    # Tasks of the process that died end with it.
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    with suppress(Died, BaseExceptionGroup):
        for _ in range(3):
            await service.sync()
    assert step in rig.script.steps
    rig.script = type(rig.script)()
    async with rig.running() as service:
        for _ in range(4):
            rig.clock.advance(DAY)
            await service.sweep()
            await service.sync()
        now = rig.files[FileId("X")]
        assert evolve(now, replicas=()) == evolve(file, replicas=())
        assert {copy.tier: copy.state for copy in now.replicas} == {
            LOCAL: ReplicaState.GONE,
            CLOUD: ReplicaState.PRESENT,
        }
        assert rig.at_rest[CLOUD].manifest[key_in(now, CLOUD)] == manifest
        assert (await service.read.whole("X"))[0] == film(1, 900)
        assert not rig.at_rest[LOCAL].blobs
        assert rig.findings() == []
