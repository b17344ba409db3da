"""Tests of any adapter of the ports `Holds`, `Deletions` and `Outbox`, and of their changes."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from attrs import evolve
from hypothesis import strategies as st

from traffic_storage.adapters.record_repo.memory import InMemoryRecordRepo
from traffic_storage.domain.changes import ObserveReplica
from traffic_storage.domain.deletion import (
    REGRANTED,
    REGRANTED_RULE,
    BeginPurge,
    Certificate,
    EndPurge,
    Removal,
    RemoveReplicas,
    Tombstone,
    Undelete,
    certificate_of,
    erased_violation,
    leads,
)
from traffic_storage.domain.events import EventKind, RecordedEvent
from traffic_storage.domain.files import (
    FileKind,
    FileState,
    ReplicaState,
    RetentionBasis,
    RetentionClock,
    StoredFile,
)
from traffic_storage.domain.holds import (
    HeldFile,
    HeldRange,
    HeldViolation,
    Hold,
    HoldReach,
    HoldScope,
    PlaceHold,
    ReleaseHold,
    covers,
)
from traffic_storage.domain.identifiers import DeviceId, FileId, ViolationId
from traffic_storage.domain.ingest import Unit
from traffic_storage.domain.journal import JOURNALED, JournalCursor, SetJournalCursor
from traffic_storage.domain.purged_rows import restored_purge
from traffic_storage.domain.query import FilesQuery, HoldsQuery, ViolationQuery
from traffic_storage.domain.rebuild import ImportRows
from traffic_storage.domain.violation import ViolationState
from traffic_storage.entrypoints.testing.contracts.record_repo import (
    cloud,
    examples,
    local,
)
from traffic_storage.entrypoints.testing.units import (
    NOON,
    new_evidence,
    new_evidence_file,
    new_file,
    new_record,
    new_restoration,
    store,
)
from traffic_storage.ports.errors import AttemptCondemned, IdsTaken
from traffic_storage.ports.record_repo import RecordRepo

DAY = timedelta(days=1)
DUE = NOON + 400 * DAY
"""When the retention of every file of these tests has ended."""

GRACE = 7 * DAY


def new_hold(scope: HoldScope, *, at: datetime = NOON, until: datetime | None = None) -> Hold:
    """Return a hold with a new id."""
    return Hold(uuid4(), scope, "case 7", "a court asks for it", "clerk", at, until)


def new_tombstone(*files: StoredFile, at: datetime = DUE, **more: object) -> Tombstone:
    """Return a change that deletes files."""
    names = tuple(file.file_id for file in files)
    usual = {"reason": "its retention has ended", "actor": "retention", "rule": "default-image"}
    return Tombstone(names, uuid4(), at, at + GRACE, **(usual | more))  # type: ignore[arg-type]


async def a_file(repo: RecordRepo, **more: Any) -> StoredFile:  # noqa: ANN401 - fields of a file
    """Store a file with a replica in the local store, and return it."""
    file = evolve(new_file(await local(repo)), **more)
    await store(repo, Unit((file,)))
    return file


async def evidence(repo: RecordRepo, *kinds: FileKind) -> Unit:
    """Store a violation with its metadata file and files of these kinds, and return the unit."""
    unit = new_evidence(new_record(), await local(repo), kinds=kinds or (FileKind.IMAGE,))
    return await store(repo, unit)


async def found(repo: RecordRepo, file: StoredFile) -> StoredFile:
    """Return a file that exists, as it is now."""
    held = await repo.file(file.file_id)
    assert held is not None
    return held


async def purging(repo: RecordRepo, *files: StoredFile) -> None:
    """Delete files and begin their purge."""
    assert await repo.apply(new_tombstone(*files))
    names = tuple(file.file_id for file in files)
    assert await repo.apply(BeginPurge(names, DUE + GRACE))


async def purged(repo: RecordRepo, file: StoredFile) -> Certificate:
    """Purge a file that is `purging`; return its certificate."""
    at = DUE + GRACE
    await repo.apply(
        RemoveReplicas(
            file.file_id,
            tuple(Removal(copy.replica_id, at, "deleted") for copy in file.replicas),
        )
    )
    deletions = await repo.deletions([file.file_id])
    removals = {one.replica_id: one for one in await repo.removals(file.file_id)}
    violation = await repo.violation(file.violation_id) if file.violation_id else None
    now = await found(repo, file)
    led = violation if leads(now, violation) else None
    certificate = certificate_of(now, deletions[file.file_id], removals, led, at)
    assert await repo.apply(EndPurge(certificate))
    return certificate


async def all_events(repo: RecordRepo) -> Sequence[RecordedEvent]:
    """Return all events. Transactions elsewhere on the server may delay them (`Outbox.events`)."""
    hold = new_hold(HeldFile(FileId("the-last")))
    await repo.apply(PlaceHold(hold))
    async with asyncio.timeout(30):
        while True:
            shown = await repo.events(limit=10_000)
            if shown and shown[-1].event.details.get("hold_id") == str(hold.hold_id):
                return shown[:-1]
            await asyncio.sleep(0.01)


async def happened(repo: RecordRepo, kind: EventKind) -> list[FileId | None]:
    """Return the ids of the files that events of a kind name, in their order."""
    return [one.event.file_id for one in await all_events(repo) if one.event.kind is kind]


async def _check_same(repo: RecordRepo, lost: RecordRepo, unit: Unit) -> None:
    """Check that two catalogues have the same of a violation; dates of verification apart."""
    names = [file.file_id for file in unit.files]
    for name in names:
        one, other = [await each.file(name) for each in (repo, lost)]
        assert one is not None
        assert other is not None
        assert _undated(one) == _undated(other)
        assert await repo.certificate(name) == await lost.certificate(name)
        assert await repo.removals(name) == await lost.removals(name)
    assert await repo.deletions(names) == await lost.deletions(names)
    violation_id = unit.names.violation
    assert violation_id is not None
    assert await repo.violation(violation_id) == await lost.violation(violation_id)


def _undated(file: StoredFile) -> StoredFile:
    return evolve(file, replicas=tuple(evolve(c, verified_at=None) for c in file.replicas))


class DeletionsContract:
    """The tests; a subclass provides the fixture `repo`."""

    # The outbox.

    async def test_each_change_leaves_an_event(self, repo: RecordRepo) -> None:
        """events: in the order of the changes, each with its number and details."""
        file = await a_file(repo)
        unit = await evidence(repo)
        (copy,) = file.replicas
        await repo.apply(
            ObserveReplica(file.file_id, copy.replica_id, ReplicaState.CORRUPT, NOON + DAY)
        )
        await repo.apply(
            ObserveReplica(file.file_id, copy.replica_id, ReplicaState.CORRUPT, NOON + DAY)
        )
        shown = await all_events(repo)
        assert [one.event.kind for one in shown] == [
            EventKind.STORED,
            EventKind.STORED,
            EventKind.CORRUPT,
        ]
        assert [one.event.file_id for one in shown] == [file.file_id, None, file.file_id]
        assert shown[1].event.violation_id == unit.names.violation
        assert shown[1].event.details == {"files": [one.file_id for one in unit.files]}
        assert shown[2].event.at == NOON + DAY
        assert shown[2].event.details["replica_id"] == str(copy.replica_id)
        numbers = [one.sequence for one in shown]
        assert numbers == sorted(set(numbers))
        assert await repo.last_event() > numbers[-1]
        assert await repo.events(after=numbers[0], limit=1) == shown[1:2]
        assert await repo.events(after=await repo.last_event()) == []

    async def test_old_events_are_forgotten(self, repo: RecordRepo) -> None:
        """forget_events: the oldest first, at most `limit`, and their numbers are not used again."""
        for days in range(4):
            file = new_file(await local(repo), at=NOON + days * DAY)
            await store(repo, Unit((file,)))
        shown = await all_events(repo)
        await repo.forget_events(NOON + 3 * DAY, 2)
        assert (await all_events(repo))[:2] == shown[2:]
        cursor = JournalCursor((await local(repo)).store_id)
        everything = evolve(cursor, sequence=await repo.last_event())
        assert await repo.apply(SetJournalCursor(cursor, everything))
        for _ in range(2):
            await repo.forget_events(NOON + 9 * DAY, 100)
        assert await repo.events() == []
        await a_file(repo)
        assert (await all_events(repo))[0].sequence > shown[-1].sequence

    async def test_what_a_journal_lacks_is_not_forgotten(self, repo: RecordRepo) -> None:
        """forget_events: an event of the journal stays until the journals of all stores have it."""
        place, bucket = await local(repo), await cloud(repo)
        for file in (deleted := [await a_file(repo) for _ in range(3)]):
            await repo.apply(new_tombstone(file))
        shown = await all_events(repo)
        later = DUE + DAY

        async def forget() -> list[int]:
            for _ in range(4):
                await repo.forget_events(later, 4)
            left = await all_events(repo)
            return [one.sequence for one in left if one.event.kind in JOURNALED]

        tombstoned = [one.sequence for one in shown if one.event.kind is EventKind.TOMBSTONED]
        assert len(tombstoned) == len(deleted)
        assert (await forget())[:3] == tombstoned
        for one, upto in ((place, tombstoned[1]), (bucket, tombstoned[0])):
            cursor = JournalCursor(one.store_id)
            assert await repo.apply(SetJournalCursor(cursor, evolve(cursor, sequence=upto)))
        assert (await forget())[:2] == tombstoned[1:]
        kinds = {one.event.kind for one in await all_events(repo)}
        assert EventKind.STORED not in kinds

    # Purged files that a rebuild restores.

    @pytest.mark.parametrize("order", ["image first", "metadata first", "image only"])
    async def test_what_was_purged_is_restored(self, repo: RecordRepo, order: str) -> None:
        """RestorePurged: the rows, deletions, removals and certificates are as they were."""
        lost = InMemoryRecordRepo()
        unit = await evidence(lost)
        metadata, image = unit.files
        going = {"image first": [image, metadata], "metadata first": [metadata, image]}
        for file in going.get(order, [image]):
            await purging(lost, file)
            await purged(lost, file)
        changes = [
            restored_purge(one.event)
            for one in await all_events(lost)
            if one.event.kind is EventKind.PURGED
        ]
        await local(repo)
        if order == "image only":
            await local(repo)
            # What a rebuild finds in the stores: the metadata file, and the violation in it.
            assert unit.violation is not None
            record = evolve(unit.violation.record, image_path="")
            found_again = evolve(unit.violation, record=record, image_file_id=None)
            await repo.apply(ImportRows((metadata,), violations=(found_again,)))
        usage = await repo.usage()
        # A hold that came later does not prevent it.
        await repo.apply(
            PlaceHold(new_hold(HeldViolation(ViolationId(metadata.violation_id or ""))))
        )
        for change in changes:
            assert await repo.apply(change)
            assert not await repo.apply(change)
        await _check_same(repo, lost, unit)
        assert await repo.usage() == usage

    async def test_a_purge_of_another_file_with_the_same_id_erases_nothing(
        self, repo: RecordRepo
    ) -> None:
        """RestorePurged: "without effect if the catalogue has another file under its id"."""
        lost = InMemoryRecordRepo()
        file = new_file(await local(lost))
        await store(lost, Unit((file,)))
        await purging(lost, file)
        await purged(lost, file)
        (event,) = [
            one.event for one in await all_events(lost) if one.event.kind is EventKind.PURGED
        ]
        another = evolve(new_file(await local(repo)), file_id=file.file_id)
        await store(repo, Unit((another,)))
        usage = await repo.usage()
        assert not await repo.apply(restored_purge(event))
        assert await repo.file(file.file_id) == another
        assert await repo.usage() == usage
        assert await repo.certificate(file.file_id) is None

    @pytest.mark.parametrize(
        "state", [FileState.AVAILABLE, FileState.TOMBSTONED, FileState.PURGING]
    )
    async def test_what_an_old_catalogue_has_of_a_purged_file_is_erased(
        self, repo: RecordRepo, state: FileState
    ) -> None:
        """RestorePurged: whatever the catalogue has of it; the counters follow."""
        lost = InMemoryRecordRepo()
        unit = await evidence(lost)
        await local(repo)
        await store(repo, unit)
        if state is FileState.TOMBSTONED:
            assert await repo.apply(new_tombstone(*unit.files))
        elif state is FileState.PURGING:
            await purging(repo, *unit.files)
        await purging(lost, *unit.files)
        for file in unit.files:
            await purged(lost, file)
        for one in await all_events(lost):
            if one.event.kind is EventKind.PURGED:
                assert await repo.apply(restored_purge(one.event))
        await _check_same(repo, lost, unit)
        assert await repo.usage() == await lost.usage()

    # Holds.

    async def test_a_hold_is_returned_as_it_was_placed(self, repo: RecordRepo) -> None:
        """apply, hold: all fields, of every scope; placing it again changes nothing."""
        scopes: tuple[HoldScope, ...] = (
            HeldFile(FileId("F")),
            HeldViolation(ViolationId("V")),
            HeldRange(DeviceId("cam"), NOON, NOON + DAY),
            HeldRange(DeviceId("cam"), NOON, NOON + DAY, True, FileKind.VIDEO, "speed"),
        )
        for scope in scopes:
            hold = new_hold(scope, until=NOON + 9 * DAY)
            assert await repo.apply(PlaceHold(hold))
            assert await repo.hold(hold.hold_id) == hold
            assert not await repo.apply(PlaceHold(evolve(hold, reason="other")))
            assert await repo.hold(hold.hold_id) == hold
        assert await repo.hold(uuid4()) is None
        assert len(await happened(repo, EventKind.HOLD_PLACED)) == len(scopes)

    async def test_a_hold_is_released_once(self, repo: RecordRepo) -> None:
        """apply: who released it, when and why; a second release changes nothing."""
        hold = new_hold(HeldFile(FileId("F")))
        release = ReleaseHold(hold.hold_id, NOON + DAY, "judge", "the case is closed")
        assert not await repo.apply(release)
        await repo.apply(PlaceHold(hold))
        assert await repo.apply(release)
        assert await repo.hold(hold.hold_id) == hold.released(release)
        assert not await repo.apply(evolve(release, by="other"))
        assert await repo.hold(hold.hold_id) == hold.released(release)
        assert await happened(repo, EventKind.HOLD_RELEASED) == [FileId("F")]

    async def test_a_hold_of_another_catalogue_may_be_released(self, repo: RecordRepo) -> None:
        """PlaceHold: a hold that is released already is recorded so, with both events."""
        hold = new_hold(HeldFile(FileId("F")))
        ended = hold.released(ReleaseHold(hold.hold_id, NOON + DAY, "judge", "the case is closed"))
        assert await repo.apply(PlaceHold(ended))
        assert await repo.hold(hold.hold_id) == ended
        for kind in (EventKind.HOLD_PLACED, EventKind.HOLD_RELEASED):
            assert await happened(repo, kind) == [FileId("F")]

    async def test_holds_are_listed_newest_first(self, repo: RecordRepo) -> None:
        """holds: all pages together have each hold once; those that ended are filtered."""
        made = [
            new_hold(HeldFile(FileId(f"F{n}")), at=NOON + (n // 2) * DAY, until=until)
            for n in range(6)
            for until in (None, NOON + 10 * DAY)
        ]
        for hold in made:
            await repo.apply(PlaceHold(hold))
        release = ReleaseHold(made[0].hold_id, NOON + DAY, "judge", "closed")
        await repo.apply(release)
        made[0] = made[0].released(release)
        made.sort(key=lambda hold: (hold.placed_at, str(hold.hold_id)), reverse=True)
        for at in (None, NOON, NOON + 11 * DAY):
            query: HoldsQuery | None = HoldsQuery(at, limit=4)
            shown: list[Hold] = []
            while query:
                page = await repo.holds(query)
                shown += page.items
                query = evolve(query, after=page.next) if page.next else None
            assert shown == [hold for hold in made if at is None or hold.is_active(at)]

    async def test_a_file_is_held_as_the_rules_say(self, repo: RecordRepo) -> None:
        """held, holds_on: the same as `covers`, for any hold and any file; in doubt it is held."""
        place = await local(repo)
        devices = st.sampled_from([DeviceId("cam-1"), DeviceId("cam-2")])
        times = st.integers(-3, 3).map(lambda days: NOON + days * DAY)
        violations = [
            await store(
                repo, new_evidence(new_record(device_id=device, violation_type=of_type), place)
            )
            for device, of_type in (("cam-1", "speed"), ("cam-2", "red_light"))
        ]
        ids = [*(unit.names.violation for unit in violations), ViolationId("V-unknown"), None]

        def a_file_of(
            device: DeviceId | None,
            violation_id: ViolationId | None,
            kind: FileKind,
            created: datetime,
            captured: datetime | None,
            basis: datetime,
        ) -> StoredFile:
            file = new_file(place, kind=kind, at=created)
            return evolve(
                file,
                device_id=device,
                violation_id=violation_id,
                captured_at=captured,
                retention_basis=RetentionBasis(RetentionClock.RECEIVED, basis, "for a test"),
            )

        files = examples(
            st.builds(
                a_file_of,
                st.none() | devices,
                st.sampled_from(ids),
                st.sampled_from(FileKind),
                times,
                st.none() | times,
                times,
            ),
            80,
        )
        for file in files:
            await store(repo, Unit((file,)))
        ranges = st.builds(
            lambda device, start, days, future, kind, of_type: HeldRange(
                device, start, start + days * DAY, future, kind, of_type
            ),
            devices,
            times,
            st.integers(1, 3),
            st.booleans(),
            st.none() | st.sampled_from(FileKind),
            st.none() | st.sampled_from(["speed", "red_light"]),
        )
        scopes = st.one_of(
            st.sampled_from(files).map(lambda file: HeldFile(file.file_id)),
            st.sampled_from([name for name in ids if name]).map(HeldViolation),
            ranges,
            ranges,
            ranges,
        )
        holds = examples(
            st.builds(
                lambda scope, at, until: new_hold(scope, at=at, until=until),
                scopes,
                times,
                st.none() | times,
            ),
            60,
        )
        files += [file for unit in violations for file in unit.files]
        known = {unit.names.violation: unit.violation for unit in violations}
        names = [file.file_id for file in files]
        for hold in holds:
            await repo.apply(PlaceHold(hold))
            expected = {
                file.file_id
                for file in files
                if hold.is_active(NOON) and covers(hold, file, known.get(file.violation_id))
            }
            assert await repo.held(names, NOON) == expected, hold
            for name in names[:20]:
                assert await repo.holds_on(name, NOON) == ([hold] if name in expected else [])
            await repo.apply(ReleaseHold(hold.hold_id, NOON, "judge", "closed"))

    async def test_a_hold_says_what_it_came_too_late_for(self, repo: RecordRepo) -> None:
        """hold_reach: the covered files that are deleted, by state."""
        camera = DeviceId("cam-1")
        files = [await a_file(repo, device_id=camera) for _ in range(4)]
        stray = await a_file(repo)
        await repo.apply(new_tombstone(*files[:3], stray))
        await repo.apply(BeginPurge((files[0].file_id, files[1].file_id), DUE + GRACE))
        hold = new_hold(HeldRange(camera, NOON - DAY, NOON + DAY), at=DUE)
        await repo.apply(PlaceHold(hold))
        assert await repo.hold_reach(hold) == HoldReach(tombstoned=2, purging=2)
        for file, expected in zip(files, (HoldReach(0, 1),) * 2 + (HoldReach(1, 0),), strict=False):
            hold = new_hold(HeldFile(file.file_id))
            await repo.apply(PlaceHold(hold))
            assert await repo.hold_reach(hold) == expected
        unit = await evidence(repo)
        await repo.apply(new_tombstone(*unit.files))
        hold = new_hold(HeldViolation(ViolationId(str(unit.names.violation))))
        await repo.apply(PlaceHold(hold))
        assert await repo.hold_reach(hold) == HoldReach(tombstoned=2)

    # Tombstones.

    async def test_a_tombstoned_file_is_gone_from_view(self, repo: RecordRepo) -> None:
        """apply: state, reason, counters and event; the replicas stay."""
        file = await a_file(repo, device_id=DeviceId("cam-1"))
        other = await a_file(repo)
        before = await repo.usage()
        change = new_tombstone(file)
        assert await repo.apply(change)
        assert await found(repo, file) == file.become(FileState.TOMBSTONED, at=DUE)
        assert await repo.deletions([file.file_id, other.file_id]) == {
            file.file_id: change.of(file.file_id)
        }
        usage = await repo.usage()
        assert usage.stores == before.stores
        assert usage.files[0].files == before.files[0].files - 1
        assert await repo.daily_usage(DUE.date(), DUE.date(), DeviceId("cam-1")) != []
        assert [one.file_id for one in (await repo.files(FilesQuery())).items] == [other.file_id]
        assert await happened(repo, EventKind.TOMBSTONED) == [file.file_id]

    async def test_a_tombstone_has_one_effect(self, repo: RecordRepo) -> None:
        """apply: again, or a further tombstone of the same file, changes nothing."""
        file = await a_file(repo)
        change = new_tombstone(file)
        await repo.apply(change)
        usage = await repo.usage()
        for again in (change, new_tombstone(file), new_tombstone(file, whole=False)):
            assert not await repo.apply(again)
        assert await repo.usage() == usage
        assert (await repo.deletions([file.file_id]))[
            file.file_id
        ].deletion_id == change.deletion_id
        assert await happened(repo, EventKind.TOMBSTONED) == [file.file_id]

    @pytest.mark.parametrize("whole", [True, False])
    async def test_what_must_stay_is_left_out(self, repo: RecordRepo, whole: bool) -> None:
        """apply: held, not due, deleted and unknown files; with `whole`, all files stay then."""
        held, deleted = await a_file(repo), await a_file(repo)
        young = await a_file(repo, keep_until=DUE + timedelta(microseconds=1))
        await repo.apply(PlaceHold(new_hold(HeldFile(held.file_id))))
        await repo.apply(new_tombstone(deleted))
        unknown = new_file(await local(repo))
        for stays in (held, young, deleted, unknown):
            due = await a_file(repo)
            before = await repo.deletions([stays.file_id])
            assert await repo.apply(new_tombstone(due, stays, whole=whole)) is not whole
            assert (due.file_id in await repo.deletions([due.file_id])) is not whole
            assert await repo.deletions([stays.file_id]) == before
        assert await repo.apply(new_tombstone(young, override=True))
        assert not await repo.apply(new_tombstone(held, override=True))

    async def test_an_expired_or_released_hold_prevents_nothing(self, repo: RecordRepo) -> None:
        """apply: a hold prevents deletions while it is active."""
        file, other = await a_file(repo), await a_file(repo)
        await repo.apply(PlaceHold(new_hold(HeldFile(file.file_id), until=DUE)))
        hold = new_hold(HeldFile(other.file_id))
        await repo.apply(PlaceHold(hold))
        assert not await repo.apply(new_tombstone(file, other))
        await repo.apply(ReleaseHold(hold.hold_id, DUE, "judge", "closed"))
        assert await repo.apply(new_tombstone(file, other))

    async def test_a_violation_lives_as_long_as_its_metadata(self, repo: RecordRepo) -> None:
        """apply: its state is the metadata file's; its record says what became of its image."""
        unit = await evidence(repo, FileKind.IMAGE, FileKind.VIDEO)
        assert unit.violation
        name = unit.violation.violation_id
        metadata, image, video = unit.files
        await repo.apply(new_tombstone(image))
        held = await repo.violation(name)
        assert held == evolve(unit.violation, image_state=FileState.TOMBSTONED)
        assert (await repo.usage()).violations == 1
        await repo.apply(new_tombstone(metadata, video))
        held = await repo.violation(name)
        assert held == evolve(
            unit.violation,
            state=ViolationState.TOMBSTONED,
            state_at=DUE,
            image_state=FileState.TOMBSTONED,
            video_state=FileState.TOMBSTONED,
        )
        assert (await repo.usage()).violations == 0
        assert (await repo.violations(ViolationQuery())).items == ()
        await repo.apply(_undelete(metadata, image, at=DUE + DAY))
        held = await repo.violation(name)
        assert held is not None
        assert (held.state, held.state_at) == (ViolationState.AVAILABLE, DUE + DAY)
        assert (held.image_state, held.video_state) == (FileState.AVAILABLE, FileState.TOMBSTONED)
        assert (await repo.usage()).violations == 1

    async def test_other_metadata_of_a_violation_does_not_end_it(self, repo: RecordRepo) -> None:
        """apply: only the metadata file of the record decides."""
        unit = await evidence(repo)
        assert unit.violation
        other = await a_file(repo, kind=FileKind.METADATA, violation_id=unit.violation.violation_id)
        await repo.apply(new_tombstone(other))
        assert await repo.violation(unit.violation.violation_id) == unit.violation
        assert (await repo.usage()).violations == 1

    async def test_many_files_are_one_change(self, repo: RecordRepo) -> None:
        """apply: 500 files, the held ones left out."""
        place = await local(repo)
        files = [new_file(place) for _ in range(500)]
        for file in files:
            await store(repo, Unit((file,)))
        for file in files[:5]:
            await repo.apply(PlaceHold(new_hold(HeldFile(file.file_id))))
        change = new_tombstone(*files, whole=False)
        assert await repo.apply(change)
        deleted = await repo.deletions([file.file_id for file in files])
        assert set(deleted) == {file.file_id for file in files[5:]}
        assert {one.deletion_id for one in deleted.values()} == {change.deletion_id}
        assert (await repo.usage()).files[0].files == 5

    # Undeleting.

    async def test_an_undeleted_file_is_kept_anew(self, repo: RecordRepo) -> None:
        """apply: A11: what was due is kept for a further period before it is visible."""
        due, young = await a_file(repo), await a_file(repo, keep_until=DUE + 99 * DAY)
        usage = await repo.usage()
        await repo.apply(new_tombstone(due, young, override=True))
        change = _undelete(due, young, at=DUE + DAY)
        assert await repo.apply(change)
        now = await found(repo, due)
        assert (now.state, now.state_at) == (FileState.AVAILABLE, DUE + DAY)
        assert (now.keep_until, now.retention_rule) == (change.keep_until, REGRANTED_RULE)
        assert await found(repo, young) == evolve(
            young.become(FileState.TOMBSTONED, at=DUE).become(FileState.AVAILABLE, at=DUE + DAY)
        )
        assert await repo.deletions([due.file_id]) == {}
        assert await repo.usage() == usage
        assert not await repo.apply(new_tombstone(due, at=DUE + DAY))
        assert not await repo.apply(change)
        assert await happened(repo, EventKind.UNDELETED) == [due.file_id, young.file_id]

    async def test_an_undelete_is_of_all_or_none(self, repo: RecordRepo) -> None:
        """apply: a file that is available, or being purged, prevents it."""
        deleted, available, purged_file = [await a_file(repo) for _ in range(3)]
        await repo.apply(new_tombstone(deleted))
        await purging(repo, purged_file)
        for other in (available, purged_file, new_file(await local(repo))):
            assert not await repo.apply(_undelete(deleted, other))
        assert (await found(repo, deleted)).state is FileState.TOMBSTONED

    # Purging.

    async def test_a_purge_begins_when_the_grace_has_ended(self, repo: RecordRepo) -> None:
        """apply: A file that is in its grace, held, or available is left out."""
        due, held, available = [await a_file(repo) for _ in range(3)]
        late = await a_file(repo)
        await repo.apply(new_tombstone(due, held))
        await repo.apply(new_tombstone(late, at=DUE + timedelta(microseconds=1)))
        await repo.apply(PlaceHold(new_hold(HeldFile(held.file_id), at=DUE)))
        names = tuple(file.file_id for file in (due, held, available, late))
        assert await repo.apply(BeginPurge(names, DUE + GRACE))
        states = [(await found(repo, file)).state for file in (due, held, available, late)]
        assert states == [
            FileState.PURGING,
            FileState.TOMBSTONED,
            FileState.AVAILABLE,
            FileState.TOMBSTONED,
        ]
        assert not await repo.apply(BeginPurge(names[:3], DUE + GRACE))

    async def test_a_purged_file_leaves_no_trace_of_anybody(self, repo: RecordRepo) -> None:
        """apply: its replicas are gone, its row is erased, its certificate stays."""
        file = await a_file(repo, metadata='{"plate":"X 1"}', original_name="X 1.jpg")
        await purging(repo, file)
        certificate = await purged(repo, file)
        now = await found(repo, file)
        assert (now.state, now.state_at) == (FileState.PURGED, DUE + GRACE)
        assert (now.metadata, now.original_name) == (None, None)
        assert (now.content, now.kind, now.created_at) == (
            file.content,
            file.kind,
            file.created_at,
        )
        assert [copy.state for copy in now.replicas] == [ReplicaState.GONE]
        assert (await repo.usage()).stores == ()
        assert await repo.certificate(file.file_id) == certificate
        assert "X 1" not in certificate.document
        assert str(file.replicas[0].key) in certificate.document
        deletion = (await repo.deletions([file.file_id]))[file.file_id]
        assert deletion.purged_at == DUE + GRACE
        assert not await repo.apply(EndPurge(certificate))
        assert not await repo.apply(_undelete(file))
        assert await happened(repo, EventKind.PURGED) == [file.file_id]
        assert (await repo.due_for_purge(DUE + 99 * DAY)).items == ()

    async def test_a_purge_ends_with_the_last_replica(self, repo: RecordRepo) -> None:
        """apply: a replica that another host must remove keeps the file `purging`."""
        file = new_file(await local(repo), await cloud(repo))
        await store(repo, Unit((file,)))
        first, second = file.replicas
        await purging(repo, file)
        removal = Removal(first.replica_id, DUE + GRACE, "deleted")
        change = RemoveReplicas(file.file_id, (removal,))
        assert await repo.apply(change)
        assert not await repo.apply(change)
        assert await repo.removals(file.file_id) == [removal]
        certificate = Certificate(file.file_id, DUE + GRACE, "{}")
        assert not await repo.apply(EndPurge(certificate))
        assert await repo.certificate(file.file_id) is None
        other = Removal(second.replica_id, DUE + GRACE, "not found")
        assert await repo.apply(RemoveReplicas(file.file_id, (removal, other)))
        assert await repo.apply(EndPurge(certificate))
        assert {one.answer for one in await repo.removals(file.file_id)} == {
            "deleted",
            "not found",
        }

    async def test_a_purge_removes_what_was_released_too(self, repo: RecordRepo) -> None:
        """apply: the bytes of a replica that is gone may exist, so its removal is recorded too."""
        file = new_file(await local(repo), await cloud(repo))
        first, second = file.replicas
        file = evolve(file, replicas=(first, evolve(second, state=ReplicaState.GONE)))
        await store(repo, Unit((file,)))
        await purging(repo, file)
        at = DUE + GRACE
        removals = [Removal(one.replica_id, at, "deleted") for one in (first, second)]
        await repo.apply(RemoveReplicas(file.file_id, (removals[0],)))
        assert not await repo.apply(EndPurge(Certificate(file.file_id, at, "{}")))
        assert await repo.apply(RemoveReplicas(file.file_id, (removals[1],)))
        assert (await repo.usage()).stores == ()
        assert await repo.apply(EndPurge(Certificate(file.file_id, at, "{}")))

    async def test_replicas_of_other_states_are_not_removed(self, repo: RecordRepo) -> None:
        """apply: only a file that is `purging` loses its replicas."""
        file = await a_file(repo)
        removal = Removal(file.replicas[0].replica_id, DUE, "deleted")
        assert not await repo.apply(RemoveReplicas(file.file_id, (removal,)))
        await repo.apply(new_tombstone(file))
        assert not await repo.apply(RemoveReplicas(file.file_id, (removal,)))
        assert not await repo.apply(EndPurge(Certificate(file.file_id, DUE, "{}")))
        assert (await found(repo, file)).replicas == file.replicas

    async def test_a_purged_violation_is_erased(self, repo: RecordRepo) -> None:
        """apply: its id, device, type, times and digest stay; a part of it may live longer."""
        unit = await evidence(repo)
        assert unit.violation
        metadata, image = unit.files
        await purging(repo, metadata)
        await purged(repo, metadata)
        held = await repo.violation(unit.violation.violation_id)
        assert held == evolve(
            erased_violation(unit.violation), state=ViolationState.PURGED, state_at=DUE + GRACE
        )
        assert held is not None
        assert held.record.vehicle_class == ""
        assert await found(repo, image) == image

    async def test_deletions_are_due_in_order(self, repo: RecordRepo) -> None:
        """due_for_purge: pages by the end of the grace, interrupted purges among them."""
        files = [await a_file(repo) for _ in range(7)]
        for n, file in enumerate(files):
            await repo.apply(new_tombstone(file, at=DUE + (n // 3) * DAY))
        await repo.apply(BeginPurge((files[0].file_id,), DUE + GRACE))
        shown: list[FileId] = []
        after = None
        while True:
            page = await repo.due_for_purge(DUE + GRACE + DAY, after, 2)
            shown += [one.file_id for one in page.items]
            if (after := page.next) is None:
                break
        expected = [*sorted(f.file_id for f in files[:3]), *sorted(f.file_id for f in files[3:6])]
        assert shown == expected
        assert len(await repo.files_by_id([*expected, FileId("unknown")])) == 6

    # A deleted file or violation gets nothing more.

    async def test_a_deleted_file_is_not_restored(self, repo: RecordRepo) -> None:
        """apply: a unit that gives it a replica is condemned."""
        file = await a_file(repo)
        await repo.apply(new_tombstone(file))
        with pytest.raises(AttemptCondemned):
            await store(repo, new_restoration(file, await cloud(repo)))
        assert (await found(repo, file)).replicas == file.replicas

    async def test_a_deleted_violation_is_not_completed(self, repo: RecordRepo) -> None:
        """apply: a video that comes later is refused."""
        unit = await evidence(repo)
        assert unit.violation
        name = unit.violation.violation_id
        await repo.apply(new_tombstone(*unit.files))
        video = new_evidence_file(name, FileKind.VIDEO, await local(repo))
        with pytest.raises(IdsTaken):
            await store(repo, Unit((video,), completes=name))
        assert await repo.file(video.file_id) is None


def _undelete(*files: StoredFile, at: datetime = DUE) -> Undelete:
    names = tuple(file.file_id for file in files)
    return Undelete(names, at, at + REGRANTED, "deleted by mistake", "clerk")
