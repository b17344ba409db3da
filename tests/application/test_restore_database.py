"""The backup of the database in a snapshot, loaded after the database was lost."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest
from attrs import evolve

from tests.application.rig import Rig, Service, film, picture, violation_record
from tests.application.test_journal import delete, export
from tests.application.test_rebuild_catalogue import rebuilt
from tests.support.waiting import until
from traffic_storage.adapters.record_repo.memory import InMemoryRecordRepo
from traffic_storage.application.snapshots.location import SnapshotDamaged
from traffic_storage.application.snapshots.restore_database import NoDatabaseBackup, OtherDatabase
from traffic_storage.domain.database_backup import DatabaseForm, DatabaseKind
from traffic_storage.domain.deletion import Undelete
from traffic_storage.domain.errors import NotFound, StorageUnavailable
from traffic_storage.domain.files import BlobKey, FileState
from traffic_storage.domain.holds import HeldFile, Hold, PlaceHold
from traffic_storage.domain.identifiers import FileId
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.domain.snapshot import PartKind
from traffic_storage.entrypoints.testing.faults.plans import Fault
from traffic_storage.ports.database_backup import NotBlank
from traffic_storage.ports.snapshot_store import TextFolder

NAME = "weekly"
DAY = timedelta(days=1)
LATER = 30 * DAY
"""More than the days of the quarantine, the grace of deletions, and the time of any attempt."""


@pytest.fixture
async def rig() -> Rig:
    """Files and a violation, a snapshot of them, and what happens afterwards."""
    rig = Rig(StorageStrategy.HYBRID)
    async with rig.running() as service:
        await service.evidence(violation_record(), picture())
        await service.video(film(1, 5 * 1024 * 1024), "long")
        for name in ("undeleted", "held"):
            await service.video(film(len(name)), name)
        await delete(rig, "undeleted", "held")
        going_on = asyncio.Event()
        for store in (rig.local, rig.cloud):
            store.plan(Fault("put", None, gate=going_on))
        storing = asyncio.ensure_future(service.video(film(2), "in-flight"))
        await until(lambda: rig.attempts)
        made = await service.container.create_snapshot()(NAME)
        assert made.manifest.database == DatabaseForm(DatabaseKind.MEMORY, "1")
        rig.clock.advance(timedelta(minutes=1))
        going_on.set()
        await storing
        await service.video(film(3), "later")
        now = rig.clock.now()
        names = (FileId("undeleted"),)
        assert await rig.repo.apply(Undelete(names, now, now + 400 * DAY, "error", "clerk"))
        scope = HeldFile(FileId("held"))
        assert await rig.repo.apply(PlaceHold(Hold(uuid4(), scope, "C", "trial", "judge", now)))
        await export(service)
    return rig


def all_blobs(rig: Rig) -> set[BlobKey]:
    """The keys of all that the stores have."""
    return {key for store in rig.at_rest.values() for key in store.blobs}


async def loaded(rig: Rig) -> None:
    """Lose the database, and load the backup into another one."""
    rig.repo = InMemoryRecordRepo(now=rig.clock.now)
    service = rig.boot()
    restoring = service.container.restore_database()
    assert (await restoring.plan(NAME)).manifest.name == NAME
    assert await rig.repo.is_blank()
    found = await restoring(NAME)
    assert (found.is_good, found.examples, found.files) == (True, [], 5)
    await service.aclose()


async def upkeep(rig: Rig, service: Service) -> None:
    """Do all that could delete something."""
    await service.container.runtime().sweep()
    assert "rebuild" in (await service.container.purge().due()).reason
    for bound in service.stores:
        assert bound.store_id is not None
        with pytest.raises(StorageUnavailable):
            await service.container.examine_quarantine()(bound.store_id, lambda _progress: None)
    rig.clock.advance(LATER)


async def test_what_was_stored_after_the_snapshot_is_there_after_the_rebuild(rig: Rig) -> None:
    """No byte goes before the rebuild, whatever runs and however long; then everything is there."""
    blobs, files = all_blobs(rig), dict(rig.files)
    await loaded(rig)
    assert not rig.attempts
    async with rig.running() as service:
        for _ in range(3):
            await upkeep(rig, service)
        for bound in service.stores:
            assert "traffic-storage rebuild" in bound.untrusted_reason
            with pytest.raises(StorageUnavailable, match="traffic-storage rebuild"):
                await service.stores.adopt(bound)
        with pytest.raises(StorageUnavailable):
            await service.video(film(4), "refused")
        assert all_blobs(rig) == blobs
        planned = await rebuilt(service, dry_run=True)
        assert (planned.files, len(planned.accepted)) == (2, 2)
        assert not any(bound.trusted for bound in service.stores)
        found = await rebuilt(service)
        assert (found.files, found.skipped) == (2, {})
        assert await rig.repo.loaded() is None
        assert rig.files.keys() == files.keys()
        for name, file in files.items():
            assert rig.files[name].content == file.content
        assert rig.files[FileId("undeleted")].state is FileState.AVAILABLE
        assert await rig.repo.holds_on(FileId("held"), rig.clock.now())
        report = await service.container.purge().due()
        assert (report.purged, report.reason) == (0, "")
        assert all_blobs(rig) == blobs
        assert rig.findings() == []
        await service.video(film(4), "accepted")


async def test_a_store_that_is_away_keeps_the_catalogue_waiting(rig: Rig) -> None:
    """Until a rebuild has seen all stores of its configuration, nothing is purged."""
    await loaded(rig)
    async with rig.running() as service:
        rig.cloud.go_down()
        assert list((await rebuilt(service)).skipped) == [rig.cloud.location]
        assert await rig.repo.loaded() is not None
        assert "rebuild" in (await service.container.purge().due()).reason
        rig.cloud.come_back()
        assert (await rebuilt(service)).skipped == {}
        assert await rig.repo.loaded() is None


async def test_what_can_not_be_loaded_is_refused(rig: Rig) -> None:
    """A snapshot without backup, of another database, a used database, a damaged part."""
    async with rig.running() as service:
        with pytest.raises(NotBlank):
            await service.container.restore_database().plan(NAME)
        with pytest.raises(NotFound):
            await service.container.restore_database().plan("other")
        location = service.container.snapshot_location()
        manifest = await location.manifest(NAME)
    rig.repo = InMemoryRecordRepo(now=rig.clock.now)
    service = rig.boot()
    restoring = service.container.restore_database()
    other = evolve(manifest, name="pg", database=DatabaseForm(DatabaseKind.POSTGRESQL, "1"))
    none = evolve(manifest, name="none", database=None)
    newer = evolve(manifest, name="newer", database=DatabaseForm(DatabaseKind.MEMORY, "2"))
    for one in (other, none, newer):
        await rig.snapshots.put_text(TextFolder.SEALED, one.name, one.to_text())
    with pytest.raises(NoDatabaseBackup):
        await restoring.plan("none")
    for name, what in (("pg", "of postgresql"), ("newer", "version 2")):
        with pytest.raises(OtherDatabase, match=what) as caught:
            await restoring.plan(name)
        assert "snapshot restore" in caught.value.remedy
    (part,) = manifest.parts_of(PartKind.DATABASE)
    await rig.snapshots.remove_text(TextFolder.ROWS, part.sha256)
    with pytest.raises(SnapshotDamaged, match="database"):
        await restoring(NAME)
    assert await rig.repo.is_blank()
    assert await rig.repo.loaded() is None
    await service.aclose()


async def test_the_backup_can_be_turned_off() -> None:
    rig = Rig(snapshot_database=False)
    async with rig.running() as service:
        made = await service.container.create_snapshot()(NAME)
        assert made.manifest.database is None
        assert not made.manifest.parts_of(PartKind.DATABASE)
