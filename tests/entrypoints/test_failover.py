"""A replica that was flipped, truncated or removed: the other is served, the bad one marked."""

import sqlite3
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from attrs import frozen
from obstore.store import S3Store

from tests.support.media import shipped_jpeg
from tests.support.servers import Bucket
from tests.support.setups import config
from traffic_storage import StorageConfig, StorageService, StorageStrategy
from traffic_storage.application.read_files import OpenFile
from traffic_storage.domain.errors import NoGoodReplica
from traffic_storage.domain.facts import facts_of
from traffic_storage.domain.files import StoredFile, Tier
from traffic_storage.entrypoints.container import Container
from traffic_storage.ports.blob_store import Span
from traffic_storage.ports.spool import MemoryBody

MIB = 1024 * 1024
FLIP_AT = 2 * MIB + 17
Damage = Callable[[bytes], bytes | None]


def flipped(data: bytes) -> bytes:
    """One bit changed: in the third segment of a large file, in the middle of a small one."""
    place = FLIP_AT if len(data) > FLIP_AT else len(data) // 2
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def truncated(data: bytes) -> bytes:
    """The last third is missing."""
    return data[: len(data) * 2 // 3]


def removed(_: bytes) -> None:
    """Nothing is left."""


DAMAGES: list[Damage] = [flipped, truncated, removed]


def large_video() -> bytes:
    """An MP4 of 9 MiB: `ftyp`, an empty `moov`, and an `mdat` of pseudo-random bytes."""
    media = b"".join(n.to_bytes(8) for n in range(9 * MIB // 8))
    moov = (8).to_bytes(4) + b"moov"
    ftyp = (16).to_bytes(4) + b"ftypisom" + bytes(4)
    return ftyp + moov + (8 + len(media)).to_bytes(4) + b"mdat" + media


@frozen
class Place:
    """Where the replicas of a service lie, past its adapters."""

    settings: StorageConfig

    def damage(self, tier: Tier, key: str, how: Damage) -> None:
        """Replace the bytes of one replica, or remove it."""
        if tier is Tier.LOCAL:
            path = self.settings.local_base_path / "blobs" / key
            self._rewrite(path, how(path.read_bytes()))
            return
        bucket = self._bucket()
        changed = how(bytes(bucket.get(key).bytes()))
        if changed is None:
            bucket.delete(key)
        else:
            bucket.put(key, changed)

    def damage_cached(self, how: Damage) -> None:
        """Replace the bytes of the only file in the local cache, or remove it."""
        cached = [
            path
            for path in (self.settings.local_base_path / "cache").rglob("*")
            if path.is_file() and path.stat().st_size > 1000
        ]
        assert len(cached) == 1
        self._rewrite(cached[0], how(cached[0].read_bytes()))

    def states(self) -> dict[str, str]:
        """The state of each replica by tier."""
        with sqlite3.connect(self.settings.local_base_path / "catalogue.sqlite3") as connection:
            rows = connection.execute("SELECT tier, state FROM replica").fetchall()
        connection.close()
        return dict(rows)

    def mark_present(self) -> None:
        """Say that the copies that are due were made (here the test made them)."""
        with sqlite3.connect(self.settings.local_base_path / "catalogue.sqlite3") as connection:
            connection.execute("UPDATE replica SET state = 'present' WHERE state = 'planned'")
        connection.close()

    @staticmethod
    def _rewrite(path: Path, data: bytes | None) -> None:
        path.unlink()
        if data is not None:
            path.write_bytes(data)

    def _bucket(self) -> S3Store:
        return S3Store(
            self.settings.s3_bucket,
            endpoint=self.settings.s3_endpoint,
            region=self.settings.s3_region,
            access_key_id=self.settings.s3_access_key,
            secret_access_key=self.settings.s3_secret_key,
            client_options={"allow_http": True},
        )


@pytest.fixture
def settings(tmp_path: Path, s3_bucket: Bucket) -> StorageConfig:
    """Embedded, with a cloud tier; no cache in the process, so that each read reaches a store."""
    return config(
        tmp_path,
        bucket=s3_bucket,
        cache_item_bytes=0,
        hybrid_local_kinds=("image", "video"),
    )


@pytest.fixture
async def container(settings: StorageConfig, no_leaks: None) -> AsyncIterator[Container]:
    """A HYBRID service's parts."""
    container = Container(settings=settings, strategy=StorageStrategy.HYBRID)
    await container.runtime().start()
    yield container
    await container.runtime().aclose()


async def stored_twice(container: Container, data: bytes, place: Place) -> StoredFile:
    """A file with a present replica in each tier."""
    service = StorageService(container.settings(), container=container)
    if data.startswith(b"\xff\xd8"):
        stored = await service.store_image(data)
    else:
        stored = await service.store_video_segment(data)
    file = await container.read_files().file(stored["file_id"])
    local, cloud = file.replicas
    await (
        container.stores()
        .blob_store(cloud.store_id)
        .put(
            local.key,
            MemoryBody(data, file.stored),
            facts_of(file),
            deadline=datetime.now(UTC) + timedelta(minutes=1),
        )
    )
    place.mark_present()
    return await container.read_files().file(stored["file_id"])


async def take_all(opened: OpenFile, into: bytearray) -> None:
    """Collect all chunks, also those that come before an error."""
    async for chunk in opened.chunks():
        into += chunk


@pytest.mark.parametrize("tier", list(Tier))
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("data", [shipped_jpeg(), large_video()], ids=["small", "large"])
async def test_a_bad_replica_is_marked_and_the_good_one_served(
    container: Container, settings: StorageConfig, data: bytes, damage: Damage, tier: Tier
) -> None:
    place = Place(settings)
    file = await stored_twice(container, data, place)
    if tier is Tier.CLOUD:
        # The local one is read first: without it the cloud's turn comes.
        place.damage(Tier.LOCAL, file.replicas[0].key, removed)
    else:
        place.damage(tier, file.replicas[0].key, damage)

    opened = await container.read_files().open(file.file_id)
    streamed = b"".join([chunk async for chunk in opened.chunks()])
    whole, _ = await container.read_files().whole(file.file_id)

    assert streamed == data
    assert whole == data
    expected = "missing" if damage is removed or tier is Tier.CLOUD else "corrupt"
    assert place.states() == {"local": expected, "cloud": "present"}

    place.damage(Tier.CLOUD, file.replicas[1].key, damage)
    handed_out = bytearray()
    with pytest.raises(NoGoodReplica):
        await take_all(await container.read_files().open(file.file_id), handed_out)
    assert data.startswith(handed_out)
    assert place.states()["cloud"] == ("missing" if damage is removed else "corrupt")


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_range_switches_over_in_mid_stream(
    container: Container, settings: StorageConfig, damage: Damage
) -> None:
    place, data = Place(settings), large_video()
    file = await stored_twice(container, data, place)
    opened = await container.read_files().open(file.file_id)

    start, stop = 5, len(data) - 3
    stream = opened.chunks(Span(start, stop))
    handed_out = bytearray(await anext(stream))
    place.damage(Tier.LOCAL, file.replicas[0].key, damage)
    async for chunk in stream:
        handed_out += chunk

    assert handed_out == data[start:stop]


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_bad_cached_copy_is_passed_over(
    settings: StorageConfig, no_leaks: None, damage: Damage
) -> None:
    data, place = shipped_jpeg(), Place(settings)
    async with StorageService(settings, StorageStrategy.CLOUD_WITH_CACHE) as service:
        stored = await service.store_image(data)
        place.damage_cached(damage)

        handed_out, metadata = await service.retrieve_file(stored["file_id"])

    assert handed_out == data
    assert [replica["state"] for replica in metadata["replicas"]] == ["present"]
    assert place.states() == {"cloud": "present"}
