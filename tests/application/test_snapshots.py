"""Snapshots: what is in them, what a restore does, what is pinned, what a deletion removes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import uuid4

import pytest
from attrs import evolve

from tests.application.rig import Rig, Service, film, picture, violation_record
from traffic_storage.adapters.blob_store.memory import InMemoryBlobStore
from traffic_storage.application.archive import NoArchive
from traffic_storage.application.snapshots import create
from traffic_storage.application.snapshots.delete import DeleteSnapshot
from traffic_storage.application.snapshots.jobs import (
    CREATE,
    RESTORE,
    SCHEDULE,
    VERIFY,
    restoration,
)
from traffic_storage.application.snapshots.location import (
    ForeignSnapshot,
    NoSnapshotLocation,
    ObjectsKept,
    SnapshotBusy,
    SnapshotDamaged,
    SnapshotExists,
    SnapshotGone,
    SnapshotTooLarge,
)
from traffic_storage.application.snapshots.restore import Restored, nothing_destroyed
from traffic_storage.application.worker import GivenUp
from traffic_storage.domain.canonical import Json
from traffic_storage.domain.deletion import Tombstone, Undelete
from traffic_storage.domain.errors import InvalidInput, NotFound, StorageFull, StorageUnavailable
from traffic_storage.domain.files import BlobKey, FileKind, FileState, StoredFile, Tier
from traffic_storage.domain.holds import HeldFile, Hold, PlaceHold
from traffic_storage.domain.identifiers import FileId, ViolationId
from traffic_storage.domain.jobs import Done, JobKind, Run
from traffic_storage.domain.manifest import BlobManifest
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.domain.retention_rules import GivenRules, RetentionRule
from traffic_storage.domain.snapshot import SnapshotSchedule, Verification, object_key
from traffic_storage.entrypoints.snapshot_views import snapshots_view
from traffic_storage.entrypoints.testing.containers import NOON
from traffic_storage.entrypoints.testing.faults.plans import Fault
from traffic_storage.ports.blob_store import KeptVersion
from traffic_storage.ports.snapshot_store import TextFolder
from traffic_storage.ports.spool import Body

NAME = "weekly"
DAY = timedelta(days=1)
T = TypeVar("T")


class StoppingStore(InMemoryBlobStore):
    """A snapshot location that can't be reached from its n-th change on; its last one may happen."""

    changes_left: int | None = None
    happens = False
    meanwhile: tuple[int, Callable[[], Awaitable[object]]] | None = None
    """What happens before a change: how many come before it, and what."""

    def stop_after(self, changes: int, *, happens: bool) -> None:
        """Empty it, and stop it after so many changes."""
        self._blobs.clear()
        self._texts.clear()
        self.changes_left, self.happens = changes, happens

    async def _change(self, call: Callable[[], Awaitable[T]]) -> T:
        if self.meanwhile is not None:
            left, happening = self.meanwhile
            self.meanwhile = (left - 1, happening) if left else None
            if not left:
                await happening()
        if self.changes_left is None:
            return await call()
        self.changes_left -= 1
        if self.changes_left < 0:
            if self.changes_left == -1 and self.happens:
                await call()
            raise StorageUnavailable("stopped")
        return await call()

    async def put(
        self, key: BlobKey, body: Body, manifest: BlobManifest, *, deadline: datetime
    ) -> None:
        put = super().put
        await self._change(lambda: put(key, body, manifest, deadline=deadline))

    async def delete(self, key: BlobKey) -> Sequence[KeptVersion]:
        delete = super().delete
        return await self._change(lambda: delete(key))

    async def put_text(self, folder: TextFolder, name: str, text: bytes) -> None:
        put_text = super().put_text
        await self._change(lambda: put_text(folder, name, text))

    async def remove_text(self, folder: TextFolder, name: str) -> None:
        remove_text = super().remove_text
        await self._change(lambda: remove_text(folder, name))


