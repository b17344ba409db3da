"""Copies that were lost: they come back by being read, or by being sent again; nobody lies of them."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from threading import Thread

import pytest
from attrs import evolve

from tests.application.rig import LONG_AGO, Rig, Service, film, picture, violation_record
from traffic_storage.application.inputs import ArrayImage, FileAttributes
from traffic_storage.application.runtime import WrongHome
from traffic_storage.domain.encoding import Encoding, ImageFormat
from traffic_storage.domain.errors import Conflict, NoGoodReplica, TrafficStorageError
from traffic_storage.domain.files import FileKind, FileState, StoredFile
from traffic_storage.domain.identifiers import FileId, ViolationId, evidence_file_id
from traffic_storage.domain.violation import ViolationState
from traffic_storage.entrypoints.testing.faults.blob_store import Damage, tamper
from traffic_storage.ports.errors import CatalogueUnavailable

FILM = film(1, 5_000)
X = FileId("X")
DAMAGES = pytest.mark.parametrize("damage", Damage)


async def damaged(rig: Rig, service: Service, file_id: FileId, damage: Damage) -> StoredFile:
    """The only copy of a file was found bad by somebody who read it."""
    file = rig.files[file_id]
    (copy,) = file.readable
    await tamper(rig.at_rest[copy.tier], copy.key, damage)
    with pytest.raises(NoGoodReplica):
        await service.read.whole(file_id)
    assert not rig.files[file_id].readable
    return file


@pytest.fixture
def rig() -> Rig:
    """Without the cache of bytes, which would hide what is read."""
    return Rig(cache_item_bytes=0)


@pytest.mark.parametrize("state", [s for s in FileState if s is not FileState.AVAILABLE])
@pytest.mark.parametrize("lost", [False, True])
async def test_a_deleted_file_is_not_stored_again(
    rig: Rig, state: FileState, *, lost: bool
) -> None:
    async with rig.running() as service:
        await service.video(FILM, "X")
        if lost:
            await damaged(rig, service, X, Damage.TRUNCATE)
        deleted = evolve(rig.files[X], state=state, state_at=rig.clock.now())
        rig.repo._files[X] = deleted
        with pytest.raises(
            Conflict,
            match=f"exists already: it has been {state} since .*; its id can't be used again",
        ):
            await service.video(FILM, "X")
        assert rig.files[X] == deleted
        assert not rig.attempts


async def test_a_deleted_violation_is_not_stored_again(rig: Rig) -> None:
    async with rig.running() as service:
        await service.evidence(violation_record("V1"))
        violation = rig.repo._violations[ViolationId("V1")]
        rig.repo._violations[ViolationId("V1")] = evolve(
            violation, state=ViolationState.TOMBSTONED, state_at=rig.clock.now()
        )
        with pytest.raises(Conflict, match=r"violation 'V1' .* it has been tombstoned since"):
            await service.evidence(violation_record("V1"))
        assert not rig.attempts


@DAMAGES
async def test_what_is_sent_again_takes_the_place_of_a_lost_copy(rig: Rig, damage: Damage) -> None:
    async with rig.running() as service:
        await service.video(FILM, "X", device_id="cam-7")
        before = await damaged(rig, service, X, damage)
        rig.clock.advance(timedelta(hours=1))
        again = await service.video(FILM, "X", device_id="cam-7")
        assert not again.created
        assert again.file == rig.files[X]
        assert (await service.read.whole("X"))[0] == FILM
        # All that was said of it stays; the bad copy stays noted, for it may tell what happened.
        assert (again.file.created_at, again.file.device_id) == (before.created_at, "cam-7")
        assert [copy.key for copy in again.file.doubtful] == [before.replicas[0].key]
        assert service.counters.replicas_restored == 1
        assert rig.findings() == []
        await service.sweep()
        assert await service.miscounts() == []
        assert not rig.attempts
        assert not any(service.reserved().values())


async def test_a_retry_of_what_is_whole_restores_nothing(rig: Rig) -> None:
    async with rig.running() as service:
        await service.video(FILM, "X")
        kept = rig.files[X]
        assert not (await service.video(FILM, "X")).created
        assert rig.files[X] == kept
        assert service.counters.replicas_restored == 0


@DAMAGES
@pytest.mark.parametrize("kind", FileKind)
async def test_a_violation_sent_again_restores_what_it_lost(
    rig: Rig, damage: Damage, kind: FileKind
) -> None:
    record = violation_record()
    async with rig.running() as service:
        first = await service.evidence(record, picture(7), FILM)
        lost = evidence_file_id(first.violation.violation_id, kind)
        await damaged(rig, service, lost, damage)
        again = await service.evidence(record, picture(7), FILM)
        assert not again.created
        assert again.violation == first.violation
        for file in again.files.values():
            await service.read.whole(file.file_id)
        assert rig.findings() == []
        await service.sweep()
        assert await service.miscounts() == []


async def test_what_is_encoded_otherwise_is_refused_and_not_called_stored(rig: Rig) -> None:
    attributes = FileAttributes.of(file_id="X")
    async with rig.running() as service:
        store = service.container.store_files().image
        given = ArrayImage(picture(7))
        await store(given, attributes)
        await damaged(rig, service, X, Damage.FLIP)
        other = ArrayImage(picture(7), encoding=Encoding(ImageFormat.PNG))
        before = rig.files[X]
        with pytest.raises(NoGoodReplica, match=r"X is known, but no good copy.*backup"):
            await store(other, attributes)
        assert rig.files[X] == before
        assert rig.spool.held == []
        assert not rig.attempts
        assert not (await store(given, attributes)).created
        assert (await service.read.whole("X"))[1].readable


@DAMAGES
async def test_a_copy_that_comes_back_is_read_and_present_again(rig: Rig, damage: Damage) -> None:
    async with rig.running() as service:
        stored = (await service.video(FILM, "X")).file
        (copy,) = stored.readable
        store = rig.at_rest[copy.tier]
        whole = store._blobs[copy.key]
        await damaged(rig, service, X, damage)
        # The disk is mounted again, or somebody has restored it from a backup.
        store._blobs[copy.key] = whole
        rig.clock.advance(timedelta(hours=1))
        assert (await service.read.whole("X"))[0] == FILM
        (now,) = rig.files[X].readable
        assert (now.key, now.verified_at) == (copy.key, rig.clock.now())
        assert rig.findings() == []
        await service.sweep()
        assert await service.miscounts() == []


async def test_many_who_send_again_at_once_lose_nothing(rig: Rig) -> None:
    async with rig.running() as service:
        await service.video(FILM, "X")
        await damaged(rig, service, X, Damage.REMOVE)
        await asyncio.gather(*(service.video(FILM, "X") for _ in range(5)))
        assert (await service.read.whole("X"))[0] == FILM
        assert rig.findings() == []
        await service.sweep()
        assert await service.miscounts() == []


async def test_a_store_whose_attempt_was_undone_by_a_clock_that_is_ahead_leaves_no_blob(
    rig: Rig,
) -> None:
    async with rig.running() as service:
        held = rig.script.hold("local.put")
        storing = asyncio.ensure_future(service.video(FILM, "X"))
        await asyncio.wait_for(held.reached.wait(), 10)
        for attempt in await rig.repo.condemn(rig.clock.now() + LONG_AGO):
            await rig.repo.forget(attempt.attempt_id)
        held.let_go.set()
        assert (await storing).created
        assert (await service.read.whole("X"))[0] == FILM
        assert rig.findings() == []


def a_store(service: Service) -> asyncio.Future[object]:
    return asyncio.ensure_future(service.video(FILM, "X"))


def a_start(service: Service) -> asyncio.Future[object]:
    return asyncio.ensure_future(service.start())


@pytest.mark.parametrize("call", [a_store, a_start])
async def test_a_closed_service_begins_nothing(
    rig: Rig, call: Callable[[Service], asyncio.Future[object]]
) -> None:
    async with rig.running() as service:
        pass
    with pytest.raises(CatalogueUnavailable, match="closed"):
        await call(service)
    assert rig.files == {}
    assert rig.spool.held == []


async def test_a_service_on_another_event_loop_is_an_error_not_a_wait(rig: Rig) -> None:
    found: list[TrafficStorageError] = []

    def elsewhere() -> None:
        try:
            asyncio.run(service.start())
        except TrafficStorageError as error:
            found.append(error)

    async with rig.running() as service:
        thread = Thread(target=elsewhere)
        thread.start()
        await asyncio.to_thread(thread.join)
    (error,) = found
    assert isinstance(error, WrongHome)
    assert "event loop" in str(error)


@DAMAGES
async def test_a_lost_document_keeps_out_no_file_that_completes_its_violation(
    rig: Rig, damage: Damage
) -> None:
    record = violation_record()
    async with rig.running() as service:
        first = await service.evidence(record)
        document = evidence_file_id(first.violation.violation_id, FileKind.METADATA)
        await damaged(rig, service, document, damage)
        completed = await service.evidence(record, picture(7))
        assert completed.created
        image = evidence_file_id(first.violation.violation_id, FileKind.IMAGE)
        await service.read.whole(image)
        # With nothing to add, and a document in other bytes, there is nothing to acknowledge.
        with pytest.raises(NoGoodReplica, match="~metadata is known, but no good copy"):
            await service.evidence(record, picture(7))
        assert rig.spool.held == []
        assert not rig.attempts
