"""A thread that takes whatever has queued for it in one go."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any, Generic, TypeVar, cast

from attrs import define

from traffic_storage.adapters.threads.deliveries import Deliveries, deliveries

P = TypeVar("P")


@define(eq=False)
class Job(Generic[P]):
    """Something to do, and somebody who waits for it. The thread sets `result` or `error`."""

    payload: P
    way_back: Deliveries
    waiting: asyncio.Future[object]
    result: object = None
    error: BaseException | None = None

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits any more."""
        return self.waiting.cancelled()

    def resolve(self) -> None:
        """Tell whoever waits, on his loop."""
        if self.waiting.done():
            return
        if self.error is None:
            self.waiting.set_result(self.result)
        else:
            self.waiting.set_exception(self.error)


class Worker(Generic[P]):
    """One thread, started at first use, that runs batches of at most `most` jobs.

    Jobs are run in the order in which they came. `finish` runs in the thread when it ends. Never
    do two threads run at once, for what they work with may not bear it: one that is started while
    another is being closed waits for its end.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[Sequence[Job[P]]], None],
        finish: Callable[[], None],
        *,
        most: int,
    ) -> None:
        self._name = name
        self._run = run
        self._finish = finish
        self._most = most
        self._queue: SimpleQueue[Job[P] | Job[None]] = SimpleQueue()
        self._thread: Thread | None = None
        self._alone = Lock()

    async def do(self, payload: P) -> object:
        """Queue a job and wait for it."""
        if self._thread is None:
            self._start()
        job = _job(payload)
        self._queue.put(job)
        return await job.waiting

    async def aclose(self) -> None:
        """Let the thread end after all that has queued. A later job starts a new one."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        ended = _job(None)
        self._queue.put(ended)
        await ended.waiting
        thread.join()

    def _start(self) -> None:
        thread = Thread(target=self._work, name=self._name, daemon=True)
        thread.start()
        self._thread = thread

    def _work(self) -> None:
        with self._alone:
            end = self._run_until_the_end()
        _hand_over([end])

    def _run_until_the_end(self) -> Job[None]:
        end: Job[None] | None = None
        while end is None:
            batch, end = self._next()
            try:
                self._run(batch)
            except BaseException as error:  # noqa: BLE001 - a bug: whoever waits shall see it
                for job in batch:
                    job.error = job.error or error
            _hand_over(batch)
        try:
            self._finish()
        except BaseException as error:  # noqa: BLE001 - whoever closes shall see it
            end.error = error
        return end

    def _next(self) -> tuple[list[Job[P]], Job[None] | None]:
        """The jobs that have queued, at least one, and the end if it comes after them."""
        batch: list[Job[P]] = []
        with suppress(Empty):
            while len(batch) < self._most:
                job = self._queue.get_nowait() if batch else self._queue.get()
                if job.payload is None:
                    return batch, cast("Job[None]", job)
                batch.append(cast("Job[P]", job))
        return batch, None


def _job(payload: P) -> Job[P]:
    return Job(payload, deliveries(), asyncio.get_running_loop().create_future())


def _hand_over(batch: Sequence[Job[Any]]) -> None:
    for job in batch:
        job.way_back.add(job.resolve)
