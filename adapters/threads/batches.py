"""A thread that runs queued jobs, several in one batch."""

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
    """One queued piece of work, with the future that its caller awaits.

    The thread sets `result` or `error`.
    """

    payload: P
    deliveries: Deliveries
    waiting: asyncio.Future[object]
    result: object = None
    error: BaseException | None = None

    @property
    def abandoned(self) -> bool:
        """Whether the caller that awaits this job was cancelled."""
        return self.waiting.cancelled()

    def resolve(self) -> None:
        """Give the result or error to the caller's future, unless it is done; on its event loop."""
        if self.waiting.done():
            return
        if self.error is None:
            self.waiting.set_result(self.result)
        else:
            self.waiting.set_exception(self.error)


class Worker(Generic[P]):
    """One thread, started at first use, that runs batches of at most `most` jobs.

    `run` gets the jobs in the order in which they were queued. `finish` runs in the thread when it
    ends. Two threads never run at the same time, because a database connection may not allow it: a
    thread that starts while another ends waits for its end.
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
        """Queue a job with this payload for the thread; return the result of the job."""
        if self._thread is None:
            self._start()
        job = _job(payload)
        self._queue.put(job)
        return await job.waiting

    async def aclose(self) -> None:
        """End the thread after the queued jobs. A later job starts a new thread."""
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
        _deliver([end])

    def _run_until_the_end(self) -> Job[None]:
        end: Job[None] | None = None
        while end is None:
            batch, end = self._next()
            try:
                self._run(batch)
            except BaseException as error:  # noqa: BLE001 - a bug; raised in each caller
                for job in batch:
                    job.error = job.error or error
            _deliver(batch)
        try:
            self._finish()
        except BaseException as error:  # noqa: BLE001 - raised in aclose()
            end.error = error
        return end

    def _next(self) -> tuple[list[Job[P]], Job[None] | None]:
        """Wait for jobs; return a batch of them, and any request to end the thread."""
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


def _deliver(batch: Sequence[Job[Any]]) -> None:
    for job in batch:
        job.deliveries.add(job.resolve)
