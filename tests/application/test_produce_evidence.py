"""Evidential reads: what is handed out was verified for it, is on record, and else is blocked."""

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import pytest
from attrs import evolve

from tests.application.rig import Rig, Service, film, key_in, streamed, two_copies
from traffic_storage.application.produce_evidence import ProduceEvidence
from traffic_storage.domain.digests import WHOLE_READ_BYTES
from traffic_storage.domain.errors import NoGoodReplica, NotFound, StorageUnavailable
from traffic_storage.domain.events import Event, EventKind
from traffic_storage.domain.files import FileState, ReplicaState, StoredFile, Tier
from traffic_storage.domain.identifiers import FileId
from traffic_storage.domain.incidents import Incident, IncidentKind, IncidentsQuery
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.domain.verification import Span
from traffic_storage.entrypoints.testing.faults.blob_store import Damage, tamper

SMALL, LARGE = film(1, 400), film(2, WHOLE_READ_BYTES + 700_000)
SIZES = pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])


@pytest.fixture
def rig() -> Rig:
    """HYBRID with a cache of bytes, which an evidential read passes by."""
    return Rig(StorageStrategy.HYBRID, workers=0)


@pytest.fixture
async def service(rig: Rig) -> AsyncIterator[Service]:
    async with rig.running() as service:
        yield service


def produce(service: Service) -> ProduceEvidence:
    return service.container.produce_evidence()


async def productions(rig: Rig) -> list[Event]:
    recorded = await rig.repo.events(limit=1000)
    return [one.event for one in recorded if one.event.kind is EventKind.PRODUCED]


async def incidents(rig: Rig, kind: IncidentKind) -> list[Incident]:
    page = await rig.repo.incidents(IncidentsQuery())
    return [one for one in page.items if one.kind is kind]


@SIZES
async def test_what_is_handed_out_is_on_record(rig: Rig, service: Service, content: bytes) -> None:
    file = (await service.video(streamed(content, 1_000_000), "X")).file
    opened = await produce(service).open("X", by="ana")
    (event,) = await productions(rig)
    assert (event.file_id, event.at) == (file.file_id, rig.clock.now())
    assert event.details["by"] == "ana"
    assert event.details["sha256"] == file.content.sha256
    assert event.details["replica_id"] == str(file.replicas[0].replica_id)
    assert b"".join([chunk async for chunk in opened.chunks()]) == content
    assert b"".join([c async for c in opened.chunks(Span(100, 200))]) == content[100:200]
    data, row = await produce(service).whole("X", by="eva")
    assert (data, row.file_id) == (content, file.file_id)
    assert [one.details["by"] for one in await productions(rig)] == ["ana", "eva"]


async def test_compressed_metadata_is_handed_out_as_it_came(service: Service, rig: Rig) -> None:
    file = (await service.json({"words": "the same again " * 500}, "X")).file
    data, _ = await produce(service).whole("X", by="ana")
    assert len(data) == file.content.size_bytes
    assert len(await productions(rig)) == 1


@SIZES
async def test_one_changed_byte_blocks_and_another_copy_is_verified(
    rig: Rig, service: Service, content: bytes
) -> None:
    """A23: the bad copy is not handed out, it is an incident, and the other one is verified."""
    file = await two_copies(rig, service, content)
    at = len(content) - 1
    await tamper(rig.at_rest[Tier.LOCAL], key_in(file, Tier.LOCAL), Damage.FLIP, at=at)
    opened = await produce(service).open("X", by="ana")
    assert b"".join([chunk async for chunk in opened.chunks()]) == content
    (event,) = await productions(rig)
    (good,) = [one for one in file.replicas if one.tier is Tier.CLOUD]
    assert event.details["replica_id"] == str(good.replica_id)
    (incident,) = await incidents(rig, IncidentKind.CORRUPT_REPLICA)
    assert incident.file_id == file.file_id
    assert await incidents(rig, IncidentKind.BLOCKED_EVIDENCE) == []


