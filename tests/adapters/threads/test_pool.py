"""Threads of an adapter's own: one hop a call, and nothing left behind."""

import asyncio
import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import AsyncIterator

import pytest

from tests.support.waiting import until
from traffic_storage.adapters.threads import pool
from traffic_storage.adapters.threads.pool import Patience, Threads, wait_to_end


class Held:
    """A call that waits in its thread until it is let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.gate = threading.Event()
        self.done = False

    def __call__(self) -> str:
        self.begun.set()
        assert self.gate.wait(60)
        self.done = True
        return "result"

    async def until_begun(self) -> None:
        assert await asyncio.to_thread(self.begun.wait, 60)


@pytest.fixture
async def threads(no_leaks: None) -> AsyncIterator[Threads]:
    threads = Threads(2, "test-threads")
    yield threads
    await threads.aclose()
    assert not [thread for thread in threading.enumerate() if thread.name == "test-threads"]


async def test_calls_give_their_results_and_errors(threads: Threads) -> None:
    assert await threads.run(divmod, 7, 3) == (2, 1)
    assert await threads.run_to_end(lambda: None, divmod, 7, 3) == (2, 1)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await threads.run(divmod, 1, 0)
        with pytest.raises(ZeroDivisionError):
            await threads.run_to_end(lambda: None, divmod, 1, 0)


async def test_many_at_once_share_few_threads(threads: Threads) -> None:
    names = await asyncio.gather(*(threads.run(threading.get_ident) for _ in range(50)))
    assert len(set(names)) <= 2
    assert threading.get_ident() not in names


async def test_no_thread_starts_before_a_call() -> None:
    Threads(2, "never-started")
    assert not [thread for thread in threading.enumerate() if thread.name == "never-started"]


async def test_a_cancelled_wait_ends_at_once(threads: Threads) -> None:
    held = Held()
    waiting = asyncio.ensure_future(threads.run(held))
    await held.until_begun()
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert not held.done
    held.gate.set()
    await threads.run(int)


async def test_a_call_that_has_not_begun_never_does(threads: Threads) -> None:
    busy = [Held(), Held()]
    running = [asyncio.ensure_future(threads.run(held)) for held in busy]
    for held in busy:
        await held.until_begun()
    queued = Held()
    for waiting in (
        asyncio.ensure_future(threads.run(queued)),
        asyncio.ensure_future(threads.run_to_end(lambda: None, queued)),
    ):
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting], timeout=0.02)
        running.append(waiting)
    for held in busy:
        held.gate.set()
    await asyncio.wait(running)
    assert not queued.begun.is_set()


async def test_a_settled_call_has_ended_however_often_it_is_cancelled(threads: Threads) -> None:
    held = Held()
    abandoned = []
    waiting = asyncio.ensure_future(threads.run_to_end(lambda: abandoned.append(1), held))
    await held.until_begun()
    for _ in range(3):
        waiting.cancel()
        await asyncio.wait([waiting], timeout=0.02)
        assert not waiting.done()
    held.gate.set()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert held.done
    assert abandoned == [1]


async def test_settled_work_of_the_loop_has_ended_too(no_leaks: None) -> None:
    gate, abandoned = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await gate.wait()
        raise ValueError

    waiting = asyncio.ensure_future(wait_to_end(asyncio.ensure_future(work()), abandoned.set))
    await asyncio.sleep(0)
    waiting.cancel()
    await abandoned.wait()
    assert not waiting.done()
    gate.set()
    await asyncio.wait([waiting])
    assert waiting.cancelled()


async def test_an_end_waits_for_running_calls(no_leaks: None) -> None:
    threads, held = Threads(1, "ending"), Held()
    running = asyncio.ensure_future(threads.run(held))
    await held.until_begun()
    ending = asyncio.ensure_future(threads.aclose())
    await asyncio.wait([ending], timeout=0.02)
    assert not ending.done()
    held.gate.set()
    await ending
    assert await running == "result"
    await threads.aclose()


async def test_arguments_and_results_are_let_go(threads: Threads) -> None:
    class Thing:
        def fail(self) -> None:
            raise ValueError("on purpose")

    thing = Thing()
    gone = weakref.ref(thing)
    await threads.run(lambda given: given, thing)
    with pytest.raises(ValueError, match="on purpose"):
        await threads.run(thing.fail)
    del thing

    def is_gone() -> bool:
        gc.collect()
        return gone() is None

    # The thread has told the result, and may not have left its call yet.
    await until(is_gone)


async def test_it_can_be_used_again_after_its_end(threads: Threads) -> None:
    for _ in range(3):
        assert await asyncio.gather(*(threads.run(abs, -1) for _ in range(5))) == [1] * 5
        await threads.aclose()


def test_several_loops_after_each_other() -> None:
    threads = Threads(1, "loops")
    for number in range(3):
        assert asyncio.run(threads.run(abs, -number)) == number
    asyncio.run(threads.aclose())


_LEAVES_A_CALL_RUNNING = """
import asyncio, threading, time
from traffic_storage.adapters.threads.pool import Threads
async def main():
    threads = Threads(2, "left")
    await threads.run(int)
    begun = threading.Event()
    def call():
        begun.set()
        time.sleep(600)
    waiting = asyncio.ensure_future(threads.run(call))
    assert await asyncio.to_thread(begun.wait, 60)
    waiting.cancel()
