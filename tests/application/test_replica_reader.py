"""Reading stored bytes: which replicas serve, what is marked, and files that move meanwhile."""

import hashlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeAlias

import pytest
from attrs import evolve

from tests.application.rig import Rig, Service, film, key_in, outcome, two_copies
from tests.application.script import Step
from traffic_storage.application.replica_reader import (
    ReplicaFilter,
    ReplicaReader,
    any_replica,
    cache_key,
)
from traffic_storage.domain.digests import (
    SEGMENT_BYTES,
    WHOLE_READ_BYTES,
    Sha256,
    digests_of,
)
from traffic_storage.domain.errors import NoGoodReplica, NotFound, StorageUnavailable
from traffic_storage.domain.files import FileState, ReplicaState, StoredFile, Tier
from traffic_storage.domain.incidents import IncidentKind, IncidentsQuery
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.domain.verification import Span
from traffic_storage.entrypoints.testing.faults.blob_store import Damage, tamper
from traffic_storage.entrypoints.testing.faults.plans import When
from traffic_storage.ports.errors import CatalogueUnavailable

SMALL = film(0, 5_000)
LARGE = hashlib.shake_256(b"large").digest(WHOLE_READ_BYTES + 3 * SEGMENT_BYTES // 2)

Read: TypeAlias = Callable[[ReplicaReader, StoredFile, ReplicaFilter], Awaitable[bytes]]


async def whole(
    reader: ReplicaReader, file: StoredFile, serving: ReplicaFilter = any_replica
) -> bytes:
    return await reader.read(file, serving=serving)


async def streamed(
    reader: ReplicaReader, file: StoredFile, serving: ReplicaFilter = any_replica
) -> bytes:
    span = Span(0, file.stored.size_bytes)
    return b"".join([chunk async for chunk in reader.stream(file, span, serving=serving)])


READS = pytest.mark.parametrize(
    ("read", "content"), [(whole, SMALL), (streamed, LARGE)], ids=["whole", "streamed"]
)


@pytest.fixture
def rig() -> Rig:
    """HYBRID without the cache of bytes, which would hide what is read."""
    return Rig(StorageStrategy.HYBRID, cache_item_bytes=0)


def reader_of(service: Service) -> ReplicaReader:
    return service.container.replica_reader()


def of(tier: Tier) -> ReplicaFilter:
    return lambda replica: replica.tier is tier


def state_in(rig: Rig, file: StoredFile, tier: Tier) -> ReplicaState:
    (state,) = (copy.state for copy in rig.files[file.file_id].replicas if copy.tier is tier)
    return state


async def before_it_moved(rig: Rig, service: Service, content: bytes) -> StoredFile:
    """The row as it was when the file lay in the local store; its only copy is in the cloud now."""
    file = await two_copies(rig, service, content)
    old = evolve(file, replicas=file.replicas[:1])
    rig.repo._files[file.file_id] = evolve(file, replicas=file.replicas[1:])
    await tamper(rig.at_rest[Tier.LOCAL], key_in(file, Tier.LOCAL), Damage.REMOVE)
    return old


# Files that move


@READS
async def test_a_file_that_moved_after_its_lookup_is_read_at_its_new_place(
    rig: Rig, read: Read, content: bytes
) -> None:
    async with rig.running() as service:
        old = await before_it_moved(rig, service, content)
        assert await read(reader_of(service), old, any_replica) == content
        assert state_in(rig, old, Tier.CLOUD) is ReplicaState.PRESENT


async def test_a_stream_goes_on_at_the_new_place_of_a_file_that_moves_in_its_middle(
    rig: Rig,
) -> None:
    async with rig.running() as service:
        file = await two_copies(rig, service, LARGE)
        old = evolve(file, replicas=file.replicas[:1])
        at = 2 * SEGMENT_BYTES
        await tamper(rig.at_rest[Tier.LOCAL], key_in(file, Tier.LOCAL), Damage.FLIP, at=at)
        assert await streamed(reader_of(service), old) == LARGE


@READS
async def test_a_file_that_was_removed_meanwhile_is_not_found(
    rig: Rig, read: Read, content: bytes
) -> None:
    async with rig.running() as service:
        old = await before_it_moved(rig, service, content)
        for state in (FileState.PURGING, FileState.PURGED):
            rig.repo._files[old.file_id] = evolve(rig.files[old.file_id], state=state)
            with pytest.raises(NotFound):
                await read(reader_of(service), old, any_replica)
        del rig.repo._files[old.file_id]
        with pytest.raises(NotFound):
            await read(reader_of(service), old, any_replica)


@READS
async def test_other_bytes_under_the_same_id_are_never_taken_for_the_file(
    rig: Rig, read: Read, content: bytes
) -> None:
    async with rig.running() as service:
        old = await before_it_moved(rig, service, content)
        current = rig.files[old.file_id]
        rig.repo._files[old.file_id] = evolve(
            current, stored=evolve(current.stored, sha256=Sha256("0" * 64))
        )
        with pytest.raises(NoGoodReplica):
            await read(reader_of(service), old, any_replica)


@READS
async def test_while_the_catalogue_is_away_a_file_that_may_have_moved_is_not_called_lost(
    rig: Rig, read: Read, content: bytes
) -> None:
    async with rig.running() as service:
        old = await before_it_moved(rig, service, content)
        rig.script.begin((Step("repo.file", 1, When.BEFORE), lambda: CatalogueUnavailable("gone")))
        with pytest.raises(StorageUnavailable, match=r"a lookup of newer replicas failed: gone"):
            await read(reader_of(service), old, any_replica)


@READS
async def test_it_is_looked_up_again_once_and_only_when_all_replicas_have_failed(
    rig: Rig, read: Read, content: bytes
) -> None:
    async with rig.running() as service:
        file = await two_copies(rig, service, content)
        rig.script.begin()
        await read(reader_of(service), file, any_replica)
        rig.local.go_down("away")
        await read(reader_of(service), file, any_replica)
        assert [step for step in rig.script.steps if step.call == "repo.file"] == []
        rig.cloud.go_down("away")
        with pytest.raises(StorageUnavailable):
            await read(reader_of(service), file, any_replica)
        assert [step.nth for step in rig.script.steps if step.call == "repo.file"] == [1, 1]


# Which replicas serve


@READS
@pytest.mark.parametrize("tier", Tier)
async def test_only_the_replicas_that_are_admitted_are_read(
    rig: Rig, read: Read, content: bytes, tier: Tier
) -> None:
    async with rig.running() as service:
        file = await two_copies(rig, service, content)
        other = rig.cloud if tier is Tier.LOCAL else rig.local
        other.go_down("away")
        assert await read(reader_of(service), file, of(tier)) == content
        await tamper(rig.at_rest[tier], key_in(file, tier), Damage.FLIP, at=0)
        other.come_back()
        with pytest.raises(NoGoodReplica):
            await read(reader_of(service), file, of(tier))
        assert state_in(rig, file, tier) is ReplicaState.CORRUPT
        assert await read(reader_of(service), file, any_replica) == content


async def test_the_cache_answers_only_where_it_may() -> None:
    rig = Rig()
    async with rig.running() as service:
        file = (await service.video(SMALL, "X")).file
        reader = reader_of(service)
        for reads in (1, 2):
            assert await reader.read(file, cached=False) == SMALL
            assert rig.local.calls["read"] == reads
        assert rig.cache.calls["get"] == rig.cache.calls["put"] == 0
        for _ in range(2):
            assert await reader.read(file) == SMALL
        assert rig.local.calls["read"] == 3


# Marks need trust


@READS
@pytest.mark.parametrize("how", [Damage.FLIP, Damage.REMOVE])
async def test_a_read_that_finds_a_bad_replica_opens_an_incident(
    rig: Rig, read: Read, content: bytes, how: Damage
) -> None:
    async with rig.running() as service:
        file = await two_copies(rig, service, content)
        await tamper(rig.at_rest[Tier.LOCAL], key_in(file, Tier.LOCAL), how, at=7)
        assert await read(reader_of(service), file, any_replica) == content
        (found,) = (await rig.repo.incidents(IncidentsQuery())).items
        (bad,) = [copy for copy in file.replicas if copy.tier is Tier.LOCAL]
        assert (found.file_id, found.replica_id) == (file.file_id, bad.replica_id)
        kinds = {
            Damage.FLIP: IncidentKind.CORRUPT_REPLICA,
            Damage.REMOVE: IncidentKind.MISSING_REPLICA,
        }
        assert found.kind is kinds[how]
        assert bad.key in found.details


def exchanged(rig: Rig, row: StoredFile, data: bytes) -> StoredFile:
    """Put other bytes in place of a file in every store, and change its row in the database."""
    for copy in row.replicas:
        rig.at_rest[copy.tier].alter(copy.key, lambda _data: data)
    rig.repo._files[row.file_id] = row
    return row


@READS
@pytest.mark.parametrize("cached", [False, True])
async def test_bytes_that_were_exchanged_together_with_the_row_are_not_served(
    read: Read, content: bytes, cached: bool
) -> None:
    """The keys and the manifests still state the first digest."""
    other = bytes(byte ^ 1 for byte in content)
    new = digests_of(other)
    rig = Rig(StorageStrategy.HYBRID, cache_item_bytes=100_000 if cached else 0)
    async with rig.running() as service:
        file = await two_copies(rig, service, content)
        row = exchanged(rig, evolve(file, stored=new, content=new), other)
        await service.container.cache().put(cache_key(row), other, timedelta(hours=1))
        with pytest.raises(NoGoodReplica):
            await read(reader_of(service), row, any_replica)
        assert await reader_of(service).read_cached(row) is None
        found = (await rig.repo.incidents(IncidentsQuery())).items
        assert [one.kind for one in found] == 2 * [IncidentKind.CORRUPT_REPLICA]
        assert "names another SHA-256" in found[0].details
        # They become good again with the row and the bytes.
        exchanged(rig, file, content)
        assert await read(reader_of(service), file, any_replica) == content


async def test_segments_that_were_exchanged_together_with_the_row_are_not_served(rig: Rig) -> None:
    """The digest of the whole file is unchanged; only the manifest tells."""
    other = LARGE[:-1] + b"x"
    async with rig.running() as service:
        file = await two_copies(rig, service, LARGE)
        stored = evolve(file.stored, segments=digests_of(other).segments)
        row = exchanged(rig, evolve(file, stored=stored), other)
        with pytest.raises(NoGoodReplica):
            await streamed(reader_of(service), row)
        (one, _) = (await rig.repo.incidents(IncidentsQuery())).items
        assert "digests of segments" in one.details


@READS
async def test_a_digest_that_was_exchanged_in_the_row_is_not_handed_out(
    rig: Rig, read: Read, content: bytes
) -> None:
    """The bytes are stored as they came, so both digests in the row are the same."""
    async with rig.running() as service:
        file = await two_copies(rig, service, content)
        row = exchanged(rig, evolve(file, content=digests_of(b"x" * len(content))), content)
        with pytest.raises(NoGoodReplica):
            await read(reader_of(service), row, any_replica)
        (one, _) = (await rig.repo.incidents(IncidentsQuery())).items
        assert "two SHA-256 of the same bytes" in one.details


@READS
async def test_a_doubtful_replica_that_is_whole_is_marked_present(
    rig: Rig, read: Read, content: bytes
) -> None:
    async with rig.running() as service:
        file = await doubtful(rig, service, content)
        rig.clock.advance(timedelta(minutes=5))
        assert await read(reader_of(service), file, any_replica) == content
        assert state_in(rig, file, Tier.LOCAL) is ReplicaState.PRESENT


@READS
async def test_a_store_that_does_not_prove_its_identity_has_no_replica_marked_present(
    rig: Rig, read: Read, content: bytes
) -> None:
    """Seen from a copy of the store, what the store has lost is still there."""
    async with rig.running() as service:
        file = await doubtful(rig, service, content)
        rig.at_rest[Tier.LOCAL]._marker = None
        assert await read(reader_of(service), file, any_replica) == content
        assert state_in(rig, file, Tier.LOCAL) is ReplicaState.MISSING


@READS
async def test_a_store_that_does_not_prove_its_identity_has_no_replica_marked_corrupt(
    rig: Rig, read: Read, content: bytes
) -> None:
    async with rig.running() as service:
        file = await two_copies(rig, service, content)
        await tamper(rig.at_rest[Tier.LOCAL], key_in(file, Tier.LOCAL), Damage.FLIP, at=0)
        rig.at_rest[Tier.LOCAL]._marker = None
        assert await read(reader_of(service), file, any_replica) == content
        assert state_in(rig, file, Tier.LOCAL) is ReplicaState.PRESENT
        refused = await outcome(read(reader_of(service), file, of(Tier.LOCAL)))
        assert isinstance(refused, StorageUnavailable)
        assert "marker" in str(refused)


async def doubtful(rig: Rig, service: Service, content: bytes) -> StoredFile:
    """A file whose only replica, a local one, is marked missing though it is there."""
    file = await two_copies(rig, service, content)
    missing = evolve(file.replicas[0], state=ReplicaState.MISSING)
    rig.repo._files[file.file_id] = evolve(file, replicas=(missing,))
    return rig.files[file.file_id]
