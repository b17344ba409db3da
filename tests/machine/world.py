"""What outlives a process: the stores and the catalogue, in memory or on disk, and how they look inside.

A `World` boots services, damages stored bytes, moves the clock, and shows past all adapters what is
kept.
"""

import asyncio
import json
import os
import shutil
import sqlite3
import tempfile
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from attrs import frozen
from dependency_injector.providers import BaseSingleton, Object

from tests.application.raw_images import RawImages
from tests.application.rig import Service
from tests.application.script import Script, scripted
from tests.contracts.test_jobs import rewinding
from traffic_storage.adapters.blob_store.local_disk import LocalDiskBlobStore
from traffic_storage.adapters.blob_store.memory import InMemoryBlobStore
from traffic_storage.adapters.cache.memory import InProcessCache
from traffic_storage.adapters.clock.manual import ManualClock
from traffic_storage.adapters.compressor.zstd import ZstdCompressor
from traffic_storage.adapters.record_repo.memory import InMemoryRecordRepo
from traffic_storage.adapters.record_repo.sql.repo import SqlRecordRepo
from traffic_storage.adapters.record_repo.sql.sqlite import (
    SqliteDriver,
    SqliteSettings,
    sqlite_repo,
)
from traffic_storage.adapters.spool.memory import InMemorySpool
from traffic_storage.adapters.threads.batches import Job, Worker
from traffic_storage.adapters.threads.deliveries import deliveries
from traffic_storage.adapters.threads.pool import Threads
from traffic_storage.domain.digests import Sha256
from traffic_storage.domain.errors import StorageFull
from traffic_storage.domain.files import (
    BlobKey,
    FileKind,
    FileState,
    ReplicaState,
    Tier,
    blob_key,
    is_blob_key,
)
from traffic_storage.domain.manifest import BlobManifest
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.entrypoints.container import Container, build
from traffic_storage.entrypoints.settings import StorageConfig
from traffic_storage.entrypoints.testing.containers import NOON
from traffic_storage.entrypoints.testing.faults.blob_store import Damage, FailingBlobStore, tamper
from traffic_storage.entrypoints.testing.faults.cache import FailingCache
from traffic_storage.entrypoints.testing.faults.spool import FailingSpool
from traffic_storage.entrypoints.testing.ids import SeededIds
from traffic_storage.ports.record_repo import RecordRepo
from traffic_storage.ports.spool import Body
from traffic_storage.ports.store_identity import MarkedBlobStore

P = ParamSpec("P")
T = TypeVar("T")


@frozen
class Choices:
    """The settings of one history. `is_small`: local disk is above its high-water mark soon."""

    strategy: StorageStrategy = StorageStrategy.LOCAL_ONLY
    grace_days: int = 7
    is_small: bool = False


@frozen
class Copy:
    """A replica, as the catalogue has it."""

    tier: Tier
    key: BlobKey
    state: ReplicaState
    replica_id: UUID


@frozen
class Row:
    """A file, as the catalogue has it; digests as text."""

    kind: FileKind
    state: FileState
    created_at: datetime
    keep_until: datetime
    rule: str
    content_sha256: str
    stored_sha256: str
    violation_id: str | None
    copies: tuple[Copy, ...]


@frozen
class Case:
    """A violation, as the catalogue has it: its confidence and the ids of its files."""

    confidence: float
    metadata: str
    image: str | None
    video: str | None


@frozen
class Kept:
    """All that the catalogue has at one moment."""

    files: Mapping[str, Row]
    violations: Mapping[str, Case]
    attempts: frozenset[BlobKey]
    quarantine: frozenset[BlobKey]
    holds: Mapping[UUID, bool]
    """Whether each hold was released."""
    certificates: frozenset[str]
    revision: int


class WatchedStore(FailingBlobStore):
    """A store that can be full, and that remembers which bytes ever came under which key."""

    def __init__(self, inner: MarkedBlobStore) -> None:
        super().__init__(inner)
        self.is_full = False
        self.history: defaultdict[BlobKey, set[str]] = defaultdict(set)

    async def put(
        self, key: BlobKey, body: Body, manifest: BlobManifest, *, deadline: datetime
    ) -> None:
        if self.is_full:
            raise StorageFull("there is no space left")
        await super().put(key, body, manifest, deadline=deadline)
        self.history[key].add(body.digests.sha256)


