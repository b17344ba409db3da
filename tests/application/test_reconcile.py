"""Reconcile: a store and the catalogue are compared; nothing is lost, whichever of them is wrong."""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from uuid import uuid4

import pytest
from attrs import evolve

from tests.application.rig import RememberingBlobStore, Rig, Service, film, picture, two_copies
from tests.application.rig import violation_record as record
from traffic_storage.adapters.record_repo.memory import InMemoryRecordRepo
from traffic_storage.application.reconcile import RECONCILE, Reconciliation, Skipped
from traffic_storage.application.reconcile_store import Reconciled
from traffic_storage.domain.errors import StorageUnavailable
from traffic_storage.domain.files import (
    BlobKey,
    FileState,
    ReplicaState,
    StoredFile,
    Tier,
    blob_key,
)
from traffic_storage.domain.identifiers import AttemptId, StoreId
from traffic_storage.domain.ingest import Attempt, ClaimedIds
from traffic_storage.domain.jobs import Done, Progress, Run
from traffic_storage.domain.manifest import manifest_of
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.domain.quarantine import Quarantined, QuarantineReason
from traffic_storage.domain.reconcile import MIN_AGE
from traffic_storage.entrypoints.testing.blobs import NEVER
from traffic_storage.entrypoints.testing.faults.plans import Fault
from traffic_storage.ports.blob_store import BlobEntry
from traffic_storage.ports.spool import MemoryBody

DAY = timedelta(days=1)
MONTH = timedelta(days=30)
LOCAL, CLOUD = Tier.LOCAL, Tier.CLOUD


def silent(_store_id: StoreId, _progress: Progress) -> None:
    """Report to nobody."""


async def reconciled(service: Service, tier: Tier = LOCAL, **options: bool) -> Reconciliation:
    """Reconcile all stores; what was found and done in one."""
    found = await service.container.reconcile()(silent, **options)
    (one,) = [
        one
        for one in found
        if isinstance(one, Reconciliation)
        and one.compared.location == service_store(service, tier).location
    ]
    return one


def service_store(service: Service, tier: Tier = LOCAL) -> RememberingBlobStore:
    """The adapter of a store of a service."""
    (found,) = [one.store for one in service.stores if one.store.tier is tier]
    return found  # type: ignore[return-value]


def store_id(service: Service, tier: Tier = LOCAL) -> StoreId:
    """The id of a store."""
    (found,) = [one.store_id for one in service.stores if one.store.tier is tier]
    assert found is not None
    return found


async def leave(
    rig: Rig, service: Service, file: StoredFile, data: bytes, tier: Tier = LOCAL
) -> BlobKey:
    """Put a blob of a file into a store, and tell nobody."""
    key = blob_key(file.kind, service.container.ids().uuid7(), file.stored.sha256)
    await rig.at_rest[tier].put(
        key, MemoryBody(data, file.stored), manifest_of(file), deadline=NEVER
    )
    return key


def entries(rig: Rig) -> list[Quarantined]:
    """The entries of the quarantine."""
    return sorted(rig.repo._quarantine.values(), key=lambda one: one.key)


def hide(monkeypatch: pytest.MonkeyPatch, rig: Rig, hidden: Callable[[int], bool]) -> None:
    """Leave blobs out of the listings of the local store, by their place."""
    store, listed = rig.at_rest[LOCAL], rig.at_rest[LOCAL].list

    async def short(prefix: str = "", after: str = "") -> AsyncIterator[BlobEntry]:
        number = 0
        async for entry in listed(prefix, after):
            if not hidden(number):
                yield entry
            number += 1

    monkeypatch.setattr(store, "list", short)


@pytest.fixture
def rig() -> Rig:
    return Rig(StorageStrategy.LOCAL_ONLY, reconcile_max_count=10, quarantine_days=30)


async def stored(service: Service, count: int) -> list[StoredFile]:
    """Files that are stored now."""
    return [(await service.video(film(n), f"F{n}")).file for n in range(count)]


