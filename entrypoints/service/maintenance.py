"""The state of the storage, of the Python interface. `StorageService` documents the calls."""

from traffic_storage.entrypoints.service.parts import Parts
from traffic_storage.entrypoints.views import StatisticsView, statistics_view


class Maintenance:
    """What is stored where."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def statistics(self) -> StatisticsView:
        """The present figures."""
        use_cases = await self._parts.started()
        return statistics_view(await use_cases.statistics()())
