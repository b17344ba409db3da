"""The journal beside the blobs: a rebuild brings holds back and resurrects nothing."""

import asyncio
from contextlib import suppress
from copy import deepcopy
from datetime import timedelta
from typing import TypeAlias
from uuid import uuid4

import pytest
from attrs import evolve

from tests.application.rig import Rig, Service, film, picture, violation_record
from tests.application.script import Died, Script, Step
from tests.application.test_rules_in_force import entered, work
from traffic_storage.adapters.record_repo.memory import InMemoryRecordRepo
from traffic_storage.application import export_journal
from traffic_storage.application.export_journal import JOURNAL
from traffic_storage.domain.deletion import Certificate, Deletion, Tombstone, Undelete
from traffic_storage.domain.errors import StorageUnavailable
from traffic_storage.domain.files import FileKind, FileState, StoredFile, Tier
from traffic_storage.domain.holds import (
    HeldFile,
    HeldRange,
    Hold,
    HoldRequest,
    PlaceHold,
    ReleaseHold,
)
from traffic_storage.domain.identifiers import DeviceId, FileId, StoreId
from traffic_storage.domain.journal import note_name
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.domain.query import HoldsQuery
from traffic_storage.domain.retention_rules import RetentionRule, RuleSet
from traffic_storage.entrypoints.testing.containers import NOON
from traffic_storage.entrypoints.testing.faults.plans import When

LOCAL, CLOUD = Tier.LOCAL, Tier.CLOUD
DAY = timedelta(days=1)


def id_of(service: Service, tier: Tier = LOCAL) -> StoreId:
    """The id of a store."""
    (found,) = [one.store_id for one in service.stores if one.store.tier is tier]
    assert found is not None
    return found


async def export(service: Service, *tiers: Tier) -> None:
    """Write the journal of these stores; of all, if none is named."""
    for tier in tiers or (LOCAL, CLOUD):
        if any(one.store_id for one in service.stores if one.store.tier is tier and one.trusted):
            await service.container.export_journal()(id_of(service, tier))


async def decide(rig: Rig, service: Service) -> None:
    """Store files; hold, release, delete and undelete some of them."""
    for name in ("free", "held", "deleted", "undeleted", "both"):
        await service.video(film(len(name)), name, metadata={"device_id": "cam-1"})
    await service.evidence(violation_record(), picture())
    now = rig.clock.now()
    one = Hold(uuid4(), HeldFile(FileId("held")), "C-1", "trial", "judge", now, now + 90 * DAY)
    scope = HeldRange(DeviceId("cam-1"), NOON - DAY, NOON - DAY / 2, include_future=True)
    two = Hold(uuid4(), scope, "C-2", "enquiry", "prosecutor", now)
    for hold in (one, two):
        assert await rig.repo.apply(PlaceHold(hold))
    assert await rig.repo.apply(ReleaseHold(two.hold_id, now + DAY, "prosecutor", "closed"))
    for name in ("deleted", "undeleted", "both"):
        await delete(rig, name)
    rig.clock.advance(DAY)
    again = Undelete((FileId("undeleted"),), rig.clock.now(), NOON + 400 * DAY, "error", "clerk")
    assert await rig.repo.apply(again)
    assert await rig.repo.apply(evolve(again, file_ids=(FileId("both"),)))
    await delete(rig, "both")
    await delete(rig, "V001~metadata", "V001~image")
    await destroy(rig, service)
    await rules(rig, service)


async def destroy(rig: Rig, service: Service) -> None:
    """Store files and two violations; purge one file, one image, and one violation."""
    await service.video(film(50), "purged", metadata={"device_id": "cam-2"})
    for name in ("V002", "V003"):
        record = violation_record(name, device_id="cam-2")
        await service.evidence(record, picture(int(name[1:])), film(60))
    names = ("purged", "V002~image", "V003~metadata", "V003~image")
    await delete(rig, *names, grace=timedelta(0))
    assert (await service.container.purge().due()).purged == 4


async def rules(rig: Rig, service: Service) -> None:
    """Put other rules in force, twice, and let the files follow them."""
    for days in (1000, 500):
        await entered(service, RetentionRule("court", days, kind=FileKind.IMAGE))
        rig.clock.advance(timedelta(minutes=1))
    await work(rig, service)


async def delete(rig: Rig, *names: str, grace: timedelta = 7 * DAY) -> None:
    """Mark files as deleted."""
    now = rig.clock.now()
    ids = tuple(map(FileId, names))
    change = Tombstone(ids, uuid4(), now, now + grace, "asked", "clerk", override=True)
    assert await rig.repo.apply(change)


