"""Tests of any adapter of the port `RetentionRecords`, and of the changes of retention."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID, uuid4

from attrs import evolve

from traffic_storage.domain.deletion import Tombstone
from traffic_storage.domain.files import (
    FileKind,
    ReplicaState,
    RetentionBasis,
    RetentionClock,
    StoredFile,
)
from traffic_storage.domain.holds import HeldFile, Hold, PlaceHold
from traffic_storage.domain.identifiers import DeviceId, FileId, ViolationId
from traffic_storage.domain.ingest import Unit
from traffic_storage.domain.jobs import JobKind, NewJob
from traffic_storage.domain.retention import DEFAULT_RULES
from traffic_storage.domain.retention_plans import Amount, PlanLine, RecordPlan, RetentionPlan
from traffic_storage.domain.retention_rules import RetentionRule, RuleSet, Site
from traffic_storage.domain.rules_in_force import (
    EnterRules,
    Regrant,
    Regranted,
    RetainedFile,
    RulesEffect,
    RulesRevision,
    StagedRules,
    StageRules,
    retained_file,
)
from traffic_storage.entrypoints.testing.contracts.record_repo import cloud, local
from traffic_storage.entrypoints.testing.units import (
    NOON,
    new_evidence,
    new_file,
    new_record,
    store,
)
from traffic_storage.ports.record_repo import RecordRepo
from traffic_storage.ports.retention import Position

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
FIRST = Position(NOON - DAY)
RULES = RuleSet(
    (*DEFAULT_RULES.rules, RetentionRule("radar", 700, device="radar-*", legal_source="«art. 5»")),
    (Site("m30", ("cam_m30_*", "x"), "ES-MD"),),
)


def revision(number: int = 1, *, change_id: UUID | None = None) -> RulesRevision:
    """Return rules with a number."""
    return RulesRevision(number, RULES, NOON, "operator", "a new law", change_id)


async def stored(repo: RecordRepo, *files: StoredFile) -> Sequence[StoredFile]:
    """Store files, each by itself; return them."""
    for file in files:
        await store(repo, Unit((file,)))
    return files


async def walked(repo: RecordRepo, kind: FileKind, after: Position = FIRST) -> list[RetainedFile]:
    """Return all retained files of a kind."""
    found: list[RetainedFile] = []
    while batch := await repo.retained_files(kind, after):
        found += batch
        after = Position(batch[-1].created_at, batch[-1].file_id)
    return found


class RetentionContract:
    """Inherit from this and provide the fixture `repo`: an empty catalogue."""

    async def test_the_rules_with_the_highest_number_are_in_force(self, repo: RecordRepo) -> None:
        """`rules_in_force`: the rules with the highest number; None if none were entered yet."""
        assert await repo.rules_in_force() is None
        first, second = revision(), revision(2, change_id=uuid4())
        assert await repo.apply(EnterRules(first))
        assert await repo.rules_in_force() == first
        assert await repo.apply(EnterRules(second))
        assert await repo.rules_in_force() == second

    async def test_a_number_is_given_once(self, repo: RecordRepo) -> None:
        """`EnterRules`: unless there are rules with this number; then no job is written either."""
        first = revision()
        await repo.apply(EnterRules(first))
        job = NewJob(uuid4(), JobKind("recompute"))
        other = evolve(revision(), reason="another reason")
        assert not await repo.apply(EnterRules(other, (job,)))
        assert await repo.rules_in_force() == first
        assert await repo.job(job.job_id) is None

    async def test_the_work_that_rules_cause_is_written_with_them(self, repo: RecordRepo) -> None:
        """`EnterRules`: `jobs` recompute the files."""
        job = NewJob(uuid4(), JobKind("recompute"))
        assert await repo.apply(EnterRules(revision(), (job,)))
        assert await repo.job(job.job_id) is not None

    async def test_a_staged_change_is_read_back_and_not_in_force(self, repo: RecordRepo) -> None:
        """`staged_rules`: a staged change; None if there is none."""
        effect = RulesEffect(1, 2, 3, 4, 2**40, 5)
        staged = StagedRules(uuid4(), 7, RULES, effect, NOON, "operator", "a new law")
        assert await repo.staged_rules(staged.change_id) is None
        assert await repo.apply(StageRules(staged))
        assert await repo.staged_rules(staged.change_id) == staged
        assert await repo.rules_in_force() is None

    async def test_files_are_walked_through_kind_by_kind_in_the_order_of_receipt(
        self, repo: RecordRepo
    ) -> None:
        """`retained_files`: the earliest received first, then by id."""
        place = await local(repo)
        later = new_file(place, at=NOON + SECOND)
        same = [new_file(place, file_id=name) for name in ("b", "a", "C")]
        video = new_file(place, kind=FileKind.VIDEO)
        await stored(repo, later, *same, video)
        images = await walked(repo, FileKind.IMAGE)
        assert [file.file_id for file in images] == ["C", "a", "b", later.file_id]
        assert await walked(repo, FileKind.VIDEO) == [retained_file(video, None)]
        assert await walked(repo, FileKind.METADATA) == []
        behind = await repo.retained_files(FileKind.IMAGE, Position(NOON, FileId("a")))
        assert [file.file_id for file in behind] == ["b", later.file_id]

    async def test_a_walk_tells_what_rules_ask_about(self, repo: RecordRepo) -> None:
        """`retained_files`: the device, the type of a known violation, the start of retention."""
        place = await local(repo)
        record = new_record("V1", violation_type="red_light")
        await store(repo, new_evidence(record, place))
        captured = NOON - 3 * DAY
        with_device = evolve(
            new_file(place, file_id="with-device"),
            device_id=DeviceId("radar-1"),
            captured_at=captured,
            retention_basis=RetentionBasis(RetentionClock.CAPTURED, captured, "plausible"),
        )
        started = evolve(
            new_file(place, file_id="elsewhere", violation_id="unknown"),
            retention_basis=RetentionBasis(RetentionClock.RECEIVED, NOON - DAY, "restored"),
        )
        await stored(repo, with_device, started)
        found = {file.file_id: file for file in await walked(repo, FileKind.IMAGE)}
        assert found[FileId("V1~image")].violation_type == "red_light"
        assert found[with_device.file_id] == retained_file(with_device, None)
        assert found[started.file_id] == retained_file(started, None)
        assert found[started.file_id].violation_id == ViolationId("unknown")

    async def test_a_walk_takes_many_batches(self, repo: RecordRepo) -> None:
        """`retained_files`: a batch begins behind a position; it is empty when no file follows."""
        place = await local(repo)
        files = tuple(
            new_file(place, at=NOON + n // 7 * SECOND, size_bytes=16) for n in range(2100)
        )
        for start in range(0, len(files), 300):
            await store(repo, Unit(files[start : start + 300]))
        found = [file.file_id for file in await walked(repo, FileKind.IMAGE)]
        assert found == [
            file.file_id for file in sorted(files, key=lambda one: (one.created_at, one.file_id))
        ]

    async def test_the_end_of_retention_is_replaced_by_compare_and_set(
        self, repo: RecordRepo
    ) -> None:
        """`Regrant`: a file that is not as `was` says stays. Applying it again changes nothing."""
        place = await local(repo)
        one, other = await stored(repo, new_file(place), new_file(place))
        becomes = one.keep_until + DAY
        change = Regrant(
            (
                Regranted(one.file_id, one.keep_until, becomes, "radar"),
                Regranted(other.file_id, other.keep_until - SECOND, becomes, "radar"),
                Regranted(FileId("unknown"), NOON, becomes, "radar"),
            )
        )
        for _ in range(2):
            assert await repo.apply(change)
            after = await repo.file(one.file_id)
            assert after == evolve(one, keep_until=becomes, retention_rule="radar")
            assert await repo.file(other.file_id) == other

    async def test_a_change_without_files_writes_its_jobs(self, repo: RecordRepo) -> None:
        """`Regrant`: `jobs` continue the work; without either it has no effect."""
        job = NewJob(uuid4(), JobKind("recompute"))
        assert not await repo.apply(Regrant(()))
        assert await repo.apply(Regrant((), (job,)))
        assert await repo.job(job.job_id) is not None

    async def test_files_are_due_in_the_order_of_the_end_of_their_retention(
        self, repo: RecordRepo
    ) -> None:
        """`due_files`: the earliest end of retention first, then by id; behind a position."""
        place = await local(repo)
        as_of = NOON + DAY
        kept = [
            evolve(new_file(place, file_id=name), keep_until=until)
            for name, until in (
                ("c", as_of - SECOND),
                ("d", as_of),
                ("B", as_of - SECOND),
                ("a", NOON),
                ("later", as_of + timedelta(microseconds=1)),
            )
        ]
        await stored(repo, *kept)
        found = await repo.due_files(as_of, FIRST, NOON)
        assert [one.retained.file_id for one in found] == ["a", "B", "c", "d"]
        by_id = {file.file_id: file for file in kept}
        for one in found:
            assert one.retained == retained_file(by_id[one.retained.file_id], None)
        behind = Position(as_of - SECOND, FileId("B"))
        rest = await repo.due_files(as_of, behind, NOON)
        assert [one.retained.file_id for one in rest] == ["c", "d"]
        assert await repo.due_files(as_of, Position(as_of, FileId("d")), NOON) == []

    async def test_only_available_files_are_due(self, repo: RecordRepo) -> None:
        """`due_files`: available files."""
        place = await local(repo)
        one, other = await stored(repo, new_file(place), new_file(place))
        at = one.keep_until
        deleted = Tombstone((one.file_id,), uuid4(), at, at + DAY, "because", "test")
        assert await repo.apply(deleted)
        found = await repo.due_files(at, FIRST, at)
        assert [each.retained.file_id for each in found] == [other.file_id]

    async def test_a_due_file_tells_of_its_copies_and_its_violation(self, repo: RecordRepo) -> None:
        """`due_files`: the copies that occupy a store, by tier."""
        place, bucket = await local(repo), await cloud(repo)
        record = new_record("V1", violation_type="red_light")
        unit = await store(repo, new_evidence(record, place, bucket))
        at = NOON + 4000 * DAY
        extra = all_present(new_file(place, bucket, bucket, file_id="extra"))
        await stored(repo, extra)
        found = {one.retained.file_id: one for one in await repo.due_files(at, FIRST, at)}
        image = found[FileId("V1~image")]
        assert image.retained.violation_type == "red_light"
        assert (found[extra.file_id].local_copies, found[extra.file_id].cloud_copies) == (1, 2)
        assert found[extra.file_id].bytes == 3 * extra.stored.size_bytes
        assert len(found) == len(unit.files) + 1

    async def test_a_due_file_tells_of_active_holds(self, repo: RecordRepo) -> None:
        """`due_files`: `is_held` is told for holds that are active at `now`."""
        place = await local(repo)
        one, _ = await stored(repo, new_file(place), new_file(place))
        at = one.keep_until
        hold = Hold(uuid4(), HeldFile(one.file_id), "case", "why", "me", NOON, until=at + DAY)
        await repo.apply(PlaceHold(hold))
        for now, held in ((at, {one.file_id}), (at + DAY, set())):
            found = await repo.due_files(at, FIRST, now)
            assert {each.retained.file_id for each in found if each.is_held} == held
            assert len(found) == 2

    async def test_a_plan_is_read_back(self, repo: RecordRepo) -> None:
        """`retention_plan`: a plan; None if there is none."""
        plan = RetentionPlan(
            uuid4(),
            NOON,
            3,
            "operator",
            (PlanLine("radar", FileKind.IMAGE, 2**40, 5), PlanLine("a", FileKind.VIDEO, 1, 0)),
            7,
            8,
            9,
            Amount(10, 11),
            {"kept «longer»": Amount(12, 13)},
            14,
        )
        assert await repo.retention_plan(plan.plan_id) is None
        assert await repo.apply(RecordPlan(plan))
        assert await repo.retention_plan(plan.plan_id) == plan

    async def test_old_plans_and_changes_are_forgotten(self, repo: RecordRepo) -> None:
        """`forget_reviews`: those made before a time; a change that was entered stays."""

        def staged(days: int) -> StagedRules:
            at = NOON + days * DAY
            return StagedRules(uuid4(), 1, RULES, RulesEffect(), at, "operator", "a new law")

        old, entered, new = staged(0), staged(0), staged(2)
        plans = [RetentionPlan(uuid4(), NOON + days * DAY, 1, "operator") for days in (0, 2)]
        for change in (old, entered, new):
            await repo.apply(StageRules(change))
        for plan in plans:
            await repo.apply(RecordPlan(plan))
        await repo.apply(EnterRules(revision(1, change_id=entered.change_id)))
        await repo.apply(EnterRules(revision(2)))
        await repo.forget_reviews(NOON + DAY)
        kept = [await repo.staged_rules(one.change_id) for one in (old, entered, new)]
        assert kept == [None, entered, new]
        assert [await repo.retention_plan(plan.plan_id) for plan in plans] == [None, plans[1]]


def all_present(file: StoredFile) -> StoredFile:
    """Return a file all of whose copies are present."""
    copies = (evolve(copy, state=ReplicaState.PRESENT) for copy in file.replicas)
    return evolve(file, replicas=tuple(copies))
