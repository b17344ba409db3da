"""The lifespan of an application: the container that it serves with is started, and ended."""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.routing import BaseRoute

from traffic_storage.application.runtime import Runtime
from traffic_storage.entrypoints.container import Container
from traffic_storage.ports.errors import CatalogueUnavailable

logger = logging.getLogger("traffic_storage.http")


class ServedContainer:
    """The container that an application serves with, and the routes that stand on it.

    A container that was given to the application is started by the lifespan and left open. One that
    the application made (`renew` makes another) is closed at the end of the lifespan; a further
    lifespan serves with a new one.
    """

    def __init__(
        self,
        container: Container,
        routes: Callable[[Container], Sequence[BaseRoute]],
        renew: Callable[[], Container] | None,
    ) -> None:
        self._container = container
        self._routes = routes
        self._renew = renew
        self._mounted: list[BaseRoute] = []
        self._is_closed = False

    @property
    def runtime(self) -> Runtime:
        """The runtime of the container."""
        return self._container.runtime()

    def is_started(self) -> bool:
        """Whether requests can be served."""
        return self.runtime.started

    async def start(self) -> None:
        """Start the container.

        Raises:
            CatalogueUnavailable: the database is away, or the container is closed.
        """
        await self.runtime.start()

    def mount(self, app: FastAPI) -> None:
        """Add the routes to the application, in place of those of an earlier container."""
        routes, fresh = app.router.routes, list(self._routes(self._container))
        first = routes.index(self._mounted[0]) if self._mounted else len(routes)
        routes[first : first + len(self._mounted)] = fresh
        self._mounted = fresh

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        """Serve. Without its database the application starts too, and serves when it is back."""
        if self._is_closed and self._renew is not None:
            self._container = self._renew()
            self._is_closed = False
            self.mount(app)
        try:
            try:
                await self.start()
            except CatalogueUnavailable as error:
                logger.warning("the service starts without its catalogue: %s", str(error))
            yield
        finally:
            if self._renew is not None:
                self._is_closed = True
                await self.runtime.aclose()
