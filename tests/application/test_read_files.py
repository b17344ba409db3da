"""Reading: right bytes or none, from whichever copy is good; bad ones are marked, never deleted."""

import asyncio
import hashlib
import logging
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import evolve
from dependency_injector.providers import Object

from tests.application.rig import (
    Rig,
    Service,
    film,
    key_in,
    picture,
    two_copies,
    violation_record,
)
from tests.application.script import Step
from traffic_storage.application.replica_reader import Caching
from traffic_storage.domain.changes import ObserveReplica
from traffic_storage.domain.digests import SEGMENT_BYTES, WHOLE_READ_BYTES
from traffic_storage.domain.errors import (
    InvalidInput,
    NoGoodReplica,
    NotFound,
    StorageFull,
    StorageUnavailable,
    UnsupportedMedia,
)
from traffic_storage.domain.files import (
    FileState,
    ReplicaState,
    Tier,
)
from traffic_storage.domain.identifiers import FileId, StoreId
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.domain.verification import Span
from traffic_storage.entrypoints.testing.containers import NOON
from traffic_storage.entrypoints.testing.faults.blob_store import Damage, tamper
from traffic_storage.entrypoints.testing.faults.plans import Fault, When
from traffic_storage.ports.errors import BlobCorrupt, BlobMissing, CatalogueUnavailable

