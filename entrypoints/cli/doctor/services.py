"""Checks of the services that storing depends on: the database, each store, the cache."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

from traffic_storage.domain.amounts import counted
from traffic_storage.domain.digests import digests_of
from traffic_storage.domain.errors import TrafficStorageError
from traffic_storage.domain.files import BlobKey, Coding, FileKind, blob_key
from traffic_storage.domain.identifiers import CatalogueId
from traffic_storage.domain.manifest import BlobManifest
from traffic_storage.entrypoints.cli.doctor.finding import Finding, noted, ok, problem
from traffic_storage.entrypoints.cli.session import is_absent, is_new
from traffic_storage.entrypoints.settings import StorageConfig
from traffic_storage.ports.blob_store import BlobStore, is_empty
from traffic_storage.ports.cache import Cache
from traffic_storage.ports.clock import Clock
from traffic_storage.ports.errors import (
    BlobConflict,
    BlobMissing,
    CatalogueReadOnly,
    CatalogueUnavailable,
)
from traffic_storage.ports.spool import MemoryBody
from traffic_storage.ports.store_identity import MarkedBlobStore

if TYPE_CHECKING:
    from traffic_storage.entrypoints.container import Container

_PROBE, _OTHER = b"doctor: written to be removed", b"doctor: other bytes"
_LONGEST = timedelta(seconds=30)
_SKEW_SECONDS = 60
_CACHE_TRIES = 20
_TO_READ = "to read, nothing is needed"


async def database(container: "Container", settings: StorageConfig) -> Finding:
    """Check that the database answers and that no migrations are pending."""
    where = _database_name(settings)
    if is_new(settings):
        return noted("database", f"{where} does not exist yet: it is created at first use")
    upkeep = container.catalogue_upkeep()
    unwritable: CatalogueReadOnly | None = None
    try:
        try:
            await upkeep.ping()
        except CatalogueReadOnly as error:
            unwritable = error
        pending = await upkeep.pending()
    except TrafficStorageError as error:
        return problem("database", f"{where}: {error.message}", error.remedy)
    if pending:
        return problem(
            "database",
            f"{where} answers, but {counted(len(pending), 'migration is', 'migrations are')} pending",
            "run traffic-storage db upgrade",
        )
    if unwritable is not None:
        return problem(
            "database",
            f"{where}: {unwritable.message}",
            f"{_TO_READ}; to store, {unwritable.remedy}",
        )
    return ok("database", f"{where} answers; no migrations are pending")


async def clock_of_database(
    container: "Container", settings: StorageConfig
) -> AsyncIterator[Finding]:
    """Compare the database's clock with that of this machine."""
    if is_new(settings):
        return
    try:
        skew = (await container.catalogue_upkeep().clock_skew()).total_seconds()
    except TrafficStorageError:
        return  # That it does not answer is a finding of its own.
    if abs(skew) > _SKEW_SECONDS:
        yield problem(
            "database clock",
            f"it differs from the clock of this machine by {skew:.0f} seconds",
            "set both clocks (NTP): attempts to store and leases of jobs follow the database's clock, "
            "retention, links and times of receipt that of each host",
        )
    else:
        yield ok("database clock", "it agrees with the clock of this machine")


def encryption_of_database(settings: StorageConfig) -> Iterator[Finding]:
    """Tell whether what is sent to a database on another machine may go unencrypted."""
    from traffic_storage.adapters.record_repo.sql.postgres_address import addresses, is_this_machine

    hosts = [host for host, _ in addresses(settings.db_host or "/", settings.db_port)]
    if settings.db_ssl_mode is None and not all(map(is_this_machine, hosts)):
        yield noted(
            "database",
            "the connection is not encrypted if the server has no TLS, and its certificate is not "
            "verified (unless PGSSLMODE says so)",
            "set db_ssl_mode to verify-full, with db_ca_file where the authority is one of your own",
        )


async def stores(container: "Container", settings: StorageConfig) -> AsyncIterator[Finding]:
    """Check that each store belongs to the catalogue, and that blobs can be put, read, deleted."""
    catalogue = await _catalogue_id(container)
    used = settings.effective_strategy()
    if used.needs_local and not is_absent(settings.local_base_path):
        yield await _store("local store", container.local_store(), container, catalogue)
    for store, pattern in container.cloud_stores():
        name = "bucket" if pattern is None else f"bucket of {pattern}"
        yield await _store(name, store, container, catalogue)
        yield noted(
            name,
            "doctor can't check whether the bucket removes unfinished multipart uploads",
            "give the bucket the lifecycle rule AbortIncompleteMultipartUpload after one day",
        )


async def adopted(container: "Container", location: str) -> Finding:
    """Use the store at a location for this catalogue from now on; return a finding about it."""
    stores = container.stores()
    for bound in stores:
        if bound.store.location == location:
            try:
                return ok("adoption", await stores.adopt(bound))
            except TrafficStorageError as error:
                return problem("adoption", error.message, error.remedy)
    known = ", ".join(bound.store.location for bound in stores)
    return problem("adoption", f"no store is configured at {location}", f"name one of {known}")


async def cache(cache: Cache, settings: StorageConfig) -> Finding:
    """Check that the cache answers."""
    if not settings.has_redis:
        return ok("cache", "in this process")
    for _ in range(_CACHE_TRIES):
        await cache.put("doctor", _PROBE, timedelta(seconds=10))
        if await cache.get("doctor") == _PROBE:
            await cache.drop("doctor")
            return ok("cache", cache.health().detail or "Redis answers")
        await asyncio.sleep(0.05)
    health = cache.health()
    detail = "it does not return a value that was just written" if health.healthy else health.detail
    # A message of Redis itself is followed by what to do about it.
    is_running = detail.startswith("Redis refuses")
    todo = "do so" if is_running else "start Redis, or correct the redis_ settings"
    return problem(
        "cache",
        f"Redis at {_redis_address(settings)}: {detail}",
        f"{todo}; until then the system works without a cache",
    )


