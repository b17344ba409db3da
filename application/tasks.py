"""Running work in tasks that continue after their caller is cancelled."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from traffic_storage.ports.errors import CatalogueUnavailable

T = TypeVar("T")

logger = logging.getLogger("traffic_storage.tasks")


class OwnedTasks:
    """Tasks that the service owns: a client that disconnects does not cancel them.

    The outcome of a cancelled commit is unknown. A task that has started therefore always runs
    to its end, and `aclose` waits for it.
    """

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of `work`. Cancelling this call does not cancel `work`."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def check_open(self) -> None:
        """Check that the service is open. Called before work that changes something.

        Raises:
            CatalogueUnavailable: the service is closed.
        """
        if self._closed:
            raise CatalogueUnavailable("this service was closed", remedy="open a new one")

    async def aclose(self) -> None:
        """Refuse new work and wait until no task runs."""
        self._closed = True
        await self.settled()

    async def settled(self) -> None:
        """Wait until no task runs."""
        while self._running:
            await asyncio.wait(set(self._running))

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()):
            logger.debug("a task of the service failed: %s: %s", type(error).__name__, str(error))
