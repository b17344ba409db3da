"""One thread for batches of jobs: in order, alone, and gone when it is closed."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from traffic_storage.adapters.threads.batches import Job, Worker


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