SMALL = film(0, 5_000)
LARGE = hashlib.shake_256(b"large").digest(WHOLE_READ_BYTES + 3 * SEGMENT_BYTES // 2)
CONTENTS = pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
DAMAGES = pytest.mark.parametrize("damage", Damage)
X = FileId("X")


async def gathered(chunks: AsyncGenerator[bytes, None]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


async def streamed_out(service: Service, span: Span | None = None) -> bytes:
    opened = await service.read.open("X")
    return await gathered(opened.chunks(span))


def states(rig: Rig) -> dict[Tier, ReplicaState]:
    return {replica.tier: replica.state for replica in rig.files[X].replicas}


def alarms(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What reading logged as an error."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "traffic_storage.read" and record.levelno == logging.ERROR
    ]


@pytest.fixture
def rig() -> Rig:
    """HYBRID without the cache of bytes, which would hide what is read."""
    return Rig(StorageStrategy.HYBRID, cache_item_bytes=0)


# Failover


@CONTENTS
@DAMAGES
@pytest.mark.parametrize("bad", Tier)
async def test_a_damaged_copy_is_marked_and_the_other_is_read(
    rig: Rig, content: bytes, damage: Damage, bad: Tier, caplog: pytest.LogCaptureFixture
) -> None:
    async with rig.running() as service:
        file = await two_copies(rig, service, content)
        at = len(content) // 2
        await tamper(rig.at_rest[bad], key_in(file, bad), damage, at=at)
        rig.clock.advance(timedelta(minutes=5))
        for _ in range(2):
            assert (await service.read.whole("X"))[0] == content
            assert await streamed_out(service) == content
        if bad is Tier.LOCAL:
            lost = damage is Damage.REMOVE
            assert states(rig) == {
                Tier.LOCAL: ReplicaState.MISSING if lost else ReplicaState.CORRUPT,
                Tier.CLOUD: ReplicaState.PRESENT,
            }
            marked = rig.files[X].replicas[0]
            assert marked.verified_at == NOON + timedelta(minutes=5)
            assert service.counters.replicas_failed == 1
            (told,) = alarms(caplog)
            assert told.startswith(f"the copy of X in {marked.store_id} could not be read: ")
            assert marked.key in told
            # Marked, not deleted: it may be evidence of what happened to it.
            assert (marked.key in rig.at_rest[bad].blobs) == (not lost)
        else:
            assert set(states(rig).values()) == {ReplicaState.PRESENT}
            assert alarms(caplog) == []


@pytest.mark.parametrize("state", [ReplicaState.CORRUPT, ReplicaState.MISSING])
async def test_a_copy_that_is_right_again_is_no_reason_for_a_new_one(
    rig: Rig, state: ReplicaState
) -> None:
    """As after a disk that was not mounted for a while; readers of ranges are many."""
    async with rig.running() as service:
        file = await two_copies(rig, service, LARGE)
        for replica in file.replicas:
            seen = ObserveReplica(X, replica.replica_id, state, NOON, "")
            assert await rig.repo.apply(seen)
        blobs = {tier: set(store.blobs) for tier, store in rig.at_rest.items()}
        span = Span(2 * SEGMENT_BYTES, 3 * SEGMENT_BYTES)
        for data in await asyncio.gather(*(streamed_out(service, span) for _ in range(8))):
            assert data == LARGE[span.start : span.stop]
        assert set(states(rig).values()) == {ReplicaState.PRESENT}
        assert {tier: set(store.blobs) for tier, store in rig.at_rest.items()} == blobs
        assert not rig.repo._attempts


@CONTENTS
async def test_a_copy_in_a_store_that_is_away_is_not_marked(rig: Rig, content: bytes) -> None:
    async with rig.running() as service:
        await two_copies(rig, service, content)
        rig.local.go_down("the disk does not answer")
        assert (await service.read.whole("X"))[0] == content
        assert await streamed_out(service) == content
        assert set(states(rig).values()) == {ReplicaState.PRESENT}
        rig.cloud.go_down("the bucket does not answer")
        for read in (service.read.whole("X"), streamed_out(service)):
            with pytest.raises(StorageUnavailable, match=r"X can't be read now: the disk .*bucket"):
                await read
        rig.local.come_back()
        assert (await service.read.whole("X"))[0] == content


@CONTENTS
async def test_when_every_copy_is_bad_no_byte_is_given(rig: Rig, content: bytes) -> None:
    async with rig.running() as service:
        file = await two_copies(rig, service, content)
        await tamper(rig.at_rest[Tier.LOCAL], key_in(file, Tier.LOCAL), Damage.FLIP, at=0)
        await tamper(rig.at_rest[Tier.CLOUD], key_in(file, Tier.CLOUD), Damage.REMOVE)
        with pytest.raises(NoGoodReplica, match="no intact copy of X was found"):
            await streamed_out(service)
        assert states(rig) == {
            Tier.LOCAL: ReplicaState.CORRUPT,
            Tier.CLOUD: ReplicaState.MISSING,
        }
        with pytest.raises(NoGoodReplica, match=r"corrupt.*missing.*backup"):
            await service.read.whole("X")


async def test_one_bad_and_one_away_is_away(rig: Rig) -> None:
    async with rig.running() as service:
        file = await two_copies(rig, service, SMALL)
        await tamper(rig.at_rest[Tier.LOCAL], key_in(file, Tier.LOCAL), Damage.FLIP, at=0)
        rig.cloud.go_down("the bucket does not answer")
        with pytest.raises(StorageUnavailable, match="the bucket does not answer"):
            await service.read.whole("X")


async def test_a_store_that_this_process_does_not_have_is_named(rig: Rig) -> None:
    async with rig.running() as service:
        file = await two_copies(rig, service, SMALL)
        elsewhere = evolve(file.replicas[0], store_id=StoreId("local-of-another-host"))
        rig.repo._files[X] = evolve(file, replicas=(elsewhere,))
        for read in (service.read.whole("X"), streamed_out(service)):
            with pytest.raises(StorageUnavailable, match="local-of-another-host is not configured"):
                await read
        rig.repo._files[X] = evolve(file, replicas=(elsewhere, file.replicas[1]))
        assert (await service.read.whole("X"))[0] == SMALL


@CONTENTS
async def test_a_store_in_doubt_is_not_believed_when_it_lacks_a_copy(
    rig: Rig, content: bytes
) -> None:
    """An empty mount point must not make all evidence count as lost."""
    async with rig.running() as service:
        file = await two_copies(rig, service, content)
        rig.repo._files[X] = evolve(file, replicas=file.replicas[:1])
        at_rest = rig.at_rest[Tier.LOCAL]
        blobs, marker = at_rest._blobs, at_rest._marker
        at_rest._blobs, at_rest._marker = {}, None
        await service.sweep()
        for read in (service.read.whole("X"), streamed_out(service)):
            with pytest.raises(StorageUnavailable, match="has lost its identification file"):
                await read
        assert states(rig) == {Tier.LOCAL: ReplicaState.PRESENT}
        at_rest._blobs, at_rest._marker = blobs, marker
        await service.sweep()
        assert (await service.read.whole("X"))[0] == content


@pytest.mark.parametrize("error", [CatalogueUnavailable, StorageFull])
async def test_a_copy_that_cannot_be_marked_now_does_not_keep_from_reading(
    rig: Rig, error: type[Exception]
) -> None:
    async with rig.running() as service:
        file = await two_copies(rig, service, SMALL)
        await tamper(rig.at_rest[Tier.LOCAL], key_in(file, Tier.LOCAL), Damage.FLIP, at=0)
        rig.script.begin((Step("repo.apply", 1, When.BEFORE), lambda: error("not now")))
        assert (await service.read.whole("X"))[0] == SMALL
        assert set(states(rig).values()) == {ReplicaState.PRESENT}
        assert (await service.read.whole("X"))[0] == SMALL
        assert states(rig)[Tier.LOCAL] is ReplicaState.CORRUPT


# In mid-stream


@pytest.mark.parametrize(
    "span",
    [
        Span(0, len(LARGE)),
        Span(5, len(LARGE) - 5),
        Span(SEGMENT_BYTES - 1, 3 * SEGMENT_BYTES + 1),
        Span(2 * SEGMENT_BYTES, 3 * SEGMENT_BYTES),
    ],
)
@pytest.mark.parametrize("flipped", [0, 2, 5])
async def test_a_stream_switches_to_the_other_copy_in_its_middle(
    rig: Rig, span: Span, flipped: int
) -> None:
    async with rig.running() as service:
        file = await two_copies(rig, service, LARGE)
        at = flipped * SEGMENT_BYTES + 17
        await tamper(rig.at_rest[Tier.LOCAL], key_in(file, Tier.LOCAL), Damage.FLIP, at=at)
        assert await streamed_out(service, span) == LARGE[span.start : span.stop]
        touched = span.start // SEGMENT_BYTES <= flipped <= (span.stop - 1) // SEGMENT_BYTES
        assert (states(rig)[Tier.LOCAL] is ReplicaState.CORRUPT) == touched
        assert states(rig)[Tier.CLOUD] is ReplicaState.PRESENT


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (lambda: StorageUnavailable("it went away"), ReplicaState.PRESENT),
        (lambda: BlobMissing("it was removed"), ReplicaState.MISSING),
        (lambda: BlobCorrupt("a segment is wrong"), ReplicaState.CORRUPT),
    ],
)
async def test_a_store_that_fails_in_mid_stream_is_followed_by_the_other(
    rig: Rig, error: Any, state: ReplicaState
) -> None:
    async with rig.running() as service:
        await two_copies(rig, service, LARGE)
        given = 0
        rig.local.plan(Fault("open", error, when=When.AFTER))
        async for chunk in (await service.read.open("X")).chunks():
            assert chunk == LARGE[given : given + len(chunk)]
            given += len(chunk)
        assert given == len(LARGE)
        assert states(rig)[Tier.LOCAL] is state


