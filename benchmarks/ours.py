"""Traffic Storage as an embedding program uses it: `StorageService`; one job uses a port alone."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import UUID

from attrs import evolve, frozen

from benchmarks import data
from benchmarks.contenders import Contender, Place
from benchmarks.filled import ask
from tests.support.media import Frame
from tests.support.setups import config
from traffic_storage import (
    StorageConfig,
    StorageService,
    StorageStrategy,
    ViolationRecord,
    build,
)
from traffic_storage.adapters.blob_store.local_disk import LocalDiskBlobStore
from traffic_storage.adapters.clock.system import SystemClock
from traffic_storage.adapters.spool.disk import DiskSpool
from traffic_storage.domain.files import BlobKey, Coding, FileKind, blob_key
from traffic_storage.domain.manifest import BlobManifest
from traffic_storage.domain.query import ViolationQuery

T = TypeVar("T")

PARALLEL = 16


def settings(place: Place) -> StorageConfig:
    """Return the default settings, with as many parallel uploads as the jobs run concurrently.

    Old capture times, as those of the data, are plausible; otherwise each one would be logged. The
    files of a full catalogue do not exist: without workers, none of them is looked for meanwhile.
    """
    made = config(
        place.folder,
        bucket=place.bucket,
        database=place.database,
        parallel_uploads=PARALLEL,
        max_backdating=timedelta(days=36_500),
    )
    return evolve(made, workers=0) if place.filled else made


class Embedded(Contender[T]):
    """A contender with one service for all rounds."""

    def __init__(self, settings: StorageConfig, strategy: StorageStrategy) -> None:
        self.storage = StorageService(settings, strategy)

    async def open(self) -> None:
        await self.storage.__aenter__()

    async def aclose(self) -> None:
        await self.storage.aclose()


@frozen
class Evidence:
    """The input of one item: a record and its media."""

    record: ViolationRecord
    image: Frame | bytes | None = None
    video: bytes | None = None


class StoreEvidence(Embedded[Evidence]):
    """Calls `store_violation_evidence`."""

    def __init__(
        self,
        settings: StorageConfig,
        strategy: StorageStrategy,
        item: Callable[[int], Evidence],
    ) -> None:
        super().__init__(settings, strategy)
        self._item = item

    def items(self, numbers: range) -> Sequence[Evidence]:
        return [self._item(number) for number in numbers]

    async def do(self, item: Evidence) -> None:
        if item.image is None:
            await self.storage.store_violation_evidence(item.record, video_segment=item.video)
        else:
            await self.storage.store_violation_evidence(item.record, item.image, item.video)


class Retrieve(Embedded[str]):
    """Calls `retrieve_file` in a cycle over more files than the cache holds."""

    async def open(self) -> None:
        await super().open()
        for number in range(data.SHELF):
            film = data.segment(number, data.SMALL_BYTES)
            await self.storage.store_video_segment(film, data.file_id(number))

    def items(self, numbers: range) -> Sequence[str]:
        return [data.file_id(number % data.SHELF) for number in numbers]

    async def do(self, item: str) -> None:
        content, _ = await self.storage.retrieve_file(item)
        assert len(content) == data.SMALL_BYTES

    async def aclose(self) -> None:
        found = await self.storage.get_storage_statistics()
        assert not found["operation_stats"]["cache_hits"], (
            "the cache must not answer: a hit falsifies the measurement"
        )
        await super().aclose()


class Pages(Contender[ViolationQuery]):
    """Calls the use case that finds violations by pages."""

    def __init__(self, settings: StorageConfig, filled: int) -> None:
        self._container = build(settings, StorageStrategy.LOCAL_ONLY)
        self._filled = filled

    async def open(self) -> None:
        await self._container.runtime().start()

    async def aclose(self) -> None:
        await self._container.runtime().aclose()

    def items(self, numbers: range) -> Sequence[ViolationQuery]:
        return [ask(number, self._filled).query for number in numbers]

    async def do(self, item: ViolationQuery) -> None:
        assert len((await self._container.find().violations(item)).items) == data.PAGE


class Views(Embedded[ViolationQuery]):
    """Finds violations by pages, as dictionaries."""

    def __init__(self, settings: StorageConfig, filled: int) -> None:
        super().__init__(settings, StorageStrategy.LOCAL_ONLY)
        self._filled = filled

    def items(self, numbers: range) -> Sequence[ViolationQuery]:
        return [ask(number, self._filled).query for number in numbers]

    async def do(self, item: ViolationQuery) -> None:
        page = await self.storage.find_violations(
            item.device_id, item.violation_type, end_time=item.end_time, limit=item.limit
        )
        assert len(page.items) == data.PAGE


class Put(Contender[tuple[BlobKey, bytes, BlobManifest]]):
    """Calls the port alone: hashes bytes and puts them with their manifest."""

    def __init__(self, place: Place) -> None:
        self._clock = SystemClock()
        self._spool = DiskSpool(place.folder / "spool")
        self._store = LocalDiskBlobStore(place.folder / "blobs", self._clock)

    async def open(self) -> None:
        pass

    def items(self, numbers: range) -> Sequence[tuple[BlobKey, bytes, BlobManifest]]:
        return [_blob(number) for number in numbers]

    async def do(self, item: tuple[BlobKey, bytes, BlobManifest]) -> None:
        key, content, manifest = item
        body = await self._spool.wrap(content)
        deadline = self._clock.now() + timedelta(minutes=1)
        await self._store.put(key, body, manifest, deadline=deadline)

    async def aclose(self) -> None:
        await self._store.aclose()
        await self._spool.aclose()


def _blob(number: int) -> tuple[BlobKey, bytes, BlobManifest]:
    content, sha256 = data.hashed_segment(number, data.SMALL_BYTES)
    now = datetime.now(UTC)
    manifest = BlobManifest(
        file_id=data.file_id(number),
        kind=FileKind.VIDEO,
        content_type="video/mp4",
        size_bytes=len(content),
        sha256=sha256,
        stored_size_bytes=len(content),
        stored_sha256=sha256,
        coding=Coding.IDENTITY,
        created_at=now,
        device_id=data.device(number),
    )
    return blob_key(FileKind.VIDEO, UUID(int=number), sha256), content, manifest


# The contenders of each job.


def evidence(place: Place) -> StoreEvidence:
    """Return the job: 1080p array, 2 MB film and record, on disk and in SQLite."""
    return StoreEvidence(settings(place), StorageStrategy.LOCAL_ONLY, _with_array)


def evidence_jpeg(place: Place) -> StoreEvidence:
    """Return the same job with the camera's JPEG instead of the array."""
    return StoreEvidence(settings(place), StorageStrategy.LOCAL_ONLY, _with_jpeg)