class TestAgreement:
    async def test_what_agrees_is_left_alone(self, rig: Rig) -> None:
        async with rig.running() as service:
            await service.evidence(record(), picture(), film())
            rig.clock.advance(2 * DAY)
            before = dict(rig.files)

            found = await reconciled(service)

            assert found.compared.tally.listed == found.compared.tally.recorded == 3
            assert found.compared == Reconciled(
                found.compared.store_id, found.compared.location, False, found.compared.tally
            )
            assert rig.files == before
            assert rig.findings() == []

    async def test_a_job_reconciles_the_store_that_it_names(self, rig: Rig) -> None:
        async with rig.running() as service:
            await stored(service, 2)
            run = Run(uuid4(), uuid4(), RECONCILE, {"store_id": store_id(service)}, 1, 1)
            seen: list[Progress] = []

            outcome = await service.container.reconcile().run(run, seen.append)

            assert isinstance(outcome.end, Done)
            assert outcome.end.progress is not None
            assert outcome.end.progress.done == 2

    async def test_a_worker_has_the_job_for_each_store(self) -> None:
        rig = Rig(StorageStrategy.HYBRID)
        async with rig.running() as service:
            schedules = service.container.schedules()()
            assert RECONCILE in service.container.handlers()
            assert sorted(
                str(one.store_id) for one in schedules if one.kind == RECONCILE
            ) == sorted([store_id(service), store_id(service, CLOUD)])


class TestUnrecorded:
    async def test_a06_a_blob_whose_row_is_not_committed_yet_is_never_an_orphan(
        self, rig: Rig
    ) -> None:
        async with rig.running() as service:
            (file,) = await stored(service, 1)
            rig.clock.advance(2 * DAY)
            await leave(rig, service, file, film(0))
            for wait in (timedelta(0), timedelta(seconds=5), MIN_AGE - timedelta(seconds=5)):
                rig.clock.advance(wait)
                found = await reconciled(service)
                assert found.compared.tally.young == 1
                assert entries(rig) == []
            # It is judged once it is more than a day old.
            rig.clock.advance(timedelta(seconds=1))
            assert (await reconciled(service)).compared.quarantined == 1

    async def test_a_blob_of_a_live_attempt_is_never_an_orphan(self, rig: Rig) -> None:
        async with rig.running() as service:
            (file,) = await stored(service, 1)
            key = await leave(rig, service, file, film(0))
            attempt = Attempt(AttemptId("slow"), "test", NEVER, ((store_id(service), key),))
            await rig.repo.begin(attempt, ClaimedIds(()))
            rig.clock.advance(2 * DAY)

            found = await reconciled(service)

            assert found.compared.tally.unrecorded == 1
            assert (found.compared.quarantined, entries(rig)) == (0, [])

    async def test_a_first_sighting_deletes_nothing(self, rig: Rig) -> None:
        async with rig.running() as service:
            (file,) = await stored(service, 1)
            key = await leave(rig, service, file, film(0))
            rig.clock.advance(2 * MONTH)

            found = await reconciled(service)

            assert found.compared.quarantined == 1
            (entry,) = entries(rig)
            assert (entry.key, entry.reason) == (key, QuarantineReason.UNRECORDED)
            assert key in rig.at_rest[LOCAL].blobs
            assert entry.seen_at == rig.clock.now()
            again = await reconciled(service)
            assert (again.compared.quarantined, again.compared.tally.quarantined) == (0, 1)
            assert entries(rig)[0].seen_at == entry.seen_at

    async def test_a_dry_run_changes_nothing(self, rig: Rig) -> None:
        async with rig.running() as service:
            first, second = await stored(service, 2)
            await leave(rig, service, first, film(0))
            await rig.at_rest[LOCAL].delete(second.replicas[0].key)
            rig.clock.advance(2 * DAY)
            before = dict(rig.files)

            found = await reconciled(service, dry_run=True)

            assert found.compared.tally.unrecorded == found.compared.tally.missing == 1
            assert (rig.files, entries(rig)) == (before, [])

    async def test_a_key_of_another_making_is_left_alone(self, rig: Rig) -> None:
        async with rig.running() as service:
            (file,) = await stored(service, 1)
            key = await leave(rig, service, file, film(0))
            blob = rig.at_rest[LOCAL]._blobs.pop(key)
            strange = BlobKey(f"video/2001/02/03/{key.rpartition('/')[2]}")
            rig.at_rest[LOCAL]._blobs[strange] = blob
            rig.clock.advance(2 * DAY)

            found = await reconciled(service)

            assert (found.compared.tally.foreign, entries(rig)) == (1, [])


