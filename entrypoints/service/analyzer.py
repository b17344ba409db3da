"""`DataAnalyzer`: analyses of what a service has stored."""

from traffic_storage.entrypoints.analysis_views import StoragePatternsView, storage_patterns_view
from traffic_storage.entrypoints.service.arguments import check_type
from traffic_storage.entrypoints.service.service import StorageService


class DataAnalyzer:
    """Analyses the files and violations of a service; it changes nothing.

    The analyses read maintained counters and random samples, so their cost does not grow with the
    number of files. The same `seed` draws the same sample while nothing is stored or deleted.

    Errors of all methods:
        CatalogueUnavailable: the database can't be reached.
    """

    def __init__(self, storage: StorageService) -> None:
        check_type("storage", storage, StorageService)
        self._parts = storage.parts

    async def analyze_storage_patterns(self, *, seed: int = 0) -> StoragePatternsView:
        """Return what is stored by kind, device, tier and age, its growth, cost and efficiency."""
        use_cases = await self._parts.started()
        check_type("seed", seed, int)
        return storage_patterns_view(await use_cases.analyse_storage()(seed=seed))