asyncio.run(main())
print("done")
"""


def test_a_process_does_not_wait_for_what_is_left() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _LEAVES_A_CALL_RUNNING],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "done\n", "")


async def test_a_thread_that_cant_be_started_is_an_error_and_leaves_nothing(
    threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    done: list[int] = []
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refused)
        for number in range(3):
            with pytest.raises(RuntimeError, match="can't start"):
                await threads.run(done.append, number)
    assert await threads.run(divmod, 7, 3) == (2, 1)
    assert done == []


class Impatient(Exception):
    """What a late call ends with."""


@pytest.fixture
async def impatient(no_leaks: None) -> AsyncIterator[Threads]:
    threads = Threads(2, "test-impatient", Patience(0.05, Impatient, most_late=1))
    yield threads
    await threads.aclose(60)
    assert not [thread for thread in threading.enumerate() if thread.name == "test-impatient"]


async def test_a_late_call_is_not_waited_for_and_others_are_refused_until_it_ends(
    impatient: Threads,
) -> None:
    held, abandoned = Held(), asyncio.Event()
    with pytest.raises(Impatient):
        await impatient.run_to_end(abandoned.set, held)
    assert abandoned.is_set()
    assert impatient.late == 1
    for _ in range(3):
        with pytest.raises(Impatient):
            await impatient.run(divmod, 7, 3)
    held.gate.set()
    await until(lambda: not impatient.late)
    assert await impatient.run(divmod, 7, 3) == (2, 1)


async def test_a_call_may_take_longer_if_that_is_said(impatient: Threads) -> None:
    held, late = Held(), Held()
    running = asyncio.create_task(impatient.run_longer(60, lambda: None, held))
    await held.until_begun()
    with pytest.raises(Impatient):
        await impatient.run(late)
    late.gate.set()
    assert not running.done()
    held.gate.set()
    assert await running == "result"


async def test_the_time_counts_from_the_begin_of_a_call(no_leaks: None) -> None:
    """A call that waits behind others that end is not late; one behind a late call is refused."""
    threads = Threads(1, "test-one", Patience(0.05, Impatient, most_late=2))
    first = Held()
    running = asyncio.create_task(threads.run_longer(60, lambda: None, first))
    await first.until_begun()
    waiting = asyncio.create_task(threads.run(divmod, 7, 3))
    assert await asyncio.wait([waiting], timeout=0.2) == (set(), {waiting})
    first.gate.set()
    assert (await running, await waiting) == ("result", (2, 1))
    await threads.aclose(60)


async def test_what_waits_for_threads_that_hang_is_refused_and_never_begun(
    impatient: Threads,
) -> None:
    both = [Held(), Held()]
    running = [asyncio.create_task(impatient.run(held)) for held in both]
    for held in both:
        await held.until_begun()
    waiting = Held()
    outcomes = await asyncio.gather(*running, impatient.run(waiting), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Impatient] * 3
    for held in both:
        held.gate.set()
    await until(lambda: not impatient.late)
    assert not waiting.begun.is_set()


async def test_a_cancelled_call_that_hangs_holds_nobody(impatient: Threads) -> None:
    held = Held()
    running = asyncio.create_task(impatient.run_to_end(lambda: None, held))
    await held.until_begun()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not held.done
    held.gate.set()


async def test_a_process_that_was_suspended_gives_its_calls_another_time(
    impatient: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(pool, "monotonic", lambda: now[0])
    held = Held()
    running = asyncio.create_task(impatient.run(held))
    await held.until_begun()
    now[0] = 3600.0
    await asyncio.sleep(0.06)
    held.gate.set()
    assert await running == "result"


async def test_the_end_does_not_wait_for_a_thread_that_hangs() -> None:
    threads, held = Threads(2, "test-left", Patience(0.05, Impatient, most_late=2)), Held()
    with pytest.raises(Impatient):
        await threads.run(held)
    assert await threads.run(divmod, 7, 3) == (2, 1)
    await threads.aclose()
    assert [t.name for t in threading.enumerate() if t.name == "test-left"] == ["test-left"]
    held.gate.set()
    await until(lambda: not [t for t in threading.enumerate() if t.name.startswith("test-left")])
