"""Passes results from threads to an event loop, several each time the loop is woken."""

import asyncio
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress


class Deliveries:
    """Runs callbacks on one event loop, in the order in which threads add them.

    The loop is woken once for all callbacks that wait.

    `call_soon_threadsafe` alone wakes the loop for each callback: one system call in the thread and
    two in the loop, each of which releases the interpreter lock (`python -m benchmarks.hops`).
    Callbacks must not raise. After the loop is closed, callbacks are dropped.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        self._waiting: deque[Callable[[], object]] = deque()
        self._is_woken = False

    def add(self, callback: Callable[[], object]) -> None:
        """Run `callback` on the event loop as soon as possible. Callable from any thread."""
        self._waiting.append(callback)
        # The loop clears the flag before it runs callbacks: with the flag set, this one will run.
        if not self._is_woken and (loop := self._loop()) is not None:
            self._is_woken = True
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._run_all)

    def _run_all(self) -> None:
        self._is_woken = False
        for _ in range(len(self._waiting)):
            self._waiting.popleft()()


_of_loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Deliveries] = (
    weakref.WeakKeyDictionary()
)


def deliveries() -> Deliveries:
    """Return the `Deliveries` of the running event loop, which threads add callbacks to."""
    loop = asyncio.get_running_loop()
    found = _of_loops.get(loop)
    if found is None:
        found = _of_loops[loop] = Deliveries(loop)
    return found
