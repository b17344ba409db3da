"""WatchPressure: measures how close each store is to being full, and tells when that changes."""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time, timedelta

from attrs import frozen

from traffic_storage.application.log_fields import fields
from traffic_storage.application.stores import BoundStore, Stores
from traffic_storage.application.worker import Outcome, Report
from traffic_storage.domain.files import Tier
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.jobs import JobKind, Run
from traffic_storage.domain.placement import StoreStatus
from traffic_storage.domain.pressure import (
    MEASURED_DAYS,
    UNPRESSED,
    Pressure,
    PressureLevel,
    PressureRules,
    RecordedPressure,
    bytes_per_day,
    change_of_alert,
    change_of_level,
    of_limit,
    pressure,
)
from traffic_storage.domain.usage import day_of
from traffic_storage.ports.catalogue import Catalogue
from traffic_storage.ports.changes import Changes
from traffic_storage.ports.clock import Clock

logger = logging.getLogger("traffic_storage.pressure")

WATCH_PRESSURE = JobKind("watch_pressure")


@frozen
class StorePressure:
    """The pressure on one store of this process, from its status."""

    store_id: StoreId
    tier: Tier
    location: str
    pressure: Pressure
    status: StoreStatus


class WatchPressure:
    """Measures the pressure on the stores of this process.

    The ingest rate of a store is the mean of the bytes that it received in the last 7 days and still
    holds, from the maintained counters. In the first day of a store, the day counts whole.
    """

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        changes: Changes,
        stores: Stores,
        clock: Clock,
        rules: PressureRules,
    ) -> None:
        self._catalogue = catalogue
        self._changes = changes
        self._stores = stores
        self._clock = clock
        self._rules = rules

    async def __call__(self) -> Sequence[StorePressure]:
        """Return the pressure on each identified store that the strategy writes.

        Raises:
            CatalogueUnavailable: the database can't be reached.
        """
        now = self._clock.now()
        rates = await self._rates(now)
        return [
            await self._of(bound, bound.store_id, rates)
            for bound in self._stores
            if bound.store_id is not None and bound.configured.written
        ]

    async def current(
        self, recorded: Mapping[StoreId, RecordedPressure]
    ) -> Mapping[StoreId, RecordedPressure]:
        """Return what `run` would leave recorded now, of the stores of this process.

        So the alerts are known where no worker records them.

        Raises:
            CatalogueUnavailable: the database can't be reached.
        """
        return {
            found.store_id: self.noted(found, recorded.get(found.store_id, UNPRESSED))
            for found in await self()
        }

    async def by_limit(self, store_id: StoreId) -> PressureLevel:
        """Return the pressure on a store by its limit alone, whatever else fills the disk.

        Raises:
            CatalogueUnavailable: the database can't be reached.
        """
        rates = await self._rates(self._clock.now())
        for bound in self._stores:
            if bound.store_id == store_id:
                status = of_limit(await self._stores.status(bound))
                return pressure(status, rates.get(store_id, 0.0), self._rules).level
        return PressureLevel.NONE

    async def run(self, _run: Run, _report: Report) -> Outcome:
        """Do a job of the kind `WATCH_PRESSURE`: record each new level and alert, with an event.

        Of all processes one records a change, and logs it.
        """
        for found in await self():
            await self._note_level(found)
            await self._note_alert(found)
        return Outcome()

    def noted(self, found: StorePressure, known: RecordedPressure) -> RecordedPressure:
        """Return what `run` would leave recorded of a store."""
        now = self._clock.now()
        level = change_of_level(found.store_id, found.pressure, self._rules, now)
        alert = change_of_alert(found.store_id, found.pressure, self._rules, now)
        known = level.noted_over(known)
        return known if alert is None else alert.noted_over(known)

    async def _note_level(self, found: StorePressure) -> None:
        change = change_of_level(found.store_id, found.pressure, self._rules, self._clock.now())
        if not await self._changes.apply(change):
            return
        here = change.pressure
        if here.level is PressureLevel.NONE:
            logger.info("%s has enough space again", found.location, extra=_told(found))
        else:
            word, reason = here.level.word, here.reason
            logger.warning("%s fills up (%s): %s", found.location, word, reason, extra=_told(found))

    async def _note_alert(self, found: StorePressure) -> None:
        change = change_of_alert(found.store_id, found.pressure, self._rules, self._clock.now())
        if change is None or not await self._changes.apply(change):
            return
        used = f"{found.pressure.used_percent:g} % of its space"
        if change.is_raised:
            at = self._rules.alert_percent
            logger.warning(
                "%s uses %s: the alert is at %g %%", found.location, used, at, extra=_told(found)
            )
        else:
            logger.info(
                "the usage alert of %s is over: it uses %s",
                found.location,
                used,
                extra=_told(found),
            )

    async def _of(
        self, bound: BoundStore, store_id: StoreId, rates: Mapping[StoreId, float]
    ) -> StorePressure:
        status = await self._stores.status(bound)
        found = pressure(status, rates.get(store_id, 0.0), self._rules)
        return StorePressure(store_id, bound.store.tier, bound.store.location, found, status)

    async def _rates(self, now: datetime) -> Mapping[StoreId, float]:
        today = day_of(now)
        first = today - timedelta(days=MEASURED_DAYS - 1)
        received: defaultdict[StoreId, int] = defaultdict(int)
        started = today
        for daily in await self._catalogue.daily_usage(first, today):
            started = min(started, daily.day)
            for row in daily.change.stores:
                received[row.store_id] += row.bytes
        # A new system is measured over the days since its first file.
        elapsed = now - datetime.combine(started, time(), UTC)
        return {store_id: bytes_per_day(size, elapsed) for store_id, size in received.items()}


def _told(found: StorePressure) -> dict[str, object]:
    here = found.pressure
    return fields(
        store_id=found.store_id,
        level=here.level.word,
        used_percent=here.used_percent,
        room_bytes=here.room_bytes,
    )
