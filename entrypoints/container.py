"""The composition root: selects the adapter of each port by settings and strategy.

Building a container opens no file and no connection, and imports only the adapters that the
settings select. The caller of `build` starts and closes the container, as `running` does; an
application or a service that receives a container does not close it.
"""

import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack
from uuid import uuid4

from attrs import evolve
from dependency_injector.containers import DeclarativeContainer
from dependency_injector.providers import Callable as Called
from dependency_injector.providers import Dependency, List, Object, Selector, Singleton

from traffic_storage.adapters.clock.system import RandomIds, SystemClock
from traffic_storage.application.find import Find
from traffic_storage.application.forget_purged import ForgetPurged
from traffic_storage.application.operation_counters import OperationCounters
from traffic_storage.application.pace import Pace
from traffic_storage.application.recovery import Recover
from traffic_storage.application.rules_in_force import REFRESH, RulesInForce
from traffic_storage.application.runtime import Runtime
from traffic_storage.application.schedules import Schedules
from traffic_storage.application.stores import ConfiguredStore, StoreLimits, Stores
from traffic_storage.application.sweep import Sweep
from traffic_storage.application.tasks import OwnedTasks
from traffic_storage.application.watch_pressure import WatchPressure
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.files import Tier
from traffic_storage.domain.fixity import FixityPolicy
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.jobs import JobKind
from traffic_storage.domain.placement import StorageStrategy
from traffic_storage.domain.pressure import PressureRules
from traffic_storage.domain.prices import Prices
from traffic_storage.domain.reconcile import Breaker
from traffic_storage.domain.retention import CaptureBounds
from traffic_storage.domain.retention_plans import DeletionLimits
from traffic_storage.domain.tabular import Column, ExportFormat, TableForm
from traffic_storage.entrypoints import deferred
from traffic_storage.entrypoints.deferred import later
from traffic_storage.entrypoints.settings import BucketRoute, Secret, StorageConfig
from traffic_storage.entrypoints.settings.retention_file import configured_rules
from traffic_storage.entrypoints.settings.rules import S3Credentials, S3Encryption
from traffic_storage.entrypoints.signing import SigningKey
from traffic_storage.ports.cache import Cache
from traffic_storage.ports.clock import Clock, Ids
from traffic_storage.ports.compressor import Compressor
from traffic_storage.ports.export_target import ExportTarget, ExportTargets
from traffic_storage.ports.frames import Frames
from traffic_storage.ports.images import Images
from traffic_storage.ports.ingest_journal import IngestJournal
from traffic_storage.ports.jobs import JobSource
from traffic_storage.ports.kept_exports import KeptExports
from traffic_storage.ports.record_repo import RecordRepo
from traffic_storage.ports.snapshot_store import SnapshotStore
from traffic_storage.ports.spool import Spool
from traffic_storage.ports.store_identity import MarkedBlobStore
from traffic_storage.ports.table_writer import TableWriter

if TYPE_CHECKING:
    from traffic_storage.adapters.s3.settings import S3Settings
    from traffic_storage.application.migration_jobs import OpenTarget
    from traffic_storage.application.migration_sides import MigrationTarget
    from traffic_storage.application.prepare import Limits, Prepare
    from traffic_storage.application.replica_reader import Caching
    from traffic_storage.application.validate import Bounds
    from traffic_storage.application.validate_on_store import ValidateOnStore
    from traffic_storage.application.worker import Handler, Worker
    from traffic_storage.domain.storage_patterns import StorageOptions

RECOVERY_MARGIN_SHARE = 0.1
_SNAPSHOT_PARALLEL = 16
_CACHE_SECONDS = 1.0
"""The longest wait for the disk of a cache; the store behind it answers instead."""


def _text(secret: Secret | None) -> str | None:
    return None if secret is None else secret.reveal()


def _catalogue(settings: StorageConfig) -> RecordRepo:
    if settings.db_host is None:
        from traffic_storage.adapters.record_repo.sql.sqlite import SqliteSettings, sqlite_repo

        return sqlite_repo(
            SqliteSettings(
                settings.sqlite_file,
                read_seconds=settings.db_timeout_seconds,
                disk_seconds=settings.disk_timeout_seconds,
                spool=settings.local_base_path / "spool",
            )
        )
    from traffic_storage.adapters.record_repo.sql.postgres import PostgresSettings, postgres_repo
    from traffic_storage.adapters.record_repo.sql.postgres_tls import TlsSettings

    return postgres_repo(
        PostgresSettings(
            host=settings.db_host,
            port=settings.db_port,
            database=settings.db_name or "",
            user=settings.db_user or "",
            password=settings.db_password.reveal if settings.db_password else None,
            timeout_seconds=settings.db_timeout_seconds,
            pool_size=settings.db_pool_size,
            schema=settings.db_schema,
            tls=TlsSettings(
                settings.db_ssl_mode,
                settings.db_ca_file,
                settings.db_cert_file,
                settings.db_key_file,
            ),
        )
    )


def _journal(settings: StorageConfig, repo: RecordRepo, clock: Clock) -> IngestJournal:
    if settings.db_host is None:  # The processes that use an SQLite file are on one host.
        return repo
    from traffic_storage.application.database_clock_journal import DatabaseClockJournal

    return DatabaseClockJournal(repo, clock)


def _cache(settings: StorageConfig, clock: Clock) -> Cache:
    address = settings.redis
    if address is None:
        from traffic_storage.adapters.cache.memory import InProcessCache

        return InProcessCache(settings.cache_max_bytes, settings.cache_item_bytes, clock)
    from traffic_storage.adapters.cache.redis import RedisCache, RedisSettings

    def password() -> str | None:
        """Return the password as its file has it now."""
        return None if settings.redis is None else settings.redis.password

    return RedisCache(
        RedisSettings(
            host=address.host,
            socket=Path(address.host) if address.host.startswith("/") else None,
            tls=address.tls,
            ca_file=settings.redis_ca_file,
            port=address.port,
            db=address.db,
            cluster=settings.redis_cluster,
            username=address.username,
            password=password,
            timeout_seconds=settings.redis_timeout_seconds,
            max_item_bytes=settings.cache_item_bytes,
        )
    )