def _redis_address(settings: StorageConfig) -> str:
    address = settings.redis
    if address is None or address.host.startswith("/"):
        return address.host if address else ""
    return f"{address.host} port {address.port}"


async def _store(
    name: str,
    store: MarkedBlobStore,
    container: "Container",
    catalogue: CatalogueId | CatalogueUnavailable | None,
) -> Finding:
    try:
        if isinstance(catalogue, CatalogueUnavailable):
            return await _without_catalogue(name, store)
        if doubt := await _doubt(store, container, catalogue):
            return problem(name, doubt, "connect the store and the database that belong together")
        return await _tried(name, store, container)
    except TrafficStorageError as error:
        return problem(
            name,
            f"{store.location}: {error.message}",
            error.remedy or "remove the cause that the message names",
        )


async def _without_catalogue(name: str, store: MarkedBlobStore) -> Finding:
    """Return the finding for a store that can't be compared with the database; write nothing."""
    marker = await store.marker()
    whose = (
        "has no identification file (marker)"
        if marker is None
        else f"belongs to catalogue {marker.catalogue_id}"
    )
    return noted(
        name,
        f"{store.location} answers and {whose}; "
        "whether this is right can't be checked without the database",
        "repair the database, then run doctor again",
    )


async def _doubt(
    store: MarkedBlobStore, container: "Container", catalogue: CatalogueId | None
) -> str:
    """Return why the service would not write to the store, or an empty text if it would."""
    if catalogue is not None:
        return await container.stores().doubt(store)
    marker = await store.marker()
    if marker is not None:
        return f"{store.location} belongs to another catalogue ({marker.catalogue_id})"
    return (
        ""
        if await is_empty(store)
        else f"{store.location} holds files but no identification file (marker)"
    )


async def _put(store: BlobStore, key: BlobKey, data: bytes, container: "Container") -> None:
    deadline = container.clock().now() + _LONGEST
    body = MemoryBody(data, digests_of(data))
    await store.put(key, body, _manifest(container, data), deadline=deadline)


async def _tried(name: str, store: MarkedBlobStore, container: "Container") -> Finding:
    """Return the result of creating, reading, overwriting and deleting a blob in a store."""
    digests = digests_of(_PROBE)
    key = blob_key(FileKind.METADATA, container.ids().uuid7(), digests.sha256)
    try:
        await _put(store, key, _PROBE, container)
        await store.read(key, digests)
        refused = await _refuses_other_bytes(store, key, container)
        skew = await _skew_seconds(store, key, container.clock())
    except TrafficStorageError as error:
        # A write that is reported as failed may have happened.
        with suppress(TrafficStorageError):
            await store.delete(key)
        if await _can_be_read(store):
            return problem(
                name,
                f"{store.location} can be read but not written: {error.message}",
                f"{_TO_READ}; to store, {error.remedy or 'remove the cause that the message names'}",
            )
        raise
    await store.delete(key)
    if not refused:
        return problem(
            name,
            f"{store.location} overwrites an object although the request permits only creation",
            "use a service that honours If-None-Match: * on PUT",
        )
    if abs(skew) > _SKEW_SECONDS:
        return problem(
            name,
            f"{store.location}: its clock differs from the clock of this machine by {skew:.0f} seconds",
            "set both clocks (NTP)",
        )
    if not await _is_gone(store, key):
        return problem(
            name,
            f"{store.location} still returns an object after its deletion",
            "check its permissions",
        )
    return ok(name, f"{store.location} can be written, read and deleted from")


async def _can_be_read(store: MarkedBlobStore) -> bool:
    """Return whether a store that could not be written has its identification file, and lists blobs."""
    try:
        has_marker = await store.marker() is not None
        await is_empty(store)
    except TrafficStorageError:
        return False
    return has_marker


async def _refuses_other_bytes(store: BlobStore, key: BlobKey, container: "Container") -> bool:
    try:
        await _put(store, key, _OTHER, container)
    except BlobConflict:
        return True
    return False


async def _skew_seconds(store: BlobStore, key: BlobKey, clock: Clock) -> float:
    """Return the seconds by which the store's clock is ahead; 0 if it does not list the blob."""
    async for entry in store.list(prefix=key):
        return (entry.modified_at - clock.now()).total_seconds()
    return 0.0


async def _is_gone(store: BlobStore, key: BlobKey) -> bool:
    try:
        await store.head(key)
    except BlobMissing:
        return True
    return False


async def _catalogue_id(container: "Container") -> CatalogueId | CatalogueUnavailable | None:
    """Return the id of the catalogue, None if there is none yet, or the error of the database."""
    try:
        return await container.catalogue_upkeep().catalogue_id()
    except CatalogueUnavailable as error:
        return error
    except TrafficStorageError:
        return None


def _manifest(container: "Container", data: bytes) -> BlobManifest:
    digests = digests_of(data)
    return BlobManifest(
        file_id="doctor",
        kind=FileKind.METADATA,
        content_type="text/plain",
        size_bytes=digests.size_bytes,
        sha256=digests.sha256,
        stored_size_bytes=digests.size_bytes,
        stored_sha256=digests.sha256,
        coding=Coding.IDENTITY,
        created_at=container.clock().now(),
    )


def _database_name(settings: StorageConfig) -> str:
    if settings.db_host is None:
        return str(settings.sqlite_file)
    name = (
        f"{settings.db_name}, schema {settings.db_schema}"
        if settings.db_schema
        else settings.db_name
    )
    return f"PostgreSQL at {settings.db_host} port {settings.db_port}, {name}"