@SIZES
async def test_without_a_good_copy_it_is_blocked_with_an_incident(
    rig: Rig, service: Service, content: bytes
) -> None:
    """A23: not one byte is handed out, also of a range before the changed byte."""
    file = (await service.video(streamed(content, 1_000_000), "X")).file
    tier = file.replicas[0].tier
    await tamper(rig.at_rest[tier], key_in(file, tier), Damage.FLIP, at=len(content) - 1)
    names = set()
    for _ in range(2):
        with pytest.raises(NoGoodReplica) as raised:
            await produce(service).open("X", by="ana")
        names.add(raised.value.incident_id)
    (incident,) = await incidents(rig, IncidentKind.BLOCKED_EVIDENCE)
    assert names == {str(incident.incident_id)}
    assert {UUID(name) for name in names if name} == {incident.incident_id}
    assert "ana" in incident.details
    assert await productions(rig) == []
    # The file is restored, and its verification closes the incident.
    (copy,) = rig.files[file.file_id].replicas
    await tamper(rig.at_rest[tier], key_in(file, tier), Damage.FLIP, at=len(content) - 1)
    await service.container.verify_replicas().one(rig.files[file.file_id], copy)
    assert [one for one in await incidents(rig, IncidentKind.BLOCKED_EVIDENCE) if one.is_open] == []


async def test_no_cache_is_asked(rig: Rig, service: Service) -> None:
    """The bytes are in the cache, and the only copy is corrupt."""
    file = (await service.video(SMALL, "X")).file
    await service.read.whole("X")
    tier = file.replicas[0].tier
    await tamper(rig.at_rest[tier], key_in(file, tier), Damage.FLIP)
    assert (await service.read.whole("X"))[0] == SMALL
    with pytest.raises(NoGoodReplica):
        await produce(service).open("X", by="ana")


async def test_a_store_that_is_away_is_no_verdict(rig: Rig, service: Service) -> None:
    file = (await service.video(SMALL, "X")).file
    (rig.local if file.replicas[0].tier is Tier.LOCAL else rig.cloud).go_down("the cable is cut")
    with pytest.raises(StorageUnavailable, match="the cable is cut"):
        await produce(service).open("X", by="ana")
    assert (await rig.repo.incidents(IncidentsQuery())).items == ()


async def test_only_an_available_file_is_handed_out(rig: Rig, service: Service) -> None:
    file = (await service.video(SMALL, "X")).file
    rig.repo._files[FileId("X")] = evolve(file, state=FileState.TOMBSTONED)
    for name in ("X", "unknown"):
        with pytest.raises(NotFound):
            await produce(service).open(name, by="ana")
    assert await productions(rig) == []


# Verified bytes are right wherever they come from.


async def marked(rig: Rig, service: Service, file: StoredFile, how: Damage) -> None:
    """Damage the only copy of a file, and record that."""
    tier = file.replicas[0].tier
    await tamper(rig.at_rest[tier], key_in(file, tier), how)
    await service.container.verify_replicas().one(file, file.replicas[0])


@pytest.mark.parametrize("how", Damage)
async def test_a_cached_copy_of_a_lost_file_becomes_a_replica(
    rig: Rig, service: Service, how: Damage
) -> None:
    file = (await service.video(SMALL, "X")).file
    await service.read.whole("X")
    await marked(rig, service, file, how)
    data, _ = await service.read.whole("X")
    assert data == SMALL
    (replica,) = rig.files[FileId("X")].readable
    assert replica.key != file.replicas[0].key
    assert rig.at_rest[replica.tier].blobs[replica.key] == SMALL
    states = {one.state for one in rig.files[FileId("X")].replicas}
    assert states == {ReplicaState.GONE, ReplicaState.PRESENT}
    assert (await rig.repo.incidents(IncidentsQuery())).items == ()
    assert (await produce(service).whole("X", by="ana"))[0] == SMALL


async def test_an_altered_cached_copy_is_not_served(rig: Rig, service: Service) -> None:
    file = (await service.video(SMALL, "X")).file
    await rig.cache.inner.put(f"blob:{file.stored.sha256}", SMALL[:-1] + b"x", timedelta(days=1))
    await marked(rig, service, file, Damage.FLIP)
    with pytest.raises(NoGoodReplica):
        await service.read.whole("X")
    assert rig.files[FileId("X")].readable == ()
