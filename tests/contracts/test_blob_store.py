"""Every BlobStore keeps the contract."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support.adapter_settings import s3_settings
from tests.support.servers import Bucket
from traffic_storage.adapters.blob_store.caching import CachingBlobStore
from traffic_storage.adapters.blob_store.local_disk import LocalDiskBlobStore
from traffic_storage.adapters.blob_store.memory import InMemoryBlobStore
from traffic_storage.adapters.blob_store.object_store import ObjectStoreBlobStore
from traffic_storage.adapters.clock.system import SystemClock
from traffic_storage.domain.files import BlobKey
from traffic_storage.entrypoints.testing.contracts.blob_store import (
    BlobStoreContract,
    BlobStoreMachine,
)
from traffic_storage.entrypoints.testing.contracts.store_identity import StoreIdentityContract
from traffic_storage.entrypoints.testing.faults.blob_store import (
    Damage,
    FailingBlobStore,
    tamper,
)
from traffic_storage.ports.blob_store import BlobStore
from traffic_storage.ports.store_identity import MarkedBlobStore

MACHINE = settings(max_examples=6, stateful_step_count=25, deadline=None)
CLOCK = SystemClock()
SHARED_MEMORY = Path("/dev/shm")
LIMIT_BYTES = 64 * 1024 * 1024


@pytest.fixture
def memory_folder() -> Iterator[Path]:
    """A folder on a file system in memory."""
    folder = Path(tempfile.mkdtemp(dir=SHARED_MEMORY))
    yield folder
    shutil.rmtree(folder)


class TestMemory(BlobStoreContract, StoreIdentityContract):
    @pytest.fixture
    async def store(self, no_leaks: None) -> AsyncIterator[MarkedBlobStore]:
        store = InMemoryBlobStore(CLOCK)
        yield store
        await store.aclose()


class TestLocalDisk(BlobStoreContract, StoreIdentityContract):
    @pytest.fixture
    async def store(self, no_leaks: None, tmp_path: Path) -> AsyncIterator[MarkedBlobStore]:
        store = LocalDiskBlobStore(tmp_path / "new" / "blobs", CLOCK)
        yield store
        await store.aclose()


class TestLocalDiskInMemory(BlobStoreContract, StoreIdentityContract):
    @pytest.fixture
    async def store(self, no_leaks: None, memory_folder: Path) -> AsyncIterator[MarkedBlobStore]:
        store = LocalDiskBlobStore(memory_folder / "blobs", CLOCK)
        yield store
        await store.aclose()


class TestPoorFileSystem(BlobStoreContract, StoreIdentityContract):
    """One without extended attributes and without files that have no name."""

    @pytest.fixture
    async def store(self, no_leaks: None, tmp_path: Path) -> AsyncIterator[MarkedBlobStore]:
        store = LocalDiskBlobStore(tmp_path / "blobs", CLOCK, attributes=False, unnamed=False)
        yield store
        await store.aclose()
        assert not list((tmp_path / "blobs" / ".staging").rglob("*"))


class TestObjectStore(BlobStoreContract, StoreIdentityContract):
    @pytest.fixture
    async def store(self, s3_bucket: Bucket, no_leaks: None) -> AsyncIterator[MarkedBlobStore]:
        store = ObjectStoreBlobStore(s3_settings(s3_bucket), CLOCK)
        yield store
        await store.aclose()


class TestCaching(BlobStoreContract, StoreIdentityContract):
    @pytest.fixture
    async def store(
        self, s3_bucket: Bucket, no_leaks: None, tmp_path: Path
    ) -> AsyncIterator[MarkedBlobStore]:
        self.cloud = ObjectStoreBlobStore(s3_settings(s3_bucket), CLOCK)
        self.folder = tmp_path / "cache"
        store = CachingBlobStore(
            self.cloud, self.folder, limit_bytes=LIMIT_BYTES, item_bytes=LIMIT_BYTES
        )
        yield store
        await store.aclose()

    async def tamper(self, store: BlobStore, key: BlobKey, how: Damage, at: int = 0) -> None:
        await tamper(self.cloud, key, how, at=at)
        await tamper(LocalDiskBlobStore(self.folder, CLOCK), key, how, at=at)


class TestFailing(BlobStoreContract, StoreIdentityContract):
    """A decorator for faults without faults."""

    @pytest.fixture
    async def store(self, no_leaks: None) -> AsyncIterator[MarkedBlobStore]:
        store = FailingBlobStore(InMemoryBlobStore(CLOCK))
        yield store
        await store.aclose()


class LocalDiskMachine(BlobStoreMachine):
    folder: ClassVar[tempfile.TemporaryDirectory[str]]

    @classmethod
    def make(cls) -> MarkedBlobStore:
        cls.folder = tempfile.TemporaryDirectory()
        return LocalDiskBlobStore(Path(cls.folder.name), CLOCK)

    def teardown(self) -> None:
        super().teardown()
        self.folder.cleanup()


class PoorFileSystemMachine(LocalDiskMachine):
    @classmethod
    def make(cls) -> MarkedBlobStore:
        cls.folder = tempfile.TemporaryDirectory(dir=SHARED_MEMORY)
        return LocalDiskBlobStore(Path(cls.folder.name), CLOCK, attributes=False, unnamed=False)


class ObjectStoreMachine(BlobStoreMachine):
    bucket: ClassVar[Bucket]

    @classmethod
    def make(cls) -> MarkedBlobStore:
        return ObjectStoreBlobStore(s3_settings(cls.bucket), CLOCK)


class CachingMachine(ObjectStoreMachine):
    """With a cache that holds a few of the blobs."""

    folder: ClassVar[tempfile.TemporaryDirectory[str]]

    @classmethod
    def make(cls) -> MarkedBlobStore:
        cls.folder = tempfile.TemporaryDirectory()
        return CachingBlobStore(
            super().make(),
            Path(cls.folder.name),
            limit_bytes=6 * 1024 * 1024,
            item_bytes=5 * 1024 * 1024,
        )

    def teardown(self) -> None:
        super().teardown()
        self.folder.cleanup()


LocalDiskMachine.TestCase.settings = MACHINE
PoorFileSystemMachine.TestCase.settings = MACHINE
TestLocalDiskMachine = LocalDiskMachine.TestCase
TestPoorFileSystemMachine = PoorFileSystemMachine.TestCase


@pytest.mark.parametrize("machine", [ObjectStoreMachine, CachingMachine])
def test_far_stores_beside_the_reference(
    s3_bucket: Bucket, machine: type[ObjectStoreMachine]
) -> None:
    ObjectStoreMachine.bucket = s3_bucket
    run_state_machine_as_test(machine, settings=MACHINE)
