"""The way back from a thread to an event loop."""

import asyncio
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress


class Deliveries:
    """Makes calls on one event loop for any thread, in order; one wake-up for all that wait.

    asyncio wakes its loop for each call by itself: a system call there and two here, and each
    hands the interpreter lock over. Calls must not raise. Once the loop is closed they are
    dropped, for nobody waits any more.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        self._waiting: deque[Callable[[], object]] = deque()
        self._is_woken = False

    def add(self, call: Callable[[], object]) -> None:
        """Have it made soon. From any thread."""
        self._waiting.append(call)
        # Whoever finds the loop woken has added before the loop looks.
        if not self._is_woken and (loop := self._loop()) is not None:
            self._is_woken = True
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._make_all)

    def _make_all(self) -> None:
        self._is_woken = False
        for _ in range(len(self._waiting)):
            self._waiting.popleft()()


_of_loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Deliveries] = (
    weakref.WeakKeyDictionary()
)


def deliveries() -> Deliveries:
    """Those of the running loop."""
    loop = asyncio.get_running_loop()
    found = _of_loops.get(loop)
    if found is None:
        found = _of_loops[loop] = Deliveries(loop)
    return found
