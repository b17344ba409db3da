"""The audit of the rig finds what is broken: it is shown one fault after the other."""

from collections.abc import Awaitable, Callable

import pytest
from attrs import evolve

from tests.application.rig import Rig, film, picture, violation_record
from traffic_storage.domain.digests import digests_of
from traffic_storage.domain.files import BlobKey, Coding, FileKind, ReplicaState, StoredFile, Tier
from traffic_storage.domain.identifiers import FileId, ViolationId
from traffic_storage.entrypoints.testing.blobs import NEVER, random_blob
from traffic_storage.ports.spool import MemoryBody

FILM, NOTE, V001 = FileId("film"), FileId("note"), ViolationId("V001")
IMAGE = FileId("V001~image")


async def filled() -> Rig:
    """A rig with a violation and its files, a film, and a note that is compressed."""
    rig = Rig()
    async with rig.running() as service:
        await service.evidence(violation_record(), picture(), film(1))
        await service.video(film(), FILM)
        await service.json({"text": "so much " * 1000}, NOTE)
    return rig


def key_of(rig: Rig, file_id: FileId) -> BlobKey:
    """Where a file's bytes are."""
    (replica,) = rig.files[file_id].replicas
    return replica.key


def change(rig: Rig, file_id: FileId, to: Callable[[StoredFile], StoredFile]) -> None:
    """Change a file of the catalogue, past all that it would refuse."""
    rig.repo._files[file_id] = to(rig.files[file_id])


async def no_present_replica(rig: Rig) -> list[str]:
    def corrupt(file: StoredFile) -> StoredFile:
        (replica,) = file.replicas
        return evolve(file, replicas=(evolve(replica, state=ReplicaState.CORRUPT),))

    change(rig, FILM, corrupt)
    return [f"I1: {FILM} is available without a present replica"]


async def no_bytes(rig: Rig) -> list[str]:
    rig.at_rest[Tier.LOCAL].alter(key_of(rig, FILM), lambda _: None)
    return [f"I2: {FILM} has no bytes at {key_of(rig, FILM)} (local)"]


async def other_bytes(rig: Rig) -> list[str]:
    rig.at_rest[Tier.LOCAL].alter(key_of(rig, FILM), lambda data: data[:-1] + b"?")
    return [f"I2: {FILM} has other bytes at {key_of(rig, FILM)}"]


async def other_content(rig: Rig) -> list[str]:
    assert rig.files[NOTE].coding is Coding.ZSTD
    change(rig, NOTE, lambda file: evolve(file, content=digests_of(b"other")))
    return [f"I2: {NOTE} decodes to other content"]


async def facts_of_another(rig: Rig) -> list[str]:
    blobs, key = rig.at_rest[Tier.LOCAL]._blobs, key_of(rig, FILM)
    blobs[key] = evolve(blobs[key], manifest=evolve(blobs[key].manifest, file_id="another"))
    return [f"the manifest at {key} tell of another file"]


async def orphan(rig: Rig) -> list[str]:
    blob = random_blob(9)
    await rig.at_rest[Tier.CLOUD].put(blob.key, blob.body, blob.manifest, deadline=NEVER)
    return [f"I3: nobody knows {blob.key} (cloud)"]


async def a_copy_that_is_known_to_be_gone(rig: Rig) -> list[str]:
    def gone(file: StoredFile) -> StoredFile:
        (replica,) = file.replicas
        there = evolve(replica, tier=Tier.CLOUD)
        return evolve(file, replicas=(evolve(replica, state=ReplicaState.GONE), there))

    key, store = key_of(rig, FILM), rig.at_rest[Tier.LOCAL]
    rig.at_rest[Tier.CLOUD]._blobs[key] = store._blobs[key]
    change(rig, FILM, gone)
    return [f"I3: nobody knows {key} (local)"]


async def torn(rig: Rig) -> list[str]:
    found = rig.repo._violations[V001]
    rig.repo._violations[V001] = evolve(found, image_file_id=FileId("nothing"))
    return [
        f"{V001} names nothing, which is not there",
        f"{IMAGE} is visible, but {V001} does not have it",
    ]


async def without_a_violation(rig: Rig) -> list[str]:
    del rig.repo._violations[V001]
    return [f"{V001}~{kind} is visible, but {V001} does not have it" for kind in sorted(FileKind)]


async def rewritten(rig: Rig) -> list[str]:
    key, store = key_of(rig, FILM), rig.at_rest[Tier.LOCAL]
    good = store._blobs.pop(key)
    await store.put(key, MemoryBody(b"x", digests_of(b"x")), good.manifest, deadline=NEVER)
    store._blobs[key] = good
    return [f"I7: {key} held 2 contents"]


async def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert (await filled()).findings() == []


@pytest.mark.parametrize(
    "fault",
    [
        no_present_replica,
        no_bytes,
        other_bytes,
        other_content,
        facts_of_another,
        orphan,
        a_copy_that_is_known_to_be_gone,
        torn,
        without_a_violation,
        rewritten,
    ],
)
async def test_a_fault_is_found_and_nothing_else(
    fault: Callable[[Rig], Awaitable[list[str]]],
) -> None:
    rig = await filled()
    expected = await fault(rig)
    assert sorted(rig.findings()) == sorted(expected)
