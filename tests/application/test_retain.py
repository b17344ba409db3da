"""Deletion by retention: planned, reviewed, applied, and each file looked at again."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest
from attrs import evolve

from tests.application.rig import Rig, Service, picture, violation_record
from tests.application.test_rules_in_force import LONG, entered, work
from traffic_storage.application.retain import application
from traffic_storage.application.worker import GivenUp
from traffic_storage.domain.errors import NotFound
from traffic_storage.domain.files import FileKind, FileState
from traffic_storage.domain.holds import HeldFile, Hold, PlaceHold, ReleaseHold
from traffic_storage.domain.identifiers import FileId
from traffic_storage.domain.jobs import Run
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.domain.retention_plans import (
    KEPT_LONGER,
    Amount,
    PlanLine,
    PlanTooLarge,
    StalePlan,
)
from traffic_storage.domain.retention_rules import RetentionRule
from traffic_storage.entrypoints.testing.containers import NOON
from traffic_storage.ports.errors import CatalogueUnavailable

DAY = timedelta(days=1)
HOLD = Hold(uuid4(), HeldFile(FileId("held")), "case 1", "a trial", "court", NOON)


def states(rig: Rig) -> dict[str, FileState]:
    return {name: file.state for name, file in sorted(rig.files.items())}


@pytest.fixture
def rig() -> Rig:
    rig = Rig()
    rig.repo._now = rig.clock.now
    return rig


async def three(rig: Rig, service: Service) -> None:
    """Store a file that is due after 90 days, one that is held, and one that is due later."""
    await service.image(picture(1), "due")
    await service.image(picture(2), "held")
    await rig.repo.apply(PlaceHold(HOLD))
    await service.json({"a": 1}, "later")
    rig.clock.advance(90 * DAY)


async def test_a_plan_counts_and_deletes_nothing(rig: Rig) -> None:
    async with rig.running() as service:
        await three(rig, service)
        size = {name: file.stored.size_bytes for name, file in rig.files.items()}
        plan = await service.container.retain().plan(by="me")
        assert plan.lines == (PlanLine("default-image", FileKind.IMAGE, 1, size[FileId("due")]),)
        assert plan.held == Amount(1, size[FileId("held")])
        assert (plan.files, plan.available, plan.local_files, plan.cloud_files) == (1, 3, 1, 0)
        assert await service.container.retain().find_plan(plan.plan_id) == plan
        assert set(states(rig).values()) == {FileState.AVAILABLE}


async def test_applying_a_plan_deletes_what_is_due_by_its_cut_off(rig: Rig) -> None:
    async with rig.running() as service:
        await three(rig, service)
        retain = service.container.retain()
        plan = await retain.plan(by="me")
        await service.image(picture(3), "young")
        rig.clock.advance(91 * DAY)
        done = await retain.apply(plan.plan_id, by="chief")
        assert (done.files_deleted, done.held, done.skipped) == (1, 1, {})
        assert done.bytes_pending == plan.bytes
        assert done.bytes_freed == 0
        assert states(rig) == {
            "due": FileState.TOMBSTONED,
            "held": FileState.AVAILABLE,
            "later": FileState.AVAILABLE,
            "young": FileState.AVAILABLE,
        }
        deletion = (await rig.repo.deletions([FileId("due")]))[FileId("due")]
        assert (deletion.rule, deletion.actor) == ("default-image", "chief")
        again = await retain.apply(plan.plan_id, by="chief")
        assert (again.files_deleted, again.held) == (0, 1)


async def test_a_violation_goes_with_its_metadata(rig: Rig) -> None:
    async with rig.running() as service:
        await service.evidence(violation_record("V1"), picture())
        rig.clock.advance(366 * DAY)
        retain = service.container.retain()
        plan = await retain.plan(by="me")
        assert (plan.files, plan.violations) == (2, 1)
        done = await retain.apply(plan.plan_id, by="me")
        assert (done.files_deleted, done.violations_deleted) == (2, 1)


async def test_both_counts_of_a_file_with_copies_on_both_tiers() -> None:
    rig = Rig(StorageStrategy.CLOUD_ONLY)
    async with rig.running() as service:
        await service.image(picture(), "cloud")
        rig.clock.advance(91 * DAY)
        done = await service.container.retain().policies(by="me")
        assert (done.files_deleted, done.local_files, done.cloud_files) == (1, 0, 1)


async def test_a_hold_placed_or_released_after_the_plan_counts(rig: Rig) -> None:
    async with rig.running() as service:
        await three(rig, service)
        retain = service.container.retain()
        plan = await retain.plan(by="me")
        await rig.repo.apply(ReleaseHold(HOLD.hold_id, rig.clock.now(), "court", "acquitted"))
        new = evolve(HOLD, hold_id=uuid4(), scope=HeldFile(FileId("due")))
        await rig.repo.apply(PlaceHold(new))
        done = await retain.apply(plan.plan_id, by="me")
        assert (done.files_deleted, done.held) == (1, 1)
        assert states(rig)["due"] is FileState.AVAILABLE
        assert states(rig)["held"] is FileState.TOMBSTONED


async def test_a_plan_is_stale_after_other_rules(rig: Rig) -> None:
    async with rig.running() as service:
        await three(rig, service)
        retain = service.container.retain()
        plan = await retain.plan(by="me")
        await entered(service, LONG)
        with pytest.raises(StalePlan, match="revision 2 is in force"):
            await retain.apply(plan.plan_id, by="me")
        with pytest.raises(NotFound):
            await retain.apply(uuid4(), by="me")
        assert set(states(rig).values()) == {FileState.AVAILABLE}


async def test_the_job_of_a_stale_plan_is_given_up(rig: Rig) -> None:
    """A repetition could not succeed."""
    async with rig.running() as service:
        await three(rig, service)
        plan = await service.container.retain().plan(by="me")
        await entered(service, LONG)
        kind, arguments = application(plan.plan_id, "me", override_limit=False)
        run = Run(uuid4(), uuid4(), kind, arguments, 1, 8)
        with pytest.raises(GivenUp, match="revision 2 is in force"):
            await service.container.handlers()[kind](run, lambda _: None)


async def test_rules_that_are_entered_while_a_plan_is_applied_stop_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("traffic_storage.adapters.record_repo.memory.retention.DUE_BATCH", 1)
    async with rig.running() as service:
        for number in range(3):
            await service.image(picture(number), f"image-{number}")
        rig.clock.advance(90 * DAY)
        retain = service.container.retain()
        plan = await retain.plan(by="me")
        rig.script.begin()
        held = rig.script.hold("repo.due_files", nth=2)
        applying = asyncio.create_task(retain.apply(plan.plan_id, by="me"))
        await held.reached.wait()
        await entered(service, LONG)
        held.let_go.set()
        with pytest.raises(StalePlan):
            await applying
        assert [*states(rig).values()].count(FileState.AVAILABLE) == 2


async def test_a_file_that_the_rules_in_force_keep_longer_stays(rig: Rig) -> None:
    """Rules were entered, and the job that recomputes the files has not run yet."""
    async with rig.running() as service:
        await three(rig, service)
        await entered(service, RetentionRule("long", 1000, kind=FileKind.IMAGE))
        retain = service.container.retain()
        plan = await retain.plan(by="me")
        assert plan.files == 0
        assert plan.excluded[KEPT_LONGER].files == 2
        done = await retain.apply(plan.plan_id, by="me")
        assert (done.files_deleted, done.skipped) == (0, {KEPT_LONGER: 2})
        file = rig.files[FileId("due")]
        assert (file.keep_until, file.retention_rule) == (NOON + 1000 * DAY, "long")
        await work(rig, service)
        assert (await retain.plan(by="me")).excluded == {}


async def test_a_large_deletion_needs_an_override(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is deleted without it, also of the first batches."""
    monkeypatch.setattr("traffic_storage.adapters.record_repo.memory.retention.DUE_BATCH", 1)
    rig = Rig(max_deletion_files=2, max_deletion_share=0.4)
    async with rig.running() as service:
        for number in range(3):
            await service.image(picture(number), f"image-{number}")
            await service.json({"n": number}, f"metadata-{number}")
        rig.clock.advance(90 * DAY)
        retain = service.container.retain()
        plan = await retain.plan(by="me")
        with pytest.raises(PlanTooLarge, match="3 of 6 files are due"):
            await retain.apply(plan.plan_id, by="me")
        with pytest.raises(PlanTooLarge):
            await retain.policies(by="me")
        assert set(states(rig).values()) == {FileState.AVAILABLE}
        assert (await retain.policies(by="me", dry_run=True)).files_deleted == 3
        done = await retain.apply(plan.plan_id, by="me", override_limit=True)
        assert done.files_deleted == 3


