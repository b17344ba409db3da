"""Migration between two services in memory: what arrives, what does not, and what is told of it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from attrs import evolve

from tests.application.rig import LONG_AGO, Rig, Service, film, picture, violation_record
from tests.application.test_copy_file import SpoilingBlobStore
from tests.support.waiting import until
from traffic_storage.application import migrate as module
from traffic_storage.application.migrate import Migrate
from traffic_storage.application.migrate_and_prove import MigrateAndProve, ProvenMigration
from traffic_storage.application.migration_jobs import (
    MigrationJobs,
    MigrationRequest,
    migration_job,
)
from traffic_storage.application.migration_reads import files_to_undelete, files_without_violation
from traffic_storage.application.migration_sides import Migrated, MigrationLimits, MigrationTarget
from traffic_storage.application.reconcile_migration import CountRange, ReconcileMigration
from traffic_storage.application.worker import GivenUp
from traffic_storage.domain.digests import WHOLE_READ_BYTES, Sha256
from traffic_storage.domain.errors import InvalidInput, StorageUnavailable, WrongState
from traffic_storage.domain.files import BlobKey, PlacementNote, StoredFile, Tier
from traffic_storage.domain.holds import HoldRequest
from traffic_storage.domain.identifiers import FileId, ViolationId
from traffic_storage.domain.jobs import Done, Progress, Run
from traffic_storage.domain.migration import MigrationId, Reconciliation
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.domain.query import HoldsQuery
from traffic_storage.domain.retention import MIGRATED_RULE
from traffic_storage.domain.seal import Seal, Sealed
from traffic_storage.entrypoints.testing.containers import NOON
from traffic_storage.entrypoints.testing.faults.blob_store import Damage, tamper
from traffic_storage.entrypoints.testing.faults.plans import Fault

DAY = timedelta(days=1)
START, END = NOON - 3000 * DAY, NOON + 3000 * DAY


def lasting(rig: Rig) -> dict[FileId, StoredFile]:
    """The rows of all files without what a move changes."""
    note = PlacementNote("somewhere", "for a test")
    return {
        name: evolve(one, replicas=(), placement=note, keep_until=NOON, retention_rule="")
        for name, one in rig.files.items()
    }


class Move:
    """Two services and a migration from one to the other."""

    def __init__(self, source: Rig, target: Rig, services: tuple[Service, Service]) -> None:
        self.source, self.target = source, target
        self.old, self.new = services
        self.progress: list[Progress] = []

    async def __call__(self, *, dry_run: bool = False, **limits: int) -> Migrated:
        migrate = Migrate(
            self.old.container.migration_source(), self.new.container.migration_target()
        )
        return await migrate(
            START, END, self.progress.append, limits=MigrationLimits(**limits), dry_run=dry_run
        )

    async def sealed(self) -> ProvenMigration:
        """Migrate, and seal the source."""
        migrate = MigrateAndProve(
            self.old.container.migration_source(), self.new.container.migration_target()
        )
        return await migrate(START, END, self.progress.append, seal_as="clerk")

    async def reconciled(self, *, reread: bool = False) -> Reconciliation:
        compare = ReconcileMigration(
            self.old.container.migration_source(), self.new.container.migration_target()
        )
        source = await self.source.repo.catalogue_id()
        return await compare(MigrationId(source, START, END), self.progress.append, reread=reread)

    def rows_are_equal(self) -> bool:
        """Whether the target has all rows of the source, but for what a move changes."""
        files = lasting(self.source) == lasting(self.target)
        return files and self.source.repo._violations == self.target.repo._violations

    def key_of(self, rig: Rig, file_id: str) -> tuple[Tier, BlobKey]:
        (copy,) = rig.files[FileId(file_id)].readable
        return copy.tier, copy.key


@pytest.fixture
async def move() -> AsyncIterator[Move]:
    source, target = Rig(), Rig(StorageStrategy.CLOUD_ONLY, attempt_timeout_seconds=60)
    target.cloud = SpoilingBlobStore(target.at_rest[Tier.CLOUD])
    target.clock.advance(40 * DAY)
    async with source.running() as old, target.running() as new:
        yield Move(source, target, (old, new))


async def filled(service: Service, count: int = 3) -> None:
    """Violations with an image, and some with a video; the first has another file that names it."""
    for number in range(count):
        await service.evidence(
            violation_record(f"V{number}"), picture(number), film(number) if number % 2 else None
        )
    await service.json(
        {"speed": 90}, "analysis", violation_id="V0", metadata={"device_id": "cam-1"}
    )


async def test_violations_arrive_with_all_their_facts(move: Move) -> None:
    await filled(move.old)
    found = await move()
    assert (found.records, found.files, found.skipped, found.failed) == (3, 8, 0, 0)
    assert found.bytes == sum(file.stored.size_bytes for file in move.source.files.values())
    assert move.rows_are_equal()
    assert move.target.findings() == []
    assert all(
        file.readable[0].verified_at == move.target.clock.now()
        for file in move.target.files.values()
    )
    assert move.target.cloud.calls["verify"] == 8
    assert await move.new.miscounts() == []
    assert move.progress[-1].done == 3
    assert await move.target.repo.migration_cursor(found.migration) is None


async def test_labels_that_are_added_at_the_source_later_arrive_too(move: Move) -> None:
    await filled(move.old)
    await move.old.image(picture(9), "more", violation_id="V0")
    await move()
    later = {"device_id": "cam-7", "captured_at": NOON - timedelta(minutes=5)}
    await move.old.image(picture(9), "more", **later)
    assert not (await move.reconciled()).is_equal
    found = await move()
    assert (found.files, found.failed) == (1, 0)
    assert move.rows_are_equal()
    assert (await move.reconciled()).is_equal
    assert (await move()).files == 0


async def test_files_without_a_violation_are_counted_up_to_a_bound(move: Move) -> None:
    await filled(move.old)
    for number in range(3):
        await move.old.image(picture(number), f"alone-{number}")
    whole = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
    catalogue = move.old.container.migration_source().catalogue
    assert await files_without_violation(catalogue, *whole) == (3, True)
    count, is_all = await files_without_violation(catalogue, *whole, most=4)
    assert count <= 3
    assert not is_all
    assert await files_without_violation(catalogue, whole[0], whole[0]) == (0, True)


async def test_files_that_can_be_undeleted_are_counted_up_to_a_bound(move: Move) -> None:
    await filled(move.old)
    await move.old.image(picture(9), "alone")
    delete = move.old.container.delete_files()
    for name in ("alone", "V0~image"):
        await delete.file(name, "a test", "clerk", override=True)
    await delete.violation("V1", "a test", "clerk", override=True)
    source = move.old.container.migration_source()
    whole = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
    assert await files_to_undelete(source, *whole) == (5, True)
    count, is_all = await files_to_undelete(source, *whole, most=2)
    assert (count, is_all) == (2, False)
    assert await files_to_undelete(source, whole[0], whole[0]) == (0, True)
    # The time of the violation decides, not that of the receipt.
    occurred = move.source.repo._violations[ViolationId("V1")].occurred_at
    assert occurred < move.source.files[FileId("V1~image")].created_at
    assert await files_to_undelete(source, occurred, occurred + timedelta(seconds=1)) == (4, True)

    move.source.clock.advance(8 * DAY)
    await move.old.container.purge().due()
    assert await files_to_undelete(source, *whole) == (0, True)


async def test_a_doubt_that_the_source_has_told_is_not_told_again(
    move: Move, caplog: pytest.LogCaptureFixture
) -> None:
    dead = datetime(1990, 1, 1, tzinfo=UTC)
    await move.old.evidence(violation_record("V0"), picture())
    await move.old.json({"a": 1}, "old", violation_id="V0", captured_at=dead)
    assert "starts at its receipt" in caplog.text
    caplog.clear()
    assert (await move()).files == 3
    assert "starts at its receipt" not in caplog.text


async def test_a_repeated_migration_brings_nothing_twice_and_what_came_meanwhile(
    move: Move,
) -> None:
    await filled(move.old)
    await move()
    again = await move()
    assert (again.records, again.files, again.skipped) == (0, 0, 3)
    await move.old.evidence(violation_record("V0"), picture(0), film(7))
    more = await move()
    assert (more.records, more.files, more.skipped) == (0, 1, 2)
    assert move.rows_are_equal()
    assert (await move.reconciled(reread=True)).is_equal


async def test_back_and_forth(move: Move) -> None:
    await filled(move.old)
    await move()
    empty = Rig()
    async with empty.running() as third:
        back = Move(move.target, empty, (move.new, third))
        await back()
        assert back.rows_are_equal()
        assert (await back.reconciled(reread=True)).is_equal


async def test_a_dry_run_only_counts(move: Move) -> None:
    await filled(move.old)
    found = await move(dry_run=True)
    assert (found.records, found.files) == (3, 8)
    assert not move.target.files
    assert move.target.cloud.calls["put"] == 0


async def test_a_large_file_arrives(move: Move) -> None:
    await move.old.evidence(violation_record(), video=film(2, WHOLE_READ_BYTES + 700_000))
    await move()
    assert move.rows_are_equal()


async def test_a_violation_arrives_without_a_file_that_has_no_good_copy(move: Move) -> None:
    await filled(move.old)
    tier, key = move.key_of(move.source, "V1~image")
    await tamper(move.source.at_rest[tier], key, Damage.FLIP)
    found = await move()
    assert (found.records, found.files, found.failed) == (3, 7, 1)
    (failure,) = found.failures
    assert (failure.violation_id, failure.file_id) == ("V1", "V1~image")
    assert "no intact copy" in failure.reason
    arrived = move.target.repo._violations[ViolationId("V1")]
    assert arrived.incomplete
    assert arrived.video_file_id == "V1~video"
    difference = await move.reconciled()
    assert not difference.is_equal
    assert [(one.file_id, one.problem) for one in difference.differences] == [
        ("V1~image", "is missing")
    ]
    assert [day.is_equal for day in difference.days] == [False]


@pytest.mark.parametrize("how", [Damage.FLIP, Damage.REMOVE])
async def test_a_lost_metadata_file_is_made_anew_from_the_rows(move: Move, how: Damage) -> None:
    await filled(move.old)
    # The video came later, so the document does not name it.
    await move.old.evidence(violation_record("V0"), picture(0), film(7))
    for name in ("V0~metadata", "V1~metadata"):
        tier, key = move.key_of(move.source, name)
        await tamper(move.source.at_rest[tier], key, how)
    found = await move()
    assert (found.records, found.failed) == (3, 0)
    assert (await move.reconciled(reread=True)).is_equal


async def test_a_violation_whose_metadata_file_is_lost_for_good_is_told(move: Move) -> None:
    await filled(move.old)
    tier, key = move.key_of(move.source, "V1~metadata")
    await tamper(move.source.at_rest[tier], key, Damage.FLIP)
    name = FileId("V1~metadata")
    other = evolve(move.source.files[name].content, sha256=Sha256("0" * 64))
    move.source.repo._files[name] = evolve(move.source.files[name], content=other)
    found = await move()
    assert (found.records, found.failed) == (2, 2)
    assert [one.file_id for one in found.failures] == ["V1~metadata", None]
    assert move.target.findings() == []


async def test_an_image_that_comes_later_is_added_by_the_next_call(move: Move) -> None:
    await move.old.evidence(violation_record())
    await move()
    await move.old.evidence(violation_record(), picture(1))
    found = await move()
    assert (found.records, found.files) == (0, 1)
    assert move.rows_are_equal()


async def test_other_content_under_an_id_is_told_and_left_alone(move: Move) -> None:
    await filled(move.old)
    await move.new.evidence(violation_record("V0", confidence=0.1), picture(9))
    await move.new.json({"other": 1}, "analysis")
    before = move.target.files[FileId("V0~image")]
    found = await move()
    assert (found.records, found.failed) == (2, 2)
    assert {one.file_id for one in found.failures} == {None, "analysis"}
    assert all("exists already with other content" in one.reason for one in found.failures)
    assert move.target.files[FileId("V0~image")] == before
    problems = {one.problem for one in (await move.reconciled()).differences}
    assert problems >= {"has another record or other times", "has other facts or another digest"}


async def test_a_target_that_spoils_bytes_gets_no_row(move: Move) -> None:
    await filled(move.old, 1)
    assert isinstance(move.target.cloud, SpoilingBlobStore)
    move.target.cloud.how = Damage.FLIP
    found = await move()
    assert found.records == 0
    assert found.failed == 2
    assert "does not have the bytes that were written" in found.failures[0].reason
    assert not move.target.files
    move.target.cloud.how = None
    assert (await move()).records == 1
    move.target.clock.advance(LONG_AGO)
    await move.new.sweep()
    assert (move.target.findings(), move.target.attempts) == ([], [])


async def test_an_interrupted_migration_goes_on_behind_its_cursor(
    move: Move, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGE", 2)
    for number in range(9):
        record = violation_record(f"V{number}", timestamp=NOON - number * DAY)
        await move.old.evidence(record, picture(number))
    move.target.cloud.plan(Fault("put", nth=10))
    with pytest.raises(StorageUnavailable):
        await move(parallel=1)
    source = await move.source.repo.catalogue_id()
    cursor = await move.target.repo.migration_cursor(MigrationId(source, START, END))
    assert cursor is not None
    assert cursor.records >= 2
    rest = await move()
    assert rest.resumed == cursor.records
    assert rest.resumed + rest.records + rest.skipped == 9
    assert move.rows_are_equal()
    assert (await move()).skipped == 9


async def test_holds_arrive_before_the_first_file(move: Move) -> None:
    await filled(move.old)
    request = HoldRequest("case 7", "asked by the court", violation_id=ViolationId("V1"))
    placed = await move.old.container.legal_holds().place(request, "clerk")
    move.target.cloud.go_down("the bucket is away")
    with pytest.raises(StorageUnavailable):
        await move()
    assert await move.target.repo.hold(placed.hold.hold_id) == placed.hold
    assert not move.target.files
    move.target.cloud.come_back()
    assert (await move()).holds == 0
    held = await move.target.repo.holds(HoldsQuery(active_at=move.target.clock.now()))
    assert held.items == (placed.hold,)
    names = [FileId("V1~image"), FileId("V0~image")]
    assert await move.target.repo.held(names, move.target.clock.now()) == {"V1~image"}


async def test_nothing_is_kept_less_long_than_before() -> None:
    source = Rig(image_retention_days=500, video_retention_days=10)
    target = Rig(image_retention_days=100, video_retention_days=700)
    async with source.running() as old, target.running() as new:
        move = Move(source, target, (old, new))
        await filled(old)
        await move()
        image, video = (target.files[FileId(name)] for name in ("V1~image", "V1~video"))
        assert image.retention_rule == MIGRATED_RULE
        assert image.keep_until == source.files[FileId("V1~image")].keep_until
        assert video.keep_until - video.retention_basis.at == 700 * DAY
        explained = await new.container.explain()("V1~image")
        assert "the service from which it was migrated keeps it as long" in " ".join(explained.why)


async def test_deleted_files_stay_behind(move: Move) -> None:
    await filled(move.old)
    await move.old.container.delete_files().file("V1~image", "a test", "clerk", override=True)
    found = await move()
    assert (found.records, found.files, found.deleted) == (3, 7, 1)
    assert move.target.repo._violations[ViolationId("V1")].incomplete
    assert (await move.reconciled()).is_equal


async def erased(rig: Rig, service: Service, *names: str) -> None:
    """Delete files, or violations with all their files, and purge them."""
    delete = service.container.delete_files()
    for name in names:
        what = delete.file if "~" in name else delete.violation
        await what(name, "its time has come", "clerk", override=True)
    rig.clock.advance(8 * DAY)
    await service.container.purge().due()


async def test_destruction_certificates_arrive(move: Move) -> None:
    await filled(move.old)
    await erased(move.source, move.old, "V0~image", "V1")
    # These come after the first migration, of which the target has the files.
    missing = await move.reconciled()
    assert {one.file_id for one in missing.differences if "certificate" in one.problem} == {
        FileId(f"V1~{kind}") for kind in ("image", "video", "metadata")
    }
    found = await move()
    assert (found.records, found.files, found.certificates, found.failed) == (2, 4, 4, 0)
    for name in ("V0~image", "V1~image", "V1~video", "V1~metadata"):
        certificate = await move.target.repo.certificate(FileId(name))
        assert certificate == await move.source.repo.certificate(FileId(name))
        assert certificate
    names = [FileId("V0~image"), FileId("V1~metadata")]
    assert await move.target.repo.deletions(names) == await move.source.repo.deletions(names)
    assert move.target.repo._violations == move.source.repo._violations
    assert (await move()).certificates == 0
    assert (await move.reconciled(reread=True)).is_equal
    assert await move.new.miscounts() == []
    await erased(move.source, move.old, "V2")
    assert (await move()).certificates == 0
    assert (await move.reconciled(reread=True)).is_equal
    assert move.target.files[FileId("V2~image")].readable


async def test_the_certificate_of_another_violation_is_told(move: Move) -> None:
    await filled(move.old)
    await erased(move.source, move.old, "V1")
    await move.new.evidence(violation_record("V1", confidence=0.1))
    found = await move()
    assert (found.certificates, found.failed) == (0, 2)
    assert all("another violation" in one.reason for one in found.failures)


async def test_released_holds_arrive_and_holds_are_released(move: Move) -> None:
    holds = move.old.container.legal_holds()
    await move.old.evidence(violation_record("V1"), picture())
    asked = HoldRequest("case 7", "a court asks", violation_id=ViolationId("V1"))
    placed = [(await holds.place(asked, "clerk")).hold for _ in range(2)]
    await holds.release(str(placed[0].hold_id), "the case is closed", "judge")
    assert (await move()).holds == 2
    await holds.release(str(placed[1].hold_id), "so is this one", "judge")
    assert (await move()).holds == 1
    assert (await move()).holds == 0
    for one in placed:
        known = await move.target.repo.hold(one.hold_id)
        assert known == await move.source.repo.hold(one.hold_id)
        assert known
        assert known.released_by == "judge"


async def test_a_byte_that_is_flipped_at_the_target_is_found(move: Move) -> None:
    await filled(move.old)
    await move()
    tier, key = move.key_of(move.target, "V2~image")
    await tamper(move.target.at_rest[tier], key, Damage.FLIP)
    assert (await move.reconciled()).is_equal
    found = await move.reconciled(reread=True)
    assert not found.is_equal
    (difference,) = found.differences
    assert difference.file_id == "V2~image"
    assert "damaged copy" in difference.problem
    assert not found.days[0].is_equal


async def test_what_was_deleted_at_the_target_is_a_difference(move: Move) -> None:
    await filled(move.old)
    await move()
    await move.new.container.delete_files().violation("V1", "a test", "clerk", override=True)
    problems = {one.problem for one in (await move.reconciled()).differences}
    assert problems == {"is tombstoned"}
    assert (await move()).failed == 1


async def test_a_service_is_not_migrated_to_itself(move: Move) -> None:
    same = Migrate(move.old.container.migration_source(), move.old.container.migration_target())
    with pytest.raises(InvalidInput, match="target"):
        await same(START, END, move.progress.append)


async def test_a_sealed_source_refuses_what_is_new_and_goes_on_reading(move: Move) -> None:
    await filled(move.old)
    done = await move.sealed()
    assert done.is_complete
    assert done.seal is not None
    for work in (
        move.old.image(picture(9), "new"),
        move.old.evidence(violation_record("V9")),
        move.old.evidence(violation_record("V0"), picture(0), film(7)),
    ):
        with pytest.raises(Sealed, match=r"sealed \(read only\) since .* migrated"):
            await work
    # A retry of what was stored before, whose answer was lost.
    assert not (await move.old.evidence(violation_record("V0"), picture(0))).created
    assert (await move.old.read.whole("V0~image"))[1].file_id == "V0~image"
    assert move.source.findings() == []
    await move.new.image(picture(9), "new")
    sealing = move.old.container.sealing()
    await sealing.unseal("it goes on here", "clerk")
    await move.old.image(picture(9), "new")
    with pytest.raises(WrongState, match="is not sealed"):
        await sealing.unseal("again", "clerk")
    with pytest.raises(InvalidInput, match="reason"):
        await sealing.unseal("", "clerk")


async def test_another_process_is_refused_at_its_commit_before_it_knows_of_the_seal(
    move: Move,
) -> None:
    await filled(move.old, 1)
    async with move.source.running() as other:
        await other.image(picture(1), "before")
        await move.sealed()
        # What the other process knows is younger than ten seconds.
        with pytest.raises(Sealed):
            await other.image(picture(2), "after")
    assert FileId("after") not in move.source.files
    assert (move.source.findings(), move.source.attempts) == ([], [])


async def test_a_store_that_is_under_way_does_not_outlast_the_seal(move: Move) -> None:
    await filled(move.old, 1)
    gate = asyncio.Event()
    move.source.local.plan(Fault("put", error=None, gate=gate))
    storing = asyncio.create_task(move.old.image(picture(2), "late"))
    await until(lambda: bool(move.source.attempts))
    assert (await move.sealed()).seal is not None
    gate.set()
    with pytest.raises(Sealed):
        await storing
    assert FileId("late") not in move.source.files


async def test_a_source_is_not_sealed_if_the_target_lacks_or_spoils_something(move: Move) -> None:
    await filled(move.old)
    await move()
    tier, key = move.key_of(move.target, "V2~image")
    await tamper(move.target.at_rest[tier], key, Damage.FLIP)
    done = await move.sealed()
    assert done.reconciliation is not None
    assert [one.file_id for one in done.reconciliation.differences] == ["V2~image"]
    assert done.seal is None
    assert await move.source.repo.seal() is None
    await move.old.image(picture(9), "new")


async def test_what_comes_until_the_seal_takes_effect_is_brought(
    move: Move, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(move.old)
    sealing = move.old.container.sealing()
    seal = sealing.seal

    async def late(reason: str, by: str) -> Seal:
        await move.old.evidence(violation_record("V9"), picture(9))
        asked = HoldRequest("case 7", "a court asks", violation_id=ViolationId("V0"))
        await move.old.container.legal_holds().place(asked, "clerk")
        return await seal(reason, by)

    monkeypatch.setattr(sealing, "seal", late)
    done = await move.sealed()
    assert (done.migrated.records, done.is_complete) == (4, True)
    assert done.migrated.holds == 1
    assert len((await move.target.repo.holds(HoldsQuery())).items) == 1
    assert done.seal is not None
    assert move.rows_are_equal()


async def test_a_seal_is_lifted_if_the_end_of_the_migration_fails(
    move: Move, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(move.old)
    sealing = move.old.container.sealing()
    seal = sealing.seal

    async def late(reason: str, by: str) -> Seal:
        name = "V8" if lost else "V9"
        await move.old.evidence(violation_record(name), picture(9))
        if lost:
            tier, key = move.key_of(move.source, f"{name}~image")
            await tamper(move.source.at_rest[tier], key, Damage.FLIP)
        else:
            move.target.cloud.go_down("the bucket is away")
        return await seal(reason, by)

    monkeypatch.setattr(sealing, "seal", late)
    lost = False
    with pytest.raises(StorageUnavailable):
        await move.sealed()
    assert await sealing.current() is None
    move.target.cloud.come_back()
    lost = True
    done = await move.sealed()
    assert (done.seal, done.is_complete) == (None, False)
    assert await sealing.current() is None


async def test_a_range_is_counted_as_a_reconciliation_does(move: Move) -> None:
    await filled(move.old)
    await move()
    count = CountRange(move.new.container.migration_target())
    (day,) = (await move.reconciled()).days
    found = await count(START, END, move.progress.append, reread=True)
    assert found.days == {day.day: day.source}
    assert found.damaged == ()
    assert move.progress[-1].done == 3
    tier, key = move.key_of(move.target, "V2~image")
    await tamper(move.target.at_rest[tier], key, Damage.FLIP)
    assert (await count(START, END, move.progress.append, reread=False)).damaged == ()
    for reread in (True, False):  # The second count knows from the row.
        found = await count(START, END, move.progress.append, reread=reread)
        assert found.damaged == ("V2~image",)
        assert found.days[day.day].files == day.source.files - 1


def jobs(move: Move, name: str = "cloud") -> MigrationJobs:
    """Migrations to the one target, under this name."""

    @asynccontextmanager
    async def opened(_name: str) -> AsyncIterator[MigrationTarget]:
        yield move.new.container.migration_target()

    return MigrationJobs(
        source=move.old.container.migration_source(), open_target=opened, targets=lambda: [name]
    )


def run_of(asked: MigrationRequest) -> Run:
    """The run of the job that does a migration."""
    kind, arguments = migration_job(asked, "clerk")
    return Run(uuid4(), uuid4(), kind, arguments, 1, 8)


async def test_a_job_brings_and_tells_what_it_brought(move: Move) -> None:
    await filled(move.old)
    tier, key = move.key_of(move.source, "V1~image")
    await tamper(move.source.at_rest[tier], key, Damage.FLIP)
    asked = MigrationRequest("cloud", START, END, seal=True)
    outcome = await jobs(move).run(run_of(asked), move.progress.append)
    assert isinstance(outcome.end, Done)
    assert outcome.end.progress is not None
    assert outcome.end.progress.message == (
        "3 violations, 7 files brought; 1 failed, as the log tells; 1 difference by all bytes"
    )
    await move.old.container.delete_files().file("V1~image", "lost", "clerk", override=True)
    outcome = await jobs(move).run(run_of(asked), move.progress.append)
    assert isinstance(outcome.end, Done)
    assert outcome.end.progress is not None
    assert outcome.end.progress.message.endswith("equal by all bytes; sealed")
    assert move.source.repo._seal is not None
    assert move.source.repo._seal.sealed_by == "clerk"


async def test_a_job_that_can_not_succeed_is_given_up(move: Move) -> None:
    await filled(move.old)
    for asked, why in (
        (MigrationRequest("other", START, END), "give one of cloud"),
        (MigrationRequest("cloud", END, START), "end_date"),
    ):
        with pytest.raises(GivenUp, match=why):
            await jobs(move).run(run_of(asked), move.progress.append)
    await move.new.container.sealing().seal("it moved on", "clerk")
    with pytest.raises(GivenUp, match="read only"):
        await jobs(move).run(run_of(MigrationRequest("cloud", START, END)), move.progress.append)
    assert not move.target.files


@pytest.mark.parametrize("wrong", [{"parallel": 0}, {"bytes_per_second": -1}])
def test_limits_that_are_too_small_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(wrong))):
        MigrationLimits(**wrong)


async def test_files_are_begun_at_the_pace_that_was_asked_for(move: Move) -> None:
    await filled(move.old, 1)
    begin = time.monotonic()
    await move(files_per_second=50, parallel=1)
    # Two files of the violation and one that names it; the first begins at once.
    assert time.monotonic() - begin >= 2 / 50