class World(ABC):
    """The stores and the catalogue of one history; services are booted on them one after the other."""

    def __init__(self, choices: Choices) -> None:
        self.choices = choices
        self._boots = 0
        self.clock = ManualClock(NOON)
        self.script = Script(yields=False)
        self.cache = FailingCache(InProcessCache(2**26, 2**20, self.clock))
        self.spool = FailingSpool(InMemorySpool())
        self._cloud = InMemoryBlobStore(self.clock, tier=Tier.CLOUD, location="s3.example/bucket")
        self.stores = {Tier.CLOUD: WatchedStore(self._cloud)}

    def boot(self) -> Service:
        """Return a new process, not yet started. Its memory, the cache too, is empty."""
        self._boots += 1
        self.cache = FailingCache(InProcessCache(2**26, 2**20, self.clock))
        self.spool = FailingSpool(scripted(InMemorySpool(), "spool", self.script))
        clouds = [(scripted(self.stores[Tier.CLOUD], "cloud", self.script), None)]
        container = _container(self.choices)
        for provider in container.providers.values():
            if isinstance(provider, BaseSingleton):
                provider.reset()
        for name, adapter in {
            "clock": self.clock,
            "ids": SeededIds(self.clock, self._boots),
            "_record_repo": scripted(self._repo(), "repo", self.script),
            "cache": self.cache,
            "spool": self.spool,
            "images": scripted(RawImages(), "images", self.script),
            "compressor": ZstdCompressor(),
            "local_store": scripted(self._local(), "local", self.script),
            "cloud_stores": clouds,
            "cached_cloud_stores": clouds,
        }.items():
            container.providers[name].reset_override()
            container.providers[name].override(Object(adapter))
        return Service(container)

    @abstractmethod
    def _repo(self) -> RecordRepo:
        """Return the catalogue, for a new process."""

    @abstractmethod
    def _local(self) -> MarkedBlobStore:
        """Return the local store, for a new process."""

    @abstractmethod
    def kept(self) -> Kept:
        """Return what the catalogue has, past the adapter."""

    @abstractmethod
    def local_blobs(self) -> Mapping[BlobKey, bytes]:
        """Return the bytes on local disk, past the adapter."""

    def blobs(self) -> Mapping[Tier, Mapping[BlobKey, bytes]]:
        """Return all stored bytes, past the adapters."""
        cloud = {key: blob.data for key, blob in self._cloud._blobs.items()}
        return {Tier.LOCAL: self.local_blobs(), Tier.CLOUD: cloud}

    async def damage(self, tier: Tier, key: BlobKey, how: Damage) -> None:
        """Damage stored bytes, past the adapters."""
        await tamper(self.stores[tier], key, how)

    def advance(self, by: timedelta) -> None:
        """Move all clocks forward."""
        self.clock.advance(by)

    def closed(self) -> None:  # noqa: B027 - nothing to do in memory
        """Note that a service has closed the adapters; the next one gets new ones."""

    def close(self) -> None:  # noqa: B027
        """Remove everything."""