@pytest.mark.parametrize(("files", "share"), [(3, 0.0), (0, 0.5)])
async def test_a_deletion_within_one_limit_needs_none(files: int, share: float) -> None:
    rig = Rig(max_deletion_files=files, max_deletion_share=share)
    async with rig.running() as service:
        for number in range(3):
            await service.image(picture(number), f"image-{number}")
            await service.json({"n": number}, f"metadata-{number}")
        rig.clock.advance(90 * DAY)
        assert (await service.container.retain().policies(by="me")).files_deleted == 3


async def test_no_more_than_the_limits_is_deleted_if_more_becomes_due() -> None:
    """Between plan and application a hold on many files is released."""
    rig = Rig(max_deletion_files=1, max_deletion_share=0.0)
    async with rig.running() as service:
        await three(rig, service)
        retain = service.container.retain()
        plan = await retain.plan(by="me")
        await rig.repo.apply(ReleaseHold(HOLD.hold_id, rig.clock.now(), "court", "acquitted"))
        with pytest.raises(PlanTooLarge):
            await retain.apply(plan.plan_id, by="me")
        assert set(states(rig).values()) == {FileState.AVAILABLE}


async def test_an_application_that_is_interrupted_goes_on(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("traffic_storage.adapters.record_repo.memory.retention.DUE_BATCH", 2)
    async with rig.running() as service:
        for number in range(5):
            await service.image(picture(number), f"image-{number}")
        rig.clock.advance(90 * DAY)
        retain = service.container.retain()
        plan = await retain.plan(by="me")
        read = rig.repo.due_files
        calls = iter(range(9))

        async def fails(*given: object) -> object:
            if next(calls) == 1:
                raise CatalogueUnavailable("away")
            return await read(*given)  # type: ignore[arg-type]

        monkeypatch.setattr(rig.repo, "due_files", fails)
        with pytest.raises(CatalogueUnavailable):
            await retain.apply(plan.plan_id, by="me")
        assert [*states(rig).values()].count(FileState.TOMBSTONED) == 2
        assert (await retain.apply(plan.plan_id, by="me")).files_deleted == 3


async def test_without_grace_the_bytes_are_freed_in_the_same_call() -> None:
    rig = Rig(deletion_grace_days=0)
    async with rig.running() as service:
        await three(rig, service)
        size = rig.files[FileId("due")].stored.size_bytes
        retain = service.container.retain()
        planned = await retain.policies(by="me", dry_run=True)
        assert (planned.bytes_freed, planned.bytes_pending) == (size, 0)
        done = await retain.policies(by="me")
        assert (done.bytes_freed, done.bytes_pending) == (size, 0)
        assert states(rig)["due"] is FileState.PURGED


async def test_without_grace_the_bytes_in_a_store_that_is_away_are_pending() -> None:
    rig = Rig(deletion_grace_days=0)
    async with rig.running() as service:
        await three(rig, service)
        size = rig.files[FileId("due")].stored.size_bytes
        rig.local.go_down()
        done = await service.container.retain().policies(by="me")
        assert (done.files_deleted, done.bytes_freed, done.bytes_pending) == (1, 0, size)


async def test_a_clean_up_says_first_what_it_would_do(rig: Rig) -> None:
    async with rig.running() as service:
        await three(rig, service)
        clean_up = service.container.clean_up()
        expected = await clean_up(by="me")
        assert set(states(rig).values()) == {FileState.AVAILABLE}
        done = await clean_up(by="me", dry_run=False)
        assert (expected.dry_run, done.dry_run) == (True, False)
        assert evolve(expected.retention, plan_id=done.retention.plan_id) == done.retention
        rig.clock.advance(8 * DAY)
        freed = (await clean_up(by="me")).retention.bytes_freed
        assert freed == done.retention.bytes_pending
        assert (await clean_up(by="me", dry_run=False)).retention.bytes_freed == freed
        assert states(rig)["due"] is FileState.PURGED
