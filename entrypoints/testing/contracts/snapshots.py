"""Tests of any adapter of the ports `SnapshotTexts` and `SnapshotRecords`."""

import asyncio
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest

from traffic_storage.domain.deletion import BeginPurge, Tombstone
from traffic_storage.domain.files import FileState, StoredFile
from traffic_storage.domain.holds import HeldFile, Hold, PlaceHold
from traffic_storage.domain.identifiers import FileId
from traffic_storage.domain.ingest import Unit
from traffic_storage.domain.snapshot import PinSnapshot, SnapshotPin, UnpinSnapshot
from traffic_storage.entrypoints.testing.contracts.record_repo import local
from traffic_storage.entrypoints.testing.units import LATER, NOON, new_file, store
from traffic_storage.ports.blob_store import is_empty
from traffic_storage.ports.errors import BlobConflict
from traffic_storage.ports.record_repo import RecordRepo
from traffic_storage.ports.snapshot_store import SnapshotStore, TextFolder

SEALED, ROWS = TextFolder.SEALED, TextFolder.ROWS
DAY = timedelta(days=1)


@pytest.mark.asyncio
class SnapshotTextsContract:
    """Inherit, and give a fixture `location` with an empty snapshot location."""

    async def test_a_text_is_written_once(self, location: SnapshotStore) -> None:
        """put_text: create-only; the same text again succeeds, another one is refused and changes nothing."""
        assert await location.text(SEALED, "one") is None
        for _ in range(2):
            await location.put_text(SEALED, "one", b"content")
        with pytest.raises(BlobConflict):
            await location.put_text(SEALED, "one", b"other")
        assert await location.text(SEALED, "one") == b"content"
        assert await location.text(ROWS, "one") is None

    async def test_a_long_text_is_read_whole(self, location: SnapshotStore) -> None:
        """put_text, text: a manifest of some MiB is not cut."""
        text = b"a part of many " * 400_000
        for _ in range(2):
            await location.put_text(SEALED, "long", text)
        assert await location.text(SEALED, "long") == text

    async def test_of_concurrent_texts_one_is_written(self, location: SnapshotStore) -> None:
        """put_text: of concurrent calls with other texts, one succeeds."""
        texts = [b"%d" % number for number in range(8)]
        calls = (location.put_text(SEALED, "one", text) for text in texts)
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        won = [text for text, outcome in zip(texts, outcomes, strict=True) if outcome is None]
        assert [await location.text(SEALED, "one")] == won

    async def test_the_names_of_a_folder_are_listed(self, location: SnapshotStore) -> None:
        """text_names: all names of one folder, ascending; no blob and no text of another folder."""
        assert await location.text_names(SEALED) == []
        for name in ("two", "one.1", "B_0"):
            await location.put_text(SEALED, name, b"content")
        await location.put_text(ROWS, "three", b"content")
        assert await location.text_names(SEALED) == ["B_0", "one.1", "two"]

    async def test_a_text_is_removed(self, location: SnapshotStore) -> None:
        """remove_text: the text is gone, also the second time; another text may take its name."""
        await location.put_text(SEALED, "one", b"content")
        for _ in range(2):
            await location.remove_text(SEALED, "one")
        assert await location.text_names(SEALED) == []
        await location.put_text(SEALED, "one", b"other")
        assert await location.text(SEALED, "one") == b"other"

    async def test_a_place_with_a_text_is_used(self, location: SnapshotStore) -> None:
        """is_unused: as long as nothing is there."""
        assert await location.is_unused()
        await location.put_text(SEALED, "one", b"content")
        assert not await location.is_unused()

    async def test_texts_are_no_blobs(self, location: SnapshotStore) -> None:
        """Listings of blobs omit texts, also one of 4 MiB."""
        long = bytes(4 * 1024 * 1024)
        await location.put_text(ROWS, "0" * 64, long)
        assert await location.text(ROWS, "0" * 64) == long
        assert await is_empty(location)


