"""S3: what every ambiguous answer comes to, within which time, and what never leaks out."""

import asyncio
import base64
import contextlib
import copy
import hashlib
import logging
import pickle
import subprocess
import sys
import time
import traceback
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
import pytest

from tests.support import s3_stub
from tests.support.adapter_settings import s3_settings
from tests.support.s3_stub import Fault, S3Stub
from tests.support.servers import Bucket, S3Address
from tests.support.waiting import until
from traffic_storage.adapters.blob_store.object_store import ObjectStoreBlobStore, S3Settings
from traffic_storage.adapters.clock.manual import ManualClock
from traffic_storage.adapters.clock.system import SystemClock
from traffic_storage.adapters.s3.credentials import AwsCredentials
from traffic_storage.domain.digests import SEGMENT_BYTES
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.identifiers import CatalogueId, Incarnation, StoreId
from traffic_storage.domain.identity import Marker
from traffic_storage.domain.manifest import BlobManifest
from traffic_storage.domain.verification import Span
from traffic_storage.entrypoints.testing.blobs import (
    NEVER,
    Blob,
    blob_with_sidecar,
    random_blob,
)
from traffic_storage.entrypoints.testing.contracts.blob_store import is_there, opened, stored
from traffic_storage.entrypoints.testing.faults.blob_store import Damage, tamper
from traffic_storage.ports.blob_store import is_empty
from traffic_storage.ports.errors import (
    BlobConflict,
    BlobCorrupt,
    DeadlinePassed,
    StorageFull,
    StorageUnavailable,
)

MIB = SEGMENT_BYTES
LARGE = 9 * MIB
PART = 5 * MIB
PATIENCE_SECONDS = 2.0
LATER = Marker(CatalogueId("c"), StoreId("s"), Incarnation("j"))
MARKER = Marker(CatalogueId("c"), StoreId("s"), Incarnation("i"))


def settings_for(bucket: Bucket, timeout_seconds: float = 20.0) -> S3Settings:
    return s3_settings(bucket, timeout_seconds=timeout_seconds, probe_seconds=0.05)


@pytest.fixture
async def store(
    s3_bucket: Bucket, s3_faults: S3Stub, no_leaks: None
) -> AsyncIterator[ObjectStoreBlobStore]:
    """A patient store behind the fault proxy."""
    bucket = s3_bucket.at(s3_faults.endpoint)
    async with contextlib.aclosing(ObjectStoreBlobStore(settings_for(bucket), SystemClock())) as s:
        yield s


@pytest.fixture
async def hasty(
    s3_bucket: Bucket, s3_faults: S3Stub, no_leaks: None
) -> AsyncIterator[ObjectStoreBlobStore]:
    """The same with a time-out of two seconds."""
    settings = settings_for(s3_bucket.at(s3_faults.endpoint), PATIENCE_SECONDS)
    async with contextlib.aclosing(ObjectStoreBlobStore(settings, SystemClock())) as s:
        yield s


@pytest.fixture
async def plain(s3_bucket: Bucket) -> AsyncIterator[ObjectStoreBlobStore]:
    """The same bucket without the proxy: what is really there."""
    settings = settings_for(s3_bucket)
    async with contextlib.aclosing(ObjectStoreBlobStore(settings, SystemClock())) as s:
        yield s


async def streamed(store: ObjectStoreBlobStore, blob: Blob) -> bytes:
    return await opened(store, blob.key, blob.digests, Span(0, blob.digests.size_bytes))


def checksums(stub: S3Stub, blob: Blob) -> dict[str, str | None]:
    """The digest that each request which carries bytes of `blob` announced."""
    return {
        seen.query.partition("&")[0]: seen.headers.get("x-amz-checksum-sha256")
        for seen in stub.requests
        if (seen.method, seen.key) == ("PUT", blob.key)
    }


