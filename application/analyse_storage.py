"""AnalyseStorage: measures storage patterns from counters and samples of bounded size."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta

import numpy as np

from traffic_storage.application.rules_in_force import RulesInForce
from traffic_storage.application.watch_pressure import StorePressure, WatchPressure
from traffic_storage.domain.duplicates import DuplicateReport, exact_duplicates
from traffic_storage.domain.files import FileKind, Tier
from traffic_storage.domain.forecast import Series, forecast
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.retention_rules import RetentionFacts
from traffic_storage.domain.storage_patterns import (
    OUTLOOK_DAYS,
    FileSample,
    StorageOptions,
    StoragePatterns,
    StoreOutlook,
    Totals,
    age_patterns,
    efficiency_of,
    hot_share,
    retention_outlooks,
    strategy_outlooks,
    time_to_full,
    with_retention,
)
from traffic_storage.domain.usage import CatalogueUsage, DailyUsage, day_of
from traffic_storage.ports.catalogue import Catalogue
from traffic_storage.ports.clock import Clock
from traffic_storage.ports.samples import Samples
from traffic_storage.ports.store_registry import StoreRegistry

SAMPLED = 500
"""The number of files of each kind that are sampled."""
NEWEST = 3000
"""The number of the newest files of each kind among which duplicates are looked for."""
_HISTORY_DAYS = 180
_RATE_DAYS = 28


class AnalyseStorage:
    """Measures what the stores hold, how it grows, what it costs, and what would change it."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        samples: Samples,
        registry: StoreRegistry,
        watch_pressure: WatchPressure,
        in_force: RulesInForce,
        clock: Clock,
        options: StorageOptions,
    ) -> None:
        self._catalogue = catalogue
        self._samples = samples
        self._registry = registry
        self._watch_pressure = watch_pressure
        self._in_force = in_force
        self._clock = clock
        self._options = options

    async def __call__(self, *, seed: int = 0) -> StoragePatterns:
        """Return the storage patterns. The cost does not grow with the number of files.

        Raises:
            CatalogueUnavailable: the database can't be reached.
        """
        now, options = self._clock.now(), self._options
        totals = await self._totals()
        sample = FileSample(
            [
                file
                for kind in FileKind
                for file in await self._samples.sample_files(kind, SAMPLED, seed)
            ],
            now,
        )
        history = await self._history(now)
        retention_days = await self._retention_days()
        duplicates = await self._duplicates()
        kinds = sample.kind_patterns(totals.usage)
        by_age = sample.bytes_by_age(totals.by_kind)
        return StoragePatterns(
            measured_at=now,
            efficiency=efficiency_of(totals, kinds, duplicates),
            files=sum(kind.files for kind in kinds),
            bytes=totals.bytes,
            held_bytes=totals.held_bytes,
            violations=totals.usage.violations,
            kinds=kinds,
            tiers=totals.tier_patterns(),
            devices=totals.device_patterns(await self._samples.device_usage()),
            ages=age_patterns(by_age),
            hot_share=hot_share(by_age),
            duplicates=duplicates,
            stores=tuple(
                history.outlook(found, sample, totals.usage, retention_days)
                for found in await self._watch_pressure()
            ),
            cost_month=options.prices.month(totals.by_tier()),
            currency=options.prices.currency,
            strategies=strategy_outlooks(totals, options),
            retention=retention_outlooks(totals, history.rates(), retention_days),
            sampled=len(sample.files),
        )

    async def _totals(self) -> Totals:
        usage = await self._catalogue.usage()
        tiers: dict[StoreId, Tier] = {}
        for store_id in {row.store_id for row in usage.stores}:
            registered = await self._registry.registered(store_id)
            if registered is not None:
                tiers[store_id] = registered.tier
        return Totals(usage, tiers, self._options.prices)

    async def _history(self, now: datetime) -> "_History":
        today = day_of(now)
        first = today - timedelta(days=_HISTORY_DAYS)
        return _History(await self._samples.daily_received(first, today), today)

    async def _retention_days(self) -> Mapping[FileKind, int]:
        rules = (await self._in_force.current()).rules
        return {kind: rules.applicable(RetentionFacts(kind))[0].days for kind in FileKind}

    async def _duplicates(self) -> DuplicateReport:
        return exact_duplicates(
            [
                content
                for kind in FileKind
                for content in await self._samples.newest_contents(kind, NEWEST)
            ]
        )


class _History:
    """What was received on the last days, by store and kind."""

    def __init__(self, days: Sequence[DailyUsage], today: date) -> None:
        self._days = days
        self._today = today

    def received(self, store_id: StoreId) -> Series:
        """Return the bytes that a store received on each whole day since its first one.

        On the first day of all, that day.
        """
        by_day: defaultdict[date, float] = defaultdict(float)
        for daily in self._days:
            for row in daily.change.stores:
                if row.store_id == store_id:
                    by_day[daily.day] += row.bytes
        if not by_day:
            return np.zeros(0)
        first = min(by_day)
        count = (self._today - first).days
        return np.array([by_day[first + timedelta(days=day)] for day in range(max(1, count))])

    def rates(self) -> Mapping[FileKind, float]:
        """Return the mean of the bytes of files of each kind that came a day, of the last weeks."""
        known = (self._today - min((one.day for one in self._days), default=self._today)).days
        days = min(_RATE_DAYS, max(1, known))
        sums: defaultdict[FileKind, float] = defaultdict(float)
        for daily in self._days:
            if self._today - timedelta(days=days) <= daily.day < self._today or not known:
                for row in daily.change.files:
                    sums[row.kind] += row.bytes
        return {kind: size / days for kind, size in sums.items()}

    def outlook(
        self,
        found: StorePressure,
        sample: FileSample,
        usage: CatalogueUsage,
        retention_days: Mapping[FileKind, int],
    ) -> StoreOutlook:
        """Return the forecast of a store."""
        received = self.received(found.store_id)
        expected = forecast(received, OUTLOOK_DAYS)
        held = {row.kind: row.bytes for row in usage.stores if row.store_id == found.store_id}
        kept = with_retention(
            expected.values,
            sample.expiring(found.store_id, held, OUTLOOK_DAYS),
            self._shares(found.store_id),
            retention_days,
        )
        room, deviations = found.pressure.room_bytes, expected.total_deviations()
        return StoreOutlook(
            found.store_id,
            found.tier,
            found.location,
            room,
            received,
            expected,
            time_to_full(room, expected.values, deviations),
            time_to_full(room, kept, deviations),
        )

    def _shares(self, store_id: StoreId) -> Mapping[FileKind, float]:
        """Return the share of each kind in what a store received in the last weeks."""
        since = self._today - timedelta(days=_RATE_DAYS)
        sums: defaultdict[FileKind, int] = defaultdict(int)
        for daily in self._days:
            for row in daily.change.stores:
                if row.store_id == store_id and daily.day >= since:
                    sums[row.kind] += row.bytes
        total = sum(sums.values())
        return {kind: size / total for kind, size in sums.items()} if total else {}