class MemoryWorld(World):
    """Catalogue and stores in memory."""

    def __init__(self, choices: Choices) -> None:
        super().__init__(choices)
        self.repo = InMemoryRecordRepo(now=self.clock.now)
        self._disk = InMemoryBlobStore(self.clock, tier=Tier.LOCAL, location="host:/blobs")
        self.stores[Tier.LOCAL] = WatchedStore(self._disk)

    def _repo(self) -> RecordRepo:
        return self.repo

    def _local(self) -> MarkedBlobStore:
        return self.stores[Tier.LOCAL]

    def local_blobs(self) -> Mapping[BlobKey, bytes]:
        return {key: blob.data for key, blob in self._disk._blobs.items()}

    def kept(self) -> Kept:
        repo = self.repo
        return Kept(
            {
                name: Row(
                    file.kind,
                    file.state,
                    file.created_at,
                    file.keep_until,
                    file.retention_rule,
                    file.content.sha256,
                    file.stored.sha256,
                    file.violation_id,
                    tuple(
                        Copy(one.tier, one.key, one.state, one.replica_id) for one in file.replicas
                    ),
                )
                for name, file in repo._files.items()
            },
            {
                name: Case(
                    found.record.confidence,
                    found.metadata_file_id,
                    found.image_file_id,
                    found.video_file_id,
                )
                for name, found in repo._violations.items()
            },
            frozenset(key for one in repo._attempts.values() for _, key in one.keys),
            frozenset(key for _, key in repo._quarantine),
            {name: hold.released_at is not None for name, hold in repo._holds.items()},
            frozenset(repo._certificates),
            max(repo._revisions, default=0),
        )


class InLineWorker(Worker[Any]):
    """Runs each job at once in the caller's thread: a hop to another costs more than the job."""

    async def do(self, payload: Any) -> object:
        job = Job(payload, deliveries(), asyncio.get_running_loop().create_future())
        self._run([job])
        if job.error is not None:
            raise job.error
        return job.result

    async def aclose(self) -> None:
        self._finish()