async def stored_files(repo: RecordRepo, *times: datetime) -> list[StoredFile]:
    """Store a file for each of these times of receipt; return them by their ids."""
    place = await local(repo)
    files = [new_file(place, at=at) for at in times]
    for file in files:
        await store(repo, Unit((file,)))
    return sorted(files, key=lambda file: file.file_id)


async def tombstone(repo: RecordRepo, *names: FileId, purge_after: datetime) -> None:
    """Delete files."""
    change = Tombstone(names, uuid4(), NOON, purge_after, "asked", "clerk", override=True)
    assert await repo.apply(change)


def pin(name: str = "weekly", *, newest: datetime | None = None) -> SnapshotPin:
    """Return a pin that begins at noon and ends a day later."""
    return SnapshotPin(name, "/snapshots", NOON, NOON + DAY, newest)


@pytest.mark.asyncio
class SnapshotRecordsContract:
    """Inherit, and give a fixture `repo` with an empty catalogue."""

    async def test_a_moment_has_all_rows_in_pages(self, repo: RecordRepo) -> None:
        """files, holds: every row once, ascending by id, in pages of `limit`."""
        files = await stored_files(repo, NOON, NOON, LATER)
        holds = [Hold(uuid4(), HeldFile(file.file_id), "C", "r", "j", NOON) for file in files]
        for hold in holds:
            await repo.apply(PlaceHold(hold))
        async with repo.moment() as moment:
            first = await moment.files(None, 2)
            rest = await moment.files(first[-1].file_id, 2)
            assert [one.file_id for one in (*first, *rest)] == [one.file_id for one in files]
            assert not await moment.files(rest[-1].file_id, 2)
            found: list[Hold] = []
            after: UUID | None = None
            while page := await moment.holds(after, 2):
                found += page
                after = page[-1].hold_id
        assert found == sorted(holds, key=lambda one: one.hold_id.bytes)

    async def test_a_moment_does_not_see_later_changes(self, repo: RecordRepo) -> None:
        """moment: what is committed after the entry is in no answer, whatever was asked before."""
        (file,) = await stored_files(repo, NOON)
        async with repo.moment() as moment:
            await stored_files(repo, NOON)
            await tombstone(repo, file.file_id, purge_after=LATER)
            assert [one.file_id for one in await moment.files(None, 10)] == [file.file_id]
            assert (await moment.files(None, 10))[0].state is FileState.AVAILABLE
            assert not await moment.deletions([file.file_id])
        async with repo.moment() as moment:
            assert len(await moment.files(None, 10)) == 2
            assert (await moment.deletions([file.file_id]))[file.file_id].reason == "asked"
            assert not await moment.certificates([file.file_id])

    async def test_a_pin_replaces_one_with_its_name(self, repo: RecordRepo) -> None:
        """PinSnapshot, UnpinSnapshot: one pin for each name; removing it again has no effect."""
        for one in (pin(), pin("daily"), pin(newest=LATER)):
            await repo.apply(PinSnapshot(one))
        assert await repo.pins() == [pin("daily"), pin(newest=LATER)]
        for _ in range(2):
            await repo.apply(UnpinSnapshot("weekly"))
        assert await repo.pins() == [pin("daily")]

    async def test_what_a_snapshot_pins_is_not_purged(self, repo: RecordRepo) -> None:
        """BeginPurge: leaves out what a pin covers: all files, or those up to `newest`."""
        old, new = sorted(await stored_files(repo, NOON, LATER), key=lambda one: one.created_at)
        await tombstone(repo, old.file_id, new.file_id, purge_after=NOON)
        names = (old.file_id, new.file_id)

        async def purging(at: datetime) -> set[FileId]:
            await repo.apply(BeginPurge(names, at))
            found = [await repo.file(name) for name in names]
            return {one.file_id for one in found if one and one.state is FileState.PURGING}

        await repo.apply(PinSnapshot(pin()))
        assert await purging(LATER) == set()
        await repo.apply(PinSnapshot(pin(newest=NOON)))
        assert await purging(LATER) == {new.file_id}
        assert await purging(NOON + DAY) == set(names)
