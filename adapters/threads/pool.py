"""Threads of an adapter's own, for calls that block.

Leaner than an executor: one queue, and a way back that many calls share. A hop is most of what a
small read costs beyond its hashing.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Generic, ParamSpec, TypeVar

from traffic_storage.adapters.threads.deliveries import Deliveries, deliveries

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """`size` threads, one more started with each call until all are there.

    For any event loop; each call answers on the one that made it. A process that ends without
    `aclose` does not wait for them.
    """

    def __init__(self, size: int, name: str) -> None:
        self._size = size
        self._name = name
        self._begin()

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run one call in one hop.

        A cancelled wait ends at once: a call that has not begun never does, one that has ends by
        itself.
        """
        made = self._make(lambda: call(*args, **kwargs))
        try:
            await made.waiter
        except asyncio.CancelledError:
            made.withdraw()
            raise
        return made.outcome()

    async def run_to_end(
        self,
        abandon: Callable[[], None],
        call: Callable[P, T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run one call as `wait_to_end` does: when this returns or raises, it has ended."""
        made = self._make(lambda: call(*args, **kwargs))
        try:
            await made.waiter
        except asyncio.CancelledError:
            made.withdraw()
            abandon()
            await made.ended()
            raise
        return made.outcome()

    async def aclose(self) -> None:
        """End the threads when their calls have ended."""
        calls, threads = self._calls, self._threads
        self._begin()
        for _ in threads:
            calls.put(None)
        if threads:
            await asyncio.to_thread(_join, threads)

    def _begin(self) -> None:
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def _make(self, work: Callable[[], T]) -> "_Call[T]":
        if len(self._threads) < self._size:
            # Started before anything counts on it: a machine may have no thread left to give.
            thread = threading.Thread(
                target=_serve, args=(self._calls,), name=self._name, daemon=True
            )
            thread.start()
            self._threads.append(thread)
        made = _Call(work, asyncio.get_running_loop(), deliveries())
        self._calls.put(made.work_off)
        return made


class _Call(Generic[T]):
    """One call: made and awaited on a loop, worked off by a thread."""

    def __init__(
        self, work: Callable[[], T], loop: asyncio.AbstractEventLoop, way_back: Deliveries
    ) -> None:
        self.waiter: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._way_back = way_back
        self._work: Callable[[], T] | None = work
        self._result: list[T] = []
        self._error: BaseException | None = None
        self._has_ended = False

    def work_off(self) -> None:
        """Do it, in a thread, unless it was withdrawn."""
        if work := self._work:
            try:
                self._result.append(work())
            except BaseException as error:  # noqa: BLE001 - handed to whoever waits
                self._error = error
        # The caller's arguments are the caller's again: nothing here keeps a file open.
        self._work = work = None
        self._way_back.add(self._end)

    def withdraw(self) -> None:
        """Never do it, if it has not begun."""
        self._work = None

    def outcome(self) -> T:
        """What it gave, or its error raised; once."""
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None
        return self._result.pop()

    async def ended(self) -> None:
        """Return when it has ended, however often the wait is cancelled."""
        while not self._has_ended:
            self.waiter = self._loop.create_future()
            with suppress(asyncio.CancelledError):
                await self.waiter

    def _end(self) -> None:
        self._has_ended = True
        if not self.waiter.done():
            self.waiter.set_result(None)


async def wait_to_end(running: asyncio.Future[T], abandon: Callable[[], None]) -> T:
    """Wait for work that leaves something behind; when this returns or raises, it has ended.

    On cancellation `abandon` is called, which asks the work to end early; the cancellation goes
    on when it has.
    """
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        abandon()
        while not running.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        if not running.cancelled():
            running.exception()
        raise


def _serve(calls: SimpleQueue[Callable[[], None] | None]) -> None:
    while (work_off := calls.get()) is not None:
        work_off()
        del work_off


def _join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join()
