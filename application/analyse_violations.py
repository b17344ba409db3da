"""AnalyseViolations: measures when, where and which violations happen."""

from zoneinfo import ZoneInfo

from traffic_storage.domain.data_quality import checked_sample_size
from traffic_storage.domain.violation_patterns import ViolationPatterns, violation_patterns
from traffic_storage.ports.clock import Clock
from traffic_storage.ports.samples import Samples

SAMPLED = 5000
"""The number of violations that are sampled unless another one is given."""


class AnalyseViolations:
    """Measures violation patterns from a random sample and from the counters of devices."""

    def __init__(self, *, samples: Samples, clock: Clock, zone: ZoneInfo) -> None:
        self._samples = samples
        self._clock = clock
        self._zone = zone

    async def __call__(self, *, sample_size: int = SAMPLED, seed: int = 0) -> ViolationPatterns:
        """Return the patterns of at most `sample_size` violations, drawn by `seed`.

        Raises:
            CatalogueUnavailable: the database can't be reached.
            InvalidInput: `sample_size` is not 1 to 10,000.
        """
        limit = checked_sample_size(sample_size)
        sample = await self._samples.sample_violations(limit, seed)
        counts: dict[str, int] = {
            device.device_id: device.usage.violations
            for device in await self._samples.device_usage()
            if device.device_id is not None and device.usage.violations
        }
        return violation_patterns(sample, counts, self._zone, self._clock.now())
