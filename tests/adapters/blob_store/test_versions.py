"""S3: what a bucket with versioning keeps of deleted blobs is removed, or told."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.session import Session

from tests.support import s3_stub
from tests.support.adapter_settings import s3_settings
from tests.support.s3_stub import S3Stub
from tests.support.servers import Bucket, S3Address
from traffic_storage.adapters.blob_store.object_store import ObjectStoreBlobStore
from traffic_storage.adapters.clock.system import SystemClock
from traffic_storage.domain.errors import StorageUnavailable
from traffic_storage.entrypoints.testing.blobs import blob_with_sidecar, random_blob
from traffic_storage.entrypoints.testing.contracts.blob_store import is_there, stored
from traffic_storage.ports.blob_store import KeptVersion

UNTIL = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)


@pytest.fixture
def admin(no_leaks: None, s3: S3Address) -> Iterator[Any]:
    """A client that may do all things."""
    client = Session().create_client(
        "s3",
        region_name=s3.region,
        endpoint_url=s3.endpoint,
        aws_access_key_id=s3.access_key,
        aws_secret_access_key=s3.secret_key,
    )
    yield client
    client.close()


@pytest.fixture
async def store(
    s3_bucket: Bucket, s3_faults: S3Stub, no_leaks: None
) -> AsyncIterator[ObjectStoreBlobStore]:
    """A store behind the fault proxy."""
    settings = s3_settings(s3_bucket.at(s3_faults.endpoint))
    async with contextlib.aclosing(ObjectStoreBlobStore(settings, SystemClock())) as store:
        yield store


def set_versioning(admin: Any, bucket: Bucket, status: str = "Enabled") -> None:
    admin.put_bucket_versioning(Bucket=bucket.name, VersioningConfiguration={"Status": status})


def keys_in(admin: Any, bucket: Bucket, what: str) -> set[str]:
    """The keys of all `Versions`, or of the `DeleteMarkers` that hide them."""
    found = admin.list_object_versions(Bucket=bucket.name)
    return {one["Key"] for one in found.get(what, ())}


@pytest.mark.parametrize("becomes", ["Enabled", "Suspended"])
async def test_no_version_of_a_deleted_blob_is_left(
    store: ObjectStoreBlobStore, admin: Any, s3_bucket: Bucket, becomes: str
) -> None:
    set_versioning(admin, s3_bucket)
    blob = await stored(store, blob_with_sidecar())
    foreign = f"{blob.key}-of-somebody-else"
    admin.put_object(Bucket=s3_bucket.name, Key=foreign, Body=b"theirs")
    admin.delete_object(Bucket=s3_bucket.name, Key=foreign)
    set_versioning(admin, s3_bucket, becomes)

    assert not await store.delete(blob.key)

    assert keys_in(admin, s3_bucket, "Versions") == {foreign}
    if becomes == "Enabled":
        # SeaweedFS keeps the marker that it makes while versioning is suspended.
        assert keys_in(admin, s3_bucket, "DeleteMarkers") == {foreign}


async def test_a_locked_version_is_told_and_stays_hidden(
    no_leaks: None, admin: Any, s3: S3Address
) -> None:
    blob = random_blob(100)
    bucket = s3.bucket(f"locked-{blob.digests.sha256[:20]}")
    admin.create_bucket(Bucket=bucket.name, ObjectLockEnabledForBucket=True)
    settings = s3_settings(bucket)
    async with contextlib.aclosing(ObjectStoreBlobStore(settings, SystemClock())) as store:
        await stored(store, blob)
        (version,) = admin.list_object_versions(Bucket=bucket.name)["Versions"]
        admin.put_object_retention(
            Bucket=bucket.name,
            Key=blob.key,
            Retention={"Mode": "COMPLIANCE", "RetainUntilDate": UNTIL},
        )

        (kept,) = await store.delete(blob.key)

        assert kept.version_id == version["VersionId"]
        assert kept.reason.startswith("locked (COMPLIANCE) until ")
        assert f"{UNTIL:%Y-%m-%dT}" in kept.reason
        assert not await is_there(store, blob)


async def test_a_bucket_that_does_not_tell_is_told(
    store: ObjectStoreBlobStore, s3_faults: S3Stub
) -> None:
    blob = await stored(store, random_blob(100))
    s3_faults.on(s3_stub.error(403, "AccessDenied"), method="GET", query="versioning*")

    reason = "it is unknown whether the bucket keeps versions: AccessDenied"
    assert await store.delete(blob.key) == [KeptVersion(None, reason)]


async def test_a_failing_bucket_is_asked_again_by_the_next_deletion(
    store: ObjectStoreBlobStore, admin: Any, s3_bucket: Bucket, s3_faults: S3Stub
) -> None:
    set_versioning(admin, s3_bucket)
    blob = await stored(store, random_blob(100))
    s3_faults.on(s3_stub.error(503, "SlowDown"), method="GET", query="versions*", times=None)
    with pytest.raises(StorageUnavailable, match="when the versions of a deleted blob"):
        await store.delete(blob.key)
    s3_faults.clear()

    assert not await store.delete(blob.key)

    assert not keys_in(admin, s3_bucket, "Versions")


async def test_a_bucket_without_versions_is_not_asked_for_each_blob(
    store: ObjectStoreBlobStore, s3_faults: S3Stub
) -> None:
    for _ in range(3):
        blob = await stored(store, random_blob(100))
        await store.delete(blob.key)
    assert s3_faults.count(method="GET", query="versioning*") == 1
    assert s3_faults.count(method="GET", query="*versions*") == 0
