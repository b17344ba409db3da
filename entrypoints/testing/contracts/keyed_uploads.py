"""Tests of any adapter of the port `KeyedUploads`, and of the changes that it reads."""

import asyncio
from collections import Counter
from uuid import uuid4

import pytest

from traffic_storage.domain.changes import CommitUnit
from traffic_storage.domain.identifiers import FileId
from traffic_storage.domain.identity import RegisteredStore
from traffic_storage.domain.ingest import Unit
from traffic_storage.domain.upload_keys import BindKey
from traffic_storage.entrypoints.testing.contracts.record_repo import is_whole, local
from traffic_storage.entrypoints.testing.units import LATER, NOON, new_attempt, new_file, store
from traffic_storage.ports.errors import IdsTaken, KeyTaken
from traffic_storage.ports.record_repo import RecordRepo


def new_key() -> FileId:
    """Return an id as it is derived from a key."""
    return FileId(str(uuid4()))


async def upload(
    repo: RecordRepo, place: RegisteredStore, key: FileId, file_id: FileId | None = None
) -> Unit:
    """Store a new file with a key, under the key's id if no other is given; return its unit."""
    unit = Unit((new_file(place, file_id=file_id or key),))
    attempt = new_attempt(unit)
    await repo.begin(attempt, unit.names)
    binding = BindKey(key, unit.files[0].file_id, NOON)
    assert await repo.apply(CommitUnit(attempt.attempt_id, unit, key=binding))
    return unit


class KeyedUploadsContract:
    """Inherit from this and provide the fixture `repo`: an empty catalogue."""

    async def test_a_key_stands_for_the_file_that_was_stored_with_it(
        self, repo: RecordRepo
    ) -> None:
        """`file_of_key`: the file to which it is bound, or the one with the derived id."""
        place = await local(repo)
        alone, named = new_key(), new_key()
        assert await repo.file_of_key(alone) is None
        assert await is_whole(repo, await upload(repo, place, alone))
        assert await is_whole(repo, await upload(repo, place, named, FileId("mine")))
        assert await repo.file_of_key(alone) == alone
        assert await repo.file_of_key(named) == "mine"
        assert await repo.file(named) is None
        assert await repo.file_of_key(new_key()) is None

    @pytest.mark.parametrize(
        ("first", "second"), [(None, "mine"), ("mine", None), ("mine", "other")]
    )
    async def test_no_second_file_is_stored_with_a_key(
        self, repo: RecordRepo, first: FileId | None, second: FileId | None
    ) -> None:
        """`CommitUnit`: KeyTaken if another file was stored with the key. The journal entry stays."""
        place, key = await local(repo), new_key()
        stored = await upload(repo, place, key, first)
        with pytest.raises(KeyTaken):
            await upload(repo, place, key, second)
        assert await repo.file_of_key(key) == (first or key)
        assert await repo.file(second or key) is None
        assert await is_whole(repo, stored)
        assert len(await repo.condemn(LATER)) == 1
        usage = await repo.usage()
        assert sum(one.files for one in usage.files) == 1

    async def test_a_file_with_the_id_of_a_bound_key_is_another_file(
        self, repo: RecordRepo
    ) -> None:
        """`file_of_key`: the binding counts, also if a request without the key took the derived id."""
        place, key = await local(repo), new_key()
        await upload(repo, place, key, FileId("mine"))
        await store(repo, Unit((new_file(place, file_id=key),)))
        assert await repo.file_of_key(key) == "mine"

    async def test_a_refused_unit_binds_no_key(self, repo: RecordRepo) -> None:
        """`CommitUnit`: nothing was changed if it is refused."""
        place, key = await local(repo), new_key()
        await store(repo, Unit((new_file(place, file_id="mine"),)))
        with pytest.raises(IdsTaken):
            await upload(repo, place, key, FileId("mine"))
        assert await repo.file_of_key(key) is None
        await upload(repo, place, key)

    async def test_a_commit_with_a_key_may_be_repeated(self, repo: RecordRepo) -> None:
        """`CommitUnit`: False if the same change was applied before."""
        place, alone = await local(repo), new_key()
        for key, file_id in ((new_key(), FileId("mine")), (alone, alone)):
            unit = Unit((new_file(place, file_id=file_id),))
            attempt = new_attempt(unit)
            await repo.begin(attempt, unit.names)
            change = CommitUnit(attempt.attempt_id, unit, key=BindKey(key, file_id, NOON))
            assert [await repo.apply(change) for _ in range(2)] == [True, False]
            assert await repo.file_of_key(key) == file_id

    async def test_a_key_is_bound_to_a_file_that_is_there(self, repo: RecordRepo) -> None:
        """`BindKey`: it is the only binding of the key, and stays."""
        place, key = await local(repo), new_key()
        for name in ("mine", "other"):
            await store(repo, Unit((new_file(place, file_id=name),)))
        mine = BindKey(key, FileId("mine"), NOON)
        assert [await repo.apply(mine) for _ in range(2)] == [True, False]
        with pytest.raises(KeyTaken):
            await repo.apply(BindKey(key, FileId("other"), NOON))
        with pytest.raises(KeyTaken):
            await upload(repo, place, key)
        assert await repo.file_of_key(key) == "mine"

    async def test_a_key_whose_id_a_file_has_is_not_bound(self, repo: RecordRepo) -> None:
        """`BindKey`: "unless the key has one"; for the file itself nothing is recorded."""
        place, key = await local(repo), new_key()
        await upload(repo, place, key)
        await store(repo, Unit((new_file(place, file_id="mine"),)))
        with pytest.raises(KeyTaken):
            await repo.apply(BindKey(key, FileId("mine"), NOON))
        assert not await repo.apply(BindKey(key, key, NOON))
        assert await repo.file_of_key(key) == key

    async def test_of_many_at_once_one_file_is_stored_with_each_key(self, repo: RecordRepo) -> None:
        """`CommitUnit`: of concurrent commits with one key, under whatever ids, one succeeds."""
        place, keys = await local(repo), [new_key() for _ in range(12)]
        # The first that is queued is mostly alone in its transaction, the others are in one group.
        ids = [("one", None, "two", None), (None, "one", None, "two")]
        outcomes = await asyncio.gather(
            *(
                upload(repo, place, key, FileId(f"{name}-{key}") if name else None)
                for number, key in enumerate(keys)
                for name in ids[number % 2]
            ),
            return_exceptions=True,
        )
        stored = [one.files[0].file_id for one in outcomes if isinstance(one, Unit)]
        assert len(stored) == len(keys)
        assert {await repo.file_of_key(key) for key in keys} == {*stored}
        kinds = Counter(map(type, outcomes))
        assert kinds[KeyTaken] + kinds[IdsTaken] == 3 * len(keys)
        assert sum(one.files for one in (await repo.usage()).files) == len(keys)

    async def test_of_many_bindings_at_once_one_succeeds(self, repo: RecordRepo) -> None:
        """`BindKey`: of concurrent ones, and of commits with the derived id, one succeeds."""
        place, key = await local(repo), new_key()
        for number in range(9):
            await store(repo, Unit((new_file(place, file_id=f"f-{number}"),)))
        outcomes = await asyncio.gather(
            *(repo.apply(BindKey(key, FileId(f"f-{number}"), NOON)) for number in range(9)),
            upload(repo, place, key),
            return_exceptions=True,
        )
        assert Counter(map(type, outcomes))[KeyTaken] == 9
        (winner,) = (number for number, one in enumerate(outcomes) if type(one) is not KeyTaken)
        assert await repo.file_of_key(key) == (key if winner == 9 else f"f-{winner}")
