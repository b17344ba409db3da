"""Files are deleted in two steps, holds prevent it, and a purge leaves a certificate."""

import json
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from uuid import uuid4

import pytest

from tests.application.rig import Rig, Service, film, picture, violation_record
from tests.application.test_rules_in_force import entered
from traffic_storage.adapters.blob_store.memory import InMemoryBlobStore
from traffic_storage.adapters.cache.memory import InProcessCache
from traffic_storage.application.check_invariants import CheckBudget
from traffic_storage.application.delete_files import DeleteFiles
from traffic_storage.application.legal_holds import LegalHolds
from traffic_storage.application.purge import PURGE, PurgeReport
from traffic_storage.domain.deletion import REGRANTED_RULE, Deleted, InsideRetention, NotDeleted
from traffic_storage.domain.digests import sha256_of
from traffic_storage.domain.errors import InvalidInput, NotFound, StorageUnavailable, WrongState
from traffic_storage.domain.files import BlobKey, FileKind, FileState, ReplicaState, Tier
from traffic_storage.domain.holds import Held, HoldReach, HoldRequest
from traffic_storage.domain.identifiers import DeviceId, FileId, ViolationId
from traffic_storage.domain.jobs import Done, Progress, Run
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.domain.query import HoldsQuery
from traffic_storage.domain.retention_rules import RetentionRule
from traffic_storage.entrypoints.cli.doctor.deep import checks
from traffic_storage.entrypoints.cli.doctor.finding import Status
from traffic_storage.entrypoints.testing.faults.plans import Fault
from traffic_storage.ports.blob_store import KeptVersion
from traffic_storage.ports.errors import CatalogueUnavailable

DAY = timedelta(days=1)
YEARS = 2 * 366 * DAY


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.fixture
async def service(rig: Rig) -> AsyncIterator[Service]:
    async with rig.running() as service:
        yield service


@pytest.fixture
def delete(service: Service) -> DeleteFiles:
    return service.container.delete_files()


@pytest.fixture
def holds(service: Service) -> LegalHolds:
    return service.container.legal_holds()


async def purge(service: Service) -> PurgeReport:
    return await service.container.purge().due()


def on_file(file_id: str, **more: object) -> HoldRequest:
    return HoldRequest("case 7", "a court asks", file_id=FileId(file_id), **more)  # type: ignore[arg-type]


def size_of(rig: Rig, file_id: str = "F") -> int:
    """The stored bytes of a copy of a file."""
    return rig.files[FileId(file_id)].stored.size_bytes


async def deleted(service: Service, file_id: str = "F") -> None:
    """Store an image and delete it."""
    await service.image(picture(), file_id)
    await service.container.delete_files().file(file_id, "a test", "clerk", override=True)


async def test_a_file_is_deleted_then_purged(
    rig: Rig, service: Service, delete: DeleteFiles
) -> None:
    stored = await service.image(picture(), "F", metadata={"plate": "X 1"})
    (copy,) = stored.file.replicas
    rig.clock.advance(YEARS)
    done = await delete.file("F", "its time has come", "clerk")
    assert (done.state, done.file_ids) == (FileState.TOMBSTONED, ("F",))
    assert done.deletion.purge_after == rig.clock.now() + 7 * DAY
    with pytest.raises(Deleted) as caught:
        await service.read.open("F")
    assert caught.value.deletion == done.deletion
    assert await purge(service) == PurgeReport()
    assert copy.key in rig.at_rest[Tier.LOCAL].blobs
    with pytest.raises(NotFound):
        await delete.certificate("F")
    rig.clock.advance(7 * DAY)
    assert await purge(service) == PurgeReport(1, stored.file.stored.size_bytes)
    assert rig.at_rest[Tier.LOCAL].blobs == {}
    certificate = json.loads((await delete.certificate("F")).document)
    assert certificate["reason"] == "its time has come"
    assert certificate["sha256"] == stored.file.content.sha256
    (removed,) = certificate["replicas"]
    assert removed["key"] == copy.key
    assert removed["removed_at"] == rig.clock.now().isoformat()
    assert "X 1" not in str(rig.files[FileId("F")])
    with pytest.raises(Deleted, match="purged"):
        await service.find.file("F")
    assert rig.findings() == []
    assert await service.miscounts() == []