Decided: TypeAlias = tuple[
    dict[FileId, StoredFile], dict[FileId, Deletion], set[Hold], dict[FileId, Certificate], RuleSet
]


async def decided(rig: Rig) -> Decided:
    """All files, without dates of verification, deletions, holds, certificates; the rules."""
    in_force = await rig.repo.rules_in_force()
    assert in_force is not None
    files = {
        name: evolve(file, replicas=tuple(evolve(c, verified_at=None) for c in file.replicas))
        for name, file in rig.files.items()
    }
    holds = await rig.repo.holds(HoldsQuery())
    return (
        files,
        dict(await rig.repo.deletions(files)),
        {*holds.items},
        dict(rig.repo._certificates),
        in_force.rules,
    )


@pytest.fixture(params=[StorageStrategy.LOCAL_ONLY, StorageStrategy.CLOUD_ONLY])
def rig(request: pytest.FixtureRequest) -> Rig:
    return Rig(request.param)


async def rebuild(rig: Rig, service: Service) -> None:
    """Rebuild the catalogue of a service, and do the jobs that follow."""
    found = await service.container.rebuild_catalogue()(lambda _progress: None)
    assert (found.unplaced, found.unreadable) == (0, [])
    await work(rig, service)


async def check_rebuilt_as_before(rig: Rig) -> None:
    """Lose the catalogue; a rebuild brings all decisions back."""
    before = await decided(rig)
    rig.repo = InMemoryRecordRepo()
    async with rig.running() as service:
        await rebuild(rig, service)
        assert await decided(rig) == before


async def test_a_rebuild_brings_holds_and_deletions_back(rig: Rig) -> None:
    async with rig.running() as service:
        await decide(rig, service)
        await export(service)
    before = await decided(rig)
    violation = dict(rig.repo._violations)
    rig.repo = InMemoryRecordRepo()

    async with rig.running() as service:
        await rebuild(rig, service)
        assert await decided(rig) == before
        assert rig.repo._violations == violation
        assert rig.files[FileId("undeleted")].state is FileState.AVAILABLE
        assert rig.files[FileId("both")].state is FileState.TOMBSTONED
        # Again: nothing changes.
        await rebuild(rig, service)
        assert await decided(rig) == before


async def test_a_rebuild_of_a_rebuilt_catalogue_knows_both_times(rig: Rig) -> None:
    async with rig.running() as service:
        await decide(rig, service)
        await export(service)
    rig.repo = InMemoryRecordRepo()
    async with rig.running() as service:
        await rebuild(rig, service)
        await delete(rig, "free")
        await export(service)
    await check_rebuilt_as_before(rig)


async def test_an_old_catalogue_learns_what_was_decided_since(rig: Rig) -> None:
    async with rig.running() as service:
        await service.video(film(1), "early")
        await export(service)
    backup = deepcopy(rig.repo)
    rig.clock.advance(timedelta(hours=2))
    async with rig.running() as service:
        await decide(rig, service)
        await delete(rig, "early")
        await export(service)
    before = await decided(rig)
    rig.repo = backup
    async with rig.running() as service:
        for bound in service.stores:
            if bound.untrusted_reason and bound.store_id:
                await service.stores.adopt(bound)
        await service.stores.bind()
        await rebuild(rig, service)
        assert await decided(rig) == before
        # Its numbers go on behind those of the lost time.
        await delete(rig, "free")
        await export(service)
    before = await decided(rig)
    rig.repo = InMemoryRecordRepo()
    async with rig.running() as service:
        await rebuild(rig, service)
        assert (await decided(rig))[1].keys() == before[1].keys()


async def test_what_is_exported_before_a_rebuild_hides_nothing(rig: Rig) -> None:
    """A process of the new catalogue writes its journal while the old one was not applied yet."""
    async with rig.running() as service:
        await decide(rig, service)
        await export(service)
    before = await decided(rig)
    rig.repo = InMemoryRecordRepo()
    async with rig.running() as service:
        for bound in service.stores:
            if bound.untrusted_reason and bound.store_id is None:
                with suppress(StorageUnavailable):
                    await service.stores.take_over(bound)
        await service.stores.bind()
        hold = Hold(uuid4(), HeldFile(FileId("free")), "C-9", "trial", "judge", rig.clock.now())
        await rig.repo.apply(PlaceHold(hold))
        with pytest.raises(StorageUnavailable, match="was not applied to this catalogue"):
            await export(service)
        await rebuild(rig, service)
        after = await decided(rig)
        assert after[0].keys() == before[0].keys()
        assert after[2] == before[2] | {hold}
        assert (after[1], *after[3:]) == (before[1], *before[3:])
        await export(service)
    rig.repo = InMemoryRecordRepo()
    async with rig.running() as service:
        await rebuild(rig, service)
        assert await decided(rig) == after


