"""Rehearsal: whether a file would be stored now, asked of the stores and the catalogue that there are."""

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

from attrs import evolve

from traffic_storage.application.drafts import Draft, DraftUnit
from traffic_storage.domain.errors import Conflict, TrafficStorageError
from traffic_storage.domain.files import Tier
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.placement import StoreStatus, place
from traffic_storage.domain.pressure import evidence_bytes
from traffic_storage.entrypoints.base_path import nearest_existing
from traffic_storage.entrypoints.cli.session import Session, is_new, opened
from traffic_storage.entrypoints.settings import StorageConfig

Rehearse: TypeAlias = Callable[[DraftUnit], Awaitable[bool]]
"""Returns whether something of a file or a violation would be stored; False if all is stored already.

It raises the error with which it would be refused. Files that were rehearsed before count as stored.
"""


@asynccontextmanager
async def rehearsing(session: Session, settings: StorageConfig) -> AsyncIterator[Rehearse]:
    """Open what there is, and yield the function that asks it; nothing is made that isn't there.

    Raises:
        CatalogueUnavailable: the database can't be reached.
        ConfigurationError: as opening the service.
    """
    if not await _is_there(session, settings):
        yield _once(_of_new_store(settings))
        return
    async with opened(session.container(settings)) as container:
        refused: TrafficStorageError | None = None
        try:
            await container.catalogue_upkeep().ping()
        except TrafficStorageError as error:
            refused = error

        async def ask(unit: DraftUnit) -> bool:
            if refused is not None:
                raise refused
            return await container.store_unit().rehearse(unit)

        yield _once(ask)


async def _is_there(session: Session, settings: StorageConfig) -> bool:
    """Return whether there is a service to ask, with tables of this version and its local store."""
    if is_new(settings):
        return False
    needs_local = settings.effective_strategy().needs_local
    if needs_local and not (settings.local_base_path / "blobs").is_dir():
        return False
    container = session.container(settings)
    try:
        return not await container.catalogue_upkeep().pending()
    finally:
        await container.runtime().aclose()


def _once(ask: Rehearse) -> Rehearse:
    """Return `ask` for units of which each counts as stored once it was asked for."""
    known: dict[str, str] = {}

    async def once(unit: DraftUnit) -> bool:
        contents = _contents(unit)
        for name, digest in contents.items():
            if known.get(name, digest) != digest:
                raise Conflict("file", name, "it was given before with other content")
        if contents.keys() <= known.keys():
            return False
        would_store = await ask(unit)
        known.update(contents)
        return would_store

    return once


def _contents(unit: DraftUnit) -> dict[str, str]:
    """Return the ids of a unit and what decides whether another one has the same content."""
    contents: dict[str, str] = {
        draft.file_id: draft.media.pixel_sha256 or draft.content.sha256 for draft in unit.drafts
    }
    if unit.violation is not None:
        # The metadata file also names the files that came with it, of which some may come later.
        contents[unit.violation.metadata_file_id] = unit.violation.record_sha256
    return contents


def _of_new_store(settings: StorageConfig) -> Rehearse:
    """Return what knows only the settings and the disk: the store would be made by the first file."""
    strategy = settings.effective_strategy()
    disk = shutil.disk_usage(nearest_existing(settings.local_base_path))
    cloud = StoreStatus(StoreId("cloud"), Tier.CLOUD, limit_bytes=settings.max_cloud_bytes)
    local = StoreStatus(
        StoreId("local"),
        Tier.LOCAL,
        limit_bytes=settings.max_local_bytes,
        free_bytes=disk.free if disk.total else None,  # /proc and the like have no size
        reserve_bytes=settings.local_reserve_bytes,
    )
    share = settings.evidence_reserve_share
    used = {local.store_id: 0, cloud.store_id: 0}

    def status(empty: StoreStatus, *, is_evidence: bool) -> StoreStatus:
        size = used[empty.store_id]
        free = None if empty.free_bytes is None else empty.free_bytes - size
        now = evolve(empty, used_bytes=size, free_bytes=free)
        now = evolve(now, evidence_bytes=evidence_bytes(now, share))
        return now if is_evidence else now.for_others()

    def take(draft: Draft) -> None:
        is_evidence, size = draft.violation_id is not None, draft.body.digests.size_bytes
        placement = place(
            strategy,
            draft.kind,
            size,
            local=status(local, is_evidence=is_evidence) if strategy.needs_local else None,
            cloud=status(cloud, is_evidence=is_evidence) if settings.cloud_configured else None,
            thresholds=settings.thresholds,
        )
        used[placement.first.store_id] += size

    async def ask(unit: DraftUnit) -> bool:
        for draft in unit.drafts:
            take(draft)
        return True

    return ask
