"""Every snapshot location and every catalogue keeps the contracts of snapshots."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from attrs import evolve

from tests.support.adapter_settings import s3_settings
from tests.support.catalogues import InMemory, OnPostgres, OnSqlite
from tests.support.servers import Bucket
from traffic_storage.adapters.blob_store.local_disk import LocalDiskBlobStore
from traffic_storage.adapters.blob_store.memory import InMemoryBlobStore
from traffic_storage.adapters.blob_store.object_store import ObjectStoreBlobStore
from traffic_storage.adapters.clock.system import SystemClock
from traffic_storage.domain.digests import digests_of
from traffic_storage.domain.files import FileKind
from traffic_storage.domain.snapshot import object_key
from traffic_storage.entrypoints.testing.blobs import NEVER, new_blob
from traffic_storage.entrypoints.testing.contracts.snapshots import (
    SnapshotRecordsContract,
    SnapshotTextsContract,
)
from traffic_storage.ports.snapshot_store import SnapshotStore, TextFolder

CLOCK = SystemClock()


class TestTextsInMemory(SnapshotTextsContract):
    @pytest.fixture
    async def location(self) -> SnapshotStore:
        return InMemoryBlobStore(CLOCK)


class TestTextsOnDisk(SnapshotTextsContract):
    @pytest.fixture
    async def location(self, no_leaks: None, tmp_path: Path) -> AsyncIterator[SnapshotStore]:
        location = LocalDiskBlobStore(tmp_path / "snapshots", CLOCK)
        yield location
        await location.aclose()


class TestTextsInBucket(SnapshotTextsContract):
    @pytest.fixture
    async def location(self, s3_bucket: Bucket, no_leaks: None) -> AsyncIterator[SnapshotStore]:
        location = ObjectStoreBlobStore(evolve(s3_settings(s3_bucket), prefix="a/snapshots"), CLOCK)
        yield location
        await location.aclose()


class TestRecordsInMemory(InMemory, SnapshotRecordsContract):
    pass


class TestRecordsOnSqlite(OnSqlite, SnapshotRecordsContract):
    pass


class TestRecordsOnPostgres(OnPostgres, SnapshotRecordsContract):
    pass


async def test_a_part_of_a_bucket_is_apart(s3_bucket: Bucket, no_leaks: None) -> None:
    """What lies under a prefix is not seen beside it, and nothing else is seen under it."""
    whole = ObjectStoreBlobStore(s3_settings(s3_bucket), CLOCK)
    part = ObjectStoreBlobStore(evolve(s3_settings(s3_bucket), prefix="snapshots"), CLOCK)
    assert part.location == f"{whole.location}/snapshots"
    mine, other = new_blob(b"in the part"), new_blob(b"beside it")
    await part.put(mine.key, mine.body, mine.manifest, deadline=NEVER)
    await whole.put(other.key, other.body, other.manifest, deadline=NEVER)
    await part.put_text(TextFolder.SEALED, "one", b"text")
    assert [one.key async for one in part.list()] == [mine.key]
    assert [one.key async for one in whole.list()] == [other.key]
    assert await whole.text_names(TextFolder.SEALED) == []
    await part.delete(mine.key)
    assert [one.key async for one in part.list()] == []
    assert await whole.read(other.key, other.body.digests) == b"beside it"
    await whole.aclose()
    await part.aclose()


async def test_a_place_with_files_of_others_is_used(
    s3_bucket: Bucket, tmp_path: Path, no_leaks: None
) -> None:
    """is_unused sees what no listing of blobs shows."""
    (tmp_path / "report.pdf").write_bytes(b"of somebody else")
    folder = LocalDiskBlobStore(tmp_path, CLOCK)
    whole = ObjectStoreBlobStore(s3_settings(s3_bucket), CLOCK)
    part = ObjectStoreBlobStore(evolve(s3_settings(s3_bucket), prefix="snapshots"), CLOCK)
    await whole.put_text(TextFolder.SEALED, "one", b"text")
    assert not await folder.is_unused()
    assert not await whole.is_unused()
    assert await part.is_unused()
    for store in (folder, whole, part):
        await store.aclose()


async def test_an_object_is_found_by_its_digest(tmp_path: Path) -> None:
    """The key of an object depends on its kind and digest alone."""
    location = LocalDiskBlobStore(tmp_path, CLOCK)
    blob = new_blob(b"content")
    key = object_key(FileKind.IMAGE, blob.body.digests.sha256)
    await location.put(key, blob.body, blob.manifest, deadline=NEVER)
    assert key == object_key(FileKind.IMAGE, digests_of(b"content").sha256)
    assert [one.key async for one in location.list()] == [key]
    await location.aclose()