class InLineThreads(Threads):
    """Makes each call in the caller's thread."""

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return call(*args, **kwargs)

    async def run_to_end(
        self,
        abandon: Callable[[], None],
        call: Callable[P, T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        return call(*args, **kwargs)


def in_line_repo(path: Path) -> RecordRepo:
    """Return a catalogue in a SQLite file that is read and written in the caller's thread."""
    driver = SqliteDriver(SqliteSettings(path, read_seconds=60, ballast_bytes=0))
    for name in ("_writing", "_reading"):
        threaded = getattr(driver, name)
        setattr(driver, name, InLineWorker(name, threaded._run, threaded._finish, most=1))
    return SqlRecordRepo(driver)


def in_line_disk(root: Path, clock: ManualClock) -> LocalDiskBlobStore:
    """Return a store on local disk that is read and written in the caller's thread."""
    store = LocalDiskBlobStore(root, clock)
    store._writing = store._reading = store._examining = InLineThreads(1, "in line")
    return store


_FILES = """
SELECT f.file_id, f.kind, f.state, f.created_at, f.keep_until, f.retention_rule, hex(f.sha256),
       hex(coalesce(f.stored_sha256, f.sha256)), f.violation_id, r.replica_id, r.state, s.tier
FROM file f LEFT JOIN replica r ON r.file_id = f.file_id LEFT JOIN store s ON s.number = r.store
ORDER BY f.file_id, r.replica_id
"""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class DiskWorld(World):
    """The catalogue in SQLite, local disk in a folder, the cloud in memory.

    The folder is in memory where the system has such a file system, because nothing here depends on
    what a power cut would leave.
    """

    def __init__(self, choices: Choices) -> None:
        super().__init__(choices)
        self._folder = Path(tempfile.mkdtemp(dir=_memory_folder()))
        self._database = self._folder / "catalogue.sqlite3"
        shutil.copy(_empty_catalogue(), self._database)
        self._repo_in_use: RecordRepo | None = None
        self._disk = WatchedStore(self._new_disk())
        self.stores[Tier.LOCAL] = self._disk
        self._reader = sqlite3.connect(self._database, isolation_level=None)
        self._read: dict[BlobKey, tuple[tuple[int, int, int], bytes]] = {}

    def _repo(self) -> RecordRepo:
        if self._repo_in_use is None:
            self._repo_in_use = in_line_repo(self._database)
        return self._repo_in_use

    def _local(self) -> MarkedBlobStore:
        return self._disk

    def _new_disk(self) -> LocalDiskBlobStore:
        return in_line_disk(self._folder / "blobs", self.clock)

    def closed(self) -> None:
        self._repo_in_use = None
        self._disk.inner = self._new_disk()

    def advance(self, by: timedelta) -> None:
        super().advance(by)
        self._reader.executescript(rewinding(by))

    def close(self) -> None:
        self._reader.close()
        shutil.rmtree(self._folder)

    def local_blobs(self) -> Mapping[BlobKey, bytes]:
        found = {}
        root = str(self._folder / "blobs")
        for kind in FileKind:
            for path in _files_below(f"{root}/{kind}"):
                key = BlobKey(path[len(root) + 1 :])
                if is_blob_key(key):
                    found[key] = self._bytes(key, path)
        return found

    def _bytes(self, key: BlobKey, path: str) -> bytes:
        """Return the bytes of a file; they are read again only if it was changed."""
        about = Path(path).stat()
        mark = about.st_ino, about.st_mtime_ns, about.st_ctime_ns
        known = self._read.get(key)
        if known is None or known[0] != mark:
            known = self._read[key] = mark, Path(path).read_bytes()
        return known[1]

    def kept(self) -> Kept:
        run = self._reader.execute
        files: dict[str, Row] = {}
        for row in run(_FILES):
            name, kind, state, created, keep, rule, sha, stored, violation, *copy = row
            known = files.get(name)
            files[name] = Row(
                FileKind(kind),
                FileState(state),
                _time(created),
                _time(keep),
                rule,
                sha.lower(),
                stored.lower(),
                violation,
                (*(known.copies if known else ()), *_copy(FileKind(kind), stored.lower(), *copy)),
            )
        return Kept(
            files,
            {
                name: Case(*fields)
                for name, *fields in run(
                    "SELECT violation_id, confidence, metadata_file_id, image_file_id, "
                    "video_file_id FROM violation"
                )
            },
            frozenset(
                BlobKey(key)
                for (keys,) in run("SELECT keys FROM attempt")
                for _, key in json.loads(keys)
            ),
            frozenset(key for (key,) in run("SELECT key FROM quarantine")),
            {
                UUID(bytes=name): at is not None
                for name, at in run("SELECT hold_id, released_at FROM hold")
            },
            frozenset(name for (name,) in run("SELECT file_id FROM certificate")),
            next(run("SELECT coalesce(max(revision), 0) FROM retention_rules"))[0],
        )


def _copy(
    kind: FileKind, stored: str, replica_id: bytes | None, state: str | None, tier: str | None
) -> Iterable[Copy]:
    if replica_id is not None and state is not None and tier is not None:
        name = UUID(bytes=replica_id)
        yield Copy(Tier(tier), blob_key(kind, name, Sha256(stored)), ReplicaState(state), name)


def _time(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


def _files_below(folder: str) -> Iterable[str]:
    try:
        entries = [*os.scandir(folder)]
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.is_dir():
            yield from _files_below(entry.path)
        else:
            yield entry.path


@lru_cache
def _container(choices: Choices) -> Container:
    """Return a container for these settings. Building one costs more than many operations."""
    fields: dict[str, Any] = {
        "local_base_path": Path("/nonexistent"),
        "url_signing_key": "k" * 32,
        "accept_unknown_video": True,
        "workers": 0,
        "deletion_grace_days": choices.grace_days,
        "evidence_reserve_share": 0.0,
        "local_reserve_gb": 0.0,
    }
    if choices.is_small:
        # The files of a history have about 2,000 bytes.
        fields["max_local_size_gb"] = 1.2e-6
    return build(StorageConfig(**fields), choices.strategy, cloud_stores=[])


def _memory_folder() -> Path | None:
    found = Path("/dev/shm")
    return found if found.is_dir() else None


_TEMPLATES = tempfile.TemporaryDirectory(dir=_memory_folder())


@lru_cache
def _empty_catalogue() -> Path:
    """Return a database file without rows, which is copied: making the tables takes long."""
    path = Path(_TEMPLATES.name) / "empty.sqlite3"

    async def make() -> None:
        repo = sqlite_repo(SqliteSettings(path, read_seconds=60, ballast_bytes=0))
        await repo.upgrade()
        await repo.aclose()

    asyncio.run(make())
    return path