def sha256_base64(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


ONCE_BEFORE: dict[str, Callable[[], Fault]] = {
    "500": s3_stub.error,
    "503": s3_stub.slow_down,
    "429": lambda: s3_stub.slow_down(429),
    "409": s3_stub.conflict,
    "reset": s3_stub.reset_before_applying,
    "reset half-way": s3_stub.reset_in_upload,
}
ONCE_AFTER: dict[str, Callable[[], Fault]] = {
    "500": s3_stub.error_after_applying,
    "reset": s3_stub.reset_after_applying,
}


class TestWriting:
    @pytest.mark.parametrize("fault", ONCE_BEFORE)
    async def test_a_passing_failure_before_it_is_written(
        self, store: ObjectStoreBlobStore, s3_faults: S3Stub, fault: str
    ) -> None:
        blob = random_blob(1000)
        s3_faults.on(ONCE_BEFORE[fault](), method="PUT", key=blob.key)
        await stored(store, blob)
        assert await is_there(store, blob)
        assert s3_faults.count(method="PUT", key=blob.key) == 2

    @pytest.mark.parametrize("fault", ONCE_AFTER)
    async def test_an_error_after_it_was_written_is_a_success(
        self, store: ObjectStoreBlobStore, s3_faults: S3Stub, fault: str
    ) -> None:
        blob = random_blob(1000)
        s3_faults.on(ONCE_AFTER[fault](), method="PUT", key=blob.key)
        await stored(store, blob)
        assert await is_there(store, blob)
        assert (await store.head(blob.key)).manifest == blob.manifest

    @pytest.mark.parametrize("fault", ["500", "503", "reset", "reset half-way"])
    async def test_a_failure_of_one_part(
        self, store: ObjectStoreBlobStore, s3_faults: S3Stub, fault: str
    ) -> None:
        blob = random_blob(LARGE)
        s3_faults.on(ONCE_BEFORE[fault](), method="PUT", key=blob.key, query="partNumber=2*")
        await stored(store, blob)
        assert await is_there(store, blob)

    @pytest.mark.parametrize("fault", ONCE_AFTER)
    async def test_an_error_after_all_parts_were_joined_is_a_success(
        self, store: ObjectStoreBlobStore, s3_faults: S3Stub, fault: str
    ) -> None:
        blob = random_blob(LARGE)
        s3_faults.on(ONCE_AFTER[fault](), method="POST", key=blob.key, query="uploadId*")
        await stored(store, blob)
        assert await is_there(store, blob)

    @pytest.mark.parametrize("code", ["NoSuchUpload", "NoSuchKey"])
    async def test_an_upload_that_was_completed_and_then_is_unknown_is_a_success(
        self, store: ObjectStoreBlobStore, s3_faults: S3Stub, code: str
    ) -> None:
        """The completion was done and answered 500; its repetition finds no upload."""
        blob = random_blob(LARGE)
        done, gone = s3_stub.error_after_applying(), s3_stub.error(404, code)
        s3_faults.on(done, method="POST", key=blob.key, query="uploadId*")
        s3_faults.on(gone, method="POST", key=blob.key, query="uploadId*", nth=2)
        await stored(store, blob)
        assert await is_there(store, blob)

    async def test_an_upload_that_is_unknown_before_it_was_completed_is_an_error(
        self, store: ObjectStoreBlobStore, plain: ObjectStoreBlobStore, s3_faults: S3Stub
    ) -> None:
        blob = random_blob(LARGE)
        s3_faults.on(
            s3_stub.error(404, "NoSuchUpload"), method="POST", key=blob.key, query="uploadId*"
        )
        with pytest.raises(StorageUnavailable, match="does not know the upload"):
            await stored(store, blob)
        assert await is_empty(plain)

    @pytest.mark.parametrize("size", [1000, LARGE])
    @pytest.mark.parametrize("fault", ["500", "409", "reset"])
    async def test_a_lasting_failure_is_an_error_and_nothing_is_there(
        self,
        store: ObjectStoreBlobStore,
        plain: ObjectStoreBlobStore,
        s3_faults: S3Stub,
        size: int,
        fault: str,
    ) -> None:
        blob = random_blob(size)
        s3_faults.on(ONCE_BEFORE[fault](), method="PUT", key=blob.key, times=None)
        with pytest.raises(StorageUnavailable) as caught:
            await stored(store, blob)
        assert caught.value.message
        assert not await is_there(plain, blob)
        assert await is_empty(plain)

    async def test_a_failed_upload_removes_its_parts(
        self, store: ObjectStoreBlobStore, s3_faults: S3Stub
    ) -> None:
        blob = random_blob(3 * LARGE)
        s3_faults.on(s3_stub.error(), method="PUT", key=blob.key, query="partNumber=3*", times=None)
        with pytest.raises(StorageUnavailable):
            await stored(store, blob)
        seen = await s3_faults.until(
            method="DELETE", key=blob.key, query="uploadId*", is_applied=True
        )
        assert seen.real_status == 204

    async def test_a_cancelled_upload_removes_its_parts(
        self, store: ObjectStoreBlobStore, plain: ObjectStoreBlobStore, s3_faults: S3Stub
    ) -> None:
        blob = random_blob(8 * LARGE)
        with blob.spooled() as body:
            putting = asyncio.ensure_future(
                store.put(blob.key, body, blob.manifest, deadline=NEVER)
            )
            await s3_faults.until(method="PUT", key=blob.key, query="partNumber=1*")
            putting.cancel()
            await asyncio.wait([putting])
        assert putting.cancelled()
        assert s3_faults.count(method="DELETE", key=blob.key, query="uploadId*") == 1
        assert not await is_there(plain, blob)

    @pytest.mark.parametrize("is_applied", [True, False])
    async def test_a_cancelled_put_waits_for_its_outcome(
        self,
        hasty: ObjectStoreBlobStore,
        plain: ObjectStoreBlobStore,
        s3_faults: S3Stub,
        is_applied: bool,
    ) -> None:
        blob = random_blob(1000)
        hang = s3_stub.hang_after_applying() if is_applied else s3_stub.hang()
        s3_faults.on(hang, method="PUT", key=blob.key)
        putting = asyncio.ensure_future(stored(hasty, blob))
        await s3_faults.until(method="PUT", key=blob.key, is_applied=is_applied)
        putting.cancel()
        await asyncio.wait([putting], timeout=0.2)
        assert not putting.done()
        await asyncio.wait([putting])
        assert putting.cancelled()
        assert await is_there(plain, blob) is is_applied

    async def test_other_bytes_under_the_key_are_a_conflict_however_they_are_reported(
        self, store: ObjectStoreBlobStore, s3_faults: S3Stub
    ) -> None:
        blob = await stored(store, random_blob(1000))
        other = attrs.evolve(random_blob(1000), key=blob.key)
        s3_faults.on(s3_stub.error(), method="PUT", key=blob.key, times=None)
        with pytest.raises(BlobConflict):
            await stored(store, other)
        assert await is_there(store, blob)

    async def test_a_marker_that_was_written_and_not_confirmed(
        self, store: ObjectStoreBlobStore, s3_faults: S3Stub
    ) -> None:
        s3_faults.on(s3_stub.reset_after_applying(), method="PUT", key=".traffic-storage-marker")
        await store.create_marker(MARKER)
        assert await store.marker() == MARKER

    async def test_a_marker_that_was_replaced_and_not_confirmed(
        self, store: ObjectStoreBlobStore, s3_faults: S3Stub
    ) -> None:
        await store.create_marker(MARKER)
        s3_faults.on(s3_stub.reset_after_applying(), method="PUT", key=".traffic-storage-marker")
        await store.replace_marker(MARKER, LATER)
        assert await store.marker() == LATER

    @pytest.mark.parametrize("text", [b"\xff?", b""])
    async def test_an_unreadable_marker_is_an_error(
        self, store: ObjectStoreBlobStore, s3: S3Address, text: bytes
    ) -> None:
        s3.request("PUT", f"/{store.settings.bucket}/.traffic-storage-marker", text)
        with pytest.raises(InvalidInput):
            await store.marker()
        with pytest.raises(BlobConflict):
            await store.replace_marker(MARKER, LATER)


class TestChecksums:
    """What S3 is to compare with the bytes that reach it."""

    async def test_a_put_tells_the_digest_of_its_bytes(
        self, store: ObjectStoreBlobStore, s3_faults: S3Stub
    ) -> None:
        blob = await stored(store, random_blob(1000))
        assert checksums(s3_faults, blob) == {"": sha256_base64(blob.data)}

    async def test_each_part_tells_the_digest_of_its_bytes(
        self, store: ObjectStoreBlobStore, s3_faults: S3Stub
    ) -> None:
        blob = await stored(store, random_blob(LARGE))
        told = checksums(s3_faults, blob)
        assert told == {
            "partNumber=1": sha256_base64(blob.data[:PART]),
            "partNumber=2": sha256_base64(blob.data[PART:]),
        }


class TestTime:
    @pytest.mark.parametrize("size", [1000, LARGE])
    async def test_a_server_that_hangs_costs_a_put_its_time_and_no_more(
        self,
        hasty: ObjectStoreBlobStore,
        plain: ObjectStoreBlobStore,
        s3_faults: S3Stub,
        size: int,
    ) -> None:
        blob = random_blob(size)
        s3_faults.on(s3_stub.hang(), method="PUT", key=blob.key, times=None)
        began = time.monotonic()
        with pytest.raises(StorageUnavailable, match=r"in time|within"):
            await stored(hasty, blob)
        assert time.monotonic() - began < 3 * PATIENCE_SECONDS + 5
        assert not await is_there(plain, blob)

    async def test_a_hanging_answer_to_a_write_that_happened(
        self, hasty: ObjectStoreBlobStore, s3_faults: S3Stub
    ) -> None:
        blob = random_blob(1000)
        s3_faults.on(s3_stub.hang_after_applying(), method="PUT", key=blob.key)
        await stored(hasty, blob)
        assert await is_there(hasty, blob)

    async def test_the_deadline_bounds_a_put(
        self, store: ObjectStoreBlobStore, plain: ObjectStoreBlobStore, s3_faults: S3Stub
    ) -> None:
        blob = random_blob(1000)
        s3_faults.on(s3_stub.hang(), method="PUT", key=blob.key)
        began = time.monotonic()
        with pytest.raises(StorageUnavailable):
            await stored(store, blob, datetime.now(UTC) + timedelta(seconds=1))
        assert time.monotonic() - began < 10
        assert not await is_there(plain, blob)

    async def test_the_deadline_ends_an_upload(
        self, store: ObjectStoreBlobStore, plain: ObjectStoreBlobStore, s3_faults: S3Stub
    ) -> None:
        blob = random_blob(8 * LARGE)
        s3_faults.on(s3_stub.delay(1.5), method="PUT", key=blob.key, query="partNumber=1&*")
        with pytest.raises((DeadlinePassed, StorageUnavailable)):
            await stored(store, blob, datetime.now(UTC) + timedelta(seconds=0.5))
        assert not await is_there(plain, blob)

    @pytest.mark.parametrize("size", [1000, LARGE])
    async def test_what_was_written_too_late_is_taken_back(
        self, s3_bucket: Bucket, s3_faults: S3Stub, plain: ObjectStoreBlobStore, size: int
    ) -> None:
        clock = ManualClock(datetime(2026, 3, 14, 12, tzinfo=UTC))
        settings = settings_for(s3_bucket.at(s3_faults.endpoint))
        async with contextlib.aclosing(ObjectStoreBlobStore(settings, clock)) as store:
            blob = random_blob(size)
            s3_faults.on(s3_stub.delay(0.3), method="PUT", key=blob.key)
            deadline = clock.now() + timedelta(hours=1)
            putting = asyncio.ensure_future(stored(store, blob, deadline))
            await s3_faults.until(method="PUT", key=blob.key)
            clock.advance(timedelta(hours=1))
            with pytest.raises(DeadlinePassed):
                await putting
            assert not await is_there(plain, blob)

    @pytest.mark.parametrize(("size", "slow"), [(1000, "PUT"), (LARGE, "GET")])
    async def test_what_was_there_before_a_late_put_stays(
        self,
        s3_bucket: Bucket,
        s3_faults: S3Stub,
        plain: ObjectStoreBlobStore,
        size: int,
        slow: str,
    ) -> None:
        blob = await stored(plain, random_blob(size))
        clock = ManualClock(datetime(2026, 3, 14, 12, tzinfo=UTC))
        settings = settings_for(s3_bucket.at(s3_faults.endpoint))
        async with contextlib.aclosing(ObjectStoreBlobStore(settings, clock)) as store:
            s3_faults.on(s3_stub.delay(0.3), method=slow, key=blob.key)
            putting = asyncio.ensure_future(stored(store, blob, clock.now() + timedelta(hours=1)))
            await s3_faults.until(method=slow, key=blob.key)
            clock.advance(timedelta(hours=1))
            with pytest.raises(DeadlinePassed):
                await putting
            assert await is_there(plain, blob)

    @pytest.mark.parametrize("size", [1000, 5 * MIB])
    async def test_a_read_that_hangs_ends(
        self, hasty: ObjectStoreBlobStore, s3_faults: S3Stub, size: int
    ) -> None:
        blob = await stored(hasty, random_blob(size))
        for fault in (s3_stub.hang, s3_stub.hang_in_download):
            s3_faults.clear()
            s3_faults.on(fault(), method="GET", key=blob.key, times=None)
            began = time.monotonic()
            with pytest.raises(StorageUnavailable):
                await hasty.read(blob.key, blob.digests)
            with pytest.raises(StorageUnavailable):
                await streamed(hasty, blob)
            assert time.monotonic() - began < 4 * PATIENCE_SECONDS + 25


class TestReading:
    @pytest.mark.parametrize(
        "fault",
        [s3_stub.error, s3_stub.slow_down, s3_stub.reset_in_download, s3_stub.cut_off],
        ids=lambda fault: fault.__name__,
    )
    @pytest.mark.parametrize("size", [1000, LARGE])
    async def test_a_passing_failure_is_tried_again(
        self, store: ObjectStoreBlobStore, s3_faults: S3Stub, size: int, fault: Callable[[], Fault]
    ) -> None:
        blob = await stored(store, random_blob(size))
        for read in (is_there(store, blob), streamed(store, blob)):
            s3_faults.on(fault(), method="GET", key=blob.key)
            assert await read in (True, blob.data)

    @pytest.mark.parametrize("fault", [s3_stub.flip_bit, s3_stub.truncate])
    @pytest.mark.parametrize("size", [1000, 3 * MIB, LARGE])
    async def test_what_the_way_has_changed_is_asked_for_once_more(
        self, store: ObjectStoreBlobStore, s3_faults: S3Stub, size: int, fault: Callable[[], Fault]
    ) -> None:
        blob = await stored(store, random_blob(size))
        for read in (is_there(store, blob), streamed(store, blob)):
            s3_faults.on(fault(), method="GET", key=blob.key)
            assert await read in (True, blob.data)

    @pytest.mark.parametrize("fault", [s3_stub.flip_bit, s3_stub.truncate])
    @pytest.mark.parametrize("size", [1000, 3 * MIB, LARGE])
    async def test_what_arrives_wrong_twice_is_corrupt(
        self, store: ObjectStoreBlobStore, s3_faults: S3Stub, size: int, fault: Callable[[], Fault]
    ) -> None:
        blob = await stored(store, random_blob(size))
        s3_faults.on(fault(), method="GET", key=blob.key, times=None)
        with pytest.raises(BlobCorrupt):
            await store.read(blob.key, blob.digests)
        with pytest.raises(BlobCorrupt):
            await streamed(store, blob)

    async def test_a_huge_object_in_place_of_a_small_one_is_not_fetched(
        self, store: ObjectStoreBlobStore, s3_faults: S3Stub
    ) -> None:
        blob = await stored(store, random_blob(1000))
        for _ in range(3):
            await tamper(store, blob.key, Damage.EXTEND)
        with pytest.raises(BlobCorrupt, match="1003 bytes instead of 1000"):
            await store.read(blob.key, blob.digests)

    async def test_a_listing_that_fails_says_so(
        self, store: ObjectStoreBlobStore, s3_faults: S3Stub
    ) -> None:
        await stored(store, random_blob(1))
        s3_faults.on(s3_stub.error(), method="GET", query="list-type=2*", times=None)
        with pytest.raises(StorageUnavailable):
            await is_empty(store)

    async def test_a_listing_of_several_pages(self, s3: S3Address, s3_bucket: Bucket) -> None:
        settings = settings_for(s3_bucket)
        async with contextlib.aclosing(ObjectStoreBlobStore(settings, SystemClock())) as store:
            blobs = [random_blob(1) for _ in range(1100)]
            for start in range(0, len(blobs), 50):
                await asyncio.gather(*(stored(store, blob) for blob in blobs[start : start + 50]))
            keys = [entry.key async for entry in store.list()]
            assert keys == sorted(blob.key for blob in blobs)
            assert [entry.key async for entry in store.list(after=keys[1049])] == keys[1050:]

    async def test_what_is_not_ours_is_passed_over(
        self, store: ObjectStoreBlobStore, s3: S3Address
    ) -> None:
        for name in ("aaa", "image/notes.txt", "image/2025/11/01/x", "zzz"):
            s3.request("PUT", f"/{store.settings.bucket}/{name}", b"foreign")
        assert await is_empty(store)
        blob = await stored(store, random_blob(1))
        assert [entry.key async for entry in store.list()] == [blob.key]

    async def test_a_long_manifest_is_an_object_beside_the_blob(
        self, store: ObjectStoreBlobStore, s3: S3Address
    ) -> None:
        blob = await stored(store, blob_with_sidecar())
        path = f"/{store.settings.bucket}/{blob.key}.manifest"
        text = s3.request("GET", path).body.decode()
        assert BlobManifest.from_text(text) == blob.manifest
        assert [entry.key async for entry in store.list()] == [blob.key]
        s3.request("PUT", path, b"altered")
        summary = BlobManifest.from_text(blob.manifest.kept().summary)
        assert (await store.head(blob.key)).manifest == summary
        s3.request("DELETE", path)
        assert (await store.head(blob.key)).manifest == summary

    async def test_an_object_without_facts(
        self, store: ObjectStoreBlobStore, s3: S3Address
    ) -> None:
        blob = random_blob(10)
        s3.request("PUT", f"/{store.settings.bucket}/{blob.key}", blob.data)
        head = await store.head(blob.key)
        assert (head.size_bytes, head.manifest) == (10, None)


class TestRefusals:
    async def test_a_missing_bucket_is_not_a_missing_blob(
        self, s3: S3Address, no_leaks: None
    ) -> None:
        settings = settings_for(s3.bucket("never-made"))
        blob, large = random_blob(10), random_blob(LARGE)
        calls: list[Callable[[ObjectStoreBlobStore], object]] = [
            lambda store: store.read(blob.key, blob.digests),
            lambda store: streamed(store, large),
            lambda store: store.head(blob.key),
            lambda store: stored(store, blob),
            lambda store: stored(store, large),
            lambda store: store.delete(blob.key),
            is_empty,
            lambda store: store.marker(),
            lambda store: store.create_marker(MARKER),
        ]
        for call in calls:
            async with contextlib.aclosing(ObjectStoreBlobStore(settings, SystemClock())) as store:
                with pytest.raises(StorageUnavailable, match="no such bucket") as caught:
                    await call(store)  # type: ignore[misc]
                assert "s3_bucket" in caught.value.remedy

    async def test_wrong_keys_are_named(self, s3_bucket: Bucket, no_leaks: None) -> None:
        wrong = attrs.evolve(settings_for(s3_bucket), secret_key="wrong")
        unsigned = attrs.evolve(settings_for(s3_bucket), access_key=None, secret_key=None)
        for settings in (wrong, unsigned):
            async with contextlib.aclosing(ObjectStoreBlobStore(settings, SystemClock())) as store:
                blob = random_blob(10)
                with pytest.raises(StorageUnavailable, match="credentials") as caught:
                    await stored(store, blob)
                assert "s3_secret_key" in caught.value.remedy
                with pytest.raises(StorageUnavailable, match="credentials"):
                    await store.read(blob.key, blob.digests)

    async def test_a_full_bucket_is_full(
        self, store: ObjectStoreBlobStore, s3_faults: S3Stub
    ) -> None:
        blob = random_blob(10)
        for status, code in ((507, "XMinioStorageFull"), (403, "QuotaExceeded")):
            s3_faults.clear()
            s3_faults.on(s3_stub.error(status, code), method="PUT", key=blob.key, times=None)
            with pytest.raises(StorageFull, match=code):
                await stored(store, blob)
        assert store.unavailable_reason() == ""

    async def test_the_environment_changes_nothing(
        self, s3_bucket: Bucket, monkeypatch: pytest.MonkeyPatch, no_leaks: None
    ) -> None:
        for name in ("SESSION_TOKEN", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "ROLE_ARN"):
            monkeypatch.setenv(f"AWS_{name}", "of-somebody-else")
        for name in ("ENDPOINT_URL", "ENDPOINT_URL_S3", "ENDPOINT", "METADATA_ENDPOINT"):
            monkeypatch.setenv(f"AWS_{name}", "http://127.0.0.1:9")
        for name in (
            *("SKIP_SIGNATURE", "VIRTUAL_HOSTED_STYLE_REQUEST", "S3_EXPRESS", "REQUEST_PAYER"),
            *("UNSIGNED_PAYLOAD", "IMDSV1_FALLBACK"),
        ):
            monkeypatch.setenv(f"AWS_{name}", "true")
        monkeypatch.setenv("AWS_CONDITIONAL_PUT", "disabled")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "elsewhere-1")
        store = ObjectStoreBlobStore(settings_for(s3_bucket), SystemClock())
        blob = await stored(store, random_blob(10))
        assert await is_there(store, blob)
        await store.aclose()


