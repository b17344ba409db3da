"""A replica that was flipped, truncated or removed: the other is served, the bad one marked."""

import logging
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from attrs import frozen

from tests.domain.media.parts import box, track
from tests.support.media import shipped_jpeg
from tests.support.servers import Bucket
from tests.support.setups import config
from traffic_storage import StorageConfig, StorageService, StorageStrategy
from traffic_storage.application.read_files import OpenFile
from traffic_storage.domain.errors import NoGoodReplica
from traffic_storage.domain.files import Replica, StoredFile, Tier
from traffic_storage.domain.verification import Span
from traffic_storage.entrypoints.container import Container, build, running
from traffic_storage.entrypoints.testing.faults.blob_store import Damage, damaged, tamper

MIB = 1024 * 1024
LEAVING_OUT = slice(5, -3)
DAMAGES = [Damage.FLIP, Damage.TRUNCATE, Damage.REMOVE]


def place_in(data: bytes) -> int:
    """Where to damage it: two thirds of it are good, a whole segment of a large file at least."""
    return len(data) * 2 // 3


def large_video() -> bytes:
    """An MP4 of 9 MiB: `ftyp`, a `moov` of one sample, and an `mdat` of pseudo-random bytes."""
    media = b"".join(n.to_bytes(8) for n in range(9 * MIB // 8))
    moov = box(b"moov", track(sizes=(len(media),)))
    ftyp = (16).to_bytes(4) + b"ftypisom" + bytes(4)
    return ftyp + moov + (8 + len(media)).to_bytes(4) + b"mdat" + media


@frozen
class Place:
    """Where the replicas of a service lie, past its adapters."""

    settings: StorageConfig

    def damage_cached(self, how: Damage) -> None:
        """Damage the only file in the local cache."""
        cached = [
            path
            for path in (self.settings.local_base_path / "cache").rglob("*")
            if path.is_file() and path.stat().st_size > 1000
        ]
        assert len(cached) == 1
        data = cached[0].read_bytes()
        cached[0].unlink()
        changed = damaged(data, how, place_in(data))
        if changed is not None:
            cached[0].write_bytes(changed)

    def states(self) -> dict[str, str]:
        """The state of each replica by tier."""
        with sqlite3.connect(self.settings.local_base_path / "catalogue.sqlite3") as connection:
            rows = connection.execute(
                "SELECT tier, state FROM replica JOIN store ON number = store"
            ).fetchall()
        connection.close()
        return dict(rows)


@pytest.fixture
def settings(tmp_path: Path, s3_bucket: Bucket) -> StorageConfig:
    """Embedded, with a cloud tier; no cache in the process, so that each read reaches a store."""
    return config(
        tmp_path,
        bucket=s3_bucket,
        cache_item_bytes=0,
        hybrid_local_kinds=("image", "video"),
        workers=0,
    )


@pytest.fixture
async def container(settings: StorageConfig, no_leaks: None) -> AsyncIterator[Container]:
    """A HYBRID service's parts."""
    async with running(build(settings, StorageStrategy.HYBRID)) as container:
        yield container


async def stored_twice(container: Container, data: bytes) -> StoredFile:
    """A file with a present replica in each tier."""
    service = StorageService(container=container)
    if data.startswith(b"\xff\xd8"):
        stored = await service.store_image(data)
    else:
        stored = await service.store_video_segment(data)
    file = await container.find().file(stored["file_id"])
    (bucket,) = [one for one in container.stores() if one.store.tier is Tier.CLOUD]
    assert bucket.store_id is not None
    change = await container.copy_file()(file, bucket.store_id)
    assert await container._record_repo().apply(change)
    return await container.find().file(stored["file_id"])


async def damage(container: Container, replica: Replica, how: Damage, data: bytes) -> None:
    """Damage a replica in place."""
    store = container.stores().blob_store(replica.store_id)
    await tamper(store, replica.key, how, at=place_in(data))


async def take_all(opened: OpenFile, into: bytearray) -> None:
    """Collect all chunks, also those that come before an error."""
    async for chunk in opened.chunks():
        into += chunk


async def taken_while(
    container: Container, file: StoredFile, data: bytes, how: Damage
) -> bytearray:
    """The bytes of a range whose local replica is damaged after the first chunk."""
    opened = await container.read_files().open(file.file_id)
    stream = opened.chunks(Span(*LEAVING_OUT.indices(len(data))[:2]))
    handed_out = bytearray(await anext(stream))
    assert len(handed_out) < place_in(data)
    await damage(container, file.replicas[0], how, data)
    async for chunk in stream:
        handed_out += chunk
    return handed_out


def errors_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What reading logged as an error, up to the reason."""
    return [
        record.getMessage().partition(":")[0]
        for record in caplog.records
        if record.name == "traffic_storage.read" and record.levelno == logging.ERROR
    ]


@pytest.mark.parametrize("tier", list(Tier))
@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("data", [shipped_jpeg(), large_video()], ids=["small", "large"])
async def test_a_bad_replica_is_marked_and_the_good_one_served(
    container: Container, settings: StorageConfig, data: bytes, how: Damage, tier: Tier
) -> None:
    place = Place(settings)
    file = await stored_twice(container, data)
    local, cloud = file.replicas
    # The local one is read first: without it the cloud's turn comes.
    await damage(container, local, Damage.REMOVE if tier is Tier.CLOUD else how, data)

    opened = await container.read_files().open(file.file_id)
    streamed = b"".join([chunk async for chunk in opened.chunks()])
    whole, _ = await container.read_files().whole(file.file_id)

    assert streamed == data
    assert whole == data
    expected = "missing" if how is Damage.REMOVE or tier is Tier.CLOUD else "corrupt"
    assert place.states() == {"local": expected, "cloud": "present"}

    await damage(container, cloud, how, data)
    handed_out = bytearray()
    with pytest.raises(NoGoodReplica):
        await take_all(await container.read_files().open(file.file_id), handed_out)
    assert data.startswith(handed_out)
    assert place.states()["cloud"] == ("missing" if how is Damage.REMOVE else "corrupt")


@pytest.mark.parametrize("how", [Damage.FLIP, Damage.TRUNCATE])
async def test_a_range_switches_over_in_mid_stream(
    container: Container,
    settings: StorageConfig,
    how: Damage,
    caplog: pytest.LogCaptureFixture,
) -> None:
    place, data = Place(settings), large_video()
    file = await stored_twice(container, data)

    handed_out = await taken_while(container, file, data, how)

    assert handed_out == data[LEAVING_OUT]
    assert place.states() == {"local": "corrupt", "cloud": "present"}
    store_id = file.replicas[0].store_id
    assert errors_of(caplog) == [f"the copy of {file.file_id} in {store_id} could not be read"]


async def test_a_file_that_is_removed_while_it_is_read_is_read_to_its_end(
    container: Container, settings: StorageConfig, caplog: pytest.LogCaptureFixture
) -> None:
    place, data = Place(settings), large_video()
    file = await stored_twice(container, data)

    handed_out = await taken_while(container, file, data, Damage.REMOVE)

    assert handed_out == data[LEAVING_OUT]
    assert place.states() == {"local": "present", "cloud": "present"}
    assert errors_of(caplog) == []


@pytest.mark.parametrize("how", DAMAGES)
async def test_a_bad_cached_copy_is_passed_over(
    settings: StorageConfig, no_leaks: None, how: Damage
) -> None:
    data, place = shipped_jpeg(), Place(settings)
    async with StorageService(settings, StorageStrategy.CLOUD_WITH_CACHE) as service:
        stored = await service.store_image(data)
        place.damage_cached(how)

        handed_out, metadata = await service.retrieve_file(stored["file_id"])

    assert handed_out == data
    assert [replica["state"] for replica in metadata["replicas"]] == ["present"]
    assert place.states() == {"cloud": "present"}