@asynccontextmanager
async def filled(**settings: Any) -> AsyncIterator[tuple[Rig, Service]]:
    """A service with a violation, a long video and an image, deleted and held files."""
    rig = Rig(**settings)
    rig.snapshots = StoppingStore(rig.clock, location="host:/snapshots")
    async with rig.running() as service:
        await service.evidence(violation_record(), picture(), film(0))
        await service.video(film(1, 5 * 1024 * 1024), "long")
        for number, name in enumerate(("kept", "deleted", "purged", "held")):
            await service.image(picture(number + 1), name)
        await delete(rig, "purged", grace=timedelta(0))
        assert (await service.container.purge().due()).purged == 1
        await delete(rig, "deleted", "held", grace=30 * DAY)
        await hold(rig, "held")
        yield rig, service


async def delete(rig: Rig, *names: str, grace: timedelta) -> None:
    """Mark files as deleted."""
    now = rig.clock.now()
    ids = tuple(map(FileId, names))
    change = Tombstone(ids, uuid4(), now, now + grace, "asked", "clerk", override=True)
    assert await rig.repo.apply(change)


async def hold(rig: Rig, name: str) -> None:
    """Hold a file."""
    scope = HeldFile(FileId(name))
    await rig.repo.apply(PlaceHold(Hold(uuid4(), scope, "C", "trial", "judge", rig.clock.now())))


async def restored(
    source: Service, target: Service, *, include_purged: bool = False, dry_run: bool = False
) -> Restored:
    """Restore the snapshot of one service into another."""
    container = source.container
    return await target.container.restore_snapshot()(
        container.snapshot_location(),
        NAME,
        destroyed=nothing_destroyed if include_purged else container.find_destroyed(),
        dry_run=dry_run,
    )


