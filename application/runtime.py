"""Runtime: start, periodic maintenance (the sweep), health and shutdown of a service."""

import asyncio
import logging
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Protocol

from attrs import frozen

from traffic_storage.application.recovery import Recover
from traffic_storage.application.stores import BoundStore, Stores
from traffic_storage.application.tasks import OwnedTasks
from traffic_storage.domain.errors import StorageFull, TrafficStorageError
from traffic_storage.ports.cache import Cache
from traffic_storage.ports.errors import CatalogueUnavailable
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
    """Starts a service, runs its periodic maintenance (`sweep`), reports its health, closes it.

    `start` may be repeated until it succeeds.
    """

    def __init__(
        self,
        *,
        repo: RecordRepo,
        stores: Stores,
        cache: Cache,
        recover: Recover,
        tasks: OwnedTasks,
        others: Sequence[Closing],
        sweep_interval: timedelta,
    ) -> None:
        self._repo = repo
        self._stores = stores
        self._cache = cache
        self._recover = recover
        self._tasks = tasks
        self._others = others
        self._sweep_interval = sweep_interval
        self._starting = asyncio.Lock()
        self._home: tuple[int, asyncio.AbstractEventLoop] | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def started(self) -> bool:
        """Whether `start` has succeeded."""
        return self._sweeper is not None

    async def start(self) -> None:
        """Start the service: upgrade the catalogue, verify the stores, undo interrupted operations.

        Then the periodic maintenance (`sweep`) is started as a task.

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
        """Run the periodic maintenance once.

        It verifies the stores, reloads their usage, undoes interrupted store operations, and adds
        the recorded changes of the counters to the totals.

        Raises:
            CatalogueUnavailable: the database can't be reached.
        """
        await self._stores.bind()
        await self._recover()
        await self._repo.fold_counters()

    async def health(self) -> Health:
        """Return the state of all components.

        Calls the database and the cache; the state of a store is the one that its adapter last
        observed.
        """
        # Without this call, a cache that was not used since the start would count as healthy.
        await self._cache.get(_PROBE)
        cache = self._cache.health()
        return Health(
            (
                await self._catalogue_health(),
                *(self._store_health(bound) for bound in self._stores if bound.configured.written),
                Component("cache", cache.healthy, needed=False, detail=cache.detail),
            )
        )

    async def aclose(self) -> None:
        """Stop the periodic maintenance, wait for running store operations, close all adapters.

        The service can't be started again.

        Every adapter is closed, even if closing another one fails. The last failure is raised, with
        the earlier ones as its context.
        """
        self._closed = True
        async with self._starting:
            sweeper, self._sweeper = self._sweeper, None
        if sweeper is not None:
            sweeper.cancel()
            await asyncio.gather(sweeper, return_exceptions=True)
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
            await self._recover()
        except StorageFull as error:
            # Stored files can be read nevertheless; a sweep recovers later.
            logger.warning(
                "interrupted store operations could not be undone at the start; the periodic "
                "maintenance tries again: %s",
                str(error),
            )
        self._sweeper = asyncio.create_task(self._sweeping())

    async def _sweeping(self) -> None:
        while True:
            await asyncio.sleep(self._sweep_interval.total_seconds())
            try:
                await self.sweep()
            except TrafficStorageError as error:
                logger.warning(
                    "the periodic maintenance could not run; it runs again after "
                    "sweep_interval_seconds: %s",
                    str(error),
                )
            except Exception:
                logger.exception("the periodic maintenance failed")

    async def _catalogue_health(self) -> Component:
        try:
            await self.start()
            await self._repo.ping()
        except TrafficStorageError as error:
            return Component("catalogue", healthy=False, needed=True, detail=str(error))
        return Component("catalogue", healthy=True, needed=True)

    @staticmethod
    def _store_health(bound: BoundStore) -> Component:
        unavailable_reason = bound.untrusted_reason or bound.store.unavailable_reason()
        return Component(
            f"{bound.store.tier} store {bound.store.location}",
            healthy=not unavailable_reason,
            needed=False,
            detail=unavailable_reason,
        )