def _images(settings: StorageConfig) -> Images:
    from traffic_storage.adapters.images.pillow import PillowImages

    return PillowImages(max_pixels=settings.max_pixels, formats=settings.image_formats)


def _frames() -> Frames:
    from importlib.util import find_spec

    if find_spec("av") is None:
        from traffic_storage.adapters.frames.absent import AbsentFrames

        return AbsentFrames()
    from traffic_storage.adapters.frames.av import AvFrames

    return AvFrames()


def _spool(settings: StorageConfig) -> Spool:
    from traffic_storage.adapters.spool.disk import DiskSpool

    folder = settings.local_base_path / "spool"
    return DiskSpool(folder, timeout_seconds=settings.disk_timeout_seconds)


def _compressor() -> Compressor:
    from traffic_storage.adapters.compressor.zstd import ZstdCompressor

    return ZstdCompressor()


def open_table(
    file_format: ExportFormat, columns: Sequence[Column], form: TableForm
) -> TableWriter:
    """Return the writer of a new table (see `ports.table_writer.OpenTable`)."""
    match file_format:
        case ExportFormat.CSV:
            from traffic_storage.adapters.table_writer.csv import CsvTable

            return CsvTable(columns, form)
        case ExportFormat.NDJSON:
            from traffic_storage.adapters.table_writer.ndjson import NdjsonTable

            return NdjsonTable(columns, form)
        case ExportFormat.PARQUET:
            from traffic_storage.adapters.table_writer.parquet import ParquetTable

            return ParquetTable(columns, form)
        case ExportFormat.XLSX:
            from traffic_storage.adapters.table_writer.xlsx import XlsxTable

            return XlsxTable(columns, form)
        case ExportFormat.GEOJSON:
            from traffic_storage.adapters.table_writer.geojson import GeoJsonTable

            return GeoJsonTable(columns, form)


class _Places(ExportTargets):
    """Opens files of this host, and objects where a place begins with s3://."""

    def __init__(self, settings: StorageConfig) -> None:
        self._settings = settings

    def open(self, place: str, *, overwrite: bool) -> ExportTarget:
        if place.startswith("s3:"):  # A `Path` drops a slash, which the adapter tells.
            return self._objects(place).open(place, overwrite=overwrite)
        from traffic_storage.adapters.export_target.local_file import LocalFileTarget

        return LocalFileTarget(Path(place), overwrite=overwrite)

    def _objects(self, place: str) -> ExportTargets:
        settings = self._settings
        if not settings.cloud_configured:
            raise InvalidInput.of(
                "output_path",
                f"{place} is in a bucket, and no credentials of S3 are given",
                "set s3_access_key and s3_secret_key, or s3_credentials, or give a file",
            )
        from traffic_storage.adapters.export_target.object_store import ObjectTargets

        return ObjectTargets(
            lambda bucket: _s3_settings(settings, _route(settings, bucket)),
            shared=settings.buckets_of_evidence,
        )


def export_targets(settings: StorageConfig) -> ExportTargets:
    """Return what opens the places to which exports are written."""
    return _Places(settings)


def _route(settings: StorageConfig, bucket: str) -> BucketRoute:
    """Return how a bucket of this name is reached."""
    routes = {route.bucket: route for route in settings.s3_buckets}
    return routes.get(bucket, BucketRoute("", bucket))


def _kept_exports(settings: StorageConfig) -> KeptExports:
    bucket, _, prefix = (settings.export_bucket or "").partition("/")
    if bucket:
        from traffic_storage.adapters.export_target.object_store import ObjectFolder

        reached = _s3_settings(settings, _route(settings, bucket))
        return ObjectFolder(evolve(reached, prefix=prefix))
    from traffic_storage.adapters.export_target.local_file import LocalFolder

    return LocalFolder(settings.export_folder, reserve_bytes=settings.local_reserve_bytes)


def _host_of_exports(settings: StorageConfig, schedules: Schedules) -> Callable[[], StoreId | None]:
    """Return a function to the store of the host that has the folder of exports, if they are in one."""
    is_anywhere = settings.export_bucket is not None
    return lambda: None if is_anywhere else next(iter(schedules.reachable()), None)


def _local_store(settings: StorageConfig, clock: Clock) -> MarkedBlobStore:
    from traffic_storage.adapters.blob_store.local_disk import LocalDiskBlobStore

    return LocalDiskBlobStore(
        settings.local_base_path / "blobs", clock, timeout_seconds=settings.disk_timeout_seconds
    )


def _cloud_stores(
    settings: StorageConfig, clock: Clock
) -> list[tuple[MarkedBlobStore, str | None]]:
    if not settings.cloud_configured:
        return []
    rest = BucketRoute("", settings.s3_bucket)
    return [
        *((_bucket(settings, clock, route), route.device_pattern) for route in settings.s3_buckets),
        (_bucket(settings, clock, rest), None),
    ]


def _bucket(settings: StorageConfig, clock: Clock, route: BucketRoute) -> MarkedBlobStore:
    from traffic_storage.adapters.blob_store.object_store import ObjectStoreBlobStore

    reached = evolve(_s3_settings(settings, route), prefix=settings.s3_prefix or "")
    return ObjectStoreBlobStore(reached, clock)


