"""Runtime: start, periodic check of the stores, worker, health and shutdown of a service."""

import asyncio
import logging
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from contextvars import Context
from datetime import timedelta
from typing import Protocol

from attrs import frozen

from traffic_storage.application.forget_purged import ForgetPurged
from traffic_storage.application.rules_in_force import RulesInForce
from traffic_storage.application.stores import BoundStore, Stores
from traffic_storage.application.sweep import Sweep
from traffic_storage.application.tasks import OwnedTasks
from traffic_storage.application.watch_pressure import WatchPressure
from traffic_storage.application.worker import Worker
from traffic_storage.domain.errors import StorageFull, TrafficStorageError
from traffic_storage.domain.pressure import UNPRESSED, alerts_of
from traffic_storage.ports.cache import Cache
from traffic_storage.ports.errors import CatalogueReadOnly, CatalogueUnavailable
from traffic_storage.ports.record_repo import RecordRepo

logger = logging.getLogger("traffic_storage.runtime")

_PROBE = "health"


class WrongHome(TrafficStorageError):
    """A service is used in another process or on another event loop than the one that started it.

    Its threads, connections and locks belong to the first process and loop; elsewhere a call would
    never return.
    """

    def __init__(self) -> None:
        super().__init__(
            "this service was started in another process or on another event loop",
            remedy="create one service per process and event loop, after forking; services may "
            "share folders and databases",
        )


class Closing(Protocol):
    """An object that the service closes at shutdown."""

    async def aclose(self) -> None:
        """Free all resources of this object."""


@frozen
class Component:
    """The state of one component of the service.

    `needed` is whether requests can be served only while the component is healthy.
    """

    name: str
    healthy: bool
    needed: bool
    detail: str = ""


@frozen
class Health:
    """The state of all components of the service."""

    components: tuple[Component, ...]

    @property
    def ready(self) -> bool:
        """Whether requests can be served."""
        return all(part.healthy for part in self.components if part.needed)

    @property
    def degraded(self) -> bool:
        """Whether any component is unhealthy."""
        return not all(part.healthy for part in self.components)


