"""Tests of any adapter of the port `Samples`."""

from datetime import timedelta

from attrs import evolve

from traffic_storage.domain.changes import ObserveReplica
from traffic_storage.domain.duplicates import Content
from traffic_storage.domain.files import FileKind, ReplicaState, StoredFile
from traffic_storage.domain.identifiers import DeviceId
from traffic_storage.domain.ingest import Unit
from traffic_storage.domain.usage import CatalogueUsage, FileUsage, StoreUsage
from traffic_storage.entrypoints.testing.contracts.record_repo import LOCAL, local
from traffic_storage.entrypoints.testing.units import (
    NOON,
    new_evidence,
    new_file,
    new_record,
    store,
)
from traffic_storage.ports.record_repo import RecordRepo

DAY = timedelta(days=1)
TODAY = NOON.date()


async def stored_by(repo: RecordRepo, device: str | None, count: int = 1) -> list[StoredFile]:
    """Store images of a device; return them."""
    place = await local(repo)
    device_id = None if device is None else DeviceId(device)
    files = [evolve(new_file(place), device_id=device_id) for _ in range(count)]
    for file in files:
        await store(repo, Unit((file,)))
    return files


class SamplesContract:
    """Inherit and provide the fixture `repo`: an empty catalogue, closed at the end of the test."""

    async def test_the_counters_of_devices_add_up(self, repo: RecordRepo) -> None:
        """device_usage: "ordered by device id"; the same before and after the counters are folded."""
        await stored_by(repo, "cam-2", 2)
        await stored_by(repo, None)
        await stored_by(repo, "cam-1")
        for _ in range(2):
            found = await repo.device_usage()
            assert [one.device_id for one in found] == [None, "cam-1", "cam-2"]
            assert found[2].usage == CatalogueUsage(
                (StoreUsage(LOCAL.store_id, FileKind.IMAGE, 2, 2000),),
                (FileUsage(FileKind.IMAGE, 2, 2000),),
            )
            await repo.fold_counters()
            await repo.fold_counters()

    async def test_what_was_received_is_counted_without_what_was_removed(
        self, repo: RecordRepo
    ) -> None:
        """daily_received: "the sum of the positive changes of the counters"."""
        (one, _) = await stored_by(repo, "cam-1", 2)
        lost = ObserveReplica(one.file_id, one.replicas[0].replica_id, ReplicaState.MISSING, NOON)
        assert await repo.apply(lost)
        for _ in range(2):
            (day,) = await repo.daily_received(TODAY - DAY, TODAY)
            assert (day.day, day.change.stores[0].bytes) == (TODAY, 2000)
            (net,) = await repo.daily_usage(TODAY - DAY, TODAY)
            assert net.change.stores[0].bytes == 1000
            assert await repo.daily_received(TODAY - 2 * DAY, TODAY - DAY) == []
            await repo.fold_counters()
            await repo.fold_counters()

    async def test_a_sample_is_of_the_kind_and_repeatable(self, repo: RecordRepo) -> None:
        """sample_files: "at most `limit` available files of a kind"; "the same seed"."""
        assert await repo.sample_files(FileKind.IMAGE, 10, 1) in ([], ())
        files = {file.file_id: file for file in await stored_by(repo, "cam-1", 40)}
        place = await local(repo)
        await store(repo, Unit((new_file(place, kind=FileKind.VIDEO),)))
        sample = await repo.sample_files(FileKind.IMAGE, 10, 1)
        assert len({file.file_id for file in sample}) == 10
        assert all(files[file.file_id] == file for file in sample)
        again = await repo.sample_files(FileKind.IMAGE, 10, 1)
        assert {one.file_id for one in again} == {one.file_id for one in sample}
        other = await repo.sample_files(FileKind.IMAGE, 10, 2)
        assert {one.file_id for one in other} != {one.file_id for one in sample}
        assert len(await repo.sample_files(FileKind.IMAGE, 100, 1)) == 40
        assert len(await repo.sample_files(FileKind.VIDEO, 100, 1)) == 1

    async def test_every_file_has_the_same_chance(self, repo: RecordRepo) -> None:
        """sample_files: "Each available file of the kind has the same chance"."""
        files = [file.file_id for file in await stored_by(repo, "cam-1", 20)]
        drawn = [
            file.file_id
            for seed in range(100)
            for file in await repo.sample_files(FileKind.IMAGE, 4, seed)
        ]
        # 20 expected each, with a standard deviation of 4.
        assert all(4 <= drawn.count(file_id) <= 40 for file_id in files)

    async def test_violations_are_drawn_in_the_same_way(self, repo: RecordRepo) -> None:
        """sample_violations: available ones, "drawn at random as `sample_files` does"."""
        assert await repo.sample_violations(10, 1) in ([], ())
        place = await local(repo)
        for number in range(12):
            await store(repo, new_evidence(new_record(f"V{number}"), place))
        sample = await repo.sample_violations(5, 3)
        assert len({one.violation_id for one in sample}) == 5
        assert {one.violation_id for one in await repo.sample_violations(5, 3)} == {
            one.violation_id for one in sample
        }
        for seed in range(8):
            assert len(await repo.sample_violations(10_000, seed)) == 12

    async def test_the_newest_contents(self, repo: RecordRepo) -> None:
        """newest_contents: "the newest available files of a kind"."""
        place = await local(repo)
        files = [new_file(place, at=NOON + hours * timedelta(hours=1)) for hours in range(3)]
        for file in files:
            await store(repo, Unit((file,)))
        assert await repo.newest_contents(FileKind.IMAGE, 2) == [
            Content(file.file_id, None, file.content.sha256, 1000) for file in files[:0:-1]
        ]
        assert await repo.newest_contents(FileKind.VIDEO, 2) == []
