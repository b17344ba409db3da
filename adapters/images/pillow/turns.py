"""Turns: in which threads an image is decoded, how many pixels at once, and for how long.

Images of few pixels have threads of their own, so none of them waits until a large one is decoded. Large
ones share a budget of pixels in the order in which they came, so none of them waits behind later ones.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import thread_time
from typing import TypeVar

from traffic_storage.adapters.threads.pool import Threads
from traffic_storage.domain.errors import TooLarge

T = TypeVar("T")

# Processor time, not time: a busy machine makes no image too expensive. A baseline JPEG takes a tenth of it.
_FREE_SECONDS = 5.0
_SECONDS_A_PIXEL = 1e-7
_SHORT_TURNS = 8


class Abandoned(Exception):
    """Nobody waits for the image any more."""


class LongTurnNeeded(Exception):
    """The image is too large for a short turn."""


class PixelBudget:
    """Limits the number of pixels that several threads together decode at the same time."""

    def __init__(self, max_pixels: int) -> None:
        self.max_pixels = max_pixels
        self._taken = 0
        self._queue: deque[object] = deque()
        self._changed = threading.Condition()

    @property
    def waiting(self) -> int:
        """How many wait for their pixels."""
        return len(self._queue)

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        """Wait until `pixels` of the limit are unused; reserve them for the duration of the block.

        `pixels` must not exceed `max_pixels`. Who came first is first, whatever the number of pixels.
        """
        ticket = object()
        with self._changed:
            self._queue.append(ticket)
            self._changed.wait_for(
                lambda: self._queue[0] is ticket and self._taken + pixels <= self.max_pixels
            )
            self._queue.popleft()
            self._taken += pixels
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._taken -= pixels
                self._changed.notify_all()


class Turn:
    """The decoding of one image in one thread: its share of the pixels, and its end.

    `max_pixels` is the limit on the pixels of an image.
    """

    def __init__(self, max_pixels: int, short_pixels: int, budget: PixelBudget | None) -> None:
        self.max_pixels = max_pixels
        self._short_pixels = short_pixels
        self._budget = budget
        self._seconds = _FREE_SECONDS
        self._begun = 0.0
        self._abandoned = False

    def begin(self) -> None:
        """Count the processor time of this thread from now on."""
        self._begun = thread_time()

    @contextmanager
    def taken(self, pixels: int, effort: int) -> Iterator[None]:
        """Reserve the pixels of an image for the duration of the block.

        `effort` is the number of pixels of a plain image that takes as long to decode.

        Raises:
            LongTurnNeeded: the turn is a short one, and the image is too large for it.
        """
        if self._budget is None and effort > self._short_pixels:
            raise LongTurnNeeded
        self._seconds += pixels * _SECONDS_A_PIXEL
        if self._budget is None:
            yield
            return
        with self._budget.taken(pixels):
            self.check()
            yield

    def check(self) -> None:
        """Raise an error if the image has taken too long, or nobody waits for it.

        Raises:
            TooLarge: it took more processor time than an image of its size needs.
            Abandoned: `abandon` was called.
        """
        if self._abandoned:
            raise Abandoned
        if thread_time() - self._begun > self._seconds:
            raise TooLarge.of(
                "image",
                f"takes more than {self._seconds:.0f} seconds of processor time to decode",
                "send the picture in a file that is written anew: as a baseline JPEG, for example",
            )

    def check_pixels(self, pixels: int) -> None:
        """Check the number of pixels of the image.

        Raises:
            TooLarge: it has more than `max_pixels`.
        """
        if pixels > self.max_pixels:
            raise TooLarge.of(
                "image",
                f"has {pixels} pixels",
                f"send at most {self.max_pixels} pixels, or raise the setting max_pixels",
            )

    def abandon(self) -> None:
        """Let `check` end the turn. Callable from any thread."""
        self._abandoned = True


class Turns:
    """Two groups of `threads` threads: for short turns, and for long ones.

    A short turn has at most an eighth of `max_pixels`, and those of all threads together half of them.
    All long turns together have at most `max_pixels`.
    """

    def __init__(self, max_pixels: int, threads: int) -> None:
        self._max_pixels = max_pixels
        self._short_pixels = max_pixels // max(_SHORT_TURNS, 2 * threads)
        self._budget = PixelBudget(max_pixels)
        self._short = Threads(threads, "traffic-storage-images")
        self._long = Threads(threads, "traffic-storage-large-images")

    async def decode(self, work: Callable[[Turn], T]) -> T:
        """Return what `work` returns, which decodes an image. It may be called twice.

        On cancellation this raises at once, and `work` ends when it next checks its turn.

        Raises: whatever `work` raises.
        """
        try:
            return await self._run(self._short, self._turn(None), work)
        except LongTurnNeeded:
            return await self._run(self._long, self._turn(self._budget), work)

    async def compute(self, pixels: int | None, work: Callable[[], T]) -> T:
        """Return what `work` returns, a calculation with this number of pixels; None for many."""
        is_short = pixels is not None and pixels <= self._short_pixels
        return await (self._short if is_short else self._long).run(work)

    async def aclose(self) -> None:
        """End the threads after the running and the queued calls."""
        await self._short.aclose()
        await self._long.aclose()

    def _turn(self, budget: PixelBudget | None) -> Turn:
        return Turn(self._max_pixels, self._short_pixels, budget)

    @staticmethod
    async def _run(threads: Threads, turn: Turn, work: Callable[[Turn], T]) -> T:
        def begun() -> T:
            turn.begin()
            return work(turn)

        try:
            return await threads.run(begun)
        finally:
            turn.abandon()