def _s3_settings(settings: StorageConfig, route: BucketRoute) -> "S3Settings":
    from traffic_storage.adapters.s3.credentials import AwsCredentials
    from traffic_storage.adapters.s3.settings import S3Settings

    is_aws = settings.s3_credentials is S3Credentials.AWS
    return S3Settings(
        bucket=route.bucket,
        region=route.region or settings.s3_region,
        endpoint=route.endpoint or settings.s3_endpoint,
        access_key=_text(settings.s3_access_key),
        secret_key=_text(settings.s3_secret_key),
        session_token=_text(settings.s3_session_token),
        aws=AwsCredentials() if is_aws else None,
        virtual_hosted=settings.s3_virtual_hosted_style,
        checksum_headers=settings.s3_checksum_headers,
        conditional_writes=settings.s3_conditional_writes,
        ca_file=settings.s3_ca_file,
        encryption=_S3_ENCRYPTIONS[settings.s3_encryption],
        kms_key=settings.s3_kms_key,
        timeout_seconds=settings.s3_timeout_seconds,
    )


_S3_ENCRYPTIONS = {None: None, S3Encryption.S3: "AES256", S3Encryption.KMS: "aws:kms"}
"""The names of the encryptions in the requests to S3."""


def _snapshot_store(settings: StorageConfig, clock: Clock) -> SnapshotStore:
    bucket, _, prefix = (settings.snapshot_bucket or "").partition("/")
    if bucket:
        from traffic_storage.adapters.blob_store.object_store import ObjectStoreBlobStore

        route = BucketRoute("", bucket)
        return ObjectStoreBlobStore(evolve(_s3_settings(settings, route), prefix=prefix), clock)
    from traffic_storage.adapters.blob_store.local_disk import LocalDiskBlobStore

    return LocalDiskBlobStore(
        settings.snapshot_folder, clock, timeout_seconds=settings.disk_timeout_seconds
    )


def _cached(
    settings: StorageConfig, stores: list[tuple[MarkedBlobStore, str | None]]
) -> list[tuple[MarkedBlobStore, str | None]]:
    from traffic_storage.adapters.blob_store.caching import CachingBlobStore

    folder = settings.local_base_path / "cache"
    share = settings.local_cache_bytes // max(1, len(stores))
    return [
        (
            CachingBlobStore(
                store,
                folder / str(place),
                limit_bytes=share,
                item_bytes=settings.local_cache_item_bytes,
                reserve_bytes=settings.local_reserve_bytes,
                timeout_seconds=min(settings.disk_timeout_seconds, _CACHE_SECONDS),
            ),
            pattern,
        )
        for place, (store, pattern) in enumerate(stores)
    ]


def _configured(
    settings: StorageConfig,
    strategy: StorageStrategy,
    local: MarkedBlobStore,
    clouds: Sequence[tuple[MarkedBlobStore, str | None]],
) -> list[ConfiguredStore]:
    share = settings.evidence_reserve_share
    local_limits = StoreLimits(settings.max_local_bytes, settings.local_reserve_bytes, share)
    cloud_limits = StoreLimits(settings.max_cloud_bytes, evidence_share=share)
    return [
        ConfiguredStore(local, local_limits, written=strategy.needs_local),
        *(
            ConfiguredStore(store, cloud_limits, strategy.needs_cloud, pattern)
            for store, pattern in clouds
        ),
    ]


def _limits(settings: StorageConfig) -> "Limits":
    from traffic_storage.application.prepare import Limits

    return Limits(
        image_bytes=settings.max_image_bytes,
        video_bytes=settings.max_video_bytes,
        metadata_bytes=settings.max_metadata_bytes,
        pixels=settings.max_pixels,
        max_clock_ahead=settings.max_clock_ahead,
        accept_unknown_video=settings.accept_unknown_video,
        accept_damaged_video=settings.accept_damaged_video,
        verify_images=settings.verify_images,
        compress=settings.compression_enabled,
    )


def _caching(settings: StorageConfig) -> "Caching":
    from traffic_storage.application.replica_reader import Caching

    # Reading from a cache on the network takes as long as from the local disk, so that cache holds
    # only blobs of the cloud tier.
    remote = settings.has_redis
    return Caching(
        tiers=frozenset({Tier.CLOUD}) if remote else frozenset(Tier),
        item_bytes=settings.cache_item_bytes,
        ttl=timedelta(seconds=settings.cache_ttl_seconds),
    )


def _package_verifier() -> bytes:
    """Return the text of the program that an evidence package contains."""
    from importlib.resources import files

    return files("traffic_storage.entrypoints").joinpath("package_verifier.py").read_bytes()


def _owner() -> str:
    return f"{socket.gethostname()}:{os.getpid()}:{uuid4()}"


def _prepare(
    settings: StorageConfig,
    spool: Spool,
    images: Images,
    compressor: Compressor,
    clock: Clock,
    validate: "ValidateOnStore",
) -> "Prepare":
    from traffic_storage.application.prepare import Prepare

    return Prepare(
        spool=spool,
        images=images,
        compressor=compressor,
        clock=clock,
        limits=_limits(settings),
        encoding=settings.encoding,
        zone=settings.zone,
        validate=validate,
    )


def _validation_bounds(settings: StorageConfig) -> "Bounds":
    from traffic_storage.application.validate import Bounds

    return Bounds(
        pixels=settings.max_pixels,
        image_bytes=settings.max_image_bytes,
        video_bytes=settings.max_video_bytes,
        zone=settings.zone,
        max_clock_ahead=settings.max_clock_ahead,
        max_delay=settings.max_backdating,
    )


def _capture_bounds(settings: StorageConfig) -> CaptureBounds:
    earliest = datetime.combine(settings.earliest_capture, time(), UTC)
    return CaptureBounds(earliest, settings.max_backdating)


def _deletion_limits(settings: StorageConfig) -> DeletionLimits:
    return DeletionLimits(settings.max_deletion_share, settings.max_deletion_files)


def _settle(settings: StorageConfig) -> timedelta:
    """Return how long after a change of the rules a file can still be stored by the old ones."""
    return REFRESH + timedelta(seconds=settings.attempt_timeout_seconds)


