"""`DataAnalyzer`: analyses of what a service has stored."""

from datetime import datetime

from traffic_storage.application.analyse_quality import SAMPLED as SAMPLED_RECORDS
from traffic_storage.application.analyse_violations import SAMPLED as SAMPLED_VIOLATIONS
from traffic_storage.entrypoints.analysis_views import (
    DataQualityView,
    StoragePatternsView,
    ViolationPatternsView,
    data_quality_view,
    storage_patterns_view,
    violation_patterns_view,
)
from traffic_storage.entrypoints.export_views import zone_named
from traffic_storage.entrypoints.service.arguments import check_type, instant_of
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

    async def analyze_data_quality(
        self,
        sample_size: int = SAMPLED_RECORDS,
        *,
        seed: int = 0,
        device_id: str | None = None,
    ) -> DataQualityView:
        """Return how good a sample of records and images is, what is wrong, which cameras change.

        With `device_id`, violations and images of this device are taken at even intervals of time.

        Raises:
            InvalidInput: `sample_size` is not 1 to 10,000, or no device can have this id.
            NotFound: nothing of a device with this id was ever stored.
        """
        check_type("seed", seed, int)
        use_cases = await self._parts.started()
        return data_quality_view(
            await use_cases.analyse_quality()(
                sample_size=sample_size, seed=seed, device_id=device_id
            )
        )

    async def analyze_storage_patterns(self, *, seed: int = 0) -> StoragePatternsView:
        """Return what is stored by kind, device, tier and age, its growth, cost and efficiency."""
        use_cases = await self._parts.started()
        check_type("seed", seed, int)
        return storage_patterns_view(await use_cases.analyse_storage()(seed=seed))

    async def analyze_violation_patterns(
        self,
        sample_size: int = SAMPLED_VIOLATIONS,
        *,
        seed: int = 0,
        device_id: str | None = None,
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        zone: str | None = None,
    ) -> ViolationPatternsView:
        """Return the shares of violations by hour, weekday, device and type, with intervals.

        With `device_id`, `start_time` or `end_time` (without a zone: in the setting `timezone`), only
        violations of this device and of `start_time ≤ time < end_time` count; if more than 20,000
        match, their numbers are estimates. `zone` is that of hours and weekdays, as Europe/Madrid;
        without it, the setting `timezone`.

        Raises:
            InvalidInput: `sample_size` is not 1 to 10,000, `start_time` is after `end_time`, there is
                no such zone, or no device can have this id.
            NotFound: nothing of a device with this id was ever stored.
        """
        check_type("seed", seed, int)
        start = instant_of("start_time", start_time, self._parts.zone)
        end = instant_of("end_time", end_time, self._parts.zone)
        named = None if zone is None else zone_named(zone)
        use_cases = await self._parts.started()
        return violation_patterns_view(
            await use_cases.analyse_violations()(
                sample_size=sample_size,
                seed=seed,
                device_id=device_id,
                start_time=start,
                end_time=end,
                zone=named,
            )
        )
