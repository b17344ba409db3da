"""The lifespan of an application, which starts and closes its container."""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from traffic_storage.application.operation_counters import OperationCounters
from traffic_storage.application.runtime import Runtime
from traffic_storage.domain.errors import TrafficStorageError
from traffic_storage.entrypoints.container import Container
from traffic_storage.entrypoints.extras import lacking
from traffic_storage.ports.errors import CatalogueUnavailable

_FAILED = "lifespan.startup.failed"

logger = logging.getLogger("traffic_storage.http")


class ServedContainer:
    """The container of an application, and the routes that use it.

    The lifespan starts the container. At its end it closes a container that the application made;
    the next lifespan then gets a new one from `renew`. A container of the caller (`renew` is None)
    stays open.
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

    @property
    def counters(self) -> OperationCounters:
        """The counters of the container's operations."""
        return self._container.counters()

    def is_started(self) -> bool:
        """Return whether the container has started."""
        return self.runtime.started

    async def start(self) -> None:
        """Start the container.

        Raises:
            CatalogueUnavailable: the database is unavailable, or the container is closed.
        """
        await self.runtime.start()

    def mount(self, app: FastAPI) -> None:
        """Add the container's routes to the application; replace those of an earlier container."""
        routes, fresh = app.router.routes, list(self._routes(self._container))
        first = routes.index(self._mounted[0]) if self._mounted else len(routes)
        routes[first : first + len(self._mounted)] = fresh
        self._mounted = fresh

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        """Start the container, and close it at the end if the application made it.

        The application also starts while the database is unavailable. The `Starting` middleware
        then starts the container when a request needs it.
        """
        if self._is_closed and self._renew is not None:
            self._container = self._renew()
            self._is_closed = False
            self.mount(app)
        try:
            for one in lacking(self._container.settings()):
                logger.warning("%s: %s (%s)", one.setting, one.effect, one.remedy)
            try:
                await self.start()
            except CatalogueUnavailable as error:
                logger.warning(
                    "the service starts although its catalogue is unavailable: %s", str(error)
                )
            yield
        finally:
            if self._renew is not None:
                self._is_closed = True
                await self.runtime.aclose()


class WatchedStart:
    """An application that keeps an error of its start, which a server would log with a traceback.

    `failure` is that error; an error of another class is logged.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.failure: TrafficStorageError | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request or the lifespan on."""
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return

        async def sent(message: Message) -> None:
            # The error follows; the message is its traceback.
            await send({**message, "message": ""} if message["type"] == _FAILED else message)

        try:
            await self._app(scope, receive, sent)
        except TrafficStorageError as error:
            self.failure = error
            raise
        except Exception:
            logger.exception("the service can't start")
            raise
