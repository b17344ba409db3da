"""Running work in tasks that continue after their caller is cancelled."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from traffic_storage.ports.errors import CatalogueUnavailable

T = TypeVar("T")

logger = logging.getLogger("traffic_storage.tasks")


PATIENT_SECONDS = 1.0
"""Work that takes longer is not done for a sender who is gone."""


async def unless_gone(
    work: Coroutine[Any, Any, T],
    gone: Callable[[], Coroutine[Any, Any, None]] | None,
) -> T:
    """Return the result of `work`. Cancel it if it takes long and its sender is gone.

    `gone` raises an error when the sender is gone. Quick work is done in any case, for some devices
    close the connection behind their last byte.

    Raises: whatever `work` and `gone` raise.
    """
    if gone is None:
        return await work
    working = asyncio.ensure_future(work)
    leaving: asyncio.Future[None] | None = None
    try:
        await asyncio.wait({working}, timeout=PATIENT_SECONDS)
        if not working.done():
            leaving = asyncio.ensure_future(gone())
            await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                await leaving
        return await working
    finally:
        for task in (working, leaving):
            if task is not None and not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task


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