async def test_nothing_is_purged_before_the_whole_journal_was_applied(rig: Rig) -> None:
    async with rig.running() as service:
        await decide(rig, service)
        await export(service)
    rig.repo = InMemoryRecordRepo()
    rig.clock.advance(30 * DAY)
    async with rig.running() as service:
        await rebuild(rig, service)
        due = await rig.repo.due_for_purge(rig.clock.now())
        assert due.items == ()
        later = await rig.repo.due_for_purge(rig.clock.now() + DAY)
        assert {one.file_id for one in later.items} >= {"deleted", "both"}


async def test_the_store_with_most_of_the_journal_is_read() -> None:
    rig = Rig(StorageStrategy.HYBRID)
    async with rig.running() as service:
        await service.video(film(), "X")
        await delete(rig, "X")
        await export(service)
        again = Undelete((FileId("X"),), rig.clock.now(), NOON + 400 * DAY, "error", "clerk")
        assert await rig.repo.apply(again)
        await export(service, CLOUD)
    rig.repo = InMemoryRecordRepo()
    async with rig.running() as service:
        await rebuild(rig, service)
        assert rig.files[FileId("X")].state is FileState.AVAILABLE


@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize("call", ["local.put_note", "repo.apply"])
async def test_an_export_that_was_killed_goes_on(call: str, when: When) -> None:
    rig = Rig()
    async with rig.running() as service:
        await service.video(film(), "X")
        await service.video(film(2), "Y")
        await delete(rig, "X")
    dying = rig.boot()
    await dying.start()
    rig.script.begin((Step(call, 1, when), Died))
    with pytest.raises(Died):
        await export(dying, LOCAL)
    rig.script = Script()
    async with rig.running() as service:
        await delete(rig, "Y")
        await export(service, LOCAL)
        assert await service.container.export_journal()(id_of(service)) == 0
    await check_rebuilt_as_before(rig)


async def test_a_note_holds_what_fits_and_the_next_one_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig()
    async with rig.running() as service:
        for number in range(9):
            await service.video(film(number), f"X{number}")
            await delete(rig, f"X{number}")
        monkeypatch.setattr(export_journal, "MAX_NOTE_BYTES", 2000)
        assert await service.container.export_journal()(id_of(service)) >= 9
        notes = rig.at_rest[LOCAL]._notes
        assert len(notes) > 2
        assert all(len(text) <= 2000 for text in notes.values())
    await check_rebuilt_as_before(rig)