async def test_what_was_given_before_a_failure_is_right_and_no_more_is_given(rig: Rig) -> None:
    async with rig.running() as service:
        file = await two_copies(rig, service, LARGE)
        for tier in Tier:
            await tamper(rig.at_rest[tier], key_in(file, tier), Damage.FLIP, at=3 * SEGMENT_BYTES)
        given = bytearray()

        async def read() -> None:
            async for chunk in (await service.read.open("X")).chunks():
                given.extend(chunk)

        with pytest.raises(NoGoodReplica):
            await read()
        assert given == LARGE[: 3 * SEGMENT_BYTES]


async def test_a_stream_that_is_left_early_frees_everything(rig: Rig) -> None:
    async with rig.running() as service:
        await two_copies(rig, service, LARGE)
        async with aclosing((await service.read.open("X")).chunks()) as chunks:
            assert LARGE.startswith(await anext(chunks))
        assert service.counters.files_retrieved == 0
        assert 0 < service.counters.bytes_retrieved < len(LARGE)


# Spans


@CONTENTS
async def test_any_span_is_exactly_those_bytes(rig: Rig, content: bytes) -> None:
    size = len(content)
    chance = np.random.default_rng(7)
    edges = [0, 1, size // 2, size - 1, size]
    edges += [n * SEGMENT_BYTES + d for n in range(1, 6) for d in (-1, 0, 1)]
    edges = [edge for edge in edges if edge <= size]
    async with rig.running() as service:
        await two_copies(rig, service, content)
        for _ in range(60):
            start, stop = sorted(int(edge) for edge in chance.choice(edges, 2))
            assert await streamed_out(service, Span(start, stop)) == content[start:stop]
        assert await streamed_out(service) == content
        opened = await service.read.open("X")
        assert opened.file.content.size_bytes == size
        with pytest.raises(InvalidInput, match="span: ends at"):
            opened.chunks(Span(0, size + 1))


@pytest.mark.parametrize(("start", "stop"), [(-1, 5), (5, 4), (-5, -1)])
def test_what_is_no_span_is_refused(start: int, stop: int) -> None:
    with pytest.raises(InvalidInput, match="is not a range of bytes"):
        Span(start, stop)


async def test_coded_files_are_given_as_they_were_handed_in_spans_too(rig: Rig) -> None:
    data = {"rows": [{"n": n} for n in range(1000)]}
    async with rig.running() as service:
        file = (await service.json(data, "X")).file
        assert file.stored != file.content
        whole, _ = await service.read.whole("X")
        assert await streamed_out(service) == whole
        assert await streamed_out(service, Span(10, 99)) == whole[10:99]
        assert await streamed_out(service, Span(7, 7)) == b""


async def test_a_coded_file_that_does_not_hold_what_it_should_is_refused(rig: Rig) -> None:
    async with rig.running() as service:
        file = (await service.json({"rows": ["the same"] * 1000}, "X")).file
        rig.repo._files[X] = evolve(file, content=evolve(file.content, sha256=file.stored.sha256))
        with pytest.raises(NoGoodReplica, match="X can't be decoded"):
            await service.read.whole("X")


# What is found


@pytest.mark.parametrize("name", ["", "..", "a/b", "a~b", "V1~images", "x" * 201, "\ud800", None])
async def test_an_id_that_no_file_can_have_is_bad_input(rig: Rig, name: Any) -> None:
    async with rig.running() as service:
        for read in (service.find.file, service.read.whole, service.read.open, service.read.image):
            with pytest.raises(InvalidInput, match="file_id"):
                await read(name)


async def test_what_is_not_there_is_not_found(rig: Rig) -> None:
    async with rig.running() as service:
        for name in ("nothing", "V404~image"):
            with pytest.raises(NotFound, match=f"no file '{name}'"):
                await service.read.whole(name)


@pytest.mark.parametrize("state", [s for s in FileState if s is not FileState.AVAILABLE])
async def test_only_available_files_are_handed_out(rig: Rig, state: FileState) -> None:
    async with rig.running() as service:
        file = (await service.json({"a": 1}, "X")).file
        rig.repo._files[X] = evolve(file, state=state)
        for read in (service.find.file("X"), service.read.whole("X"), streamed_out(service)):
            with pytest.raises(NotFound):
                await read


async def test_only_images_are_decoded(rig: Rig) -> None:
    async with rig.running() as service:
        await service.evidence(violation_record(), picture(3), film())
        assert np.array_equal((await service.read.image("V001~image"))[0].pixels, picture(3))
        with pytest.raises(UnsupportedMedia, match="'V001~video' is of kind video, not an image"):
            await service.read.image("V001~video")


async def test_reads_are_counted(rig: Rig) -> None:
    async with rig.running() as service:
        await service.video(SMALL, "X")
        await service.image(picture(), "Y")
        await service.read.whole("X")
        await streamed_out(service, Span(0, 10))
        await service.read.image("Y")
        size = (await service.find.file("Y")).content.size_bytes
        assert service.counters.files_retrieved == 3
        assert service.counters.bytes_retrieved == len(SMALL) + 10 + size


# The cache of bytes


async def test_what_is_small_is_read_once_and_then_from_the_cache() -> None:
    rig = Rig()
    async with rig.running() as service:
        await service.video(SMALL, "X")
        for _ in range(3):
            assert (await service.read.whole("X"))[0] == SMALL
        assert rig.local.calls["read"] == 1
        assert (service.counters.cache_hits, service.counters.cache_misses) == (2, 1)
        rig.local.go_down("away")
        assert (await service.read.whole("X"))[0] == SMALL
        rig.clock.advance(timedelta(days=1))
        with pytest.raises(StorageUnavailable):
            await service.read.whole("X")


@pytest.mark.parametrize(
    "lie",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: data[:5] + b"\0" + data[6:],
        lambda data: os.urandom(len(data)),
        lambda data: None,
    ],
)
async def test_a_poisoned_cache_costs_time_never_truth(lie: Any) -> None:
    rig = Rig()
    async with rig.running() as service:
        await service.video(SMALL, "X")
        await service.json({"rows": ["the same"] * 1000}, "Y")
        for name in ("X", "Y"):
            right, _ = await service.read.whole(name)
            rig.cache.lie(lie)
            assert (await service.read.whole(name))[0] == right
            rig.cache.come_back()
        assert service.counters.cache_hits == 0
        assert rig.findings() == []


