"""Tests of the change `AddLabels`, on any adapter of the catalogue."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest
from attrs import evolve

from traffic_storage.domain.events import EventKind
from traffic_storage.domain.files import (
    FileState,
    RetentionBasis,
    RetentionClock,
    StoredFile,
)
from traffic_storage.domain.holds import HeldRange, HeldViolation, PlaceHold
from traffic_storage.domain.identifiers import AttemptId, DeviceId, FileId, ViolationId
from traffic_storage.domain.ingest import Attempt, ClaimedIds
from traffic_storage.domain.jobs import JobKind, NewJob
from traffic_storage.domain.labels import AddLabels, Labels, labels_told_by
from traffic_storage.domain.retention import Retention
from traffic_storage.domain.seal import Seal, SealCatalogue
from traffic_storage.entrypoints.testing.contracts.deletions import (
    a_file,
    all_events,
    found,
    happened,
    new_hold,
    new_tombstone,
)
from traffic_storage.entrypoints.testing.units import LATER, NOON
from traffic_storage.ports.errors import AttemptCondemned
from traffic_storage.ports.record_repo import RecordRepo

DAY = timedelta(days=1)
TODAY = NOON.date()
CAM, CASE = DeviceId("cam-1"), ViolationId("V001")


async def attempt(repo: RecordRepo) -> AttemptId:
    """Enter an attempt that writes nothing into the journal; return its id."""
    begun = Attempt(AttemptId(str(uuid4())), "a test", LATER, ())
    await repo.begin(begun, ClaimedIds(()))
    return begun.attempt_id


async def addition(
    repo: RecordRepo, file: StoredFile, labels: Labels, *, days: int = 0, jobs: int = 0
) -> AddLabels:
    """Return a change that adds labels to a file, which is kept some days longer then."""
    basis = RetentionBasis(RetentionClock.RECEIVED, file.created_at, "of a test")
    return AddLabels(
        file.file_id,
        labels,
        NOON + DAY,
        "clerk",
        file.keep_until,
        Retention(file.keep_until + days * DAY, "rule" if days else file.retention_rule, basis),
        await attempt(repo),
        tuple(NewJob(uuid4(), JobKind("a test")) for _ in range(jobs)),
    )


class LabelsContract:
    """Inherit from this and provide the fixture `repo`: an empty catalogue."""

    async def test_a_file_gets_all_that_it_lacks(self, repo: RecordRepo) -> None:
        """`AddLabels`: labels and retention are recorded, the attempt is deleted, jobs are written."""
        file = await a_file(repo)
        labels = Labels(CAM, CASE, NOON - DAY, historic=True)
        change = await addition(repo, file, labels, days=9, jobs=1)
        assert await repo.apply(change)
        now = await found(repo, file)
        assert now == change.applied(file)
        assert (now.device_id, now.violation_id, now.captured_at) == (CAM, CASE, NOON - DAY)
        assert (now.historic, now.retention_rule) == (True, "rule")
        assert now.added_labels == ("captured_at", "device_id", "violation_id")
        assert [one.file_id for one in await repo.files_of(CASE)] == [file.file_id]
        assert not await repo.condemn(LATER)
        (job,) = change.jobs
        assert await repo.job(job.job_id) is not None

    async def test_the_event_tells_all_that_adds_them_again(self, repo: RecordRepo) -> None:
        """`AddLabels`: an event has the labels, who gave them, when, and the retention."""
        file = await a_file(repo)
        change = await addition(repo, file, Labels(CAM, captured_at=NOON - DAY), days=9)
        assert await repo.apply(change)
        (event,) = [
            one.event for one in await all_events(repo) if one.event.kind is EventKind.LABELLED
        ]
        told = labels_told_by(event)
        assert (told.labels, told.at, told.by) == (change.labels, change.at, change.by)
        again = told.change(file)
        assert again is not None
        assert again.applied(file) == await found(repo, file)

    async def test_one_after_the_other(self, repo: RecordRepo) -> None:
        """`AddLabels`: a label of another time stays, and is still told to have been added."""
        file = await a_file(repo)
        for labels in (Labels(CAM), Labels(violation_id=CASE), Labels(captured_at=NOON)):
            change = await addition(repo, await found(repo, file), labels)
            assert await repo.apply(change)
        now = await found(repo, file)
        assert (now.device_id, now.violation_id, now.captured_at) == (CAM, CASE, NOON)
        assert now.added_labels == ("captured_at", "device_id", "violation_id")

    @pytest.mark.parametrize("what", ["a label", "the same label", "retention", "state", "no file"])
    async def test_a_file_that_changed_stays(self, repo: RecordRepo, what: str) -> None:
        """`AddLabels`: nothing happens if the file is not as expected; the attempt stays."""
        file = await a_file(repo)
        change = await addition(repo, file, Labels(CAM, CASE))
        match what:
            case "a label":
                other = await addition(repo, file, Labels(DeviceId("cam-2")))
                assert await repo.apply(other)
            case "the same label":
                assert await repo.apply(await addition(repo, file, Labels(CAM)))
            case "retention":
                change = evolve(change, was=file.keep_until - DAY)
            case "state":
                assert await repo.apply(new_tombstone(file))
            case _:
                change = evolve(change, file_id=FileId("unknown"))
        before = await found(repo, file)
        told = await happened(repo, EventKind.LABELLED)
        assert not await repo.apply(change)
        assert await found(repo, file) == before
        assert await happened(repo, EventKind.LABELLED) == told
        assert [one.attempt_id for one in await repo.condemn(LATER)] == [change.attempt]

    async def test_without_its_attempt_nothing_is_added(self, repo: RecordRepo) -> None:
        """`AddLabels`: AttemptCondemned if the attempt was condemned, or is no more."""
        file = await a_file(repo)
        change = await addition(repo, file, Labels(CAM))
        await repo.condemn(LATER)
        with pytest.raises(AttemptCondemned):
            await repo.apply(change)
        assert change.attempt is not None
        await repo.forget(change.attempt)
        with pytest.raises(AttemptCondemned):
            await repo.apply(change)
        assert await found(repo, file) == file

    async def test_a_sealed_catalogue_adds_nothing(self, repo: RecordRepo) -> None:
        """`AddLabels`: AttemptCondemned while the catalogue is sealed."""
        file = await a_file(repo)
        change = await addition(repo, file, Labels(CAM))
        assert await repo.apply(SealCatalogue(Seal(NOON, "clerk", "moved")))
        with pytest.raises(AttemptCondemned):
            await repo.apply(change)
        # What a rebuild repeats is nothing new.
        assert await repo.apply(evolve(change, attempt=None))

    async def test_a_repetition_from_the_journal(self, repo: RecordRepo) -> None:
        """`AddLabels` without an attempt: a label may be there, with the same value."""
        file = await a_file(repo)
        assert await repo.apply(await addition(repo, file, Labels(CAM)))
        now = await found(repo, file)
        change = evolve(await addition(repo, now, Labels(CAM, CASE)), attempt=None)
        other = evolve(change, labels=Labels(DeviceId("cam-2"), CASE))
        assert not await repo.apply(other)
        assert await repo.apply(change)
        assert (await found(repo, file)).violation_id == CASE

    async def test_of_many_at_once_one_wins_each_label(self, repo: RecordRepo) -> None:
        """`AddLabels`: of concurrent changes that add one label, one is applied."""
        file = await a_file(repo)
        changes = [
            await addition(repo, file, Labels(DeviceId(f"cam-{number}"))) for number in range(20)
        ]
        applied = await asyncio.gather(*map(repo.apply, changes))
        assert applied.count(True) == 1
        assert (await found(repo, file)).device_id == f"cam-{applied.index(True)}"
        assert await happened(repo, EventKind.LABELLED) == [file.file_id]
        usage = [one for one in await repo.device_usage() if one.device_id is not None]
        assert [one.device_id for one in usage] == [f"cam-{applied.index(True)}"]

    async def test_the_counters_of_the_devices_move(self, repo: RecordRepo) -> None:
        """`AddLabels`: the file and its copies count for the device; nothing is received or lost."""
        file = await a_file(repo)
        other = await a_file(repo)
        usage = await repo.usage()
        received = await repo.daily_received(TODAY, TODAY + DAY)
        before = {one.device_id: one.usage for one in await repo.device_usage()}
        await repo.fold_counters()
        assert await repo.apply(await addition(repo, file, Labels(CAM)))
        assert await repo.apply(await addition(repo, other, Labels(violation_id=CASE)))
        for _ in range(3):
            after = {one.device_id: one.usage for one in await repo.device_usage()}
            assert {*after} == {None, CAM}
            for one in after.values():
                assert one.files[0].files * 2 == before[None].files[0].files
                assert one.stores[0].bytes * 2 == before[None].stores[0].bytes
            assert await repo.usage() == usage
            assert await repo.daily_received(TODAY, TODAY + DAY) == received
            await repo.fold_counters()
            await repo.fold_counters()

    async def test_a_hold_covers_the_file_by_its_new_label(self, repo: RecordRepo) -> None:
        """`covers`: labels that were added count as all others do."""
        file = await a_file(repo)
        hold = new_hold(HeldViolation(CASE))
        assert await repo.apply(PlaceHold(hold))
        later = file.keep_until + DAY
        assert await repo.held([file.file_id], later) == frozenset()
        assert await repo.apply(await addition(repo, file, Labels(violation_id=CASE)))
        assert await repo.held([file.file_id], later) == {file.file_id}
        assert not await repo.apply(new_tombstone(file, at=later))
        one = await a_file(repo)
        assert await repo.apply(await addition(repo, one, Labels(captured_at=NOON - 90 * DAY)))
        scope = HeldRange(DeviceId("cam-9"), NOON - 91 * DAY, NOON - 89 * DAY)
        assert await repo.apply(PlaceHold(new_hold(scope)))
        assert await repo.held([one.file_id], NOON) == {one.file_id}

    async def test_a_longer_retention_keeps_it_from_then_on(self, repo: RecordRepo) -> None:
        """`AddLabels`: whoever tombstones afterwards sees the retention with the labels."""
        file = await a_file(repo)
        change = await addition(repo, file, Labels(CAM), days=9)
        outcomes = await asyncio.gather(
            repo.apply(change), repo.apply(new_tombstone(file, at=file.keep_until))
        )
        assert outcomes.count(True) == 1
        now = await found(repo, file)
        assert (now.state is FileState.AVAILABLE) is outcomes[0]
        assert (now.device_id is None) is not outcomes[0]