async def test_the_certificate_tells_what_the_store_keeps(
    rig: Rig, service: Service, delete: DeleteFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = rig.at_rest[Tier.LOCAL]

    async def delete_and_keep(key: BlobKey) -> Sequence[KeptVersion]:
        await InMemoryBlobStore.delete(store, key)
        return [KeptVersion("v1", "locked until 2031")]

    monkeypatch.setattr(store, "delete", delete_and_keep)
    await deleted(service)
    rig.clock.advance(7 * DAY)
    assert (await purge(service)).purged == 1
    (removed,) = json.loads((await delete.certificate("F")).document)["replicas"]
    assert removed["answer"].endswith("; the store keeps the version v1: locked until 2031")


async def test_deleting_again_changes_nothing(service: Service, delete: DeleteFiles) -> None:
    await deleted(service)
    first = await delete.file("F", "another reason", "other")
    assert (first.deletion.reason, first.file_ids) == ("a test", ())
    with pytest.raises(NotFound):
        await delete.file("unknown", "a test", "clerk")
    with pytest.raises(InvalidInput, match="reason"):
        await delete.file("F", " ", "clerk")


async def test_retention_needs_an_override(rig: Rig, service: Service, delete: DeleteFiles) -> None:
    stored = await service.image(picture(), "F")
    with pytest.raises(InsideRetention) as caught:
        await delete.file("F", "a mistake", "clerk")
    assert caught.value.keep_until == stored.file.keep_until
    done = await delete.file("F", "a mistake", "clerk", override=True)
    assert done.deletion.override
    rig.clock.advance(7 * DAY)
    await purge(service)
    with pytest.raises(Deleted):
        await delete.file("F", "once more", "clerk")


LONGER = RetentionRule("court", 1500, kind=FileKind.VIDEO)


async def test_longer_rules_keep_a_file_before_the_job_has_come_to_it(
    rig: Rig, service: Service, delete: DeleteFiles
) -> None:
    await service.video(film(), "F")
    rig.clock.advance(YEARS)
    await entered(service, LONGER)
    with pytest.raises(InsideRetention, match="court"):
        await delete.plan_file("F")
    with pytest.raises(InsideRetention, match="court"):
        await delete.file("F", "over", "clerk")
    assert rig.files[FileId("F")].state is FileState.AVAILABLE
    await delete.file("F", "a mistake", "clerk", override=True)
    # Undeleted, it is kept as long as the rules say, not only for 30 days.
    await delete.undelete_file("F", "another mistake", "clerk")
    file = rig.files[FileId("F")]
    assert file.retention_rule == "court"
    assert file.keep_until == file.retention_basis.at + 1500 * DAY


async def test_a_hold_on_a_range_covers_what_a_clock_ahead_has_dated(
    rig: Rig, service: Service, delete: DeleteFiles, holds: LegalHolds
) -> None:
    await service.video(film(), "F", metadata={"device_id": "cam-1"})
    now = rig.clock.now()
    rig.clock._now -= timedelta(seconds=5)
    request = HoldRequest(
        "case 7",
        "a court asks",
        device_id=DeviceId("cam-1"),
        start_time=now - DAY,
        end_time=now + DAY,
    )
    await holds.place(request, "clerk")
    with pytest.raises(Held):
        await delete.file("F", "a mistake", "clerk", override=True)


async def test_what_is_deleted_is_beside_the_blobs_before_the_answer(
    rig: Rig, service: Service, delete: DeleteFiles
) -> None:
    """Also where no worker runs, as on the command line."""
    await service.video(film(), "F")
    notes = rig.at_rest[Tier.LOCAL]._notes
    await delete.file("F", "a mistake", "clerk", override=True)
    assert len(notes) == 1
    await delete.undelete_file("F", "another mistake", "clerk")
    assert len(notes) == 2
    await entered(service, LONGER)
    assert len(notes) == 3


async def test_nothing_overrides_a_hold(
    rig: Rig, service: Service, delete: DeleteFiles, holds: LegalHolds
) -> None:
    await service.image(picture(), "F")
    placed = await holds.place(on_file("F"), "judge")
    assert placed.reach == HoldReach()
    with pytest.raises(Held, match="case 7") as caught:
        await delete.file("F", "space is needed", "admin", override=True)
    assert caught.value.holds == (placed.hold,)
    rig.clock.advance(YEARS)
    batch = await delete.batch([FileId("F")], "retention", "retention", "default-image")
    assert (batch.deleted, batch.held) == ((), frozenset([FileId("F")]))
    await holds.release(str(placed.hold.hold_id), "the case is closed", "judge")
    batch = await delete.batch([FileId("F")], "retention", "retention", "default-image")
    assert [file.file_id for file in batch.deleted] == ["F"]
    with pytest.raises(WrongState):
        await holds.release(str(placed.hold.hold_id), "again", "judge")
    with pytest.raises(NotFound):
        await holds.release("0199a0c4-5d00-7000-8000-000000000000", "again", "judge")
    with pytest.raises(InvalidInput, match="UUID"):
        await holds.release("7", "again", "judge")


async def test_rules_entered_in_the_grace_delay_a_purge(
    rig: Rig, service: Service, delete: DeleteFiles
) -> None:
    """Everything is checked again before bytes are erased; only an override stands."""
    for name in ("F", "G"):
        await service.video(film(), name)
    await delete.file("G", "a mistake", "clerk", override=True)
    rig.clock.advance(YEARS)
    await delete.batch([FileId("F")], "retention", "retention", "default-video")
    rig.clock.advance(DAY)
    await entered(service, LONGER)
    rig.clock.advance(7 * DAY)
    assert await purge(service) == PurgeReport(1, size_of(rig, "G"), kept=1)
    assert rig.files[FileId("F")].state is FileState.TOMBSTONED
    run = Run(uuid4(), uuid4(), PURGE, {}, 1, 1)
    outcome = await service.container.purge().run(run, lambda _: None)
    assert outcome.end == Done(Progress(message="the rules keep 1 deleted file longer"))
    await entered(service)
    assert (await purge(service)).purged == 1


async def test_rules_entered_on_a_host_whose_clock_is_behind_delay_a_purge(
    rig: Rig, service: Service, delete: DeleteFiles
) -> None:
    """The order of a deletion and of new rules is not told by the clocks of two hosts."""
    await service.video(film(), "F")
    rig.clock.advance(YEARS)
    await delete.batch([FileId("F")], "retention", "retention", "default-video")
    rig.clock._now -= timedelta(minutes=12)
    await entered(service, LONGER)
    rig.clock.advance(8 * DAY)
    assert await purge(service) == PurgeReport(0, 0, kept=1)
    assert rig.files[FileId("F")].state is FileState.TOMBSTONED


async def test_a_purge_that_has_begun_ends_under_longer_rules(
    rig: Rig, service: Service, delete: DeleteFiles
) -> None:
    """Some of the bytes may be gone already."""
    await service.video(film(), "F")
    rig.clock.advance(YEARS)
    await delete.file("F", "no longer needed", "clerk")
    rig.clock.advance(7 * DAY)
    rig.local.plan(Fault("delete", lambda: StorageUnavailable("away")))
    assert await purge(service) == PurgeReport(waiting=1, bytes_waiting=size_of(rig))
    await entered(service, LONGER)
    assert (await purge(service)).purged == 1


async def test_a_hold_stops_a_purge_that_has_not_begun(
    rig: Rig, service: Service, delete: DeleteFiles, holds: LegalHolds
) -> None:
    await deleted(service)
    placed = await holds.place(on_file("F"), "judge")
    assert placed.reach == HoldReach(tombstoned=1)
    rig.clock.advance(30 * DAY)
    assert await purge(service) == PurgeReport()
    restored = await delete.undelete_file("F", "it is needed", "judge")
    assert restored.state is FileState.AVAILABLE
    assert (await service.read.open("F")).file == restored


async def test_a_hold_says_when_it_comes_too_late(
    rig: Rig, service: Service, holds: LegalHolds
) -> None:
    """The bytes may be gone already, so the purge ends."""
    await deleted(service)
    rig.clock.advance(7 * DAY)
    rig.local.plan(Fault("delete", lambda: StorageUnavailable("away")))
    assert await purge(service) == PurgeReport(waiting=1, bytes_waiting=size_of(rig))
    assert (await holds.place(on_file("F"), "judge")).reach == HoldReach(purging=1)
    assert (await purge(service)).purged == 1
    with pytest.raises(Deleted):
        await holds.place(on_file("F"), "judge")
    with pytest.raises(NotFound):
        await holds.place(on_file("G"), "judge")


async def test_a11_what_is_undeleted_is_not_due_at_once(
    rig: Rig, service: Service, delete: DeleteFiles
) -> None:
    """A11: restored from the bin after its retention has ended, a file is kept anew."""
    await service.image(picture(), "F")
    rig.clock.advance(YEARS)
    await delete.batch([FileId("F")], "retention", "retention", "default-image")
    file = await delete.undelete_file("F", "it is needed", "clerk")
    assert (file.keep_until, file.retention_rule) == (rig.clock.now() + 30 * DAY, REGRANTED_RULE)
    batch = await delete.batch([FileId("F")], "retention", "retention", "default-image")
    assert (batch.deleted, batch.kept) == ((), frozenset([FileId("F")]))
    rig.clock.advance(8 * DAY)
    assert await purge(service) == PurgeReport()
    with pytest.raises(NotDeleted):
        await delete.undelete_file("F", "again", "clerk")
    assert await service.miscounts() == []


async def test_a_purged_file_is_not_undeleted(
    rig: Rig, service: Service, delete: DeleteFiles
) -> None:
    await deleted(service)
    rig.clock.advance(7 * DAY)
    await purge(service)
    with pytest.raises(Deleted):
        await delete.undelete_file("F", "it is needed", "clerk")
    with pytest.raises(NotFound):
        await delete.undelete_file("unknown", "it is needed", "clerk")


async def test_a_violation_is_deleted_with_its_files(
    rig: Rig, service: Service, delete: DeleteFiles
) -> None:
    await service.evidence(violation_record(), picture(), film())
    await service.image(picture(7), "extra", violation_id="V001")
    with pytest.raises(InsideRetention):
        await delete.violation("V001", "a mistake", "clerk")
    done = await delete.violation("V001", "a mistake", "clerk", override=True)
    assert sorted(done.file_ids) == ["V001~image", "V001~metadata", "V001~video", "extra"]
    with pytest.raises(Deleted) as caught:
        await service.find.violation("V001")
    assert caught.value.deletion == done.deletion
    assert (await delete.violation("V001", "again", "clerk")).file_ids == ()
    back = await delete.undelete_violation("V001", "a mistake", "clerk")
    assert back == await service.find.violation("V001")
    assert len((await service.find.violation_with_files("V001")).files) == 4
    with pytest.raises(NotDeleted):
        await delete.undelete_violation("V001", "again", "clerk")
    await delete.violation("V001", "a mistake", "clerk", override=True)
    rig.clock.advance(7 * DAY)
    assert (await purge(service)).purged == 4
    certificate = json.loads((await delete.violation_certificate("V001")).document)
    assert certificate["violation"]["violation_type"] == "speed"
    assert "the same words" not in str(rig.repo._violations)
    for call in (delete.violation, delete.undelete_violation):
        with pytest.raises(Deleted):
            await call("V001", "again", "clerk")
    assert rig.findings() == []
    assert await service.miscounts() == []


async def test_a_held_part_keeps_its_violation(
    service: Service, delete: DeleteFiles, holds: LegalHolds
) -> None:
    await service.evidence(violation_record(), picture())
    await holds.place(on_file("V001~image"), "judge")
    with pytest.raises(Held):
        await delete.violation("V001", "a mistake", "clerk", override=True)
    assert (await service.find.violation("V001")).state == "available"
    await delete.file("V001~metadata", "a mistake", "clerk", override=True)
    assert (await service.find.file("V001~image")).state is FileState.AVAILABLE


async def test_a_violation_names_the_files_that_are_gone(
    rig: Rig, service: Service, delete: DeleteFiles
) -> None:
    await service.evidence(violation_record(), picture())
    await delete.file("V001~image", "a mistake", "clerk", override=True)
    violation = await service.find.violation("V001")
    assert violation.image_state is FileState.TOMBSTONED
    rig.clock.advance(7 * DAY)
    await purge(service)
    violation = await service.find.violation("V001")
    assert (violation.image_file_id, violation.image_state) == ("V001~image", FileState.PURGED)
    assert violation.video_state is FileState.AVAILABLE


async def test_another_file_with_the_same_content_stays(
    rig: Rig, service: Service, delete: DeleteFiles
) -> None:
    """A15: each file has its own bytes, also while the same content is stored anew."""
    await service.image(picture(), "F")
    await service.image(picture(), "G")
    await delete.file("F", "a mistake", "clerk", override=True)
    rig.clock.advance(7 * DAY)
    assert (await purge(service)).purged == 1
    await service.image(picture(), "H")
    for name in ("G", "H"):
        content, file = await service.read.whole(name)
        assert sha256_of(content) == file.content.sha256
    assert rig.findings() == []


async def test_no_grace_purges_at_once() -> None:
    rig = Rig(deletion_grace_days=0)
    async with rig.running() as service:
        await service.image(picture(), "F")
        delete = service.container.delete_files()
        done = await delete.file("F", "a mistake", "clerk", override=True)
        assert done.state is FileState.PURGED
        assert rig.at_rest[Tier.LOCAL].blobs == {}
        assert (await delete.certificate("F")).file_id == "F"


async def test_a_store_that_is_away_is_left_to_a_later_purge() -> None:
    rig = Rig(StorageStrategy.CLOUD_ONLY)
    async with rig.running() as service:
        await deleted(service)
        rig.clock.advance(7 * DAY)
        rig.cloud.go_down("the line is cut")
        assert await purge(service) == PurgeReport(waiting=1, bytes_waiting=size_of(rig))
        assert rig.files[FileId("F")].state is FileState.PURGING
        rig.cloud.come_back()
        assert (await purge(service)).purged == 1
        assert [copy.state for copy in rig.files[FileId("F")].replicas] == [ReplicaState.GONE]


async def test_a_purge_that_waits_for_a_store_is_told_and_ends_when_it_is_back() -> None:
    """By the periodic job, and `doctor --deep` names the store until then."""
    rig = Rig(StorageStrategy.CLOUD_ONLY)
    async with rig.running() as service:
        await deleted(service)
        rig.clock.advance(7 * DAY)
        rig.cloud.go_down("the line is cut")
        run = Run(uuid4(), uuid4(), PURGE, {}, 1, 1)
        work = service.container.handlers()[PURGE]
        outcome = await work(run, lambda _: None)
        assert isinstance(outcome.end, Done)
        assert outcome.end.progress is not None
        assert outcome.end.progress.message == "1 file waits for a store"
        assert (await service.container.purge().waiting()).files == 0
        rig.clock.advance(timedelta(minutes=10))
        (copy,) = rig.files[FileId("F")].replicas
        told = await told_of_purges(service)
        assert told is not None
        assert "1 deleted file is not erased" in told
        assert copy.store_id in told
        rig.cloud.come_back()
        await service.sweep()
        await work(run, lambda _: None)
        assert rig.files[FileId("F")].state is FileState.PURGED
        assert await told_of_purges(service) is None


async def told_of_purges(service: Service) -> str | None:
    """The problem that `doctor --deep` finds in the purges; None if it finds none."""
    budget = CheckBudget(seconds=5)
    (found,) = [one async for one in checks(service.container, budget) if one.check == "purges"]
    return None if found.status is Status.OK else found.detail


@pytest.mark.parametrize("nth", range(1, 4))
async def test_an_interrupted_purge_goes_on(rig: Rig, service: Service, nth: int) -> None:
    """A1: whichever change does not reach the database, the next purge ends with one certificate."""
    await deleted(service)
    rig.clock.advance(7 * DAY)
    real, calls = rig.repo.apply, 0

    async def apply(change: object) -> bool:
        nonlocal calls
        calls += 1
        if calls == nth:
            raise CatalogueUnavailable("cut")
        return await real(change)  # type: ignore[arg-type]

    rig.repo.apply = apply  # type: ignore[method-assign]
    with pytest.raises(CatalogueUnavailable):
        await purge(service)
    assert (await purge(service)).purged == 1
    assert rig.at_rest[Tier.LOCAL].blobs == {}
    assert len(rig.repo._certificates) == 1
    await service.sweep()
    assert await service.miscounts() == []


async def test_a_purged_file_leaves_the_cache() -> None:
    rig = Rig(deletion_grace_days=0)
    async with rig.running() as service:
        await service.image(picture(), "F")
        _, file = await service.read.whole("F")
        key = f"blob:{file.stored.sha256}"
        assert await rig.cache.get(key)
        await service.container.delete_files().file("F", "a test", "clerk", override=True)
        assert await rig.cache.get(key) is None


async def test_every_process_forgets_what_one_has_purged() -> None:
    """The purge of one process reaches the caches of another, in the process and on its disk."""
    rig = Rig()
    async with rig.running() as service, rig.running() as other:
        own = InProcessCache(2**26, 2**20, rig.clock)
        other.container.forget_purged()._cache = own
        await service.image(picture(), "F")
        file = (await service.find.file("F")).stored.sha256
        await other.sweep()
        await own.put(f"blob:{file}", b"bytes of F", YEARS)
        await service.container.delete_files().file("F", "a test", "clerk", override=True)
        rig.clock.advance(7 * DAY)
        await purge(service)
        await other.sweep()
        assert await own.get(f"blob:{file}") is None
        # A read that began before the purge ends after it.
        await own.put(f"blob:{file}", b"bytes of F", YEARS)
        await other.sweep()
        assert await own.get(f"blob:{file}") is None


async def test_a_cache_on_disk_is_compared_at_the_start() -> None:
    """A process that did not run while a file was purged."""
    rig = Rig()
    async with rig.running() as service:
        kept = (await service.image(picture(1), "G")).file.replicas[0].key
        gone = (await service.image(picture(), "F")).file.replicas[0].key
        await service.container.delete_files().file("F", "a test", "clerk", override=True)
        rig.clock.advance(7 * DAY)
        await purge(service)
        store = rig.at_rest[Tier.LOCAL]
        copies = {kept, gone}

        async def cached_keys() -> list[BlobKey]:
            return sorted(copies)

        async def forget(key: BlobKey) -> None:
            copies.discard(key)

        bound = next(iter(service.stores)).store
        bound.cached_keys, bound.forget = cached_keys, forget  # type: ignore[method-assign]
        await service.sweep()
        assert copies == {kept}
        assert store.blobs.keys() == {kept}


async def test_a_store_that_keeps_a_blob_is_tried_again(rig: Rig, service: Service) -> None:
    """The certificate attests what was found, not what was asked for."""
    await deleted(service)
    rig.clock.advance(7 * DAY)
    store = rig.at_rest[Tier.LOCAL]
    real = store.delete

    async def keep(_key: object) -> None:
        """Answer as if the blob were deleted."""

    store.delete = keep  # type: ignore[method-assign,assignment]
    assert await purge(service) == PurgeReport(waiting=1, bytes_waiting=size_of(rig))
    store.delete = real  # type: ignore[method-assign]
    assert (await purge(service)).purged == 1


async def test_a_hold_request_names_what_is_wrong() -> None:
    with pytest.raises(InvalidInput) as caught:
        HoldRequest("", "x" * 2000, file_id=FileId("F"), violation_id=ViolationId("V"))
    assert [problem.field for problem in caught.value.problems] == [
        "case_reference",
        "reason",
        "file_id",
    ]
    with pytest.raises(InvalidInput) as caught:
        HoldRequest("c", "r", device_id="cam")
    assert [problem.field for problem in caught.value.problems] == ["start_time", "end_time"]


async def test_a_hold_ends_in_the_future(rig: Rig, service: Service, holds: LegalHolds) -> None:
    await service.image(picture(), "F")
    with pytest.raises(InvalidInput, match="until"):
        await holds.place(on_file("F", until=rig.clock.now()), "judge")
    await holds.place(on_file("F", until=rig.clock.now() + DAY), "judge")
    assert len((await holds.holds(HoldsQuery())).items) == 1
    rig.clock.advance(DAY)
    assert (await holds.holds(HoldsQuery())).items == ()
    assert len((await holds.holds(HoldsQuery(), active=False)).items) == 1
