"""Threads of an adapter's own, for calls that block."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """At most `size` threads, started as calls come in."""

    def __init__(self, size: int, name: str) -> None:
        self._size = size
        self._name = name
        self._pool: ThreadPoolExecutor | None = None

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run one call in one hop. A cancelled wait leaves the call to end by itself."""
        return await asyncio.wrap_future(self._submit(call, *args, **kwargs))

    async def settle(
        self,
        abandon: Callable[[], None],
        call: Callable[P, T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run one call as `settle` does."""
        submitted = self._submit(call, *args, **kwargs)

        def give_up() -> None:
            submitted.cancel()
            abandon()

        return await settle(asyncio.wrap_future(submitted), give_up)

    async def aclose(self) -> None:
        """End the threads when their calls have ended."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await asyncio.to_thread(pool.shutdown)

    def _submit(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._size, self._name)
        return self._pool.submit(call, *args, **kwargs)


async def settle(running: asyncio.Future[T], abandon: Callable[[], None]) -> T:
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
