"""One thread for batches of jobs: in order, alone, and gone when it is closed."""

import asyncio
import threading
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

import pytest

from tests.support.waiting import until
from traffic_storage.adapters.threads import batches
from traffic_storage.adapters.threads.batches import BatchPatience, Job, Worker


class Work:
    """What the thread does: doubles numbers, one batch at a time; notes whoever is there too."""

    def __init__(self) -> None:
        self.inside = 0
        self.most_inside = 0
        self.batches: list[list[int]] = []
        self.finished = 0
        self.begun = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def run(self, jobs: Sequence[Job[int]]) -> None:
        self._enter()
        self.batches.append([job.payload for job in jobs])
        self.begun.set()
        assert self.gate.wait(60)
        for job in jobs:
            if job.payload < 0:
                job.error = ValueError(str(job.payload))
            else:
                job.result = 2 * job.payload
        self.inside -= 1

    def finish(self) -> None:
        self._enter()
        self.finished += 1
        self.inside -= 1

    def _enter(self) -> None:
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)


def worker_of(work: Work, most: int = 4) -> Worker[int]:
    return Worker("test-batches", work.run, work.finish, most=most)


async def test_jobs_are_done_in_order_and_in_batches(no_leaks: None) -> None:
    work = Work()
    worker = worker_of(work)
    work.gate.clear()
    first = asyncio.ensure_future(worker.do(0))
    await asyncio.to_thread(work.begun.wait, 60)
    rest = [asyncio.ensure_future(worker.do(number)) for number in range(1, 7)]
    await asyncio.sleep(0)
    work.gate.set()
    assert await asyncio.gather(first, *rest) == [0, 2, 4, 6, 8, 10, 12]
    assert work.batches == [[0], [1, 2, 3, 4], [5, 6]]
    await worker.aclose()
    assert work.finished == 1


async def test_one_failure_is_nobody_elses(no_leaks: None) -> None:
    work = Work()
    worker = worker_of(work)
    results = await asyncio.gather(*map(worker.do, (1, -1, 2)), return_exceptions=True)
    assert [results[0], results[2]] == [2, 4]
    assert isinstance(results[1], ValueError)
    await worker.aclose()


async def test_a_job_that_comes_while_it_closes_waits_for_the_end(no_leaks: None) -> None:
    """Two threads at one database connection end the process, not a call."""
    work = Work()
    worker = worker_of(work)
    work.gate.clear()
    running = asyncio.ensure_future(worker.do(1))
    await asyncio.to_thread(work.begun.wait, 60)
    closing = asyncio.ensure_future(worker.aclose())
    await asyncio.sleep(0)
    late = asyncio.ensure_future(worker.do(2))
    await asyncio.sleep(0)
    assert len([t for t in threading.enumerate() if t.name == "test-batches"]) == 2
    work.gate.set()
    assert list(await asyncio.gather(running, late)) == [2, 4]
    await closing
    await worker.aclose()
    assert work.most_inside == 1
    assert work.finished == 2


async def test_whoever_closes_sees_why_it_could_not_finish(no_leaks: None) -> None:
    def fail() -> None:
        raise OSError("no")

    worker = Worker[int]("test-batches", Work().run, fail, most=1)
    assert await worker.do(1) == 2
    with pytest.raises(OSError, match="no"):
        await worker.aclose()


async def test_a_thread_that_cant_be_started_is_an_error_and_leaves_nothing(
    no_leaks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    work = Work()
    worker = worker_of(work)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refused)
        with pytest.raises(RuntimeError, match="can't start"):
            await worker.do(1)
    assert await worker.do(2) == 4
    await worker.aclose()
    assert [number for batch in work.batches for number in batch] == [2]


class Late(Exception):
    """Told to those who waited."""


class Refused(Exception):
    """Told to those who come while a batch is late."""


def impatient(work: Work, seconds: float = 0.1) -> Worker[int]:
    return Worker(
        "test-batches",
        work.run,
        work.finish,
        most=1,
        patience=BatchPatience(seconds, Late, Refused),
    )


async def test_a_late_batch_and_what_waits_behind_it_fail_and_new_jobs_at_once() -> None:
    work = Work()
    worker = impatient(work)
    assert await worker.do(1) == 2
    work.gate.clear()
    waiting = [asyncio.ensure_future(worker.do(number)) for number in range(3)]
    async with asyncio.timeout(20):
        found = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(one) for one in found] == [Late] * 3
    with pytest.raises(Refused):
        await worker.do(9)
    assert worker.is_late
    work.gate.set()
    await until(lambda: not worker.is_late)
    assert await worker.do(10) == 20
    await worker.aclose()


async def test_the_end_leaves_a_late_thread_behind(caplog: pytest.LogCaptureFixture) -> None:
    work = Work()
    worker = impatient(work)
    work.gate.clear()
    waiting = asyncio.ensure_future(worker.do(1))
    await asyncio.sleep(0)
    async with asyncio.timeout(20):
        await worker.aclose()
        with pytest.raises(Late):
            await waiting
    assert "test-batches does not end" in caplog.text
    work.gate.set()
    await until(lambda: not worker.is_late)
    assert await worker.do(2) == 4
    await worker.aclose()
    assert work.finished == 2
    assert work.most_inside == 1


async def test_the_end_of_the_thread_may_hang_too() -> None:
    work = Work()
    gate = threading.Event()
    worker: Worker[int] = Worker(
        "test-batches",
        work.run,
        lambda: assert_that(gate.wait(60)),
        most=1,
        patience=BatchPatience(0.1, Late, Refused),
    )
    assert await worker.do(1) == 2
    async with asyncio.timeout(20):
        await worker.aclose()
        with pytest.raises(Refused):
            await worker.do(2)
    gate.set()
    await until(lambda: not worker.is_late)
    assert await worker.do(2) == 4
    await worker.aclose()


async def test_the_patience_lasts_for_each_job_that_is_noted_as_begun() -> None:
    seconds, done = 0.4, threading.Event()

    def run(jobs: Sequence[Job[int]]) -> None:
        for job in jobs:
            job.begun_at = monotonic()
            done.wait(seconds / 2)
            job.result = job.payload

    worker: Worker[int] = Worker(
        "test-batches", run, lambda: None, most=8, patience=BatchPatience(seconds, Late, Refused)
    )
    assert await asyncio.gather(*map(worker.do, range(6))) == [0, 1, 2, 3, 4, 5]
    await worker.aclose()


def assert_that(truth: bool) -> None:
    assert truth


def test_several_event_loops_that_begin_at_once_start_one_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker, made, here = worker_of(Work()), [], threading.Barrier(2)

    def thread(**given: Any) -> threading.Thread:
        made.append(given["name"])
        # The other one comes meanwhile; it waits, or it would make one of its own.
        with suppress(threading.BrokenBarrierError):
            here.wait(0.3)
        return threading.Thread(**given)

    monkeypatch.setattr(batches, "Thread", thread)
    callers = [
        threading.Thread(target=lambda number=number: asyncio.run(worker.do(number)))
        for number in range(2)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert made == ["test-batches"]
    asyncio.run(worker.aclose())
