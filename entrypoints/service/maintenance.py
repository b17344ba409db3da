"""`Maintenance`: the part of `StorageService` for statistics."""

from traffic_storage.entrypoints.service.parts import Parts
from traffic_storage.entrypoints.views import StatisticsView, statistics_view


class Maintenance:
    """Returns the storage statistics of a service."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def statistics(self) -> StatisticsView:
        """Implement `StorageService.get_storage_statistics`."""
        use_cases = await self._parts.started()
        return statistics_view(await use_cases.statistics()())