class TestHeaders:
    """What is sent, and what is left out where a service does not want it."""

    @contextlib.asynccontextmanager
    async def connected(
        self, bucket: Bucket, stub: S3Stub, **changes: object
    ) -> AsyncIterator[ObjectStoreBlobStore]:
        settings = attrs.evolve(settings_for(bucket.at(stub.endpoint)), **changes)  # type: ignore[arg-type]
        async with contextlib.aclosing(ObjectStoreBlobStore(settings, SystemClock())) as store:
            yield store

    def headers(self, stub: S3Stub) -> set[str]:
        return {name for seen in stub.requests for name in seen.headers}

    @pytest.mark.parametrize("token", [None, "temporary"])
    async def test_a_token_is_sent_only_where_one_is_given(
        self,
        s3_bucket: Bucket,
        s3_faults: S3Stub,
        monkeypatch: pytest.MonkeyPatch,
        token: str | None,
    ) -> None:
        """Neither an empty one, nor one of the environment beside the keys of the settings."""
        monkeypatch.setenv("AWS_SESSION_TOKEN", "stray")
        async with self.connected(s3_bucket, s3_faults, session_token=token) as store:
            # The server knows no tokens.
            with contextlib.suppress(StorageUnavailable):
                await store.delete((await stored(store, random_blob(10))).key)
        sent = {seen.headers.get("x-amz-security-token") for seen in s3_faults.requests}
        assert sent == {token}

    async def test_the_credentials_of_aws_are_used_where_they_are_wanted(
        self, s3_bucket: Bucket, s3_faults: S3Stub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_bucket.access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_bucket.secret_key)
        keys = {"access_key": None, "secret_key": None, "aws": AwsCredentials()}
        async with self.connected(s3_bucket, s3_faults, **keys) as store:
            blob = await stored(store, random_blob(10))
            assert await is_there(store, blob)
            await store.delete(blob.key)

    async def test_credentials_of_aws_that_are_not_there_are_named(
        self, s3_bucket: Bucket, s3_faults: S3Stub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
            monkeypatch.setenv(name, str(tmp_path / "none"))
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        keys = {"access_key": None, "secret_key": None, "aws": AwsCredentials()}
        async with self.connected(s3_bucket, s3_faults, **keys) as store:
            with pytest.raises(StorageUnavailable, match="no credentials of AWS were found"):
                await stored(store, random_blob(10))

    @pytest.mark.parametrize("size", [1000, LARGE])
    async def test_headers_that_a_service_lacks_can_be_left_out(
        self, s3_bucket: Bucket, s3_faults: S3Stub, size: int
    ) -> None:
        """An overwrite is refused all the same, and what was written is read back."""
        without = {"checksum_headers": False, "conditional_writes": False}
        async with self.connected(s3_bucket, s3_faults, **without) as store:
            blob = await stored(store, random_blob(size))
            assert s3_faults.count(method="GET", key=blob.key) >= 1
            with pytest.raises(BlobConflict):
                await stored(store, attrs.evolve(random_blob(size), key=blob.key))
            assert await is_there(store, blob)
            await store.create_marker(MARKER)
            await store.replace_marker(MARKER, LATER)
            assert await store.marker() == LATER
        sent = self.headers(s3_faults)
        assert not {name for name in sent if "checksum" in name}
        assert sent.isdisjoint({"if-none-match", "if-match"})

    async def test_encryption_is_asked_for_and_keys_have_their_prefix(
        self, s3_bucket: Bucket, s3_faults: S3Stub
    ) -> None:
        asked = {"encryption": "AES256", "prefix": "evidence/north"}
        async with self.connected(s3_bucket, s3_faults, **asked) as store:
            blob = await stored(store, random_blob(10))
            assert [entry.key async for entry in store.list()] == [blob.key]
        (put,) = [seen for seen in s3_faults.requests if seen.method == "PUT"]
        assert put.key == f"evidence/north/{blob.key}"
        assert put.headers["x-amz-server-side-encryption"] == "AES256"

    def test_the_bucket_is_in_the_name_of_the_host_where_it_is_wanted(self) -> None:
        settings = S3Settings("evidence", "r", "https://s3.example", "a", "b", virtual_hosted=True)
        config = settings.connect().config
        assert config["endpoint"] == "https://evidence.s3.example"
        assert settings.location == "https://s3.example/evidence"

    def test_a_file_of_authorities_that_can_not_be_read_is_named(self, tmp_path: Path) -> None:
        settings = S3Settings("evidence", ca_file=tmp_path / "ca.pem")
        with pytest.raises(StorageUnavailable, match=r"ca\.pem can't be read"):
            settings.connect()


class TestThrottling:
    """A server that asks for fewer requests is there: it is waited for."""

    @pytest.mark.parametrize(
        ("status", "code"),
        [(503, "SlowDown"), (429, "SlowDown"), (429, "TooManyRequests")],
    )
    async def test_it_is_waited_for_within_the_time_limit(
        self, store: ObjectStoreBlobStore, s3_faults: S3Stub, status: int, code: str
    ) -> None:
        """More often than obstore repeats a request by itself."""
        blob, told = random_blob(1000), s3_stub.error(status, code)
        s3_faults.on(told, method="PUT", key=blob.key, times=4)
        s3_faults.on(told, method="GET", key=blob.key, times=4)
        s3_faults.on(told, method="HEAD", key=blob.key, times=4)
        await stored(store, blob)
        assert await store.read(blob.key, blob.digests) == blob.data
        assert (await store.head(blob.key)).size_bytes == 1000
        assert store.unavailable_reason() == ""

    async def test_an_upload_in_parts_is_waited_for(
        self, store: ObjectStoreBlobStore, s3_faults: S3Stub
    ) -> None:
        blob = random_blob(LARGE)
        s3_faults.on(s3_stub.slow_down(), method="POST", key=blob.key, query="uploads*", times=4)
        s3_faults.on(
            s3_stub.slow_down(), method="PUT", key=blob.key, query="partNumber=2*", times=4
        )
        await stored(store, blob)
        assert await is_there(store, blob)

    async def test_it_is_no_outage_if_it_lasts(
        self, hasty: ObjectStoreBlobStore, s3_faults: S3Stub
    ) -> None:
        blob = await stored(hasty, random_blob(10))
        s3_faults.on(s3_stub.slow_down(), times=None)
        reads = [hasty.read(blob.key, blob.digests) for _ in range(5)]
        for result in await asyncio.gather(*reads, return_exceptions=True):
            assert isinstance(result, StorageUnavailable)
            assert "asks for fewer requests" in result.message
        assert hasty.unavailable_reason() == ""
        s3_faults.clear()
        assert await is_there(hasty, blob)


class TestBreaker:
    async def test_it_opens_refuses_at_once_and_closes_by_itself(
        self, store: ObjectStoreBlobStore, s3_faults: S3Stub
    ) -> None:
        blob = await stored(store, random_blob(10))
        s3_faults.on(s3_stub.error(), times=None)
        for _ in range(3):
            assert store.unavailable_reason() == ""
            with pytest.raises(StorageUnavailable):
                await store.read(blob.key, blob.digests)
        await until(store.unavailable_reason)
        assert "500" in store.unavailable_reason()
        asked = s3_faults.count(method="GET", key=blob.key)
        for _ in range(10):
            with pytest.raises(StorageUnavailable):
                await store.read(blob.key, blob.digests)
        assert s3_faults.count(method="GET", key=blob.key) == asked
        s3_faults.clear()
        await until(lambda: not store.unavailable_reason())
        assert await is_there(store, blob)

    async def test_answers_do_not_open_it(
        self, store: ObjectStoreBlobStore, s3_faults: S3Stub
    ) -> None:
        for _ in range(5):
            assert not await is_there(store, random_blob(10))
        assert store.unavailable_reason() == ""

    @pytest.mark.parametrize(
        ("status", "code", "said"),
        [
            (403, "InvalidObjectState", "in an archive"),
            (403, "AccessDenied", "credentials"),
            (409, "OperationAborted", "409"),
            (500, "InternalError", "500"),
            (503, "ServiceUnavailable", "503"),
        ],
    )
    async def test_what_concerns_one_object_does_not_open_it(
        self, store: ObjectStoreBlobStore, s3_faults: S3Stub, status: int, code: str, said: str
    ) -> None:
        bad, good = [await stored(store, random_blob(10 + n)) for n in range(2)]
        s3_faults.on(s3_stub.error(status, code), method="GET", key=bad.key, times=None)
        for _ in range(2):
            for _ in range(4):
                with pytest.raises(StorageUnavailable, match=said) as caught:
                    await store.read(bad.key, bad.digests)
                assert caught.value.remedy
                assert store.unavailable_reason() == ""
            assert await store.read(good.key, good.digests) == good.data

    async def test_a_success_in_between_keeps_it_closed(
        self, store: ObjectStoreBlobStore, s3_faults: S3Stub
    ) -> None:
        blob = await stored(store, random_blob(10))
        s3_faults.on(s3_stub.error(), method="GET", key="image/1999*", times=None)
        for _ in range(4):
            old = random_blob(1, day=datetime(1999, 1, 1, tzinfo=UTC))
            with pytest.raises(StorageUnavailable):
                await store.read(old.key, old.digests)
            assert await is_there(store, blob)
        assert store.unavailable_reason() == ""

    async def test_a_server_that_is_away_and_comes_back(
        self, s3_bucket: Bucket, s3_faults: S3Stub, no_leaks: None
    ) -> None:
        settings = settings_for(s3_bucket.at("http://127.0.0.1:9"), PATIENCE_SECONDS)
        async with contextlib.aclosing(ObjectStoreBlobStore(settings, SystemClock())) as store:
            blob = random_blob(10)
            for _ in range(3):
                with pytest.raises(StorageUnavailable, match="reached"):
                    await stored(store, blob)
            await until(store.unavailable_reason)
            assert "reached" in store.unavailable_reason()
            # One error as it is, not a group of them.
            with pytest.raises(StorageUnavailable):
                await store.heads([blob.key, random_blob(11).key])


class TestSecrets:
    CANARY = "canary-secret-0123456789"
    ACCESS = "CANARYACCESSKEY"

    async def test_none_leaves_by_errors_or_logs(
        self,
        s3_bucket: Bucket,
        s3_faults: S3Stub,
        caplog: pytest.LogCaptureFixture,
        no_leaks: None,
    ) -> None:
        caplog.set_level(logging.DEBUG)
        place = s3_faults.endpoint.replace("http://", f"http://user:{self.CANARY}@")
        settings = attrs.evolve(
            settings_for(s3_bucket.at(place), PATIENCE_SECONDS),
            access_key=self.ACCESS,
            secret_key=self.CANARY,
        )
        echo = f"<Code>SignatureDoesNotMatch</Code><AWSAccessKeyId>{self.ACCESS}</AWSAccessKeyId>"
        for fault in (s3_stub.error(403, f"X{echo}"), s3_stub.error(500, echo), s3_stub.hang()):
            s3_faults.clear()
            s3_faults.on(fault, times=None)
            async with contextlib.aclosing(ObjectStoreBlobStore(settings, SystemClock())) as store:
                await self._fail_in_every_way(store)
        self._clean(caplog.text)

    def test_none_leaves_by_repr_or_pickle(self, s3_bucket: Bucket) -> None:
        settings = attrs.evolve(
            settings_for(s3_bucket), access_key=self.ACCESS, secret_key=self.CANARY
        )
        store = ObjectStoreBlobStore(settings, SystemClock())
        self._clean(f"{settings!r} {settings} {store!r} {store.location}")
        for held in (settings, store):
            with pytest.raises(TypeError, match="pickle"):
                pickle.dumps(held)
            with pytest.raises(TypeError, match="pickle"):
                copy.copy(held)

    async def _fail_in_every_way(self, store: ObjectStoreBlobStore) -> None:
        blob = random_blob(10)
        for call in (
            lambda: stored(store, blob),
            lambda: store.read(blob.key, blob.digests),
            lambda: store.head(blob.key),
            lambda: is_empty(store),
        ):
            with pytest.raises(StorageUnavailable) as caught:
                await call()
            self._clean("".join(traceback.format_exception(caught.value)))
            error: BaseException | None = caught.value
            while error is not None:
                self._clean(f"{error} {error!r} {error.args}")
                error = error.__cause__ or error.__context__
        self._clean(store.unavailable_reason() + store.location + repr(store))

    def _clean(self, text: str) -> None:
        assert self.CANARY not in text
        assert self.ACCESS not in text
        assert "Signature=" not in text


_READS_AND_ENDS = """

import asyncio, sys
from datetime import datetime, UTC
from traffic_storage.adapters.blob_store.object_store import ObjectStoreBlobStore, S3Settings
from traffic_storage.adapters.clock.system import SystemClock
from traffic_storage.entrypoints.testing.blobs import NEVER, random_blob
from traffic_storage.ports.blob_store import Span, closing
async def main():
    store = ObjectStoreBlobStore(S3Settings(*sys.argv[1:6]), SystemClock())
    blob = random_blob(9 * 1024 * 1024)
    await store.put(blob.key, blob.body, blob.manifest, deadline=NEVER)
    async with closing(store.open(blob.key, blob.digests, Span(0, len(blob.data)))) as chunks:
        async for chunk in chunks:
            if sys.argv[6] == "early":
                break
    async for entry in store.list():
        break
    if sys.argv[7] == "closed":
        await store.aclose()
asyncio.run(main())
print("done")
"""


@pytest.mark.parametrize("how", ["early", "whole"])
@pytest.mark.parametrize("end", ["closed", "left open"])
def test_a_program_that_ends_right_after_the_work_ends_well(
    s3_bucket: Bucket, how: str, end: str
) -> None:
    """An interpreter that ends while threads of obstore call back is aborted."""
    for _ in range(3):
        ended = subprocess.run(
            [
                *(sys.executable, "-c", _READS_AND_ENDS, s3_bucket.name, s3_bucket.region),
                *(s3_bucket.endpoint, s3_bucket.access_key, s3_bucket.secret_key, how, end),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ended.returncode, ended.stdout) == (0, "done\n"), ended.stderr