async def test_a_cache_that_is_away_changes_no_answer() -> None:
    rig = Rig()
    async with rig.running() as service:
        await service.video(SMALL, "X")
        rig.cache.go_down()
        for _ in range(3):
            assert (await service.read.whole("X"))[0] == SMALL
        assert rig.local.calls["read"] == 3


async def test_only_what_is_small_and_in_a_chosen_tier_is_cached() -> None:
    rig = Rig(StorageStrategy.HYBRID)
    service = rig.boot()
    choice = Caching(frozenset({Tier.CLOUD}), item_bytes=100, ttl=timedelta(hours=1))
    service.container.replica_reader.add_kwargs(caching=Object(choice))
    service.container.replica_reader.reset()
    service.container.read_files.reset()
    service = Service(service.container)
    await service.start()
    await service.video(film(1, 100), "small")
    await service.video(film(2, 101), "large")
    await service.json({"a": 1}, "local")
    for name in ("small", "large", "local"):
        await service.read.whole(name)
        await service.read.whole(name)
    assert (service.counters.cache_hits, service.counters.cache_misses) == (1, 1)
    assert rig.cache.calls["get"] == 2
    await service.aclose()


async def test_a_path_is_read_as_a_source(rig: Rig, tmp_path: Path) -> None:
    path = tmp_path / "segment.bin"
    path.write_bytes(LARGE)
    async with rig.running() as service:
        await service.video(path, "X")
        assert (await service.read.whole("X"))[0] == LARGE
        with pytest.raises(InvalidInput, match="nowhere"):
            await service.video(tmp_path / "nowhere.mp4", "Z")
    assert rig.spool.held == []