def evidence_cloud(place: Place) -> StoreEvidence:
    """Return the job: array, film and record in S3 and PostgreSQL."""
    return StoreEvidence(settings(place), StorageStrategy.CLOUD_ONLY, _with_array)


def violation(place: Place) -> StoreEvidence:
    """Return the job: a record and its metadata file."""
    strategy = StorageStrategy.LOCAL_ONLY
    return StoreEvidence(settings(place), strategy, lambda number: Evidence(data.record(number)))


def retrieve(place: Place) -> Retrieve:
    """Return the job: reads of 200 KB from disk."""
    return Retrieve(settings(place), StorageStrategy.LOCAL_ONLY)


def retrieve_cloud(place: Place) -> Retrieve:
    """Return the job: reads of 200 KB from S3."""
    return Retrieve(settings(place), StorageStrategy.CLOUD_ONLY)


def page(place: Place) -> Pages:
    """Return the job: pages of a full catalogue, in the database of `place`."""
    return Pages(settings(place), place.filled)


def views(place: Place) -> Views:
    """Return the job: the same pages as dictionaries."""
    return Views(settings(place), place.filled)


def _with_array(number: int) -> Evidence:
    film = data.segment(number, data.VIDEO_BYTES)
    return Evidence(data.record(number), data.frame(number), film)


def _with_jpeg(number: int) -> Evidence:
    film = data.segment(number, data.VIDEO_BYTES)
    return Evidence(data.record(number), data.camera_jpeg(number), film)