@pytest.mark.parametrize("is_longer", [False, True])
async def test_two_exports_at_once_write_one_journal(
    is_longer: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that comes second has seen fewer or more events than the note of the first has."""
    rig = Rig()
    async with rig.running() as service:
        await service.video(film(), "X")
        await service.video(film(2), "Y")
        await delete(rig, "X")
        if is_longer:
            await delete(rig, "Y")
        held = rig.script.hold("local.put_note")
        slow = asyncio.create_task(export(service, LOCAL))
        await held.reached.wait()
        if not is_longer:
            await delete(rig, "Y")
        rig.script = Script()
        if is_longer:
            monkeypatch.setattr(export_journal, "BATCH", 3)
        await export(service, LOCAL)
        held.let_go.set()
        await slow
        assert await service.container.export_journal()(id_of(service)) == 0
    await check_rebuilt_as_before(rig)


async def test_a_damaged_note_is_told_and_the_others_are_applied() -> None:
    rig = Rig()
    async with rig.running() as service:
        for name in ("X", "Y"):
            await service.video(film(len(name)), name)
            await delete(rig, name)
            await export(service, LOCAL)
    notes = rig.at_rest[LOCAL]._notes
    notes[note_name(1)] = notes[note_name(1)].replace(b'"X"', b'"Z"')
    rig.repo = InMemoryRecordRepo()
    async with rig.running() as service:
        found = await service.container.rebuild_catalogue()(lambda _progress: None)
        assert [name for _, name in found.unreadable] == [note_name(1)]
        assert rig.files[FileId("X")].state is FileState.AVAILABLE
        assert rig.files[FileId("Y")].state is FileState.TOMBSTONED


async def test_a_missing_note_is_told_and_the_others_are_applied() -> None:
    """A gap is not the end."""
    rig = Rig()
    async with rig.running() as service:
        for name in ("X", "Y", "Z"):
            await service.video(film(ord(name)), name)
            await delete(rig, name)
            await export(service, LOCAL)
    del rig.at_rest[LOCAL]._notes[note_name(2)]
    rig.repo = InMemoryRecordRepo()
    async with rig.running() as service:
        found = await service.container.rebuild_catalogue()(lambda _progress: None)
        assert [name for _, name in found.unreadable] == [note_name(2)]
        gone = {name for name, file in rig.files.items() if file.state is FileState.TOMBSTONED}
        assert gone == {"X", "Z"}
        # What comes next is written behind the last note.
        await delete(rig, "Y")
        await export(service, LOCAL)
        assert note_name(4) in rig.at_rest[LOCAL]._notes


async def test_what_a_damaged_note_told_is_taken_from_another_store() -> None:
    rig = Rig(StorageStrategy.HYBRID)
    async with rig.running() as service:
        await service.video(film(), "X")
        await service.video(film(2), "Y")
        for name in ("X", "Y"):
            await hold_on(service, name)
    notes = rig.at_rest[LOCAL]._notes
    notes[note_name(1)] = notes[note_name(1)].replace(b'"X"', b'"Z"')
    before = await decided(rig)
    rig.repo = InMemoryRecordRepo()
    async with rig.running() as service:
        found = await service.container.rebuild_catalogue()(lambda _progress: None)
        assert [name for _, name in found.unreadable] == [note_name(1)]
        assert await decided(rig) == before


async def hold_on(service: Service, name: str) -> None:
    """Place a hold on a file."""
    request = HoldRequest("C-1", "trial", file_id=FileId(name))
    await service.container.legal_holds().place(request, "judge")


@pytest.mark.parametrize("purged", [False, True])
async def test_a_deletion_of_another_file_with_the_same_id_deletes_nothing(
    rig: Rig, purged: bool
) -> None:
    """A file is stored and deleted; a backup from before is restored, and another one gets its id."""
    async with rig.running() as service:
        backup = deepcopy(rig.repo)
        await service.video(film(1), "X")
        await delete(rig, "X", grace=timedelta(0) if purged else 7 * DAY)
        await service.container.purge().due()
        await export(service)
    rig.repo = backup
    rig.clock.advance(timedelta(minutes=1))
    async with rig.running() as service:
        await service.video(film(2), "X")
        await hold_on(service, "X")
        found = await service.container.rebuild_catalogue()(lambda _progress: None)
        assert rig.files[FileId("X")].state is FileState.AVAILABLE
        assert (await service.read.whole("X"))[0] == film(2)
        assert "X" in [one.name for one in found.examples]
        for _ in range(3):
            rig.clock.advance(20 * DAY)
            await work(rig, service)
        assert (await service.read.whole("X"))[0] == film(2)


async def test_a_worker_writes_the_journal_of_each_store() -> None:
    rig = Rig(StorageStrategy.HYBRID)
    async with rig.running() as service:
        assert JOURNAL in service.container.handlers()
        kinds = [one.kind for one in service.container.schedules()()]
        assert kinds.count(JOURNAL) == 2


@pytest.mark.parametrize("is_away", [False, True])
async def test_a_hold_is_beside_the_blobs_before_the_answer(is_away: bool) -> None:
    rig = Rig(StorageStrategy.HYBRID)
    async with rig.running() as service:
        await service.json({"n": 1}, "X")
        if is_away:
            rig.cloud.go_down("no answer")
        request = HoldRequest("C-1", "trial", file_id=FileId("X"))
        placed = await service.container.legal_holds().place(request, "judge")
        assert len(rig.at_rest[LOCAL]._notes) == 1
        assert len(rig.at_rest[CLOUD]._notes) == (not is_away)
        rig.cloud.come_back()
        await export(service)
        assert len(rig.at_rest[CLOUD]._notes) == 1
    rig.repo = InMemoryRecordRepo()
    async with rig.running() as service:
        await rebuild(rig, service)
        assert (await rig.repo.holds(HoldsQuery())).items == (placed.hold,)
