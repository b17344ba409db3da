"""Tests of any adapter of the port `DatabaseBackup`, and of the copies of a `Moment`."""

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from uuid import uuid4

import pytest
from attrs import evolve

from traffic_storage.domain.canonical import canonical_json
from traffic_storage.domain.database_backup import EndLoad, Loaded, Loading
from traffic_storage.domain.holds import HeldFile, Hold, PlaceHold
from traffic_storage.domain.identifiers import FileId, Incarnation
from traffic_storage.domain.identity import LOADED
from traffic_storage.domain.ingest import ClaimedIds, Unit
from traffic_storage.domain.jobs import JobKind, NewJob
from traffic_storage.domain.query import JobsQuery
from traffic_storage.domain.upload_keys import BindKey
from traffic_storage.entrypoints.testing.contracts.record_repo import local
from traffic_storage.entrypoints.testing.ids import uuid7_at
from traffic_storage.entrypoints.testing.units import LATER, NOON, new_attempt, new_file, store
from traffic_storage.ports.database_backup import NotBlank, UnusableBackup
from traffic_storage.ports.record_repo import RecordRepo

TOKEN = Incarnation(f"{LOADED}1")
LOADING = Loading(NOON, LATER, TOKEN)


async def copy_of(repo: RecordRepo) -> Sequence[bytes]:
    """Return the chunks of a copy of a database."""
    chunks: list[bytes] = []

    async def take(data: bytes) -> None:
        chunks.append(bytes(data))

    async with repo.moment() as moment:
        assert await moment.copy_database(take) == repo.form
    return chunks


async def in_pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    """Yield bytes in pieces of other sizes than they came in."""
    for begin in range(0, len(data), size):
        yield data[begin : begin + size]


@pytest.mark.asyncio
class DatabaseBackupContract:
    """Inherit, and give fixtures `repo` and `other` with two empty catalogues of one kind."""

    async def test_everything_is_loaded(self, repo: RecordRepo, other: RecordRepo) -> None:
        """load_database: all rows come back, and the catalogue awaits a rebuild until `EndLoad`."""
        place = await local(repo)
        odd = canonical_json({"note": "back\\slash \\. ünïcode\n\\.\n"}).decode()
        file = evolve(new_file(place), metadata=odd)
        await store(repo, Unit((file,)))
        hold = Hold(uuid4(), HeldFile(file.file_id), "C\\.", "r\n\\.\n", "j", NOON)
        await repo.apply(PlaceHold(hold))
        await repo.enqueue([NewJob(uuid7_at(NOON), JobKind("later"))])
        await repo.apply(BindKey(FileId("derived"), file.file_id, NOON))
        data = b"".join(await copy_of(repo))
        # What follows is not of that moment.
        await store(repo, Unit((new_file(place),)))
        assert await other.is_blank()
        await other.load_database(in_pieces(data, 7 if len(data) < 100_000 else 4093), LOADING)
        assert await other.file(file.file_id) == await repo.file(file.file_id)
        assert await other.catalogue_id() == await repo.catalogue_id()
        assert (await other.holds_on(file.file_id, LATER))[0] == hold
        assert await other.file_of_key(FileId("derived")) == file.file_id
        jobs = JobsQuery()
        assert (await other.jobs(jobs)).items == (await repo.jobs(jobs)).items
        usage = await other.usage()
        assert sum(one.files for one in usage.files) == 1
        assert await other.loaded() == Loaded(NOON, LATER)
        for _ in range(2):
            await other.apply(EndLoad())
            assert await other.loaded() is None
        # Numbers that are drawn do not repeat those of the rows.
        await store(other, Unit((new_file(place),)))

    async def test_a_loaded_catalogue_trusts_no_store(
        self, repo: RecordRepo, other: RecordRepo
    ) -> None:
        """load_database: stores have the given token, nothing is in flight, no rebuild goes on."""
        place = await local(repo)
        intending = place.intending(Incarnation("first"), NOON)
        assert await repo.exchange(place, intending)
        assert await repo.exchange(intending, intending.confirming("/evidence", NOON))
        await repo.begin(new_attempt(Unit((new_file(place),))), ClaimedIds(()))
        assert not await repo.is_blank()
        data = b"".join(await copy_of(repo))
        await other.load_database(in_pieces(data, 1 << 20), LOADING)
        registered = await other.registered(place.store_id)
        assert registered is not None
        assert (registered.incarnation, registered.intended) == (TOKEN, None)
        assert registered.is_of_backup
        assert not await other.condemn(LATER + timedelta(days=9))
        assert await other.is_blank()

    async def test_only_an_empty_database_is_loaded(
        self, repo: RecordRepo, other: RecordRepo
    ) -> None:
        """load_database: a database with a file is refused, and stays as it is."""
        data = b"".join(await copy_of(repo))
        file = new_file(await local(other))
        await store(other, Unit((file,)))
        assert not await other.is_blank()
        with pytest.raises(NotBlank):
            await other.load_database(in_pieces(data, 1 << 20), LOADING)
        assert await other.file(file.file_id) == file
        assert await other.loaded() is None

    async def test_bytes_that_are_cut_or_foreign_are_refused(
        self, repo: RecordRepo, other: RecordRepo
    ) -> None:
        """load_database: bytes that are no whole copy are refused, and change nothing."""
        await store(repo, Unit((new_file(await local(repo)),)))
        data = b"".join(await copy_of(repo))
        known = await other.catalogue_id()
        for wrong in (data[: len(data) // 2], data[:-1], b"", b"SQLite format 4\n" + data[16:]):
            with pytest.raises(UnusableBackup):
                await other.load_database(in_pieces(wrong, 1 << 20), LOADING)
            assert await other.is_blank()
            assert await other.catalogue_id() == known
        await other.load_database(in_pieces(data, 1 << 20), LOADING)

    async def test_an_error_of_the_reader_is_raised(self, repo: RecordRepo) -> None:
        """copy_database: the error of `write` ends the copy; the catalogue works on."""

        async def full(_data: bytes) -> None:
            raise LookupError("no more")

        async with repo.moment() as moment:
            with pytest.raises(LookupError, match="no more"):
                await moment.copy_database(full)
        assert await repo.is_blank()
