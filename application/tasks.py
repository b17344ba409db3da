"""Tasks: work that goes on when the caller who asked for it is gone."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from traffic_storage.ports.errors import CatalogueUnavailable

T = TypeVar("T")

logger = logging.getLogger("traffic_storage.tasks")


class OwnedTasks:
    """Tasks that the service owns: a client that disconnects does not cancel them.

    A cancelled commit may have happened; so what is begun is brought to its end, and closing
    waits for it.
    """

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, which goes on even when this call is cancelled."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    async def all_or_none(
        self, work: Sequence[Coroutine[Any, Any, T]], *, undo: Callable[[T], Awaitable[None]]
    ) -> list[T]:
        """The results of all, run concurrently. When one fails, the others are cancelled and what
        they had achieved is undone; the first error itself is raised, not a group.
        """
        tasks = [asyncio.ensure_future(coroutine) for coroutine in work]
        try:
            return list(await asyncio.gather(*tasks))
        except BaseException:
            for task in tasks:
                task.cancel()
            await self.run(_undone(tasks, undo))
            raise

    def check_open(self) -> None:
        """For work that changes something, at its beginning.

        Raises:
            CatalogueUnavailable: the service was closed while this was on its way.
        """
        if self._closed:
            raise CatalogueUnavailable("this service was closed", remedy="open a new one")

    async def aclose(self) -> None:
        """Begin nothing more, and wait for all that runs."""
        self._closed = True
        await self.settled()

    async def settled(self) -> None:
        """Wait until nothing runs."""
        while self._running:
            await asyncio.wait(set(self._running))

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()):
            logger.debug("an owned task ended with %s: %s", type(error).__name__, str(error))


async def _undone(tasks: Sequence[asyncio.Task[T]], undo: Callable[[T], Awaitable[None]]) -> None:
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if not isinstance(outcome, BaseException):
            await undo(outcome)