def _margin(settings: StorageConfig) -> timedelta:
    """Return how long to wait after an upload's deadline before its unfinished files are removed.

    A request that was sent to a store before the deadline may complete in this time.
    """
    share = RECOVERY_MARGIN_SHARE * settings.attempt_timeout_seconds
    request = settings.s3_timeout_seconds if settings.cloud_configured else 0.0
    return timedelta(seconds=max(share, request))


def _seconds(name: str) -> Callable[[StorageConfig], timedelta]:
    return lambda settings: timedelta(seconds=getattr(settings, name))


def _days(name: str) -> Callable[[StorageConfig], timedelta]:
    return lambda settings: timedelta(days=getattr(settings, name))


def _fixity_policy(settings: StorageConfig) -> FixityPolicy:
    return FixityPolicy(timedelta(days=settings.fixity_days))


def _storage_options(settings: StorageConfig, strategy: StorageStrategy) -> "StorageOptions":
    from traffic_storage.domain.storage_patterns import StorageOptions

    prices = Prices(settings.prices, settings.currency)
    return StorageOptions(strategy, settings.thresholds, settings.max_local_bytes, prices)


def _pressure_rules(settings: StorageConfig) -> PressureRules:
    return PressureRules(
        warn_within=timedelta(days=settings.warn_days_before_full),
        move_within=timedelta(days=settings.move_days_before_full),
        evidence_share=settings.evidence_reserve_share,
        alert_percent=settings.alert_usage_percent,
    )


def _breaker(settings: StorageConfig) -> Breaker:
    return Breaker(settings.reconcile_max_share, settings.reconcile_max_count)


def _target_names(settings: StorageConfig) -> Callable[[], Sequence[str]]:
    """Return a function that lists the names of the settings files in `migration_targets`."""

    def names() -> Sequence[str]:
        folder = settings.migration_targets
        return sorted(file.stem for file in folder.glob("*.toml")) if folder else ()

    return names


def _open_target(settings: StorageConfig) -> "OpenTarget":
    """Return a function that opens the service with a settings file in `migration_targets`."""

    @asynccontextmanager
    async def opened(name: str) -> AsyncIterator["MigrationTarget"]:
        # Variables of the environment belong to this service, not to the target.
        file = (settings.migration_targets or Path()) / f"{name}.toml"
        target = build(evolve(StorageConfig.load(file, env={}), workers=0))
        async with running(target):
            yield target.migration_target()

    return opened


def _worker(
    settings: StorageConfig,
    source: JobSource,
    ids: Ids,
    handlers: "Callable[[], Mapping[JobKind, Handler]]",
    schedules: Callable[[], Schedules],
) -> "Worker | None":
    """Return the worker of the service, or None: then nothing that only jobs need is imported."""
    if not settings.workers:
        return None
    return deferred.make_worker(settings, source, ids, handlers(), schedules())


