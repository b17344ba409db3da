"""A service in memory, its ports within reach, and an audit of all that it keeps."""

import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from attrs import evolve
from backports import zstd

from tests.application.raw_images import RawImages
from tests.application.script import Script, scripted
from traffic_storage.adapters.blob_store.memory import InMemoryBlobStore
from traffic_storage.adapters.cache.memory import InProcessCache
from traffic_storage.adapters.clock.manual import ManualClock
from traffic_storage.adapters.compressor.zstd import ZstdCompressor
from traffic_storage.adapters.record_repo.memory import InMemoryRecordRepo
from traffic_storage.adapters.spool.memory import InMemorySpool
from traffic_storage.application.inputs import ArrayImage, FileAttributes, Source, Upload
from traffic_storage.application.store_evidence import StoredEvidence
from traffic_storage.application.store_files import Stored
from traffic_storage.application.sync_backends import Synchronised
from traffic_storage.domain.canonical import Json
from traffic_storage.domain.copies import COPY
from traffic_storage.domain.errors import TrafficStorageError
from traffic_storage.domain.files import (
    BlobKey,
    Coding,
    FileState,
    Replica,
    ReplicaState,
    StoredFile,
    Tier,
    blob_key,
)
from traffic_storage.domain.identifiers import FileId, StoreId, ViolationId
from traffic_storage.domain.jobs import LIVE
from traffic_storage.domain.manifest import BlobManifest, manifest_of
from traffic_storage.domain.pixels import Pixels
from traffic_storage.domain.placement import UNKNOWN_STORE, StorageStrategy
from traffic_storage.domain.violation import ViolationRecord
from traffic_storage.entrypoints.container import Container, build
from traffic_storage.entrypoints.settings import StorageConfig
from traffic_storage.entrypoints.testing.containers import NOON
from traffic_storage.entrypoints.testing.faults.blob_store import FailingBlobStore
from traffic_storage.entrypoints.testing.faults.cache import FailingCache
from traffic_storage.entrypoints.testing.faults.spool import FailingSpool
from traffic_storage.ports.images import Images
from traffic_storage.ports.spool import Body, MemoryBody

OCCUPYING = {ReplicaState.PRESENT, ReplicaState.CORRUPT}
LONG_AGO = timedelta(days=1)
"""More than any attempt may take, margins included."""


def picture(shade: int = 0, side: int = 3) -> Pixels:
    """A small colour picture."""
    return np.full((side, side, 3), shade, np.uint8)


def film(number: int = 0, size: int = 40) -> bytes:
    """Bytes that pass as a video where unknown containers are accepted."""
    return hashlib.shake_256(b"film %d" % number).digest(size)


def violation_record(violation_id: str = "V001", **changes: Any) -> ViolationRecord:
    """A record, with changes."""
    fields: dict[str, Any] = {
        "violation_id": violation_id,
        "device_id": "cam-1",
        "violation_type": "speed",
        "timestamp": datetime(2026, 3, 14, 11, 59, tzinfo=UTC),
        "vehicle_bbox": (1, 2, 30, 40),
        "vehicle_class": "car",
        "confidence": 0.9,
        "camera_info": {"lane": 2, "note": "the same words again and again, " * 8},
    }
    return ViolationRecord(**(fields | changes))