def one_byte_differs(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def texts(store: InMemoryBlobStore) -> dict[tuple[TextFolder, str], bytes]:
    """The texts in a location, but for the one that says that it is a location."""
    return {name: text for name, text in store._texts.items() if name[0] is not TextFolder.LOCATION}


def bare(rig: Rig) -> dict[FileId, StoredFile]:
    """The files of a catalogue without what is another one after a restore: the replicas."""
    return {name: evolve(file, replicas=()) for name, file in rig.files.items()}


def run(kind: JobKind, **arguments: Json) -> Run:
    """A run of a job."""
    return Run(uuid4(), uuid4(), kind, arguments, 1, 8)


async def test_a_place_of_something_else_is_not_written_to() -> None:
    rig = Rig()
    rig.snapshots = InMemoryBlobStore(rig.clock, location="host:/other")
    await rig.snapshots.put_text(TextFolder.ROWS, "of-nobody", b"text")
    async with rig.running() as service:
        create = service.container.create_snapshot()
        with pytest.raises(NoSnapshotLocation, match="host:/other is not empty"):
            await create(NAME)
        assert await rig.snapshots.text_names(TextFolder.UNFINISHED) == []
        await rig.snapshots.remove_text(TextFolder.ROWS, "of-nobody")
        await create(NAME)
        # One from before there were marks is a location too.
        for name in await rig.snapshots.text_names(TextFolder.LOCATION):
            await rig.snapshots.remove_text(TextFolder.LOCATION, name)
        await create("daily")


async def test_what_a_snapshot_pins_is_explained() -> None:
    async with filled() as (rig, service):
        await service.container.create_snapshot()(NAME)
        why = (await service.container.explain()("deleted")).why
        until = (rig.clock.now() + 30 * DAY).isoformat()
        assert any(f"{NAME} at host:/snapshots pins it" in one and until in one for one in why)
        await delete(rig, "kept", grace=timedelta(0))
        report = await service.container.purge().due()
        assert (report.purged, report.pinned) == (0, 1)
        await service.container.delete_snapshot()(NAME)
        assert not any("pins" in one for one in (await service.container.explain()("deleted")).why)
        assert (await service.container.purge().due()).purged == 1


async def test_everything_comes_back() -> None:
    async with filled() as (rig, service):
        made = await service.container.create_snapshot()(NAME)
        assert (made.manifest.files, made.manifest.violations) == (7, 1)
        other = Rig()
        async with other.running() as target:
            plan = await restored(service, target, dry_run=True)
            assert (plan.files, plan.violations, plan.dry_run) == (7, 1, True)
            assert other.files == {}
            found = await restored(service, target)
            assert (found.files, found.violations, found.is_whole) == (7, 1, True)
            replay = found.replay
            assert (replay.holds, replay.deletions, replay.purged) == (1, 2, 1)
            assert bare(other) == bare(rig)
            assert other.repo._violations == rig.repo._violations
            assert other.repo._deletions == rig.repo._deletions
            assert other.repo._holds == rig.repo._holds
            assert other.repo._certificates == rig.repo._certificates
            assert (await target.read.whole("long"))[0] == film(1, 5 * 1024 * 1024)
            assert other.findings() == []
            again = await restored(service, target)
            assert (again.files, again.present, again.violations_present) == (0, 7, 1)
            assert bare(other) == bare(rig)


async def test_rules_come_back_unless_others_were_entered() -> None:
    async with filled() as (_, service):
        rule = RetentionRule("court", 500, kind=FileKind.IMAGE)
        change = service.container.change_rules()
        staged, _in_force = await change.stage(GivenRules((rule,)), by="chief", reason="a law")
        await change.enter(staged.change_id, by="chief")
        await service.container.create_snapshot()(NAME)
        async with Rig().running() as target:
            assert (await restored(service, target)).replay.rules == 1
            rules = (await target.container.rules_in_force().current()).rules
            assert "court" in {one.rule_id for one in rules.rules}
        other = Rig()
        async with other.running() as target:
            change = target.container.change_rules()
            own, _in_force = await change.stage(GivenRules(()), by="chief", reason="mine")
            await change.enter(own.change_id, by="chief")
            assert (await restored(service, target)).replay.rules == 0


async def test_what_was_decided_since_stays() -> None:
    async with filled() as (rig, service):
        await service.container.create_snapshot()(NAME)
        now = rig.clock.now() + DAY
        rig.clock.advance(DAY)
        back = Undelete((FileId("deleted"),), now, now + 300 * DAY, "error", "clerk")
        assert await rig.repo.apply(back)
        await delete(rig, "kept", grace=30 * DAY)
        found = await restored(service, service)
        assert (found.files, found.present) == (0, 7)
        assert rig.files[FileId("deleted")].state is FileState.AVAILABLE
        assert rig.files[FileId("kept")].state is FileState.TOMBSTONED


async def test_what_was_destroyed_since_stays_destroyed() -> None:
    async with filled(snapshot_max_age_days=1) as (rig, service):
        await service.container.create_snapshot()(NAME)
        await delete(rig, "kept", grace=timedelta(0))
        assert (await service.container.purge().due()).purged == 0
        rig.clock.advance(DAY)
        assert (await service.container.purge().due()).purged == 1
        assert (await restored(service, service, include_purged=True)).destroyed == 1
        async with Rig().running() as target:
            found = await restored(service, target)
            assert (found.files, found.destroyed) == (6, 1)
            assert ("kept", "it was destroyed, and stays so") in found.examples
        async with Rig().running() as target:
            assert (await restored(service, target, include_purged=True)).files == 7


async def test_other_files_and_lost_copies() -> None:
    async with filled() as (_, service):
        await service.container.create_snapshot()(NAME)
        other = Rig()
        async with other.running() as target:
            await target.image(picture(99), "kept")
            found = await restored(service, target)
            assert (found.files, found.others, found.is_whole) == (6, 1, False)
            (copy,) = other.files[FileId("long")].replicas
            other.at_rest[Tier.LOCAL].alter(copy.key, lambda _data: None)
            with pytest.raises(Exception, match="long"):
                await target.read.whole("long")
            found = await restored(service, target)
            assert (found.copies, found.files) == (1, 0)
            assert (await target.read.whole("long"))[0] == film(1, 5 * 1024 * 1024)


async def test_damage_of_a_snapshot_is_found() -> None:
    async with filled() as (rig, service):
        made = await service.container.create_snapshot()(NAME)
        verify = service.container.verify_snapshot()
        good = await verify(NAME)
        assert (good.files, good.violations, good.is_good) == (7, 1, True)

        def key(name: str) -> BlobKey:
            file = rig.files[FileId(name)]
            return object_key(file.kind, file.stored.sha256)

        def lose_in_the_store(name: str) -> None:
            (copy,) = rig.files[FileId(name)].replicas
            rig.at_rest[Tier.LOCAL].alter(copy.key, lambda _data: None)

        lose_in_the_store("kept")
        lose_in_the_store("held")
        rig.snapshots.alter(key("kept"), one_byte_differs)
        rig.snapshots.alter(key("held"), lambda _data: None)
        bad = await verify(NAME)
        assert (bad.corrupt, bad.missing, bad.repaired) == (1, 1, 0)
        assert {one.file_id for one in bad.examples} == {"kept", "held"}
        assert all("no store has" in one.unrepaired_because for one in bad.examples)
        last = await service.container.snapshot_location().verification(NAME)
        assert last == Verification(rig.clock.now(), corrupt=1, missing=1)
        jobs = service.container.snapshot_jobs()
        with pytest.raises(GivenUp, match="damaged"):
            await jobs.verify(run(VERIFY, name=NAME), lambda _progress: None)
        async with Rig().running() as target:
            found = await restored(service, target)
            assert (found.files, found.damaged) == (5, 2)
        part = made.manifest.parts[0].sha256
        rig.snapshots._texts[TextFolder.ROWS, part] += b" "
        with pytest.raises(SnapshotDamaged, match="is altered"):
            await verify(NAME)
        last = await service.container.snapshot_location().verification(NAME)
        assert last is not None
        assert "is altered" in last.damage
        del rig.snapshots._texts[TextFolder.ROWS, part]
        with pytest.raises(SnapshotDamaged, match="is missing"):
            await verify(NAME)
        rig.snapshots._texts[TextFolder.SEALED, NAME] = b"{}"
        with pytest.raises(SnapshotDamaged, match="manifest"):
            await verify(NAME)


async def test_a_damaged_manifest_hides_no_other_snapshot() -> None:
    async with filled() as (rig, service):
        create, delete_it = service.container.create_snapshot(), service.container.delete_snapshot()
        for name in (NAME, "damaged", "third"):
            await create(name)
        rig.snapshots._texts[TextFolder.SEALED, "damaged"] = b"{}"
        view = await snapshots_view(service.container.snapshot_location())
        assert ([one["name"] for one in view["snapshots"]], view["unreadable"]) == (
            [NAME, "third"],  # of the same moment, by name
            ["damaged"],
        )
        with pytest.raises(ObjectsKept, match=r"is deleted, but .* 'damaged' is unreadable"):
            await delete_it(NAME)
        assert (await service.container.verify_snapshot()("third")).is_good
        await delete_it("damaged")
        assert (await delete_it("third")).objects == 7


async def test_a_snapshot_of_another_catalogue_is_deleted_only_on_demand() -> None:
    async with filled() as (rig, service):
        await service.container.create_snapshot()(NAME)
        other = Rig()
        other.snapshots = rig.snapshots
        async with other.running() as stranger:
            delete_it = stranger.container.delete_snapshot()
            with pytest.raises(ForeignSnapshot):
                await delete_it(NAME)
            assert (await service.container.verify_snapshot()(NAME)).is_good
            assert (await delete_it(NAME, foreign=True)).objects == 7


async def test_a_damaged_object_is_written_anew_from_a_store() -> None:
    async with filled() as (rig, service):
        await service.container.create_snapshot()(NAME)
        verify = service.container.verify_snapshot()
        file = rig.files[FileId("kept")]
        rig.snapshots.alter(object_key(file.kind, file.stored.sha256), one_byte_differs)
        found = await verify(NAME)
        assert (found.corrupt, found.repaired, found.is_good) == (1, 1, True)
        assert (await verify(NAME)).corrupt == 0
        assert await rig.snapshots.text_names(TextFolder.DAMAGED) == []
        async with Rig().running() as target:
            assert (await restored(service, target)).files == 7


async def test_the_snapshot_after_a_verification_writes_what_was_damaged() -> None:
    """Whatever the interruption, a good object or a note is there, and shared objects heal too."""
    async with filled() as (rig, service):
        create, verify = service.container.create_snapshot(), service.container.verify_snapshot()
        assert isinstance(rig.snapshots, StoppingStore)
        await create(NAME)
        file = rig.files[FileId("kept")]
        (copy,) = file.replicas
        held = rig.at_rest[Tier.LOCAL]._blobs[copy.key]
        for changes in range(6):
            rig.snapshots.alter(object_key(file.kind, file.stored.sha256), one_byte_differs)
            rig.at_rest[Tier.LOCAL].alter(copy.key, lambda _data: None)
            assert not (await verify(NAME)).is_good
            # While no store has the bytes, a new snapshot says so instead of inheriting the damage.
            blind = await create(f"blind-{changes}")
            assert blind.manifest.damaged == ("kept",)
            rig.at_rest[Tier.LOCAL]._blobs[copy.key] = held
            (lost,) = rig.files[FileId("kept")].replicas
            await service.container.verify_replicas().one(rig.files[FileId("kept")], lost)
            rig.snapshots.changes_left = changes
            with suppress(StorageUnavailable):
                await create(f"after-{changes}")
            rig.snapshots.changes_left = None
            with suppress(SnapshotExists):
                await create(f"after-{changes}")
            assert (await verify(NAME)).corrupt == 0
            assert (await verify(f"after-{changes}")).corrupt == 0


async def test_a_file_without_a_good_copy_is_named() -> None:
    async with filled() as (rig, service):
        (copy,) = rig.files[FileId("kept")].replicas
        rig.at_rest[Tier.LOCAL].alter(copy.key, lambda _data: None)
        made = await service.container.create_snapshot()(NAME)
        assert (made.manifest.damaged, made.manifest.damaged_count) == (("kept",), 1)
        assert (await service.container.verify_snapshot()(NAME)).is_good
        async with Rig().running() as target:
            found = await restored(service, target)
            assert (found.files, found.damaged) == (6, 1)


async def test_a_snapshot_of_too_many_parts_is_refused_before_its_bytes_are_copied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(create, "MAX_TEXT_BYTES", create._ROOM_BYTES + 100)
    async with filled() as (_, service):
        with pytest.raises(SnapshotTooLarge, match="too many parts"):
            await service.container.create_snapshot()(NAME)
        location = service.container.snapshot_location()
        assert (await location.complete(), await location.unfinished()) == ([], [NAME])


async def test_a_second_snapshot_shares_what_is_there() -> None:
    async with filled() as (rig, service):
        make = service.container.create_snapshot()
        first = await make(NAME)
        await service.image(picture(50), "new")
        second = await make("second")
        assert (first.written_objects, second.written_objects) == (7, 1)
        with pytest.raises(SnapshotExists):
            await make(NAME)
        with pytest.raises(InvalidInput):
            await make("../x")
        delete_snapshot = service.container.delete_snapshot()
        gone = await delete_snapshot("second")
        assert (gone.objects, gone.waits_for) == (1, ())
        assert (await service.container.verify_snapshot()(NAME)).is_good
        assert (await delete_snapshot(NAME)).objects == 7
        assert rig.snapshots._blobs == {}
        assert texts(rig.snapshots) == {}
        assert await rig.repo.pins() == []
        with pytest.raises(NotFound):
            await delete_snapshot(NAME)


async def test_an_object_that_was_cut_off_is_written_again() -> None:
    async with filled() as (rig, service):
        create = service.container.create_snapshot()
        await create(NAME)
        file = rig.files[FileId("kept")]
        rig.snapshots.alter(object_key(file.kind, file.stored.sha256), lambda data: data[:3])
        assert (await create("second")).written_objects == 1
        assert (await service.container.verify_snapshot()(NAME)).is_good


@pytest.mark.parametrize("happens", [False, True])
async def test_wherever_it_is_stopped_a_snapshot_is_complete_or_not_there(*, happens: bool) -> None:
    async with filled() as (rig, service):
        store, location = rig.snapshots, service.container.snapshot_location()
        assert isinstance(store, StoppingStore)
        create, verify = service.container.create_snapshot(), service.container.verify_snapshot()
        outcomes = set[bool]()
        for changes in range(17):
            store.stop_after(changes, happens=happens)
            with suppress(StorageUnavailable):
                await create(NAME)
            store.changes_left = None
            is_complete = [one.name for one in await location.complete()] == [NAME]
            outcomes.add(is_complete)
            if not is_complete:
                with pytest.raises(NotFound):
                    await verify(NAME)
                written = await create(NAME)
                assert written.written_objects <= 7
            assert (await verify(NAME)).is_good
            assert (await service.container.delete_snapshot()(NAME)).waits_for == ()
            assert (store._blobs, texts(store)) == ({}, {})
        assert outcomes == {False, True}


@pytest.mark.parametrize("happens", [False, True])
async def test_wherever_it_is_stopped_a_deletion_goes_on(*, happens: bool) -> None:
    async with filled() as (rig, service):
        store = rig.snapshots
        assert isinstance(store, StoppingStore)
        create, delete_it = service.container.create_snapshot(), service.container.delete_snapshot()
        verify = service.container.verify_snapshot()
        for changes in range(12):
            store.changes_left = None
            await create("first")
            await service.image(picture(100 + changes), f"new-{changes}{happens}")
            await create("second")
            store.changes_left, store.happens = changes, happens
            with suppress(StorageUnavailable):
                await delete_it("second")
            store.changes_left = None
            with suppress(NotFound):
                await delete_it("second")
            assert (await verify("first")).is_good
            await delete_it("first")
            assert (store._blobs, texts(store)) == ({}, {})


async def test_objects_are_not_removed_while_a_snapshot_is_made() -> None:
    async with filled() as (rig, service):
        create, delete_it = service.container.create_snapshot(), service.container.delete_snapshot()
        await create(NAME)
        await rig.snapshots.put_text(TextFolder.UNFINISHED, "other", b"now")
        gone = await delete_it(NAME)
        assert (gone.objects, gone.waits_for) == (0, ["other"])
        await rig.snapshots.put_text(TextFolder.COLLECTING, "third", b"third")
        with pytest.raises(SnapshotBusy, match="third"):
            await create("other")
        await delete_it("third")
        assert (await create("other")).written_objects == 0
        assert (await service.container.verify_snapshot()("other")).is_good


async def test_a_deletion_at_any_moment_of_a_creation_leaves_no_damaged_snapshot() -> None:
    moment, meets = 0, True
    while meets:
        async with filled() as (rig, service):
            create = service.container.create_snapshot()
            delete_it = service.container.delete_snapshot()

            async def delete_both(delete: DeleteSnapshot = delete_it) -> None:
                for name in ("first", NAME):
                    with suppress(NotFound):
                        await delete(name)

            await create("first")
            await service.image(picture(50), "new")
            store = rig.snapshots
            assert isinstance(store, StoppingStore)
            store.meanwhile = moment, delete_both
            try:
                await create(NAME)
                is_made = True
            except SnapshotGone:
                is_made = False
            meets = store.meanwhile is None
            found = [one.name for one in await service.container.snapshot_location().complete()]
            assert is_made or NAME not in found
            assert meets or NAME in found
            if NAME in found:
                assert (await service.container.verify_snapshot()(NAME)).is_good
        moment += 1
    assert moment > 5


async def test_the_last_of_two_calls_with_one_name_loses() -> None:
    async with filled() as (_, service):
        create = service.container.create_snapshot()
        outcomes = await asyncio.gather(create(NAME), create(NAME), return_exceptions=True)
        assert sum(isinstance(one, SnapshotExists) for one in outcomes) <= 1
        assert (await service.container.verify_snapshot()(NAME)).is_good


async def test_a_snapshot_has_what_was_there_at_its_moment() -> None:
    async with filled() as (rig, service):
        violations, some_are_stored = 0, asyncio.Event()

        async def store() -> None:
            nonlocal violations
            while violations < 60:
                violations += 1
                if violations == 20:
                    some_are_stored.set()
                name = f"W{violations}"
                await service.evidence(
                    violation_record(name), picture(violations), film(violations)
                )

        writers = [asyncio.ensure_future(store()) for _ in range(4)]
        await some_are_stored.wait()
        made = await service.container.create_snapshot()(NAME)
        await asyncio.gather(*writers)
        other = Rig()
        async with other.running() as target:
            found = await restored(service, target)
            assert (found.violations, found.is_whole) == (made.manifest.violations, True)
            assert 1 < found.violations < 61
            assert other.findings() == []
            assert all(file.created_at <= made.manifest.cut_at for file in other.files.values())
            for name, row in other.repo._violations.items():
                assert row == rig.repo._violations[name]
                assert row.image_file_id is not None


async def test_a_restore_that_was_interrupted_goes_on() -> None:
    async with filled() as (rig, service):
        await service.container.create_snapshot()(NAME)
        for calls in range(0, 40, 3):
            other = Rig()
            async with other.running() as target:
                other.local.plan(
                    Fault("put", nth=1 + calls % 7), Fault("verify", nth=1 + calls % 5)
                )
                for _ in range(4):
                    with suppress(StorageUnavailable, StorageFull):
                        await restored(service, target)
                assert bare(other) == bare(rig)


async def test_snapshots_by_schedule_are_made_and_pruned() -> None:
    async with filled(snapshot_keep=2, snapshot_schedule=SnapshotSchedule.DAILY) as (rig, service):
        scheduled = service.container.snapshot_jobs().handlers[SCHEDULE]
        location = service.container.snapshot_location()
        await service.container.create_snapshot()(NAME)
        await rig.snapshots.put_text(TextFolder.UNFINISHED, "scheduled-20260101T000000Z", b"x")
        for _ in range(4):
            outcome = await scheduled(run(SCHEDULE), lambda _progress: None)
            assert isinstance(outcome.end, Done)
            rig.clock.advance(DAY)
        names = [one.name for one in await location.complete()]
        assert names == ["scheduled-20260317T120000Z", "scheduled-20260316T120000Z", NAME]
        assert await location.unfinished() == []
        kinds = {schedule.kind for schedule in service.container.schedules()()}
        assert SCHEDULE in kinds


async def test_jobs_of_snapshots_can_be_repeated() -> None:
    async with filled() as (_, service):
        jobs = service.container.snapshot_jobs()
        for _ in range(2):
            outcome = await jobs.create(run(CREATE, name=NAME), lambda _progress: None)
            assert isinstance(outcome.end, Done)
        await jobs.verify(run(VERIFY, name=NAME), lambda _progress: None)
        for include_purged in (False, True):
            arguments = restoration(NAME, include_purged=include_purged)
            outcome = await jobs.restore(run(RESTORE, **arguments), lambda _progress: None)
            assert isinstance(outcome.end, Done)
            assert outcome.end.progress is not None
            assert outcome.end.progress.done == 7
            assert outcome.end.progress.message == ""


async def test_a_drill_compares_a_sample() -> None:
    async with filled() as (rig, service):
        await service.container.create_snapshot()(NAME)
        other = Rig()
        async with other.running() as scratch:
            use_cases = scratch.container
            found = await service.container.drill_snapshot()(
                NAME, use_cases.restore_snapshot(), use_cases.read_files(), sample=5, seed=1
            )
            assert (found.sample, found.restored.files, found.has_passed) == (5, 5, True)
        file = rig.files[FileId("kept")]
        rig.snapshots.alter(object_key(file.kind, file.stored.sha256), lambda _data: None)
        other = Rig()
        async with other.running() as scratch:
            use_cases = scratch.container
            await scratch.image(picture(77), "held")
            found = await service.container.drill_snapshot()(
                NAME, use_cases.restore_snapshot(), use_cases.read_files(), sample=50, seed=1
            )
            assert (found.sample, found.has_passed) == (7, False)
            assert found.differing[FileId("kept")] == ["it was not restored"]
            assert "content" in found.differing[FileId("held")]
            assert "bytes" in found.differing[FileId("held")]


async def test_old_files_are_archived() -> None:
    rig = Rig(StorageStrategy.LOCAL_THEN_CLOUD)
    async with rig.running() as service:
        await service.image(picture(1), "old")
        await service.video(film(1), "film")
        rig.clock.advance(40 * DAY)
        await service.image(picture(2), "new")
        archive, before = service.container.archive(), rig.clock.now() - 30 * DAY
        assert (await archive(before, kinds=[FileKind.VIDEO], dry_run=True)).files == 1
        assert rig.copies_due == {}
        planned = await archive(before)
        assert (planned.files, planned.copied) == (2, 2)
        await archive(before)
        await service.sync()
        assert (rig.tier("old"), rig.tier("film"), rig.tier("new")) == (
            Tier.CLOUD,
            Tier.CLOUD,
            Tier.LOCAL,
        )
        assert (await archive(rig.clock.now() + DAY)).files == 1
        assert rig.findings() == []
    async with Rig(StorageStrategy.LOCAL_ONLY).running() as service:
        with pytest.raises(NoArchive):
            await service.container.archive()(NOON)


async def test_two_restores_at_a_time_bring_everything_once() -> None:
    async with filled() as (rig, service):
        await service.evidence(violation_record("V002"), picture(60))
        await service.container.create_snapshot()(NAME)
        other = Rig()
        async with other.running() as target:
            found = await asyncio.gather(*(restored(service, target) for _ in range(3)))
            assert sum(one.files for one in found) == 9
            assert sum(one.violations for one in found) == 2
            assert all(one.is_whole for one in found)
            assert bare(other) == bare(rig)
            # What the slower ones wrote is removed by recovery: the journal names it.
            other.clock.advance(DAY)
            await target.sweep()
            assert other.findings() == []


async def test_a_full_target_is_told_and_a_violation_without_its_file_is_named() -> None:
    async with filled() as (rig, service):
        (copy,) = rig.files[FileId("V001~metadata")].replicas
        rig.at_rest[Tier.LOCAL].alter(copy.key, lambda _data: None)
        await service.container.create_snapshot()(NAME)
        other = Rig()
        async with other.running() as target:
            other.local.plan(Fault("put", lambda: StorageFull("no space"), times=None))
            with pytest.raises(StorageFull):
                await restored(service, target)
            assert other.attempts == []
            other.local.come_back()
            found = await restored(service, target)
            assert (found.files, found.damaged, found.unplaced) == (6, 1, 1)
            assert ("V001", "its metadata file was not restored") in found.examples
            again = await restored(service, target)
            assert (again.present, again.damaged) == (6, 1)


async def test_a_video_that_a_violation_lacks_is_added_to_it() -> None:
    async with filled() as (rig, service):
        await service.container.create_snapshot()(NAME)
        other = Rig()
        async with other.running() as target:
            await target.evidence(violation_record(), picture())
            found = await restored(service, target)
            # The files of another storing of the violation have other times of receipt.
            assert found.others + found.present == 2
            assert other.repo._violations[ViolationId("V001")].video_file_id == "V001~video"
            assert rig.findings() == []