class Container(DeclarativeContainer):
    """Dependency-injection container of all components of one service; `build` creates it.

    Two containers share no state. Each provider returns the same object at every call. The
    provider of the catalogue's repository is private, because only use cases access the catalogue.
    """

    settings = Dependency(instance_of=StorageConfig)
    strategy = Dependency(instance_of=StorageStrategy)

    clock: Singleton[Clock] = Singleton(SystemClock)
    ids = Singleton(RandomIds, clock)
    counters = Singleton(OperationCounters)
    tasks = Singleton(OwnedTasks)

    _record_repo: Singleton[RecordRepo] = Singleton(_catalogue, settings)
    _ingest_journal: Singleton[IngestJournal] = Singleton(_journal, settings, _record_repo, clock)
    cache: Singleton[Cache] = Singleton(_cache, settings, clock)
    images: Singleton[Images] = Singleton(_images, settings)
    frames: Singleton[Frames] = Singleton(_frames)
    spool: Singleton[Spool] = Singleton(_spool, settings)
    compressor: Singleton[Compressor] = Singleton(_compressor)
    # A snapshot is read by other configurations: its coding is no choice.
    _snapshot_compressor: Singleton[Compressor] = Singleton(_compressor)
    local_store: Singleton[MarkedBlobStore] = Singleton(_local_store, settings, clock)
    cloud_stores = Singleton(_cloud_stores, settings, clock)
    snapshot_store: Singleton[SnapshotStore] = Singleton(_snapshot_store, settings, clock)
    kept_exports: Singleton[KeptExports] = Singleton(_kept_exports, settings)
    cached_cloud_stores = Singleton(_cached, settings, cloud_stores)

    _used_cloud_stores = Selector(
        strategy,
        LOCAL_ONLY=cloud_stores,
        CLOUD_ONLY=cloud_stores,
        CLOUD_WITH_CACHE=cached_cloud_stores,
        LOCAL_THEN_CLOUD=cloud_stores,
        HYBRID=cloud_stores,
    )
    configured_stores = Singleton(_configured, settings, strategy, local_store, _used_cloud_stores)
    stores = Singleton(
        Stores,
        configured_stores,
        strategy=strategy,
        thresholds=settings.provided.thresholds,
        repo=_record_repo,
        clock=clock,
        ids=ids,
        parallel_puts=settings.provided.parallel_uploads,
    )
    rules_in_force = Singleton(
        RulesInForce,
        records=_record_repo,
        changes=_record_repo,
        catalogue=_record_repo,
        clock=clock,
        configured=Called(configured_rules, settings),
        bounds=Called(_capture_bounds, settings),
    )
    explain = Singleton(
        later(lambda: deferred.Explain),
        in_force=rules_in_force,
        catalogue=_record_repo,
        holds=_record_repo,
        deletions=_record_repo,
        snapshots=_record_repo,
        clock=clock,
    )
    recompute_retention = Singleton(
        later(lambda: deferred.RecomputeRetention),
        in_force=rules_in_force,
        records=_record_repo,
        changes=_record_repo,
        catalogue=_record_repo,
        ids=ids,
        settle=Called(_settle, settings),
    )
    profiles = Singleton(later(lambda: deferred.configured_profiles), settings)
    validate = Singleton(
        later(lambda: deferred.Validate),
        images=images,
        frames=frames,
        spool=spool,
        clock=clock,
        bounds=Called(_validation_bounds, settings),
    )
    sightings = Singleton(later(lambda: deferred.Sightings), catalogue=_record_repo)
    validate_on_store = Singleton(
        later(lambda: deferred.ValidateOnStore),
        validate=validate.provider,
        sightings=sightings.provider,
        mode=settings.provided.validate_on_store,
    )
    validate_evidence = Singleton(
        later(lambda: deferred.ValidateEvidence),
        validate=validate,
        sightings=sightings,
        profiles=profiles,
    )
    prepare = Singleton(_prepare, settings, spool, images, compressor, clock, validate_on_store)
    read_back = Singleton(
        later(lambda: deferred.ReadBack), stores=stores, changes=_record_repo, clock=clock
    )
    sealing = Singleton(
        later(lambda: deferred.Sealing),
        records=_record_repo,
        journal=_ingest_journal,
        changes=_record_repo,
        clock=clock,
    )
    export_journal = Singleton(
        later(lambda: deferred.ExportJournal),
        stores=stores,
        rows=_record_repo,
        outbox=_record_repo,
        registry=_record_repo,
        changes=_record_repo,
    )
    label_files = Singleton(
        later(lambda: deferred.LabelFiles),
        journal=_ingest_journal,
        changes=_record_repo,
        catalogue=_record_repo,
        holds=_record_repo,
        rules=rules_in_force,
        sealing=sealing,
        export=export_journal,
        clock=clock,
        ids=ids,
        owner=Called(_owner),
        attempt_timeout=Called(_seconds("attempt_timeout_seconds"), settings),
    )
    store_unit = Singleton(
        later(lambda: deferred.StoreUnit),
        read_back=read_back,
        sealing=sealing,
        stores=stores,
        journal=_ingest_journal,
        changes=_record_repo,
        catalogue=_record_repo,
        clock=clock,
        ids=ids,
        counters=counters,
        owner=Called(_owner),
        attempt_timeout=Called(_seconds("attempt_timeout_seconds"), settings),
        rules=rules_in_force,
        label_files=label_files,
    )
    store_keyed = Singleton(
        later(lambda: deferred.StoreKeyed), keys=_record_repo, store_unit=store_unit
    )
    store_files = Singleton(
        later(lambda: deferred.StoreFiles),
        prepare=prepare,
        store_unit=store_unit,
        store_keyed=store_keyed,
        tasks=tasks,
    )
    store_evidence = Singleton(
        later(lambda: deferred.StoreEvidence),
        prepare=prepare,
        store_unit=store_unit,
        tasks=tasks,
        clock=clock,
        validate=validate_on_store,
    )
    store_units = Singleton(
        later(lambda: deferred.StoreUnits),
        store_unit=store_unit,
        stores=stores,
        journal=_ingest_journal,
        changes=_record_repo,
        recorded=_record_repo,
        sealing=sealing,
    )
    store_many = Singleton(
        later(lambda: deferred.StoreMany),
        prepare=prepare,
        store_evidence=store_evidence,
        store_units=store_units,
        tasks=tasks,
        zone=settings.provided.zone,
        validation=settings.provided.validate_on_store,
    )
    catalogue_upkeep = Singleton(
        later(lambda: deferred.CatalogueUpkeep), repo=_record_repo, clock=clock
    )
    find = Singleton(Find, catalogue=_record_repo, deletions=_record_repo)
    replica_reader = Singleton(
        later(lambda: deferred.ReplicaReader),
        catalogue=_record_repo,
        changes=_record_repo,
        stores=stores,
        cache=cache,
        caching=Called(_caching, settings),
        clock=clock,
        counters=counters,
    )
    verified_bodies = Singleton(
        later(lambda: deferred.VerifiedBodies),
        replicas=replica_reader,
        spool=spool,
        parallel=settings.provided.copy_parallel,
    )
    copy_file = Singleton(
        later(lambda: deferred.CopyFile),
        stores=stores,
        journal=_ingest_journal,
        bodies=verified_bodies,
        read_back=read_back,
        clock=clock,
        ids=ids,
        owner=Called(_owner),
        attempt_timeout=Called(_seconds("attempt_timeout_seconds"), settings),
        pace=Called(Pace, settings.provided.copy_bytes_per_second, clock),
        parallel=settings.provided.copy_parallel,
    )
    promote = Singleton(
        later(lambda: deferred.Promote),
        stores=stores,
        queue=_record_repo,
        clock=clock,
        ids=ids,
        strategy=strategy,
        thresholds=settings.provided.thresholds,
        reads=settings.provided.promote_reads,
    )
    watch_pressure = Singleton(
        WatchPressure,
        catalogue=_record_repo,
        changes=_record_repo,
        stores=stores,
        clock=clock,
        rules=Called(_pressure_rules, settings),
    )
    statistics = Singleton(
        later(lambda: deferred.Statistics),
        watch_pressure=watch_pressure,
        catalogue=_record_repo,
        stores=stores,
        cache=cache,
        counters=counters,
        clock=clock,
    )
    analyse_storage = Singleton(
        later(lambda: deferred.AnalyseStorage),
        catalogue=_record_repo,
        samples=_record_repo,
        registry=_record_repo,
        watch_pressure=watch_pressure,
        in_force=rules_in_force,
        clock=clock,
        options=Called(_storage_options, settings, strategy),
    )
    analyse_violations = Singleton(
        later(lambda: deferred.AnalyseViolations),
        samples=_record_repo,
        catalogue=_record_repo,
        clock=clock,
        zone=settings.provided.zone,
    )
    analyse_quality = Singleton(
        later(lambda: deferred.AnalyseQuality),
        samples=_record_repo,
        catalogue=_record_repo,
        replicas=replica_reader,
        images=images,
        clock=clock,
        zone=settings.provided.zone,
        max_clock_ahead=settings.provided.max_clock_ahead,
        bounds=Called(_capture_bounds, settings),
    )
    signing_key = Singleton(SigningKey, settings)
    signer = Singleton(
        later(lambda: deferred.AccessUrls),
        public_url=settings.provided.public_url,
        key=signing_key,
        clock=clock,
        longest=Called(_seconds("max_url_expiry_seconds"), settings),
    )
    recover = Singleton(
        Recover,
        journal=_ingest_journal,
        changes=_record_repo,
        clock=clock,
        counters=counters,
        margin=Called(_margin, settings),
    )
    jobs = Singleton(later(lambda: deferred.Jobs), queue=_record_repo, ids=ids)
    purge = Singleton(
        later(lambda: deferred.Purge),
        stores=stores,
        catalogue=_record_repo,
        deletions=_record_repo,
        snapshots=_record_repo,
        loads=_record_repo,
        in_force=rules_in_force,
        changes=_record_repo,
        cache=cache,
        clock=clock,
    )
    change_rules = Singleton(
        later(lambda: deferred.ChangeRules),
        in_force=rules_in_force,
        records=_record_repo,
        holds=_record_repo,
        changes=_record_repo,
        journal=export_journal,
        clock=clock,
        ids=ids,
        defaults=settings.provided.retention.rules,
    )
    delete_files = Singleton(
        later(lambda: deferred.DeleteFiles),
        catalogue=_record_repo,
        deletions=_record_repo,
        holds=_record_repo,
        changes=_record_repo,
        purge=purge,
        in_force=rules_in_force,
        journal=export_journal,
        clock=clock,
        ids=ids,
        grace=Called(_days("deletion_grace_days"), settings),
    )
    retain = Singleton(
        later(lambda: deferred.Retain),
        in_force=rules_in_force,
        records=_record_repo,
        catalogue=_record_repo,
        deletions=_record_repo,
        holds=_record_repo,
        changes=_record_repo,
        delete=delete_files,
        purge=purge,
        journal=export_journal,
        clock=clock,
        ids=ids,
        limits=Called(_deletion_limits, settings),
        grace=Called(_days("deletion_grace_days"), settings),
    )
    legal_holds = Singleton(
        later(lambda: deferred.LegalHolds),
        journal=export_journal,
        holds=_record_repo,
        deletions=_record_repo,
        catalogue=_record_repo,
        changes=_record_repo,
        clock=clock,
        ids=ids,
    )
    migration_source = Singleton(
        later(lambda: deferred.MigrationSource),
        registry=_record_repo,
        catalogue=_record_repo,
        rows=_record_repo,
        holds=_record_repo,
        deletions=_record_repo,
        bodies=verified_bodies,
        compressor=compressor,
        sealing=sealing,
    )
    migration_target = Singleton(
        later(lambda: deferred.MigrationTarget),
        registry=_record_repo,
        catalogue=_record_repo,
        rows=_record_repo,
        holds=_record_repo,
        deletions=_record_repo,
        migrations=_record_repo,
        changes=_record_repo,
        store_unit=store_unit,
        journal=export_journal,
        replicas=replica_reader,
        tasks=tasks,
        clock=clock,
    )
    migration_jobs = Singleton(
        later(lambda: deferred.MigrationJobs),
        source=migration_source,
        open_target=Called(_open_target, settings),
        targets=Called(_target_names, settings),
    )
    restore_rows = Singleton(
        later(lambda: deferred.RestoreRows),
        stores=stores,
        catalogue=_record_repo,
        changes=_record_repo,
        replicas=replica_reader,
        compressor=compressor,
        clock=clock,
    )
    reconcile_store = Singleton(
        later(lambda: deferred.ReconcileStore),
        stores=stores,
        catalogue=_record_repo,
        changes=_record_repo,
        clock=clock,
        breaker=Called(_breaker, settings),
    )
    examine_quarantine = Singleton(
        later(lambda: deferred.ExamineQuarantine),
        stores=stores,
        catalogue=_record_repo,
        loads=_record_repo,
        changes=_record_repo,
        restore=restore_rows,
        clock=clock,
        keep_for=Called(_days("quarantine_days"), settings),
    )
    reconcile = Singleton(
        later(lambda: deferred.Reconcile),
        stores=stores,
        reconcile_store=reconcile_store,
        examine=examine_quarantine,
    )
    apply_events = Singleton(
        later(lambda: deferred.ApplyEvents),
        rows=_record_repo,
        records=_record_repo,
        changes=_record_repo,
        clock=clock,
        ids=ids,
    )
    replay_journal = Singleton(
        later(lambda: deferred.ReplayJournal),
        stores=stores,
        rows=_record_repo,
        changes=_record_repo,
        apply=apply_events,
    )
    rebuild_catalogue = Singleton(
        later(lambda: deferred.RebuildCatalogue),
        replay=replay_journal,
        stores=stores,
        rows=_record_repo,
        catalogue=_record_repo,
        changes=_record_repo,
        restore=restore_rows,
        clock=clock,
    )
    release_copy = Singleton(
        later(lambda: deferred.ReleaseCopy), replicas=replica_reader, clock=clock, ids=ids
    )
    copy_jobs = Singleton(
        later(lambda: deferred.CopyJobs),
        catalogue=_record_repo,
        copy_file=copy_file,
        release_copy=release_copy,
        stores=stores,
        ids=ids,
        counters=counters,
    )
    spill = Singleton(
        later(lambda: deferred.Spill),
        stores=stores,
        catalogue=_record_repo,
        copies=_record_repo,
        queue=_record_repo,
        ids=ids,
        strategy=strategy,
        thresholds=settings.provided.thresholds,
        watch_pressure=watch_pressure,
        retarget_copies=Singleton(
            later(lambda: deferred.RetargetCopies), stores=stores, queue=_record_repo
        ),
    )
    decode_stored_images = Singleton(
        later(lambda: deferred.DecodeStoredImages),
        catalogue=_record_repo,
        changes=_record_repo,
        reader=replica_reader,
        spool=spool,
        images=images,
        clock=clock,
        ids=ids,
    )
    find_due_copies = Singleton(
        later(lambda: deferred.FindDueCopies),
        stores=stores,
        copies=_record_repo,
        queue=_record_repo,
        ids=ids,
        strategy=strategy,
    )
    heal_replica = Singleton(
        later(lambda: deferred.HealReplica),
        catalogue=_record_repo,
        changes=_record_repo,
        stores=stores,
        copy_file=copy_file,
        clock=clock,
        ids=ids,
    )
    read_files = Singleton(
        later(lambda: deferred.ReadFiles),
        find=find,
        replicas=replica_reader,
        compressor=compressor,
        images=images,
        counters=counters,
        promote=promote,
        heal=heal_replica,
        tasks=tasks,
    )
    review_incidents = Singleton(
        later(lambda: deferred.ReviewIncidents),
        incidents=_record_repo,
        changes=_record_repo,
        clock=clock,
    )
    verify_replicas = Singleton(
        later(lambda: deferred.VerifyReplicas),
        records=_record_repo,
        catalogue=_record_repo,
        lookups=_record_repo,
        changes=_record_repo,
        queue=_record_repo,
        stores=stores,
        heal=heal_replica,
        clock=clock,
        ids=ids,
        policy=Called(_fixity_policy, settings),
        pace=Called(Pace, settings.provided.fixity_bytes_per_second, clock),
    )
    produce_evidence = Singleton(
        later(lambda: deferred.ProduceEvidence),
        find=find,
        verify=verify_replicas,
        read_files=read_files,
        changes=_record_repo,
        incidents=_record_repo,
        clock=clock,
        ids=ids,
    )
    export = Singleton(
        later(lambda: deferred.Export),
        table=_record_repo,
        open_table=Object(open_table),
        targets=Called(export_targets, settings),
    )
    make_package = Singleton(
        later(lambda: deferred.MakePackage),
        find=find,
        produce=produce_evidence,
        clock=clock,
        profiles=profiles,
        verifier=Called(_package_verifier),
    )
    schedules = Singleton(
        later(lambda: deferred.Schedules),
        stores,
        Called(later(lambda: deferred.periodic_jobs), settings, strategy),
    )
    export_jobs = Singleton(
        later(lambda: deferred.ExportJobs),
        export=export,
        make_package=make_package,
        analyses=Called(
            later(lambda: deferred.analyses), analyse_quality, analyse_storage, analyse_violations
        ),
        kept=kept_exports,
        jobs=jobs,
        clock=clock,
        keep=Called(_days("keep_exports_days"), settings),
        host=Called(_host_of_exports, settings, schedules),
    )
    sweep = Singleton(
        Sweep,
        recover=recover,
        exports=export_jobs.provider,
        repo=_record_repo,
        clock=clock,
        keep_jobs=Called(_days("keep_jobs_days"), settings),
        keep_events=Called(_days("keep_events_days"), settings),
        keep_reviews=Called(_days("keep_reviews_days"), settings),
    )
    check_invariants = Singleton(
        later(lambda: deferred.CheckInvariants),
        repo=_record_repo,
        stores=stores,
        clock=clock,
        ids=ids,
    )
    snapshot_location = Singleton(
        later(lambda: deferred.SnapshotLocation),
        store=snapshot_store,
        spool=spool,
        compressor=_snapshot_compressor,
    )
    restore_file = Singleton(
        later(lambda: deferred.RestoreFile),
        stores=stores,
        journal=_ingest_journal,
        changes=_record_repo,
        read_back=read_back,
        clock=clock,
        ids=ids,
        owner=Called(_owner),
        attempt_timeout=Called(_seconds("attempt_timeout_seconds"), settings),
        parallel=_SNAPSHOT_PARALLEL,
    )
    _snapshot_objects = Singleton(
        later(lambda: deferred.SnapshotObjects),
        location=snapshot_location,
        rows=_record_repo,
        bodies=verified_bodies,
        clock=clock,
        parallel=_SNAPSHOT_PARALLEL,
    )
    create_snapshot = Singleton(
        later(lambda: deferred.CreateSnapshot),
        location=snapshot_location,
        write_rows=Singleton(
            later(lambda: deferred.WriteRows),
            texts=snapshot_store,
            records=_record_repo,
            registry=_record_repo,
            compressor=_snapshot_compressor,
            spool=spool,
            clock=clock,
            with_database=settings.provided.snapshot_database,
        ),
        objects=_snapshot_objects,
        changes=_record_repo,
        clock=clock,
        max_age=Called(_days("snapshot_max_age_days"), settings),
    )
    verify_snapshot = Singleton(
        later(lambda: deferred.VerifySnapshot),
        location=snapshot_location,
        objects=_snapshot_objects,
        clock=clock,
    )
    find_destroyed = Singleton(later(lambda: deferred.FindDestroyed), rows=_record_repo)
    restore_snapshot = Singleton(
        later(lambda: deferred.RestoreSnapshot),
        stores=stores,
        rows=_record_repo,
        records=_record_repo,
        changes=_record_repo,
        restore_file=restore_file,
        apply_events=apply_events,
    )
    restore_database = Singleton(
        later(lambda: deferred.RestoreDatabase),
        location=snapshot_location,
        backup=_record_repo,
        rows=_record_repo,
        changes=_record_repo,
        clock=clock,
        ids=ids,
        max_age=Called(_days("snapshot_max_age_days"), settings),
    )
    delete_snapshot = Singleton(
        later(lambda: deferred.DeleteSnapshot),
        location=snapshot_location,
        registry=_record_repo,
        changes=_record_repo,
    )
    drill_snapshot = Singleton(later(lambda: deferred.DrillSnapshot), location=snapshot_location)
    archive = Singleton(
        later(lambda: deferred.Archive),
        stores=stores,
        copies=_record_repo,
        queue=_record_repo,
        ids=ids,
    )
    snapshot_jobs = Singleton(
        later(lambda: deferred.SnapshotJobs),
        location=snapshot_location,
        create=create_snapshot,
        verify=verify_snapshot,
        restore=restore_snapshot,
        delete=delete_snapshot,
        destroyed=find_destroyed,
        clock=clock,
        keep=settings.provided.snapshot_keep,
        max_age=Called(_days("snapshot_max_age_days"), settings),
    )
    handlers = Singleton(
        later(lambda: deferred.handlers),
        sweep=sweep,
        reconcile=reconcile,
        export_journal=export_journal,
        stage=change_rules,
        recompute=recompute_retention,
        copy_jobs=copy_jobs,
        spill=spill,
        find_due_copies=find_due_copies,
        verify=verify_replicas,
        watch_pressure=watch_pressure,
        purge=purge,
        retain=retain,
        migrate=migration_jobs,
        snapshot_jobs=snapshot_jobs,
        export_jobs=export_jobs,
        decode_stored_images=decode_stored_images,
    )
    clean_up = Singleton(
        later(lambda: deferred.CleanUp),
        retain=retain,
        stores=stores,
        examine=examine_quarantine,
        recover=recover,
    )
    measure = Singleton(
        later(lambda: deferred.Measure),
        readings=_record_repo,
        catalogue=_record_repo,
        verify_replicas=verify_replicas,
        watch_pressure=watch_pressure,
        stores=stores,
        cache=cache,
        clock=clock,
        kinds=Called(tuple, handlers),
    )
    worker = Singleton(_worker, settings, _record_repo, ids, handlers.provider, schedules.provider)
    sync_backends = Singleton(
        later(lambda: deferred.SyncBackends),
        stores=stores,
        spill=spill,
        queue=_record_repo,
        source=_record_repo,
        worker=Singleton(
            later(lambda: deferred.make_sync_worker), settings, ids, copy_jobs, schedules
        ),
    )
    forget_purged = Singleton(
        ForgetPurged, outbox=_record_repo, replicas=_record_repo, cache=cache, stores=stores
    )
    runtime = Singleton(
        Runtime,
        repo=_record_repo,
        stores=stores,
        cache=cache,
        rules=rules_in_force,
        sweep=sweep,
        forget_purged=forget_purged,
        watch_pressure=watch_pressure,
        worker=worker,
        tasks=tasks,
        others=List(images, frames, spool, compressor, _snapshot_compressor, snapshot_store),
        verify_interval=Called(_seconds("sweep_interval_seconds"), settings),
    )


