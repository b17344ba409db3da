"""A thread pool for blocking calls.

The standard `ThreadPoolExecutor` has three disadvantages. A hop (a call in a thread and the
way back) costs more than twice the CPU time (`python -m benchmarks.hops`), and the hop is most of
the cost of a small read beyond its hashing. A process that exits waits for its calls. A call for
which no thread could be started stays in its queue.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Generic, ParamSpec, TypeVar

from traffic_storage.adapters.threads.deliveries import deliveries

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """A pool of up to `size` threads: each call starts another thread until there are `size`.

    Usable from any event loop: a result is delivered on the loop that made the call. A process that
    exits without `aclose` does not wait for the threads.
    """

    def __init__(self, size: int, name: str) -> None:
        self._size = size
        self._name = name
        self._begin()

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run one blocking call in a thread and return its result.

        On cancellation this method raises at once. A call that has not begun is dropped; a call
        that has begun runs to its end and its result is dropped.
        """
        made = self._make(lambda: call(*args, **kwargs))
        try:
            return await made.future
        except asyncio.CancelledError:
            made.withdraw()
            raise

    async def run_to_end(
        self,
        abandon: Callable[[], None],
        call: Callable[P, T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run one call in a thread; on cancellation, call `abandon` and wait for the call's end."""
        made = self._make(lambda: call(*args, **kwargs))

        def give_up() -> None:
            made.withdraw()
            abandon()

        return await wait_to_end(made.future, give_up)

    async def aclose(self) -> None:
        """End the threads after the running and the queued calls."""
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
            # Started before the call is queued, because the system may refuse a new thread.
            thread = threading.Thread(
                target=_serve, args=(self._calls,), name=self._name, daemon=True
            )
            thread.start()
            self._threads.append(thread)
        made = _Call(work)
        self._calls.put(made.run)
        return made


class _Call(Generic[T]):
    """A blocking call: created and awaited on an event loop, run by a thread of the pool."""

    def __init__(self, work: Callable[[], T]) -> None:
        self.future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._deliveries = deliveries()
        self._work: Callable[[], T] | None = work
        self._result: list[T] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        """Run the call in a thread, unless it was withdrawn."""
        if work := self._work:
            try:
                self._result.append(work())
            except BaseException as error:  # noqa: BLE001 - raised where the call is awaited
                self._error = error
        # The arguments are released here, so that the thread keeps no file open.
        self._work = work = None
        self._deliveries.add(self._end)

    def withdraw(self) -> None:
        """Drop the call if it has not begun."""
        self._work = None

    def _end(self) -> None:
        error, self._error = self._error, None
        if self.future.done():
            return
        if error is not None:
            self.future.set_exception(error)
        elif self._result:
            self.future.set_result(self._result.pop())
        else:  # Withdrawn.
            self.future.cancel()


async def wait_to_end(running: asyncio.Future[T], abandon: Callable[[], None]) -> T:
    """Wait until `running` has ended, even if the waiting task is cancelled; return its result.

    On cancellation, call `abandon`, which asks the work to end early, and raise the cancellation
    when the work has ended.
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
    while (run := calls.get()) is not None:
        run()
        del run


def _join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join()