async def streamed(data: bytes, size: int = 7) -> AsyncIterator[bytes]:
    """The bytes in small chunks."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


class RememberingBlobStore(InMemoryBlobStore):
    """A store in memory that remembers which bytes ever came under which key."""

    def __init__(self, clock: ManualClock, tier: Tier, location: str) -> None:
        super().__init__(clock, tier=tier, location=location)
        self.history: dict[BlobKey, set[str]] = {}

    async def put(
        self, key: BlobKey, body: Body, manifest: BlobManifest, *, deadline: datetime
    ) -> None:
        await super().put(key, body, manifest, deadline=deadline)
        self.history.setdefault(key, set()).add(body.digests.sha256)

    @property
    def blobs(self) -> Mapping[BlobKey, bytes]:
        """All that lies here."""
        return {key: blob.data for key, blob in self._blobs.items()}

    @property
    def manifest(self) -> Mapping[BlobKey, BlobManifest]:
        """What travels with it."""
        return {key: blob.manifest for key, blob in self._blobs.items()}


class Rig:
    """Stores and a catalogue that outlive the services which are booted on them.

    `local`, `cloud`, `cache` and `spool` can be made to fail; `script` sees every call of a port.
    `routed` are buckets of devices whose id matches a pattern.
    """

    def __init__(
        self,
        strategy: StorageStrategy = StorageStrategy.LOCAL_ONLY,
        *,
        images: Images | None = None,
        **settings: Any,
    ) -> None:
        self.strategy = strategy
        usual: dict[str, Any] = {
            "local_base_path": Path("/nonexistent"),
            "url_signing_key": "k" * 32,
            "accept_unknown_video": True,
            "workers": 0,
            # Limits are small here, and files other than evidence fill them.
            "evidence_reserve_share": 0.0,
        }
        self.settings = StorageConfig(**(usual | settings))
        self.clock = ManualClock(NOON)
        self.script = Script()
        self.repo = InMemoryRecordRepo(now=self.clock.now)
        self.at_rest = {
            Tier.LOCAL: RememberingBlobStore(self.clock, Tier.LOCAL, "host:/blobs"),
            Tier.CLOUD: RememberingBlobStore(self.clock, Tier.CLOUD, "s3.example/bucket"),
        }
        self.local = FailingBlobStore(self.at_rest[Tier.LOCAL])
        self.cloud = FailingBlobStore(self.at_rest[Tier.CLOUD])
        self.snapshots = InMemoryBlobStore(self.clock, location="host:/snapshots")
        self.routed: dict[str, RememberingBlobStore] = {}
        self.cache = FailingCache(InProcessCache(2**26, 2**20, self.clock))
        self.spool = FailingSpool(InMemorySpool())
        self._images = images

    def boot(self) -> "Service":
        """A new process on what is there."""
        self.spool = FailingSpool(scripted(InMemorySpool(), "spool", self.script))

        def at(name: str, port: Any) -> Any:
            return scripted(port, name, self.script)

        clouds = [
            *((store, pattern) for pattern, store in self.routed.items()),
            (at("cloud", self.cloud), None),
        ]
        container = build(
            self.settings,
            self.strategy,
            clock=self.clock,
            record_repo=at("repo", self.repo),
            cache=at("cache", self.cache),
            spool=self.spool,
            images=at("images", self._images or RawImages()),
            compressor=at("compressor", ZstdCompressor()),
            local_store=at("local", self.local),
            cloud_stores=clouds,
            cached_cloud_stores=clouds,
            snapshot_store=self.snapshots,
        )
        return Service(container)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Service"]:
        """A started service, closed at the end."""
        service = self.boot()
        await service.start()
        try:
            yield service
        finally:
            await service.aclose()

    @property
    def files(self) -> Mapping[FileId, StoredFile]:
        """The files of the catalogue."""
        return self.repo._files

    @property
    def attempts(self) -> list[str]:
        """The attempts of the journal."""
        return list(self.repo._attempts)

    @property
    def copies_due(self) -> Mapping[FileId, Tier]:
        """The files that are to be copied, with the tier of the store that gets the copy."""
        tiers = {store.store_id: store.tier for store in self.repo._stores.values()}
        tiers[UNKNOWN_STORE] = Tier.CLOUD
        return {
            FileId(str(job.arguments["file_id"])): tiers[job.target_id]
            for job in self.repo._jobs.values()
            if job.kind == COPY and job.state in LIVE and job.target_id is not None
        }

    def tier(self, file_id: str) -> Tier:
        """Where a file's present replica is."""
        (replica,) = self.files[FileId(file_id)].readable
        return replica.tier

    def left(self, *tiers: Tier) -> Mapping[BlobKey, bytes]:
        """The blobs of these tiers (of all, if none is named) that are not in the quarantine."""
        held = {key for _, key in self.repo._quarantine}
        return {
            key: data
            for tier in tiers or Tier
            for key, data in self.at_rest[tier].blobs.items()
            if key not in held
        }

    def findings(self) -> list[str]:
        """Every break of an invariant among what is kept, in words."""
        return [
            *self._bad_replicas(),
            *self._orphans(),
            *self._torn_units(),
            *self._rewritten_keys(),
        ]

    def _bad_replicas(self) -> Iterator[str]:
        for file in self.files.values():
            if file.state is FileState.AVAILABLE and not file.readable:
                yield f"I1: {file.file_id} is available without a present replica"
            for replica in file.readable:
                data = self.at_rest[replica.tier].blobs.get(replica.key)
                if data is None:
                    yield f"I2: {file.file_id} has no bytes at {replica.key} ({replica.tier})"
                elif _sha256(data) != file.stored.sha256 or len(data) != file.stored.size_bytes:
                    yield f"I2: {file.file_id} has other bytes at {replica.key}"
                elif _sha256(_plain(file, data)) != file.content.sha256:
                    yield f"I2: {file.file_id} decodes to other content"
                elif self.at_rest[replica.tier].manifest[replica.key].file_id != file.file_id:
                    yield f"the manifest at {replica.key} tell of another file"

    def _orphans(self) -> Iterator[str]:
        told = {
            (replica.tier, replica.key)
            for file in self.files.values()
            for replica in file.replicas
            if replica.state in OCCUPYING
        }
        tried = {key for attempt in self.repo._attempts.values() for _, key in attempt.keys}
        tried |= {key for _, key in self.repo._quarantine}
        for tier, store in self.at_rest.items():
            for key in store.blobs:
                if (tier, key) not in told and key not in tried:
                    yield f"I3: nobody knows {key} ({tier})"

    def _torn_units(self) -> Iterator[str]:
        for name, violation in self.repo._violations.items():
            ids = (violation.metadata_file_id, violation.image_file_id, violation.video_file_id)
            for file_id in ids:
                if file_id is not None and file_id not in self.files:
                    yield f"{name} names {file_id}, which is not there"
        for file_id in self.files:
            owner = ViolationId(file_id.rpartition("~")[0])
            if "~" not in file_id:
                continue
            found = self.repo._violations.get(owner)
            if found is None or file_id not in {
                found.metadata_file_id,
                found.image_file_id,
                found.video_file_id,
            }:
                yield f"{file_id} is visible, but {owner} does not have it"

    def _rewritten_keys(self) -> Iterator[str]:
        for store in self.at_rest.values():
            for key, contents in store.history.items():
                if len(contents) > 1:
                    yield f"I7: {key} held {len(contents)} contents"