class Adapters(TypedDict, total=False):
    """Keyword arguments of `build`: adapters to use instead of those that the settings select.

    `cloud_stores` are pairs: a bucket and the pattern of the device ids whose files it takes (None:
    all ids that match no other pattern). `cached_cloud_stores` are the same pairs with a local
    cache in front of each bucket, for the strategy CLOUD_WITH_CACHE.
    """

    clock: Clock
    record_repo: RecordRepo
    cache: Cache
    frames: Frames
    images: Images
    spool: Spool
    compressor: Compressor
    local_store: MarkedBlobStore
    cloud_stores: Sequence[tuple[MarkedBlobStore, str | None]]
    cached_cloud_stores: Sequence[tuple[MarkedBlobStore, str | None]]
    snapshot_store: SnapshotStore
    kept_exports: KeptExports


def build(
    settings: StorageConfig,
    strategy: StorageStrategy | str | None = None,
    **adapters: Unpack[Adapters],
) -> Container:
    """Return the container of a service, not yet started. `strategy` overrides the setting.

    `adapters` replace those that the settings select, as in `local_store=MyStore(…)`. With
    `cloud_stores`, a cloud strategy needs no S3 settings.

    Raises:
        ConfigurationError: the strategy does not exist, or settings that it needs are missing.
        TypeError: an argument is not the name of an adapter.
    """
    if unknown := adapters.keys() - Adapters.__annotations__.keys():
        raise TypeError(f"unknown adapters: {', '.join(sorted(unknown))}")
    chosen = _strategy(settings, strategy, has_clouds="cloud_stores" in adapters)
    container = Container(settings=settings, strategy=chosen)
    for name, adapter in adapters.items():
        provider = "_record_repo" if name == "record_repo" else name
        container.providers[provider].override(Object(adapter))
    return container


def _strategy(
    settings: StorageConfig, argument: StorageStrategy | str | None, *, has_clouds: bool
) -> StorageStrategy:
    if has_clouds and argument in tuple(StorageStrategy):
        return StorageStrategy(argument)
    return settings.effective_strategy(argument)


@asynccontextmanager
async def running(container: Container) -> AsyncIterator[Container]:
    """Start the container on entry and close it on exit, after an error too.

    Raises (on entry):
        CatalogueUnavailable: the database is unavailable.
        ConfigurationError: the tables of the database are newer than this version, or a file that
            a setting names is wrong.
    """
    settings: StorageConfig = container.settings()
    if settings.profiles_file or settings.evidence_profile:
        container.profiles()
    runtime = container.runtime()
    try:
        await runtime.start()
        yield container
    finally:
        await runtime.aclose()
