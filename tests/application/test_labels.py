"""Labels that were left out when a file was stored are added by a repetition; none is changed."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from attrs import evolve

from tests.application.rig import Rig, Service, film, outcome, picture, violation_record
from tests.application.test_journal import delete, export
from tests.application.test_rules_in_force import entered, work
from traffic_storage.adapters.record_repo.memory import InMemoryRecordRepo
from traffic_storage.application.inputs import FileAttributes, Upload
from traffic_storage.application.rebuild_catalogue import Rebuilt
from traffic_storage.application.store_many import FileItem, ItemOutcome
from traffic_storage.domain.deletion import REGRANTED_RULE, Undelete
from traffic_storage.domain.errors import Conflict, StorageFull
from traffic_storage.domain.events import Event, EventKind
from traffic_storage.domain.files import (
    FileKind,
    FileState,
    RetentionClock,
    StoredFile,
    Tier,
)
from traffic_storage.domain.fixity import manifest_problem
from traffic_storage.domain.holds import HeldRange, HeldViolation, Hold, PlaceHold, ReleaseHold
from traffic_storage.domain.identifiers import DeviceId, FileId, ViolationId
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.domain.retention_rules import RetentionRule
from traffic_storage.domain.seal import Sealed
from traffic_storage.domain.usage import DeviceUsage
from traffic_storage.entrypoints.testing.containers import NOON

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
ALL = {"device_id": "cam-1", "violation_id": "V001", "captured_at": NOON - HOUR}


def told(rig: Rig) -> list[Event]:
    """What the outbox tells of labels."""
    return [one.event for one in rig.repo._events if one.event.kind is EventKind.LABELLED]


async def rebuilt(service: Service) -> Rebuilt:
    """Rebuild the catalogue; nothing is left over."""
    found = await service.container.rebuild_catalogue()(lambda _: None)
    assert (found.unplaced, found.unreadable) == (0, [])
    return found


def totals(usage: list[DeviceUsage]) -> dict[str | None, tuple[int, int]]:
    """The files of each device, and its copies."""
    return {
        one.device_id: (
            sum(row.files for row in one.usage.files),
            sum(row.replicas for row in one.usage.stores),
        )
        for one in usage
    }


@pytest.mark.parametrize(
    ("first", "more", "added"),
    [
        ({}, {"violation_id": "V001"}, ("violation_id",)),
        ({}, {"device_id": "cam-1"}, ("device_id",)),
        ({}, {"captured_at": NOON - HOUR}, ("captured_at",)),
        ({}, ALL, ("device_id", "violation_id", "captured_at")),
        ({"device_id": "cam-1"}, ALL, ("violation_id", "captured_at")),
        ({"metadata": {"lane": 1}}, {"violation_id": "V001"}, ("violation_id",)),
        (
            {"metadata": {"lane": 1, "device_id": "cam-1"}},
            {"metadata": {"lane": 1, "violation_id": "V001"}},
            ("violation_id",),
        ),
        ({}, {"metadata": {"timestamp": "2026-03-14T11:00:00Z"}}, ("captured_at",)),
    ],
)
async def test_labels_that_a_file_lacks_are_added(
    first: dict[str, Any], more: dict[str, Any], added: tuple[str, ...]
) -> None:
    rig = Rig(StorageStrategy.HYBRID)
    async with rig.running() as service:
        before = (await service.image(picture(), "X", **first)).file
        rig.clock.advance(HOUR)
        stored = await service.image(picture(), "X", given_by="clerk", **more)
        assert (stored.created, stored.labels_added) == (False, added)
        file = await service.find.file("X")
        assert stored.file == file
        for name in ("device_id", "violation_id", "captured_at"):
            assert (getattr(file, name) is not None) is (
                name in added or getattr(before, name) is not None
            )
        assert (file.metadata, file.replicas) == (before.metadata, before.replicas)
        assert file.added_labels == tuple(sorted(added))
        for again in (first, more):
            same = await service.image(picture(), "X", **again)
            assert (same.file, same.labels_added) == (file, ())
        (event,) = told(rig)
        assert (event.at, event.file_id) == (rig.clock.now(), "X")
        assert set(event.details["added"]) == set(added)  # type: ignore[arg-type]
        assert event.details["by"] == "clerk"
    assert (rig.attempts, rig.findings()) == ([], [])


async def test_the_violation_has_the_file_then() -> None:
    rig = Rig()
    async with rig.running() as service:
        await service.image(picture(), "X")
        await service.evidence(violation_record())
        assert "X" not in {one.file_id for one in await rig.repo.files_of(ViolationId("V001"))}
        await service.image(picture(), "X", violation_id="V001")
        assert "X" in {one.file_id for one in await rig.repo.files_of(ViolationId("V001"))}


@pytest.mark.parametrize(
    ("first", "more", "named"),
    [
        ({"device_id": "cam-1"}, {"device_id": "cam-2", "violation_id": "V001"}, "device_id"),
        ({"captured_at": NOON - HOUR}, ALL | {"captured_at": NOON}, "captured_at"),
        ({}, ALL | {"metadata": {"lane": 1}}, "metadata was not given"),
        ({"metadata": {"lane": 2}}, ALL | {"metadata": {"lane": 1}}, "metadata differs"),
    ],
)
async def test_a_contradiction_adds_nothing(
    first: dict[str, Any], more: dict[str, Any], named: str
) -> None:
    rig = Rig()
    async with rig.running() as service:
        before = (await service.image(picture(), "X", **first)).file
        with pytest.raises(Conflict, match=named) as refused:
            await service.image(picture(), "X", **more)
        assert refused.value.cause == "labels"
        assert await service.find.file("X") == before
        assert told(rig) == []
    assert rig.attempts == []


async def test_other_content_adds_nothing() -> None:
    rig = Rig()
    async with rig.running() as service:
        before = (await service.video(film(1), "X")).file
        with pytest.raises(Conflict, match="other content"):
            await service.video(film(2), "X", device_id="cam-1")
        assert await service.find.file("X") == before
    assert rig.attempts == []


async def test_a_deleted_file_gets_no_labels() -> None:
    rig = Rig()
    async with rig.running() as service:
        await service.image(picture(), "X")
        await delete(rig, "X")
        with pytest.raises(Conflict, match="tombstoned"):
            await service.image(picture(), "X", device_id="cam-1")
        assert rig.files[FileId("X")].device_id is None


async def test_of_two_that_contradict_each_other_one_wins() -> None:
    rig = Rig()
    async with rig.running() as service:
        await service.image(picture(), "X")
        names = [f"cam-{number}" for number in range(5)]
        found = await asyncio.gather(
            *(outcome(service.image(picture(), "X", device_id=name)) for name in names)
        )
        won = [one for one in found if not isinstance(one, Conflict)]
        assert [one.labels_added for one in won] == [("device_id",)]
        assert len(told(rig)) == 1
        file = await service.find.file("X")
        assert file.device_id == names[found.index(won[0])]
    assert rig.attempts == []


async def test_different_labels_at_once_are_all_added() -> None:
    rig = Rig()
    async with rig.running() as service:
        await service.image(picture(), "X")
        one = [{name: value} for name, value in ALL.items()]
        found = await asyncio.gather(*(service.image(picture(), "X", **given) for given in one))
        assert sorted(name for stored in found for name in stored.labels_added) == sorted(ALL)
        file = await service.find.file("X")
        assert [getattr(file, name) for name in ALL] == [*ALL.values()]


async def test_the_counters_of_devices_move_and_nothing_was_received() -> None:
    rig = Rig()
    async with rig.running() as service:
        await service.image(picture(), "X")
        usage, received = (
            await rig.repo.usage(),
            await rig.repo.daily_received(NOON.date(), NOON.date()),
        )
        await service.image(picture(), "X", device_id="cam-1")
        assert await rig.repo.usage() == usage
        assert await rig.repo.daily_received(NOON.date(), NOON.date()) == received
        assert totals([*await rig.repo.device_usage()]) == {"cam-1": (1, 1)}
        await delete(rig, "X", grace=timedelta(0))
        await service.container.purge().due()
        assert await rig.repo.device_usage() == []


async def test_a_hold_on_the_violation_holds_the_file_then() -> None:
    rig = Rig()
    async with rig.running() as service:
        await service.image(picture(), "X")
        hold = Hold(uuid4(), HeldViolation(ViolationId("V001")), "C-1", "trial", "judge", NOON)
        assert await rig.repo.apply(PlaceHold(hold))
        assert not await rig.repo.held([FileId("X")], NOON)
        await service.image(picture(), "X", violation_id="V001")
        assert await rig.repo.held([FileId("X")], NOON)


async def test_no_label_takes_a_file_out_of_a_hold() -> None:
    """A hold on a device covers files without a device, in doubt."""
    rig = Rig()
    async with rig.running() as service:
        await service.image(picture(), "X")
        scope = HeldRange(DeviceId("cam-1"), NOON - DAY, NOON + DAY)
        hold = Hold(uuid4(), scope, "C-1", "trial", "judge", NOON)
        assert await rig.repo.apply(PlaceHold(hold))
        with pytest.raises(Conflict, match="legal hold"):
            await service.image(picture(), "X", device_id="cam-2", captured_at=NOON - HOUR)
        assert rig.files[FileId("X")].added_labels == ()
        assert await rig.repo.apply(ReleaseHold(hold.hold_id, NOON, "judge", "closed"))
        again = await service.image(picture(), "X", device_id="cam-2", captured_at=NOON - HOUR)
        assert again.labels_added == ("device_id", "captured_at")
    assert rig.attempts == []


class TestRetention:
    """The longest period wins, and none becomes shorter."""

    async def test_a_rule_for_the_device_lengthens_it_at_once(self) -> None:
        rig = Rig()
        async with rig.running() as service:
            await entered(service, RetentionRule("radar", 700, device="cam-*"))
            await work(rig, service)
            before = (await service.image(picture(), "X")).file
            after = (await service.image(picture(), "X", device_id="cam-1")).file
            assert before.keep_until < after.keep_until == before.created_at + 700 * DAY
            assert after.retention_rule == "radar"

    async def test_a_rule_for_the_violation_lengthens_it_at_once(self) -> None:
        rig = Rig()
        async with rig.running() as service:
            await entered(service, RetentionRule("speed", 700, violation_type="speed"))
            await service.evidence(violation_record())
            await work(rig, service)
            await service.image(picture(), "X")
            after = (await service.image(picture(), "X", violation_id="V001")).file
            assert after.retention_rule == "speed"

    async def test_and_of_a_violation_that_comes_later_then(self) -> None:
        rig = Rig()
        async with rig.running() as service:
            await entered(service, RetentionRule("speed", 700, violation_type="speed"))
            await service.image(picture(), "X")
            await service.image(picture(), "X", violation_id="V001")
            await service.evidence(violation_record())
            await work(rig, service)
            assert rig.files[FileId("X")].retention_rule == "speed"

    async def test_and_of_one_that_comes_at_the_same_time(self) -> None:
        rig = Rig()
        async with rig.running() as service:
            await entered(service, RetentionRule("speed", 700, violation_type="speed"))
            await service.image(picture(), "X")
            rig.script.begin()
            held = rig.script.hold("repo.apply")
            adding = asyncio.create_task(service.image(picture(), "X", violation_id="V001"))
            await held.reached.wait()
            await service.evidence(violation_record())
            await work(rig, service)
            held.let_go.set()
            assert (await adding).file.retention_rule == "default-image"
            await work(rig, service)
            assert rig.files[FileId("X")].retention_rule == "speed"

    async def test_what_was_granted_stays(self) -> None:
        rig = Rig()
        async with rig.running() as service:
            await service.image(picture(), "X")
            await delete(rig, "X")
            until = NOON + 400 * DAY
            granted = Undelete((FileId("X"),), NOON, until, "error", "clerk")
            assert await rig.repo.apply(granted)
            after = (await service.image(picture(), "X", device_id="cam-1")).file
            assert (after.keep_until, after.retention_rule) == (until, REGRANTED_RULE)

    @pytest.mark.parametrize("captured_at", [NOON - 20 * DAY, NOON - 400 * DAY])
    async def test_a_capture_time_shortens_nothing(self, captured_at: Any) -> None:
        rig = Rig()
        async with rig.running() as service:
            before = (await service.image(picture(), "X")).file
            after = (await service.image(picture(), "X", captured_at=captured_at)).file
            assert after.captured_at == captured_at
            assert after.keep_until == before.keep_until
            assert after.retention_basis.clock is RetentionClock.RECEIVED
            assert after.retention_basis.reason != "no capture time was given"
            await entered(service, RetentionRule("other", 10))
            await work(rig, service)
            assert rig.files[FileId("X")].keep_until == before.keep_until

    async def test_a_later_capture_time_lengthens_it(self) -> None:
        rig = Rig()
        async with rig.running() as service:
            before = (await service.image(picture(), "X")).file
            later = NOON + timedelta(minutes=2)
            after = (await service.image(picture(), "X", captured_at=later)).file
            assert after.keep_until == before.keep_until + timedelta(minutes=2)
            assert after.retention_basis.clock is RetentionClock.CAPTURED


class TestRebuild:
    """An empty catalogue on the same stores, without the old database."""

    async def test_the_labels_come_back_with_the_files(self) -> None:
        rig = Rig(StorageStrategy.HYBRID)
        async with rig.running() as service:
            await entered(service, RetentionRule("radar", 700, device="cam-*"))
            await work(rig, service)
            await service.image(picture(), "X")
            await service.image(picture(), "X", **ALL)
            was = {name: _bare(file) for name, file in rig.files.items()}
        rig.repo = InMemoryRecordRepo(now=rig.clock.now)
        async with rig.running() as service:
            found = await rebuilt(service)
            await work(rig, service)
            assert found.labels == 1
            assert {name: _bare(file) for name, file in rig.files.items()} == was
            again = await service.image(picture(), "X", **ALL)
            assert (again.created, again.labels_added) == (False, ())

    async def test_a_catalogue_from_a_backup_gets_them_too(self) -> None:
        rig = Rig()
        async with rig.running() as service:
            await service.image(picture(), "X")
            file = rig.files[FileId("X")]
            await service.image(picture(), "X", **ALL)
            was = _bare(rig.files[FileId("X")])
            rig.repo._files[FileId("X")] = file
            rig.repo._journals.clear()
            await rebuilt(service)
            assert _bare(rig.files[FileId("X")]) == was

    async def test_a_later_deletion_follows_them(self) -> None:
        rig = Rig()
        async with rig.running() as service:
            await service.image(picture(), "X")
            await service.image(picture(), "X", **ALL)
            await delete(rig, "X")
            await export(service, Tier.LOCAL)
        rig.repo = InMemoryRecordRepo(now=rig.clock.now)
        async with rig.running() as service:
            await rebuilt(service)
            file = rig.files[FileId("X")]
            assert (file.state, file.device_id) == (FileState.TOMBSTONED, "cam-1")


async def test_the_manifests_of_before_are_no_damage() -> None:
    rig = Rig()
    async with rig.running() as service:
        file = (await service.image(picture(), "X")).file
        labelled = (await service.image(picture(), "X", **ALL, historic=True)).file
        manifest = rig.at_rest[Tier.LOCAL].manifest[file.replicas[0].key]
        assert manifest_problem(labelled, manifest) == ""
        found = await service.container.verify_replicas()()
        assert found.counts.altered == 0
        # What was not added later is compared as ever.
        stripped = evolve(manifest, content_type="image/gif")
        assert "content_type" in manifest_problem(labelled, stripped)
        never = evolve(labelled, added_labels=())
        assert "device_id, violation_id" in manifest_problem(never, manifest)
        other = evolve(manifest, device_id="cam-9")
        assert "device_id" in manifest_problem(labelled, other)


async def test_a_sealed_service_adds_nothing() -> None:
    rig = Rig()
    async with rig.running() as service:
        before = (await service.image(picture(), "X")).file
        await service.container.sealing().seal("moved", "clerk")
        assert (await service.image(picture(), "X")).file == before
        with pytest.raises(Sealed):
            await service.image(picture(), "X", device_id="cam-1")
        assert rig.files[FileId("X")] == before
    assert rig.attempts == []


async def test_a_seal_that_comes_meanwhile_wins() -> None:
    rig = Rig()
    async with rig.running() as service:
        before = (await service.image(picture(), "X")).file
        rig.script.begin()
        held = rig.script.hold("repo.apply")
        adding = asyncio.create_task(outcome(service.image(picture(), "X", device_id="cam-1")))
        await held.reached.wait()
        await service.container.sealing().seal("moved", "clerk")
        held.let_go.set()
        assert isinstance(await adding, Sealed)
        assert rig.files[FileId("X")] == before


async def test_labels_need_no_space() -> None:
    rig = Rig(max_local_size_gb=1e-6)
    async with rig.running() as service:
        await service.image(picture(), "X")
        await service.video(film(1, 600), "other")
        with pytest.raises(StorageFull):
            await service.video(film(2, 600), "another")
        stored = await service.image(picture(), "X", device_id="cam-1")
        assert stored.labels_added == ("device_id",)


async def test_many_at_once_are_added_too() -> None:
    rig = Rig()
    async with rig.running() as service:
        for name in ("A", "B", "C"):
            await service.image(picture(), name, **({"device_id": "cam-1"} if name == "C" else {}))
        load = service.container.store_many().begin()
        outcomes: list[ItemOutcome] = []
        data, _ = await service.read.whole("A")
        for name in ("A", "new", "B", "C"):
            attributes = FileAttributes.of(file_id=name, device_id="cam-2")
            outcomes += await load.add(FileItem(FileKind.IMAGE, Upload(data), attributes))
        outcomes += await load.finish()
        stored = [one.stored for one in outcomes]
        assert [one and one.created for one in stored] == [False, True, False, None]
        assert [one and dict(one.labels_added) for one in stored] == [
            {"A": ("device_id",)},
            {},
            {"B": ("device_id",)},
            None,
        ]
        assert isinstance(outcomes[3].error, Conflict)
    assert rig.attempts == []


def _bare(file: StoredFile) -> StoredFile:
    """A file without the dates of verification, which a rebuild does not know."""
    return evolve(file, replicas=tuple(evolve(c, verified_at=None) for c in file.replicas))
