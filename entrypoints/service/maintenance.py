"""`Maintenance`: the part of `StorageService` for statistics and the synchronisation of stores."""

from traffic_storage.entrypoints.service.arguments import check_type
from traffic_storage.entrypoints.service.parts import Parts
from traffic_storage.entrypoints.views import StatisticsView, SyncView, statistics_view, sync_view


class Maintenance:
    """Returns the storage statistics of a service, and synchronises its stores."""

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
