"""AnalyseViolations: measures when, where and which violations happen."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
from attrs import evolve

from traffic_storage.application.known_devices import check_known
from traffic_storage.domain.data_quality import MAX_SAMPLE, checked_sample_size
from traffic_storage.domain.query import MAX_LIMIT, Cursor, ViolationQuery
from traffic_storage.domain.violation import StoredViolation
from traffic_storage.domain.violation_patterns import ViolationPatterns, violation_patterns
from traffic_storage.ports.catalogue import Catalogue
from traffic_storage.ports.clock import Clock
from traffic_storage.ports.samples import Samples

SAMPLED = 5000
"""The number of violations that are sampled unless another one is given."""
MOST_READ = 20_000
"""The number of violations of a period or device that are read at most to draw from."""


class AnalyseViolations:
    """Measures violation patterns from a random sample and from the counters of devices."""

    def __init__(
        self, *, samples: Samples, catalogue: Catalogue, clock: Clock, zone: ZoneInfo
    ) -> None:
        self._samples = samples
        self._catalogue = catalogue
        self._clock = clock
        self._zone = zone

    async def __call__(
        self,
        *,
        sample_size: int = SAMPLED,
        seed: int = 0,
        device_id: str | None = None,
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        zone: ZoneInfo | None = None,
    ) -> ViolationPatterns:
        """Return the patterns of at most `sample_size` violations, drawn by `seed`.

        With `device_id`, `start_time` or `end_time`, only violations of this device and of
        `start_time ≤ occurred_at < end_time` count. If more than 20,000 match, they are drawn from
        10,000 of all violations; then their number is an estimate, and the sample of a narrow range
        of a very large catalogue is small. `zone` is that of hours and weekdays, if not the setting.

        Raises:
            CatalogueUnavailable: the database can't be reached.
            InvalidInput: `sample_size` is not 1 to 10,000, `start_time` is after `end_time`, or no
                device can have this id.
            NotFound: nothing of a device with this id was ever stored.
        """
        limit = checked_sample_size(sample_size)
        query = ViolationQuery(
            device_id=device_id, start_time=start_time, end_time=end_time, limit=MAX_LIMIT
        )
        now = self._clock.now()
        if device_id is None and start_time is None and end_time is None:
            sample, counts = (
                await self._samples.sample_violations(limit, seed),
                await self._counts(),
            )
        else:
            sample, counts = await self._matching(query, limit, seed)
        if device_id is not None and not sample:
            await check_known(self._catalogue, device_id, now)
        period = (start_time, end_time or now) if start_time is not None else None
        return violation_patterns(sample, counts, zone or self._zone, now, period)

    async def _matching(
        self, query: ViolationQuery, limit: int, seed: int
    ) -> tuple[Sequence[StoredViolation], Mapping[str, int]]:
        """Return a sample of the violations that match, and the number of each device's.

        All are read if they are few. The rows of many are spread over the table, so a sample of it
        has enough of them.
        """
        found: list[StoredViolation] = []
        after: Cursor | None = None
        while len(found) < MOST_READ:
            page = await self._catalogue.violations(evolve(query, after=after))
            found += page.items
            after = page.next
            if after is None:
                return _drawn(found, limit, seed), _by_device(found)
        sample = await self._samples.sample_violations(MAX_SAMPLE, seed)
        matching = [one for one in sample if _matches(query, one)]
        share = sum((await self._counts()).values()) / max(1, len(sample))
        counts = {device: round(share * count) for device, count in _by_device(matching).items()}
        return _drawn(matching, limit, seed), counts

    async def _counts(self) -> Mapping[str, int]:
        return {
            device.device_id: device.usage.violations
            for device in await self._samples.device_usage()
            if device.device_id is not None and device.usage.violations
        }


def _drawn(found: Sequence[StoredViolation], limit: int, seed: int) -> Sequence[StoredViolation]:
    order = np.random.default_rng(seed).permutation(len(found))
    return [found[place] for place in order[:limit].tolist()]


def _by_device(found: Sequence[StoredViolation]) -> Mapping[str, int]:
    return Counter(one.record.device_id for one in found)


def _matches(query: ViolationQuery, one: StoredViolation) -> bool:
    return (
        query.device_id in (None, one.record.device_id)
        and (query.start_time is None or query.start_time <= one.occurred_at)
        and (query.end_time is None or one.occurred_at < query.end_time)
    )