class TestMissing:
    async def test_a_replica_without_a_blob_is_recorded_as_missing(self, rig: Rig) -> None:
        async with rig.running() as service:
            file, _ = await stored(service, 2)
            await rig.at_rest[LOCAL].delete(file.replicas[0].key)
            rig.clock.advance(2 * DAY)

            found = await reconciled(service)

            assert (found.compared.missing, found.compared.tally.missing) == (1, 1)
            assert rig.files[file.file_id].replicas[0].state is ReplicaState.MISSING

    async def test_a_blob_that_only_a_listing_lacks_is_not_missing(
        self, rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with rig.running() as service:
            await stored(service, 3)
            rig.clock.advance(2 * DAY)
            before = dict(rig.files)
            hide(monkeypatch, rig, lambda number: number == 1)

            found = await reconciled(service)

            assert found.compared.tally.missing == found.compared.unexplained == 1
            assert (found.compared.missing, rig.files) == (0, before)

    async def test_a_blob_of_another_size_is_recorded_as_corrupt(self, rig: Rig) -> None:
        async with rig.running() as service:
            (file,) = await stored(service, 1)
            key = file.replicas[0].key
            blob = rig.at_rest[LOCAL]._blobs[key]
            rig.at_rest[LOCAL]._blobs[key] = evolve(blob, data=blob.data[:-1])
            rig.clock.advance(2 * DAY)

            found = await reconciled(service)

            assert (found.compared.tally.damaged, found.compared.corrupt) == (1, 1)
            assert rig.files[file.file_id].replicas[0].state is ReplicaState.CORRUPT

    async def test_a_blob_that_is_back_is_verified_and_recorded(self, rig: Rig) -> None:
        async with rig.running() as service:
            (file,) = await stored(service, 1)
            key = file.replicas[0].key
            blob = rig.at_rest[LOCAL]._blobs.pop(key)
            rig.clock.advance(2 * DAY)
            await reconciled(service)
            rig.at_rest[LOCAL]._blobs[key] = blob

            found = await reconciled(service)

            assert (found.compared.tally.reappeared, found.compared.present) == (1, 1)
            assert rig.files[file.file_id].replicas[0].state is ReplicaState.PRESENT


class TestAbort:
    async def test_a05_a_listing_that_is_60_percent_short_changes_nothing(
        self, rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with rig.running() as service:
            files = await stored(service, 20)
            gone = files[0].replicas[0].key
            await rig.at_rest[LOCAL].delete(gone)
            await leave(rig, service, files[1], film(1))
            rig.clock.advance(2 * DAY)
            before = dict(rig.files)
            hide(monkeypatch, rig, lambda number: number % 5 < 3)

            found = await reconciled(service)

            assert "the listing may be incomplete" in found.compared.aborted
            assert found.examined is None
            assert (rig.files, entries(rig)) == (before, [])

    async def test_a_listing_that_fails_changes_nothing(self, rig: Rig) -> None:
        async with rig.running() as service:
            files = await stored(service, 3)
            await rig.at_rest[LOCAL].delete(files[0].replicas[0].key)
            rig.clock.advance(2 * DAY)
            before = dict(rig.files)
            for nth in (1, 2, 3):
                rig.local.plan(Fault("list", nth=nth))
                with pytest.raises(StorageUnavailable):
                    await reconciled(service)
                rig.local.plan()
            assert (rig.files, entries(rig)) == (before, [])

    async def test_an_empty_catalogue_at_a_full_store_changes_nothing(self, rig: Rig) -> None:
        async with rig.running() as service:
            await stored(service, 3)
        blobs = dict(rig.at_rest[LOCAL].blobs)
        rig.repo = InMemoryRecordRepo()
        rig.clock.advance(2 * DAY)
        async with rig.running() as service:
            (skipped,) = [
                one
                for one in await service.container.reconcile()(silent)
                if isinstance(one, Skipped) and "blobs" in one.location
            ]
            assert "another catalogue" in skipped.reason
            await service.sweep()
        assert (rig.at_rest[LOCAL].blobs, entries(rig)) == (blobs, [])

    async def test_an_empty_catalogue_of_the_same_id_changes_nothing(self, rig: Rig) -> None:
        """A store that was adopted by hand, or a backup of the first day."""
        async with rig.running() as service:
            await stored(service, 11)
            rig.clock.advance(2 * DAY)
            blobs = dict(rig.at_rest[LOCAL].blobs)
            rig.repo._files.clear()

            found = await reconciled(service)

            assert "may be older than the store, or empty" in found.compared.aborted
            assert (rig.at_rest[LOCAL].blobs, entries(rig)) == (blobs, [])
            forced = await reconciled(service, override_limit=True)
            assert forced.compared.quarantined == 11
            assert rig.at_rest[LOCAL].blobs == blobs

    async def test_a_full_catalogue_on_an_empty_mount_changes_nothing(self, rig: Rig) -> None:
        async with rig.running() as service:
            await stored(service, 3)
            rig.clock.advance(2 * DAY)
            before = dict(rig.files)
            # The disk goes away while the process runs.
            store = rig.at_rest[LOCAL]
            store._blobs, store._marker = {}, None
            with pytest.raises(StorageUnavailable, match="identification file"):
                await reconciled(service)
        assert rig.files == before
        async with rig.running() as service:
            found = await service.container.reconcile()(silent)
            assert any(isinstance(one, Skipped) and "blobs" in one.location for one in found)
        assert rig.files == before

    async def test_a_store_that_is_exchanged_during_a_listing_changes_nothing(
        self, rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with rig.running() as service:
            await stored(service, 3)
            rig.clock.advance(2 * DAY)
            before = dict(rig.files)
            store = rig.at_rest[LOCAL]

            async def exchanged(prefix: str = "", after: str = "") -> AsyncIterator[BlobEntry]:
                store._blobs, store._marker = {}, None
                for _ in ():
                    yield BlobEntry(BlobKey(prefix + after), 0, rig.clock.now())

            monkeypatch.setattr(store, "list", exchanged)
            compare = service.container.reconcile_store()
            with pytest.raises(StorageUnavailable, match="identification file"):
                await compare(store_id(service), lambda _progress: None)
        assert rig.files == before

    async def test_a_listing_out_of_order_changes_nothing(
        self, rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with rig.running() as service:
            await stored(service, 3)
            rig.clock.advance(2 * DAY)
            listed = rig.at_rest[LOCAL].list

            async def backwards(prefix: str = "", after: str = "") -> AsyncIterator[BlobEntry]:
                for entry in reversed([one async for one in listed(prefix, after)]):
                    yield entry

            monkeypatch.setattr(rig.at_rest[LOCAL], "list", backwards)
            with pytest.raises(StorageUnavailable, match="not in the order"):
                await reconciled(service)


class TestQuarantine:
    async def test_a_file_that_the_catalogue_lost_is_recorded_again(self, rig: Rig) -> None:
        async with rig.running() as service:
            (file,) = await stored(service, 1)
            rig.clock.advance(2 * DAY)
            del rig.repo._files[file.file_id]
            assert (await reconciled(service)).compared.quarantined == 1
            assert rig.files == {}
            rig.clock.advance(MIN_AGE)

            found = await reconciled(service)

            assert found.examined is not None
            assert (found.examined.files, entries(rig)) == (1, [])
            again = rig.files[file.file_id]
            assert evolve(again, replicas=file.replicas) == file
            assert (await service.read.whole(file.file_id))[0] == film(0)
            assert rig.findings() == []

    async def test_a_violation_that_the_catalogue_lost_is_recorded_again(self, rig: Rig) -> None:
        async with rig.running() as service:
            evidence = await service.evidence(record(), picture(), film())
            rig.clock.advance(2 * DAY)
            rig.repo._files.clear()
            rig.repo._violations.clear()
            await reconciled(service)
            rig.clock.advance(MIN_AGE)

            await reconciled(service)

            violation = evidence.violation
            assert rig.repo._violations == {violation.violation_id: violation}
            assert len(rig.files) == 3
            assert rig.findings() == []

    async def test_bytes_that_contradict_their_manifest_are_kept(self, rig: Rig) -> None:
        async with rig.running() as service:
            (file,) = await stored(service, 1)
            key = file.replicas[0].key
            blob = rig.at_rest[LOCAL]._blobs[key]
            rig.at_rest[LOCAL]._blobs[key] = evolve(blob, data=blob.data[:-1] + b"?")
            rig.clock.advance(2 * DAY)
            rig.repo._files.clear()
            await reconciled(service)
            rig.clock.advance(2 * MONTH)

            found = await reconciled(service)

            assert found.examined is not None
            assert (found.examined.kept, found.examined.files) == (1, 0)
            assert "the stored bytes" in entries(rig)[0].note
            assert key in rig.at_rest[LOCAL].blobs

    @pytest.mark.parametrize("state", [ReplicaState.MISSING, ReplicaState.CORRUPT])
    async def test_another_copy_replaces_a_bad_one(self, rig: Rig, state: ReplicaState) -> None:
        async with rig.running() as service:
            (file,) = await stored(service, 1)
            key = await leave(rig, service, file, film(0))
            bad = evolve(file.replicas[0], state=state)
            rig.repo._files[file.file_id] = evolve(file, replicas=(bad,))
            rig.at_rest[LOCAL]._blobs.pop(bad.key)
            rig.clock.advance(2 * DAY)
            await reconciled(service)
            rig.clock.advance(MIN_AGE)

            found = await reconciled(service)

            assert found.examined is not None
            assert found.examined.copies == 1
            assert {r.key for r in rig.files[file.file_id].readable} == {key}

    async def test_a_copy_that_is_not_needed_is_deleted_after_its_days(self, rig: Rig) -> None:
        async with rig.running() as service:
            (file,) = await stored(service, 1)
            key = await leave(rig, service, file, film(0))
            rig.clock.advance(2 * DAY)
            await reconciled(service)
            rig.clock.advance(MONTH - timedelta(seconds=1))
            early = await reconciled(service)
            assert early.examined is not None
            assert (early.examined.waiting, early.examined.removed) == (1, 0)
            assert entries(rig)[0].note == f"{file.file_id} has another copy in this store"
            rig.clock.advance(timedelta(seconds=1))

            found = await reconciled(service)

            assert found.examined is not None
            assert (found.examined.removed, found.examined.bytes_removed) == (1, len(film(0)))
            assert key not in rig.at_rest[LOCAL].blobs
            assert (entries(rig), rig.findings()) == ([], [])

    async def test_a_copy_is_kept_while_the_other_one_cannot_be_verified(self, rig: Rig) -> None:
        async with rig.running() as service:
            (file,) = await stored(service, 1)
            key = await leave(rig, service, file, film(0))
            first = file.replicas[0].key
            blob = rig.at_rest[LOCAL]._blobs[first]
            rig.at_rest[LOCAL]._blobs[first] = evolve(blob, data=blob.data[:-1] + b"?")
            rig.clock.advance(2 * DAY)
            await reconciled(service)
            rig.clock.advance(2 * MONTH)

            found = await reconciled(service)

            assert found.examined is not None
            assert (found.examined.kept, found.examined.removed) == (1, 0)
            assert key in rig.at_rest[LOCAL].blobs

    async def test_a_blob_of_a_destroyed_file_is_deleted_never_recorded(self, rig: Rig) -> None:
        async with rig.running() as service:
            (file,) = await stored(service, 1)
            gone = evolve(file.replicas[0], state=ReplicaState.GONE)
            rig.repo._files[file.file_id] = evolve(file, replicas=(gone,), state=FileState.PURGED)
            rig.clock.advance(2 * DAY)
            assert (await reconciled(service)).compared.quarantined == 1
            assert entries(rig)[0].reason is QuarantineReason.RETURNED
            rig.clock.advance(MONTH)

            found = await reconciled(service)

            assert found.examined is not None
            assert found.examined.removed == 1
            assert not rig.at_rest[LOCAL].blobs

    async def test_an_entry_without_a_blob_ends(self, rig: Rig) -> None:
        async with rig.running() as service:
            (file,) = await stored(service, 1)
            key = await leave(rig, service, file, film(0))
            rig.clock.advance(2 * DAY)
            await reconciled(service)
            await rig.at_rest[LOCAL].delete(key)
            rig.clock.advance(MIN_AGE)

            found = await reconciled(service)

            assert found.examined is not None
            assert (found.examined.absent, entries(rig)) == (1, [])

    @pytest.mark.parametrize("copied", [CLOUD, LOCAL])
    async def test_an_old_catalogue_gets_back_what_moved_since(self, copied: Tier) -> None:
        """Its replica is gone; another one, which it does not know, has the bytes."""
        rig = Rig(StorageStrategy.HYBRID, reconcile_max_count=10)
        async with rig.running() as service:
            file = await two_copies(rig, service, film(0))
            (kept,) = [copy for copy in file.replicas if copy.tier is not copied]
            rig.repo._files[file.file_id] = evolve(file, replicas=(kept,))
            await rig.at_rest[kept.tier].delete(kept.key)
            rig.clock.advance(2 * DAY)
            await service.container.reconcile()(silent)
            rig.clock.advance(MIN_AGE)

            await service.container.reconcile()(silent)

            assert [copy.tier for copy in rig.files[file.file_id].readable] == [copied]
            assert (await service.read.whole(file.file_id))[0] == film(0)
