"""Measure: the figures of a running system for metrics, gathered at a bounded cost."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from attrs import frozen

from traffic_storage.application.stores import Stores
from traffic_storage.application.verify_replicas import VerifyReplicas
from traffic_storage.application.watch_pressure import StorePressure, WatchPressure
from traffic_storage.domain.errors import TrafficStorageError
from traffic_storage.domain.files import Tier
from traffic_storage.domain.fixity import Coverage
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.jobs import JobKind
from traffic_storage.domain.pressure import UNPRESSED, RecordedPressure
from traffic_storage.domain.readings import DueRetention, WaitingJobs
from traffic_storage.domain.usage import CatalogueUsage
from traffic_storage.ports.cache import Cache, CacheHealth
from traffic_storage.ports.catalogue import Catalogue
from traffic_storage.ports.clock import Clock
from traffic_storage.ports.readings import Readings

logger = logging.getLogger("traffic_storage.measure")

KEPT = timedelta(seconds=5)
"""For how long what was read of the catalogue serves further readers."""

COVERAGE_KEPT = timedelta(minutes=1)
"""The same for the coverage of verification, for which up to 10,000 entries a store are counted."""

_MOST_SECONDS = 5.0


@frozen
class StoreState:
    """One store of this process. `store_id` is None until it is identified.

    Attributes:
        is_reachable: whether its adapter calls the store; False while its breaker is open.
        is_trusted: whether the store may be changed: it and the catalogue agree about its identity.
    """

    tier: Tier
    location: str
    store_id: StoreId | None
    is_reachable: bool
    is_trusted: bool


@frozen
class CatalogueFigures:
    """What was read of the catalogue at the time `at`, and of the stores that this process writes.

    `alerts` are the levels and usage alerts that a worker records, as they are now.
    """

    at: datetime
    usage: CatalogueUsage
    pressures: Sequence[StorePressure]
    alerts: Mapping[StoreId, RecordedPressure]
    jobs: Sequence[WaitingJobs]
    due: DueRetention
    coverage: Coverage


@frozen
class Measurements:
    """The figures of the system. `catalogue` is None while the database does not answer."""

    stores: Sequence[StoreState]
    cache: CacheHealth
    catalogue: CatalogueFigures | None


class Measure:
    """Gathers the figures from counters and indexes. No table is walked through.

    What is read of the catalogue is kept for `kept`, the coverage of verification for
    `coverage_kept`, and concurrent calls share one reading: any number of readers costs the database
    no more than one.
    """

    def __init__(
        self,
        *,
        readings: Readings,
        catalogue: Catalogue,
        verify_replicas: VerifyReplicas,
        watch_pressure: WatchPressure,
        stores: Stores,
        cache: Cache,
        clock: Clock,
        kinds: Sequence[JobKind],
        kept: timedelta = KEPT,
        coverage_kept: timedelta = COVERAGE_KEPT,
    ) -> None:
        self._readings = readings
        self._catalogue = catalogue
        self._verify_replicas = verify_replicas
        self._watch_pressure = watch_pressure
        self._stores = stores
        self._cache = cache
        self._clock = clock
        self._kinds = tuple(kinds)
        self._kept = kept
        self._reading = asyncio.Lock()
        self._known: CatalogueFigures | None = None
        self._known_at = 0.0
        self._coverage_kept = coverage_kept
        self._coverage: Coverage | None = None
        self._covered_at = 0.0

    async def __call__(self, *, is_started: bool = True) -> Measurements:
        """Return the current figures. `is_started`: whether the catalogue may be read already."""
        figures = await self._figures() if is_started else None
        return Measurements(
            [
                StoreState(
                    bound.store.tier,
                    bound.store.location,
                    bound.store_id,
                    is_reachable=not bound.store.unavailable_reason(),
                    is_trusted=bound.store_id is not None and not bound.untrusted_reason,
                )
                for bound in self._stores
            ],
            self._cache.health(),
            figures,
        )

    async def _figures(self) -> CatalogueFigures | None:
        async with self._reading:
            if self._known is not None and self._is_fresh(self._known_at, self._kept):
                return self._known
            self._known = None
            try:
                async with asyncio.timeout(_MOST_SECONDS):
                    self._known = await self._read()
            except (TrafficStorageError, TimeoutError) as error:
                logger.warning("the metrics of the catalogue can't be read now: %s", str(error))
            self._known_at = self._clock.monotonic()
            return self._known

    def _is_fresh(self, at: float, kept: timedelta) -> bool:
        return self._clock.monotonic() - at < kept.total_seconds()

    async def _read(self) -> CatalogueFigures:
        now, watch = self._clock.now(), self._watch_pressure
        pressures, recorded = await watch(), await self._readings.recorded_pressures()
        return CatalogueFigures(
            now,
            await self._catalogue.usage(),
            pressures,
            {
                one.store_id: watch.noted(one, recorded.get(one.store_id, UNPRESSED))
                for one in pressures
            },
            await self._readings.waiting_jobs(self._kinds),
            await self._readings.due_retention(now),
            await self._current_coverage(),
        )

    async def _current_coverage(self) -> Coverage:
        if self._coverage is None or not self._is_fresh(self._covered_at, self._coverage_kept):
            self._coverage = await self._verify_replicas.coverage()
            self._covered_at = self._clock.monotonic()
        return self._coverage
