"""Tests of any adapter of the port `Reconciliation`, and of the changes that belong to it."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import pytest
from attrs import evolve

from traffic_storage.domain.changes import ObserveReplica
from traffic_storage.domain.files import FileKind, ReplicaState, StoredFile
from traffic_storage.domain.identifiers import AttemptId, FileId, StoreId, ViolationId
from traffic_storage.domain.identity import RegisteredStore
from traffic_storage.domain.ingest import Attempt, ClaimedIds, Unit
from traffic_storage.domain.journal import JournalCursor, SetJournalCursor
from traffic_storage.domain.quarantine import (
    BeginRemoval,
    DoubtUndone,
    EnterQuarantine,
    LeaveQuarantine,
    NoteQuarantined,
    Quarantined,
    QuarantineReason,
    QuarantineState,
    UndoAttempt,
)
from traffic_storage.domain.rebuild import ImportRows, RebuildCursor
from traffic_storage.domain.reconcile import Recorded
from traffic_storage.entrypoints.testing.contracts.record_repo import cloud, local
from traffic_storage.entrypoints.testing.ids import uuid7_at
from traffic_storage.entrypoints.testing.units import (
    LATER,
    NOON,
    new_evidence,
    new_file,
    new_record,
    new_restoration,
    store,
)
from traffic_storage.ports.errors import IdsTaken
from traffic_storage.ports.record_repo import RecordRepo

SECOND = timedelta(seconds=1)


def entry_of(file: StoredFile, **more: object) -> Quarantined:
    """Return an entry of the quarantine for the first replica of a file."""
    copy = file.replicas[0]
    usual: dict[str, object] = {"reason": QuarantineReason.UNRECORDED, "seen_at": NOON}
    return Quarantined(copy.store_id, copy.key, **(usual | more))  # type: ignore[arg-type]


async def scanned(repo: RecordRepo, store_id: StoreId, limit: int) -> list[Recorded]:
    """Return the replicas of all pages."""
    found: list[Recorded] = []
    after: UUID | None = None
    while True:
        page = await repo.recorded(store_id, after, limit)
        found += page.items
        if page.last is None:
            return found
        after = page.last


def of_store(files: Sequence[StoredFile], place: RegisteredStore) -> list[Recorded]:
    """Return the replicas in a store as a scan returns them."""
    found = [
        Recorded(copy.replica_id, file.file_id, copy.key, copy.state, file.stored.size_bytes)
        for file in files
        for copy in file.replicas
        if copy.store_id == place.store_id
    ]
    return sorted(found, key=lambda one: one.replica_id)


async def held(repo: RecordRepo, place: RegisteredStore) -> list[Quarantined]:
    """Return the entries of the quarantine of a store."""
    return [*await repo.quarantined(place.store_id)]


async def condemned(repo: RecordRepo, file: StoredFile) -> Attempt:
    """Enter an attempt to store a file, and condemn it."""
    keys = tuple((copy.store_id, copy.key) for copy in file.replicas)
    attempt = Attempt(AttemptId(str(uuid7_at(NOON))), "test", LATER, keys)
    await repo.begin(attempt, ClaimedIds((file.file_id,)))
    assert attempt in await repo.condemn(LATER)
    return attempt


class ReconciliationContract:
    """The tests; a subclass provides the fixture `repo`."""

    @pytest.mark.parametrize("limit", [1, 2, 3, 7, 1000])
    async def test_a_scan_returns_each_replica_of_a_store_once_in_order(
        self, repo: RecordRepo, limit: int
    ) -> None:
        """recorded: ascending by id, whatever the size of the pages and the other stores."""
        here, there = await local(repo), await cloud(repo)
        files = [
            new_file(*places, kind=kind, at=NOON + number * SECOND)
            for number, kind in enumerate([*FileKind] * 2)
            for places in ((here,), (there,), (here, there))
        ]
        for file in reversed(files):
            await store(repo, Unit((file,)))

        for place in (here, there):
            assert await scanned(repo, place.store_id, limit) == of_store(files, place)
        assert await scanned(repo, StoreId("nobody"), limit) == []

    async def test_replicas_are_looked_up_by_their_ids(self, repo: RecordRepo) -> None:
        """replicas: those that exist, in any store and state."""
        here, there = await local(repo), await cloud(repo)
        file = new_file(here, there)
        await store(repo, Unit((file,)))
        asked = [copy.replica_id for copy in file.replicas]

        found = await repo.replicas([*asked, uuid7_at(NOON)])

        assert found == {
            one.replica_id: one for place in (here, there) for one in of_store([file], place)
        }
        assert await repo.replicas([]) == {}

    @pytest.mark.parametrize("limit", [1, 2, 1000])
    async def test_the_metadata_files_of_violations_are_found(
        self, repo: RecordRepo, limit: int
    ) -> None:
        """metadata_files: only files that are the metadata of a violation."""
        here = await local(repo)
        units = [new_evidence(new_record(), here) for _ in range(3)]
        for unit in (*units, Unit((new_file(here, kind=FileKind.METADATA),))):
            await store(repo, unit)

        found: list[FileId] = []
        after: UUID | None = None
        while True:
            page, after = await repo.metadata_files(after, limit)
            found += page
            if after is None:
                break

        assert sorted(found) == sorted(
            unit.violation.metadata_file_id for unit in units if unit.violation
        )

    async def test_rows_are_looked_up_by_many_ids(self, repo: RecordRepo) -> None:
        """files_by_id, violations_by_id: the rows that exist."""
        here = await local(repo)
        unit = await store(repo, new_evidence(new_record(), here))
        violation = unit.violation
        assert violation is not None

        files = await repo.files_by_id([*unit.names.files, FileId("nobody")])
        violations = await repo.violations_by_id([violation.violation_id, ViolationId("nobody")])

        assert files == {file.file_id: file for file in unit.files}
        assert violations == {violation.violation_id: violation}
        assert not await repo.files_by_id([])
        assert not await repo.violations_by_id([])

    async def test_keys_of_attempts_are_told(self, repo: RecordRepo) -> None:
        """attempted: keys in the journal, of condemned attempts too, by store."""
        here, there = await local(repo), await cloud(repo)
        files = [new_file(here) for _ in range(3)]
        await condemned(repo, files[0])
        keys = tuple((copy.store_id, copy.key) for copy in files[1].replicas)
        await repo.begin(Attempt(AttemptId("live"), "test", LATER, keys), ClaimedIds(()))
        asked = [file.replicas[0].key for file in files]

        assert {*await repo.attempted(here.store_id, asked)} == {*asked[:2]}
        assert not await repo.attempted(there.store_id, asked)

    async def test_an_entry_is_returned_as_it_was_made(self, repo: RecordRepo) -> None:
        """EnterQuarantine, quarantined: in the order of the keys, by store, page by page."""
        here, there = await local(repo), await cloud(repo)
        files = [new_file(here, at=NOON + n * SECOND) for n in range(5)]
        entries = [
            entry_of(file, size_bytes=n or None, file_id=file.file_id, note="ñ" * n, reason=reason)
            for n, (file, reason) in enumerate(zip(files, [*QuarantineReason] * 2, strict=False))
        ]

        assert await repo.apply(EnterQuarantine(tuple(reversed(entries))))

        assert await held(repo, here) == entries
        assert await held(repo, there) == []
        page = await repo.quarantined(here.store_id, None, 2)
        rest = await repo.quarantined(here.store_id, page[-1].key, 9)
        assert [*page, *rest] == entries
        keys = [entries[1].key, files[0].replicas[0].key, new_file(here).replicas[0].key]
        assert await repo.quarantine_entries(here.store_id, keys) == {
            one.key: one for one in entries[:2]
        }
        assert await repo.quarantine_entries(here.store_id, []) == {}

    async def test_what_has_an_entry_or_a_replica_is_not_entered(self, repo: RecordRepo) -> None:
        """EnterQuarantine: the first sighting stays; a recorded blob never gets an entry."""
        here = await local(repo)
        first = entry_of(new_file(here))
        known = new_file(here)
        await store(repo, Unit((known,)))
        await repo.apply(EnterQuarantine((first,)))

        await repo.apply(
            EnterQuarantine((evolve(first, seen_at=LATER, note="again"), entry_of(known)))
        )

        assert await held(repo, here) == [first]

    async def test_an_attempt_is_undone_into_the_quarantine(self, repo: RecordRepo) -> None:
        """UndoAttempt: once, and only a condemned attempt."""
        here = await local(repo)
        file, other = new_file(here), new_file(here)
        attempt = await condemned(repo, file)
        entry = entry_of(file, reason=QuarantineReason.UNDONE)
        live = Attempt(AttemptId("live"), "test", LATER, ((here.store_id, other.replicas[0].key),))
        await repo.begin(live, ClaimedIds(()))

        assert await repo.apply(UndoAttempt(attempt.attempt_id, (entry,)))
        assert not await repo.apply(UndoAttempt(attempt.attempt_id, (entry,)))
        assert not await repo.apply(UndoAttempt(live.attempt_id, (entry_of(other),)))

        assert await held(repo, here) == [entry]
        assert [one.attempt_id for one in await repo.condemn(LATER)] == [live.attempt_id]

    async def test_what_is_known_of_an_entry_is_replaced(self, repo: RecordRepo) -> None:
        """NoteQuarantined: size, file and note; nothing else."""
        here = await local(repo)
        entry = entry_of(new_file(here))
        await repo.apply(EnterQuarantine((entry,)))
        noted = evolve(entry, size_bytes=5, file_id=FileId("F"), note="kept")

        assert await repo.apply(NoteQuarantined(evolve(noted, seen_at=LATER)))
        assert not await repo.apply(NoteQuarantined(entry_of(new_file(here))))

        assert await held(repo, here) == [noted]

    async def test_a_blob_is_removed_in_two_steps(self, repo: RecordRepo) -> None:
        """BeginRemoval, LeaveQuarantine: each has one effect."""
        here = await local(repo)
        entry = entry_of(new_file(here))
        await repo.apply(EnterQuarantine((entry,)))

        assert await repo.apply(BeginRemoval(entry))
        assert not await repo.apply(BeginRemoval(entry))
        assert await held(repo, here) == [evolve(entry, state=QuarantineState.REMOVING)]
        assert await repo.apply(LeaveQuarantine(entry))
        assert not await repo.apply(LeaveQuarantine(entry))
        assert await held(repo, here) == []

    async def test_undone_attempts_of_one_store_are_doubted(self, repo: RecordRepo) -> None:
        """DoubtUndone: entries and attempts of this store; not what is being deleted."""
        here, there = await local(repo), await cloud(repo)
        undone, removing = (
            entry_of(new_file(here), reason=QuarantineReason.UNDONE) for _ in range(2)
        )
        other = entry_of(new_file(there), reason=QuarantineReason.UNDONE)
        going_on = new_file(here)
        keys = tuple((copy.store_id, copy.key) for copy in going_on.replicas)
        attempt = Attempt(AttemptId(str(uuid7_at(NOON))), "test", LATER, keys)
        await repo.begin(attempt, ClaimedIds((going_on.file_id,)))
        await repo.apply(EnterQuarantine((undone, removing, other)))
        await repo.apply(BeginRemoval(removing))

        for _ in range(2):
            await repo.apply(DoubtUndone(here.store_id, LATER))

        doubted = evolve(undone, reason=QuarantineReason.UNRECORDED)
        going = evolve(removing, state=QuarantineState.REMOVING)
        tried = entry_of(going_on, seen_at=LATER)
        found = await held(repo, here)
        assert found == sorted((doubted, going, tried), key=lambda one: one.key)
        assert await held(repo, there) == [other]

    async def test_a_blob_with_a_replica_is_not_removed(self, repo: RecordRepo) -> None:
        """BeginRemoval: a replica that was recorded since the entry was made protects the blob."""
        here = await local(repo)
        file = new_file(here)
        await repo.apply(EnterQuarantine((entry_of(file),)))
        await store(repo, Unit((file,)))

        assert not await repo.apply(BeginRemoval(entry_of(file)))

    async def test_rows_are_imported_and_counted(self, repo: RecordRepo) -> None:
        """ImportRows: files, copies, violations and the cursor; the entries of the copies end."""
        here, there = await local(repo), await cloud(repo)
        known = await store(repo, Unit((new_file(here),)))
        (further,) = new_restoration(known.files[0], there).restored
        unit = new_evidence(new_record(), here)
        assert unit.violation is not None
        await repo.apply(EnterQuarantine((entry_of(unit.files[0]), entry_of(further))))
        cursor = RebuildCursor(here.store_id, uuid7_at(NOON))

        assert await repo.apply(ImportRows(unit.files, (further,), (unit.violation,), (), cursor))

        assert await repo.files_by_id(unit.names.files) == {f.file_id: f for f in unit.files}
        assert await repo.violation(unit.violation.violation_id) == unit.violation
        both = await repo.file(known.files[0].file_id)
        assert both is not None
        assert both.replicas == (*known.files[0].replicas, *further.replicas)
        assert await held(repo, here) == await held(repo, there) == []
        assert await repo.rebuild_cursors() == {here.store_id: cursor}
        usage = await repo.usage()
        assert sum(row.files for row in usage.files) == 1 + len(unit.files)
        assert sum(row.replicas for row in usage.stores) == 2 + len(unit.files)
        assert usage.violations == 1

    async def test_a_cursor_alone_is_recorded_and_replaced(self, repo: RecordRepo) -> None:
        """ImportRows: the cursor of a store has one row."""
        here = await local(repo)
        for cursor in (
            RebuildCursor(here.store_id),
            RebuildCursor(here.store_id, uuid7_at(NOON)),
            RebuildCursor(here.store_id, uuid7_at(NOON), is_done=True),
        ):
            assert await repo.apply(ImportRows(cursor=cursor))
            assert await repo.rebuild_cursors() == {here.store_id: cursor}

    async def test_all_rows_are_imported_or_none(self, repo: RecordRepo) -> None:
        """ImportRows: an id that is taken refuses all."""
        here = await local(repo)
        known = new_file(here)
        await store(repo, Unit((known,)))
        new = new_file(here)
        same_copy = evolve(new_file(here), replicas=known.replicas)
        cursor = RebuildCursor(here.store_id)

        for taken in (evolve(new_file(here), file_id=known.file_id), same_copy):
            with pytest.raises(IdsTaken):
                await repo.apply(ImportRows((new, taken), cursor=cursor))

        assert await repo.file(new.file_id) is None
        assert await repo.rebuild_cursors() == {}

    async def test_a_violation_is_completed(self, repo: RecordRepo) -> None:
        """ImportRows: a violation gets the image or video that it lacks, and no second one."""
        here = await local(repo)
        unit = await store(repo, new_evidence(new_record(), here, kinds=()))
        assert unit.violation is not None
        name = unit.violation.violation_id
        image = new_file(here, file_id=f"{name}~image", violation_id=name)

        change = ImportRows((image,), completed=((name, image.file_id, None),))
        assert await repo.apply(change)

        found = await repo.violation(name)
        assert found is not None
        assert (found.image_file_id, found.video_file_id) == (image.file_id, None)
        assert found.record.image_path == image.file_id
        with pytest.raises(IdsTaken):
            await repo.apply(ImportRows(completed=((name, image.file_id, None),)))

    async def test_a_blob_is_removed_or_recorded_never_both(self, repo: RecordRepo) -> None:
        """BeginRemoval, ImportRows: of two concurrent ones, one happens."""
        here = await local(repo)
        files = [new_file(here) for _ in range(20)]
        await repo.apply(EnterQuarantine(tuple(map(entry_of, files))))

        async def imported(file: StoredFile) -> bool:
            try:
                return await repo.apply(ImportRows((file,)))
            except IdsTaken:
                return False

        for number, file in enumerate(files):
            both = [repo.apply(BeginRemoval(entry_of(file))), imported(file)]
            results = await asyncio.gather(*(both if number % 2 else reversed(both)))
            assert sorted(results) == [False, True]

    async def test_what_is_being_removed_is_not_recorded(self, repo: RecordRepo) -> None:
        """ImportRows: refused after BeginRemoval, until the entry is deleted."""
        here = await local(repo)
        file = new_file(here)
        await repo.apply(EnterQuarantine((entry_of(file),)))
        await repo.apply(BeginRemoval(entry_of(file)))

        with pytest.raises(IdsTaken):
            await repo.apply(ImportRows((file,)))
        assert await repo.file(file.file_id) is None

        await repo.apply(LeaveQuarantine(entry_of(file)))
        assert await repo.apply(ImportRows((file,)))

    async def test_a_missing_replica_stays_in_a_scan(self, repo: RecordRepo) -> None:
        """recorded: replicas in every state."""
        here = await local(repo)
        file = new_file(here)
        await store(repo, Unit((file,)))
        (copy,) = file.replicas
        await repo.apply(ObserveReplica(file.file_id, copy.replica_id, ReplicaState.MISSING, NOON))

        (found,) = await scanned(repo, here.store_id, 10)

        assert found.state is ReplicaState.MISSING

    async def test_the_cursor_of_a_journal_is_replaced_by_compare_and_set(
        self, repo: RecordRepo
    ) -> None:
        """SetJournalCursor, journal_cursor: one cursor a store; of concurrent changes one happens."""
        here, there = await local(repo), await cloud(repo)
        begin = JournalCursor(here.store_id)
        assert await repo.journal_cursor(here.store_id) == begin
        changes = [SetJournalCursor(begin, JournalCursor(here.store_id, n, n)) for n in (1, 2, 3)]

        results = await asyncio.gather(*map(repo.apply, changes))

        assert results.count(True) == 1
        now = changes[results.index(True)].becomes
        assert await repo.journal_cursor(here.store_id) == now
        assert not await repo.apply(changes[results.index(False)])
        further = JournalCursor(here.store_id, 10**12, 10**9)
        assert await repo.apply(SetJournalCursor(now, further))
        assert await repo.journal_cursor(here.store_id) == further
        assert await repo.journal_cursor(there.store_id) == JournalCursor(there.store_id)