class Service:
    """One process of the service."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self.stores = container.stores()
        self.read = container.read_files()
        self.find = container.find()
        self.counters = container.counters()

    async def start(self) -> None:
        """Start it."""
        await self.container.runtime().start()

    async def sweep(self) -> None:
        """What it does every minute."""
        await self.container.runtime().sweep()

    async def sync(self) -> Synchronised:
        """Do all jobs of copies that can be done now."""
        return await self.container.sync_backends()()

    async def aclose(self) -> None:
        """Close it."""
        await self.container.runtime().aclose()

    async def image(
        self, image: Pixels | Source, file_id: str | None = None, **attributes: Any
    ) -> Stored:
        """Store an image."""
        given = ArrayImage(image) if isinstance(image, np.ndarray) else Upload(image)
        return await self.container.store_files().image(
            given, FileAttributes.of(file_id=file_id, **attributes)
        )

    async def video(self, video: Source, file_id: str | None = None, **attributes: Any) -> Stored:
        """Store a video."""
        return await self.container.store_files().video(
            Upload(video), FileAttributes.of(file_id=file_id, **attributes)
        )

    async def json(
        self, data: Mapping[str, Json], file_id: str | None = None, **attributes: Any
    ) -> Stored:
        """Store metadata."""
        return await self.container.store_files().metadata(
            data, FileAttributes.of(file_id=file_id, **attributes)
        )

    async def evidence(
        self,
        record: ViolationRecord,
        image: Pixels | Source | None = None,
        video: Source | None = None,
        *,
        historic: bool = False,
    ) -> StoredEvidence:
        """Store a violation with what came."""
        given: ArrayImage | Upload | None = None
        if image is not None:
            given = ArrayImage(image) if isinstance(image, np.ndarray) else Upload(image)
        return await self.container.store_evidence()(
            record, given, None if video is None else Upload(video), historic=historic
        )

    def reserved(self) -> Counter[StoreId]:
        """What is reserved, by store; nothing where nothing is being stored."""
        ids = [bound.store_id for bound in self.stores if bound.store_id is not None]
        return Counter({name: self.stores.occupied(name).reserved_bytes for name in ids})

    async def miscounts(self) -> list[str]:
        """Where what is counted on the way differs from a recount by the catalogue."""
        usage = await self.container._record_repo().usage()
        found = []
        for bound in self.stores:
            if bound.store_id is None:
                continue
            counted = sum(row.bytes for row in usage.stores if row.store_id == bound.store_id)
            used = self.stores.occupied(bound.store_id).used_bytes
            if used != counted:
                found.append(f"{bound.store_id} counts {used} bytes, the catalogue {counted}")
        return found


async def two_copies(rig: Rig, service: Service, content: bytes) -> StoredFile:
    """A file that is present in both tiers, local first."""
    file = (await service.video(streamed(content, 1_000_000), "X")).file
    (first,) = file.readable
    other = Tier.CLOUD if first.tier is Tier.LOCAL else Tier.LOCAL
    (bound,) = [b for b in service.stores if b.store.tier is other]
    assert bound.store_id is not None
    key = blob_key(file.kind, service.container.ids().uuid7(), file.stored.sha256)
    await rig.at_rest[other].put(
        key,
        MemoryBody(content, file.stored),
        manifest_of(file),
        deadline=NOON.replace(year=9999),
    )
    second = Replica(bound.store_id, other, key, ReplicaState.PRESENT, NOON)
    copies = sorted((first, second), key=lambda copy: copy.tier is not Tier.LOCAL)
    rig.repo._files[file.file_id] = evolve(file, replicas=tuple(copies))
    return rig.repo._files[file.file_id]


def key_in(file: StoredFile, tier: Tier) -> BlobKey:
    """The key of the file's replica in a tier."""
    (key,) = (replica.key for replica in file.replicas if replica.tier is tier)
    return key


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _plain(file: StoredFile, data: bytes) -> bytes:
    return zstd.decompress(data) if file.coding is Coding.ZSTD else data


async def outcome(work: Any) -> Any:
    """What work gave, or the error that it was refused with."""
    try:
        return await work
    except TrafficStorageError as error:
        return error
