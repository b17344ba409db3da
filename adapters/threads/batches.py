"""A thread that runs queued jobs, several in one batch."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from time import monotonic
from typing import Any, Generic, TypeVar, cast

from attrs import define, frozen

from traffic_storage.adapters.threads.deliveries import Deliveries, deliveries

P = TypeVar("P")

_LATE_LOOK_SECONDS = 1.0
_log = logging.getLogger("traffic_storage.threads")


@frozen
class BatchPatience:
    """How long a batch, or one of its jobs, may take, and the errors when one takes longer.

    The batch goes on in its thread. Until it ends, whoever waits gets the error `late`, whether his
    job is in the batch or behind it, and new jobs are refused with the error `refusal`.
    """

    seconds: float
    late: Callable[[], Exception]
    refusal: Callable[[], Exception]


@define(eq=False)
class Job(Generic[P]):
    """One queued piece of work, with the future that its caller awaits.

    The thread sets `result` or `error`, and `begun_at` (of `monotonic`) if it does the jobs of a batch
    one after the other: then the patience lasts for each of them.
    """

    payload: P
    deliveries: Deliveries
    waiting: asyncio.Future[object]
    result: object = None
    error: BaseException | None = None
    begun_at: float = 0.0

    @property
    def abandoned(self) -> bool:
        """Whether nobody awaits this job any more: its caller was cancelled, or told of an error."""
        return self.waiting.done()

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
    thread that starts while another ends waits for its end. Without `patience`, a batch may take
    any time.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[Sequence[Job[P]]], None],
        finish: Callable[[], None],
        *,
        most: int,
        patience: BatchPatience | None = None,
    ) -> None:
        self._name = name
        self._run = run
        self._finish = finish
        self._most = most
        self._queue: SimpleQueue[Job[P] | Job[None]] = SimpleQueue()
        self._thread: Thread | None = None
        self._alone = Lock()
        self._starting = Lock()
        self._patience = patience
        self._running: _Running | None = None
        self._late: _Running | None = None

    @property
    def is_late(self) -> bool:
        """Whether a batch runs longer than the patience lasts."""
        return self._late is not None and self._late is self._running

    async def do(self, payload: P) -> object:
        """Queue a job with this payload for the thread; return the result of the job."""
        if self._patience is not None and self.is_late:
            raise self._patience.refusal()
        if self._thread is None:
            self._start()
        job = _job(payload)
        self._queue.put(job)
        return await self._ended(job.waiting)

    async def aclose(self) -> None:
        """End the thread after the queued jobs. A later job starts a new thread.

        With patience, a thread that does not end in that time is left behind.
        """
        thread, self._thread = self._thread, None
        if thread is None:
            return
        ended = _job(None)
        self._queue.put(ended)
        try:
            await self._ended(ended.waiting)
        except Exception as error:
            if error is ended.error:
                raise
            _log.warning("the thread %s does not end and is left behind", self._name)
            return
        thread.join()

    def rest_of_batch(self, seconds: float) -> float:
        """Return how long the running batch may still take to take no more than `seconds`.

        A batch that has taken longer counts as late until it ends.
        """
        running = self._running
        if running is None:  # The next one is about to begin.
            return seconds
        begun_at = max(running.begun_at, *(job.begun_at for job in running.jobs), 0.0)
        rest = begun_at + seconds - monotonic()
        if rest <= 0:
            self._late = running
        return max(0.0, rest)

    async def _ended(self, waiting: asyncio.Future[object]) -> object:
        if self._patience is None:
            return await waiting
        watch = _Watch(self, waiting, self._patience)
        try:
            return await waiting
        finally:
            watch.cancel()

    def _start(self) -> None:
        with self._starting:  # Several event loops may ask for the first job at once.
            if self._thread is None:
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
            self._running = _Running(monotonic(), batch)
            try:
                self._run(batch)
            except BaseException as error:  # noqa: BLE001 - a bug; raised in each caller
                for job in batch:
                    job.error = job.error or error
            self._running = None
            _deliver(batch)
        self._running = _Running(monotonic(), ())
        try:
            self._finish()
        except BaseException as error:  # noqa: BLE001 - raised in aclose()
            end.error = error
        self._running = None
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


@define(eq=False)
class _Running:
    """A batch, or the end of the thread, at which the thread is."""

    begun_at: float
    jobs: Sequence[Job[Any]]


class _Watch:
    """Ends the waiting of one caller when the batch that runs takes too long."""

    def __init__(
        self, worker: Worker[Any], waiting: asyncio.Future[object], patience: BatchPatience
    ) -> None:
        self._worker = worker
        self._waiting = waiting
        self._patience = patience
        self._again(patience.seconds)

    def cancel(self) -> None:
        """Stop watching."""
        self._handle.cancel()

    def _look(self) -> None:
        if self._waiting.done():
            return
        if monotonic() - self._due > _LATE_LOOK_SECONDS:
            # The process was suspended, or the event loop held up: the batch may have ended.
            self._again(self._patience.seconds)
        elif rest := self._worker.rest_of_batch(self._patience.seconds):
            self._again(rest)
        else:
            self._waiting.set_exception(self._patience.late())

    def _again(self, seconds: float) -> None:
        self._due = monotonic() + seconds
        self._handle = asyncio.get_running_loop().call_later(seconds, self._look)


def _job(payload: P) -> Job[P]:
    return Job(payload, deliveries(), asyncio.get_running_loop().create_future())


def _deliver(batch: Sequence[Job[Any]]) -> None:
    for job in batch:
        job.deliveries.add(job.resolve)
