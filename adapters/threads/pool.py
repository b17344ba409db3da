"""A thread pool for blocking calls.

The standard `ThreadPoolExecutor` has three disadvantages. A hop (a call in a thread and the
way back) costs more than twice the CPU time (`python -m benchmarks.hops`), and the hop is most of
the cost of a small read beyond its hashing. A process that exits waits for its calls. A call for
which no thread could be started stays in its queue.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from time import monotonic
from typing import Generic, ParamSpec, TypeVar

from attrs import frozen

from traffic_storage.adapters.threads.deliveries import deliveries

P = ParamSpec("P")
T = TypeVar("T")

_LATE_LOOK_SECONDS = 1.0
_log = logging.getLogger("traffic_storage.threads")


@frozen
class Patience:
    """How long a call in a thread may take, and the error of one that takes longer.

    The time counts from the begin of the call in its thread. A late call goes on in its thread; while
    `most_late` calls are late, every other call is refused at once with the same error.
    """

    seconds: float
    refusal: Callable[[], Exception]
    most_late: int


class Threads:
    """A pool of up to `size` threads: each call starts another thread until there are `size`.

    Usable from any event loop: a result is delivered on the loop that made the call. A process that
    exits without `aclose` does not wait for the threads. Without `patience`, calls may take any time.
    """

    def __init__(self, size: int, name: str, patience: Patience | None = None) -> None:
        self._size = size
        self._name = name
        self._patience = patience
        self._late = 0
        self._begin()

    @property
    def late(self) -> int:
        """The number of calls that run longer than the patience lasts."""
        return self._late

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run one blocking call in a thread and return its result.

        On cancellation this method raises at once. A call that has not begun is dropped; a call
        that has begun runs to its end and its result is dropped.
        """
        made = self._make(lambda: call(*args, **kwargs))
        timer = self._timer(made)
        try:
            return await made.future
        except asyncio.CancelledError:
            made.withdraw()
            raise
        finally:
            if timer is not None:
                timer.cancel()

    async def run_to_end(
        self,
        abandon: Callable[[], None],
        call: Callable[P, T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run one call in a thread; on cancellation, call `abandon` and wait for the call's end.

        A call that is late is abandoned too, and is not waited for.
        """
        return await self.run_longer(0, abandon, call, *args, **kwargs)

    async def run_longer(
        self,
        seconds: float,
        abandon: Callable[[], None],
        call: Callable[P, T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """As `run_to_end`, for a call that may take so many seconds longer than the patience lasts."""
        made = self._make(lambda: call(*args, **kwargs))

        def give_up() -> None:
            made.withdraw()
            abandon()

        timer = self._timer(made, seconds, abandon)
        try:
            return await wait_to_end(made.future, give_up)
        finally:
            if timer is not None:
                timer.cancel()

    async def aclose(self, seconds: float | None = None) -> None:
        """End the threads after the running and the queued calls.

        With patience, threads whose calls do not end in that time, or in `seconds`, are left behind.
        """
        calls, threads = self._calls, self._threads
        self._begin()
        for _ in threads:
            calls.put(None)
        if not threads:
            return
        if self._patience is None:
            await asyncio.to_thread(_join, threads)
        elif left := await self._joined_in_time(threads, seconds or self._patience.seconds):
            _log.warning("%d threads of %s do not end and are left behind", left, self._name)

    async def _joined_in_time(self, threads: list[threading.Thread], seconds: float) -> int:
        """Wait for the end of threads; return how many have not ended by then."""
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        joined = deliveries()

        def end() -> None:
            if not ended.done():
                ended.set_result(None)

        def join() -> None:
            _join(threads)
            joined.add(end)

        # A thread of its own, which does not keep the process or its loop from ending.
        threading.Thread(target=join, name=f"{self._name}-end", daemon=True).start()
        await asyncio.wait([ended], timeout=seconds)
        return sum(thread.is_alive() for thread in threads)

    def _timer(
        self, made: "_Call[T]", longer: float = 0, abandon: Callable[[], None] | None = None
    ) -> "_Timer | None":
        if self._patience is None:
            return None
        return _Timer(self, self._patience, made, longer, abandon)

    def _begin(self) -> None:
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def note_late(self, made: "_Call[T]") -> None:
        """Count a call as late until it ends."""
        self._late += 1
        made.when_ended = self._ended_late

    def _ended_late(self) -> None:
        self._late -= 1

    def _make(self, work: Callable[[], T]) -> "_Call[T]":
        if self._patience is not None and self._late >= self._patience.most_late:
            raise self._patience.refusal()
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
        self.begun_at: float | None = None
        self.when_ended: Callable[[], None] | None = None

    def run(self) -> None:
        """Run the call in a thread, unless it was withdrawn."""
        if work := self._work:
            self.begun_at = monotonic()
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
        if self.when_ended is not None:
            self.when_ended()
        if self.future.done():
            return
        if error is not None:
            self.future.set_exception(error)
        elif self._result:
            self.future.set_result(self._result.pop())
        else:  # Withdrawn.
            self.future.cancel()


class _Timer:
    """Ends the waiting for a call that takes too long in its thread."""

    def __init__(
        self,
        threads: Threads,
        patience: Patience,
        made: _Call[T],
        longer: float,
        abandon: Callable[[], None] | None,
    ) -> None:
        self._threads = threads
        self._patience = patience
        self._made = made
        self._seconds = patience.seconds + longer
        self._abandon = abandon
        self._again(self._seconds)

    def cancel(self) -> None:
        """Stop the timer."""
        self._handle.cancel()

    def _look(self) -> None:
        made = self._made
        if made.future.done():
            return
        begun_at = made.begun_at
        if monotonic() - self._due > _LATE_LOOK_SECONDS:
            # The process was suspended, or the event loop held up: the call may have ended.
            self._again(self._seconds)
        elif begun_at is None and self._threads.late < self._patience.most_late:
            # It waits for a thread, behind calls that are not late yet, or that end.
            self._again(self._seconds)
        elif begun_at is not None and (rest := begun_at + self._seconds - monotonic()) > 0:
            self._again(rest)
        else:
            if begun_at is None:
                made.withdraw()
            else:
                self._threads.note_late(made)
            if self._abandon is not None:
                self._abandon()
            made.future.set_exception(self._patience.refusal())

    def _again(self, seconds: float) -> None:
        self._due = monotonic() + seconds
        self._handle = asyncio.get_running_loop().call_later(seconds, self._look)


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
