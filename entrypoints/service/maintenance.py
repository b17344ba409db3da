"""`Maintenance`: statistics, synchronisation, reconcile and rebuild of a `StorageService`."""

from collections.abc import Collection

from traffic_storage.entrypoints.service.arguments import check_type
from traffic_storage.entrypoints.service.parts import Parts
from traffic_storage.entrypoints.views import (
    RebuildView,
    ReconciliationView,
    StatisticsView,
    SyncView,
    rebuild_view,
    reconciliation_view,
    statistics_view,
    sync_view,
)


class Maintenance:
    """Returns statistics, synchronises stores, and compares them with the catalogue."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def statistics(self) -> StatisticsView:
        """Implement `StorageService.get_storage_statistics`."""
        use_cases = await self._parts.started()
        return statistics_view(await use_cases.statistics()())

    async def sync(self, *, dry_run: bool) -> SyncView:
        """Implement `StorageService.sync_backends`."""
        check_type("dry_run", dry_run, bool)
        sync = (await self._parts.started()).sync_backends()
        return sync_view(await sync.plan() if dry_run else await sync())

    async def reconcile(self, *, dry_run: bool, override_limit: bool) -> list[ReconciliationView]:
        """Implement `StorageService.reconcile_stores`."""
        check_type("dry_run", dry_run, bool)
        check_type("override_limit", override_limit, bool)
        use_cases = await self._parts.started()
        found = await use_cases.reconcile()(
            lambda _store_id, _progress: None, dry_run=dry_run, override_limit=override_limit
        )
        return [reconciliation_view(one) for one in found]

    async def rebuild(
        self, *, dry_run: bool, read: bool, take_over: Collection[str]
    ) -> RebuildView:
        """Implement `StorageService.rebuild_catalogue`."""
        check_type("dry_run", dry_run, bool)
        check_type("read", read, bool)
        use_cases = await self._parts.started()
        found = await use_cases.rebuild_catalogue()(
            lambda _progress: None, dry_run=dry_run, read=read, take_over=take_over
        )
        return rebuild_view(found)
