"""The end of obstore's threads, which call back into the event loop.

If a client is dropped while a connection returns to its pool, the connection stays open. If the loop
or the interpreter ends while a thread calls back into it, the process aborts. So whoever closes a
client waits a moment.
"""

import asyncio
import atexit
import time

_CLOSING_SECONDS = 0.01
_LAST_CLOSING_SECONDS = 0.1

# The ids of the owners of clients; ids, so that this set keeps no owner alive.
_left_open: set[int] = set()


def opened(owner: object) -> None:
    """Note that `owner` has a client."""
    _left_open.add(id(owner))


async def ended(owner: object) -> None:
    """Wait for the threads of the client of `owner`, which then drops it."""
    await asyncio.sleep(_CLOSING_SECONDS)
    _left_open.discard(id(owner))


@atexit.register
def _wait_for_threads() -> None:
    """Wait for obstore's threads at exit if a client was not closed."""
    if _left_open:
        time.sleep(_LAST_CLOSING_SECONDS)
