"""Tests of any adapter of the port `RetentionRecords`, and of the changes of retention."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID, uuid4

from attrs import evolve

from traffic_storage.domain.files import FileKind, RetentionBasis, RetentionClock, StoredFile
from traffic_storage.domain.identifiers import DeviceId, FileId, ViolationId
from traffic_storage.domain.ingest import Unit
from traffic_storage.domain.jobs import JobKind, NewJob
from traffic_storage.domain.retention import DEFAULT_RULES
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
from traffic_storage.entrypoints.testing.contracts.record_repo import local
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
        effect = RulesEffect(1, 2, 3, 4, 2**40)
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