class Runtime:
    """Starts a service and its worker, verifies its stores periodically, reports its health, closes it.

    `start` may be repeated until it succeeds.
    """

    def __init__(
        self,
        *,
        repo: RecordRepo,
        stores: Stores,
        cache: Cache,
        rules: RulesInForce,
        sweep: Sweep,
        forget_purged: ForgetPurged,
        watch_pressure: WatchPressure,
        worker: Worker | None,
        tasks: OwnedTasks,
        others: Sequence[Closing],
        verify_interval: timedelta,
    ) -> None:
        self._repo = repo
        self._stores = stores
        self._cache = cache
        self._rules = rules
        self._sweep = sweep
        self._forget_purged = forget_purged
        self._watch_pressure = watch_pressure
        self._worker = worker
        self._tasks = tasks
        self._others = others
        self._verify_interval = verify_interval
        self._starting = asyncio.Lock()
        self._home: tuple[int, asyncio.AbstractEventLoop] | None = None
        self._verifier: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def started(self) -> bool:
        """Whether `start` has succeeded."""
        return self._verifier is not None

    async def start(self) -> None:
        """Start the service: upgrade the catalogue, verify the stores, undo interrupted operations.

        Then two things are started: the periodic check of the stores, and the worker, if this
        process has one.

        Does nothing if the service is started. May be called again after a failure. An unavailable
        store is no failure: nothing is written to it until it is verified to be the registered one.

        Raises:
            CatalogueUnavailable: the database can't be reached, or `aclose` was called.
            ConfigurationError: the tables are newer than this version, or a slow migration is
                pending.
            WrongHome: another process or event loop has started it.
        """
        here = os.getpid(), asyncio.get_running_loop()
        self._home = self._home or here
        if self._home != here:
            raise WrongHome
        if not self.started:
            async with self._starting:
                await self._start_once()

    async def sweep(self) -> None:
        """Verify the stores, reload their usage, free caches, and run the maintenance (`Sweep`) once.

        Raises:
            CatalogueUnavailable: the database can't be reached.
        """
        await self._stores.bind()
        await self._sweep()
        await self._forget_purged()
        await self._free_caches()

    async def health(self) -> Health:
        """Return the state of all components.

        Calls the database and the cache; the state of a store is the one that its adapter last
        observed.
        """
        # Without this call, a cache that was not used since the start would count as healthy.
        await self._cache.get(_PROBE)
        cache = self._cache.health()
        written = [bound for bound in self._stores if bound.configured.written]
        catalogue = await self._catalogue_health()
        return Health(
            (
                catalogue,
                *map(self._store_health, written),
                *(await self._space_health(written) if catalogue.healthy else ()),
                Component("cache", cache.healthy, needed=False, detail=cache.detail),
            )
        )

    async def aclose(self) -> None:
        """Stop the worker, wait for running store operations, close all adapters.

        The worker gives its jobs back; another process goes on with them.

        The service can't be started again.

        Every adapter is closed, even if closing another one fails. The last failure is raised, with
        the earlier ones as its context.
        """
        self._closed = True
        async with self._starting:
            verifier, self._verifier = self._verifier, None
        if verifier is not None:
            verifier.cancel()
            await asyncio.gather(verifier, return_exceptions=True)
            if self._worker is not None:
                await self._worker.aclose()
        await self._tasks.aclose()
        stores = [bound.store for bound in self._stores]
        parts: list[Closing] = [self._repo, self._cache, *self._others, *stores]
        async with AsyncExitStack() as closing:
            for part in parts:
                closing.push_async_callback(part.aclose)

    async def _start_once(self) -> None:
        if self.started:
            return
        if self._closed:
            raise CatalogueUnavailable("this service was closed", remedy="open a new one")
        await self._repo.upgrade()
        await self._stores.bind()
        try:
            await self._rules.current()
            await self._sweep.recover()
        except (StorageFull, CatalogueReadOnly) as error:
            # Stored files can be read nevertheless; a later sweep undoes the operations.
            logger.warning(
                "the retention rules could not be entered, or interrupted store operations not be "
                "undone, at the start; both are tried again: %s",
                str(error),
            )
        self._verifier = asyncio.create_task(self._verifying(), context=Context())
        if self._worker is not None:
            self._worker.start()

    async def _verifying(self) -> None:
        while True:
            await asyncio.sleep(self._verify_interval.total_seconds())
            try:
                await self._stores.bind()
                await self._forget_purged()
                await self._free_caches()
            except TrafficStorageError as error:
                logger.warning(
                    "the stores could not be verified; they are verified again after "
                    "sweep_interval_seconds: %s",
                    str(error),
                )
            except Exception:
                logger.exception("verifying the stores failed")

    async def _free_caches(self) -> None:
        for bound in self._stores:
            await bound.store.free_cache()

    async def _catalogue_health(self) -> Component:
        try:
            await self.start()
            await self._repo.ping()
        except TrafficStorageError as error:
            return Component("catalogue", healthy=False, needed=True, detail=str(error))
        return Component("catalogue", healthy=True, needed=True)

    async def _space_health(self, written: Sequence[BoundStore]) -> Sequence[Component]:
        """Return for each identified store whether there is an alert about its space.

        It is measured here, so that it is told where no worker runs that would record it.
        """
        try:
            alerted = await self._watch_pressure.current(await self._repo.recorded_pressures())
        except CatalogueUnavailable:
            return ()
        return [
            Component(
                f"space of the {bound.store.tier} store {bound.store.location}",
                healthy=not (alerts := alerts_of(alerted.get(bound.store_id, UNPRESSED))),
                needed=False,
                detail=alerts,
            )
            for bound in written
            if bound.store_id is not None
        ]

    @staticmethod
    def _store_health(bound: BoundStore) -> Component:
        unavailable_reason = bound.untrusted_reason or bound.store.unavailable_reason()
        return Component(
            f"{bound.store.tier} store {bound.store.location}",
            healthy=not unavailable_reason,
            needed=False,
            detail=unavailable_reason,
        )
