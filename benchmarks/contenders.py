"""Contenders: several ways to do one job, each in a process of its own, measured in turns."""

import asyncio
import gc
import multiprocessing
import os
import signal
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

from attrs import frozen

from tests.support.servers import Bucket, Database

T = TypeVar("T")

_SPAWN = multiprocessing.get_context("spawn")
_END_SECONDS = 20.0


@frozen
class Place:
    """Where a contender works: a folder, and servers where the job has them.

    `filled` is how many violations the catalogue holds already.
    """

    folder: Path
    database: Database | None = None
    bucket: Bucket | None = None
    filled: int = 0


class Contender(ABC, Generic[T]):
    """One way to do a job."""

    @abstractmethod
    async def open(self) -> None:
        """Get ready: connections, threads, and what is read later."""

    @abstractmethod
    def items(self, numbers: range) -> Sequence[T]:
        """What a round works on, made before the clock runs; all different, one a number."""

    @abstractmethod
    async def do(self, item: T) -> None:
        """The job, once."""

    @abstractmethod
    async def aclose(self) -> None:
        """End."""

    def cpu_seconds(self) -> float:
        """CPU that the job used in this contender's process so far, all threads."""
        return time.process_time()

    def load_cpu_seconds(self) -> float:
        """CPU used so far to make the load, where that is another process."""
        return 0.0


Factory: TypeAlias = Callable[[Place], Contender[Any]]


@frozen
class Plan:
    """One round: which items, and how many of them at once."""

    numbers: range
    at_once: int


@frozen
class Lap:
    """What a round took, by the contender's own clock."""

    items: int
    seconds: float
    cpu_seconds: float
    load_cpu_seconds: float

    @property
    def rate(self) -> float:
        """Items a second."""
        return self.items / self.seconds


class ContenderFailed(RuntimeError):
    """A contender's process said what went wrong, or went away."""


class Runner:
    """A contender's process, seen from outside."""

    def __init__(self, name: str, factory: Factory, place: Place) -> None:
        self.name = name
        self._ours, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(theirs, factory, place), name=name)
        self._process.start()
        theirs.close()

    def wait_ready(self) -> None:
        """Wait until it is open."""
        self._answer()

    def lap(self, plan: Plan) -> Lap:
        """One round; the others must be silent meanwhile."""
        self._ours.send(plan)
        self._answer()
        self._ours.send("go")
        lap = self._answer()
        assert isinstance(lap, Lap)
        return lap

    def close(self) -> None:
        """End the process, by force if it does not end by itself."""
        self._ours.close()
        self._process.join(_END_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _answer(self) -> object:
        try:
            answer = self._ours.recv()
        except EOFError as error:
            raise ContenderFailed(f"{self.name} went away") from error
        if isinstance(answer, BaseException):
            raise ContenderFailed(f"{self.name}: {answer}")
        return answer


@contextmanager
def running(entries: Iterable[tuple[str, Factory, Place]]) -> Iterator[list[Runner]]:
    """The contenders' processes, open one after the other, ended at the end."""
    with ExitStack() as stack:
        runners = []
        for entry in entries:
            runner = Runner(*entry)
            stack.callback(runner.close)
            runner.wait_ready()
            runners.append(runner)
        yield runners


def in_turns(
    runners: Sequence[Runner], *, items: int, at_once: int, rounds: int
) -> dict[str, list[Lap]]:
    """The laps of all rounds, in the order A, B, C, C, B, A, …; one lap each to warm up first."""
    laps: dict[str, list[Lap]] = {runner.name: [] for runner in runners}
    for number in range(-1, rounds):
        first = (number + 1) * items
        plan = Plan(range(first, first + items), at_once)
        for runner in runners if number % 2 == 0 else reversed(runners):
            lap = runner.lap(plan)
            if number >= 0:
                laps[runner.name].append(lap)
    return laps


def _serve(pipe: Connection, factory: Factory, place: Place) -> None:
    # Ctrl-C reaches the whole group; the parent ends us by closing the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        asyncio.run(_live(pipe, factory(place)))
    except EOFError:
        pass
    except BaseException:  # noqa: BLE001 - the parent tells it
        pipe.send(ContenderFailed(traceback.format_exc()))
    finally:
        pipe.close()


async def _live(pipe: Connection, contender: Contender[Any]) -> None:
    loop = asyncio.get_running_loop()
    try:
        await contender.open()
        pipe.send(None)
        while True:
            plan = await loop.run_in_executor(None, pipe.recv)
            items = contender.items(plan.numbers)
            gc.collect()
            pipe.send(None)
            await loop.run_in_executor(None, pipe.recv)
            pipe.send(await _lap(contender, items, plan.at_once))
            del items
    finally:
        await contender.aclose()


async def _lap(contender: Contender[T], items: Sequence[T], at_once: int) -> Lap:
    rest = iter(items)

    async def work() -> None:
        for item in rest:
            await contender.do(item)

    cpu, load = contender.cpu_seconds(), contender.load_cpu_seconds()
    start = time.perf_counter()
    if at_once == 1:
        await work()
    else:
        await asyncio.gather(*(work() for _ in range(at_once)))
    seconds = time.perf_counter() - start
    return Lap(
        items=len(items),
        seconds=seconds,
        cpu_seconds=contender.cpu_seconds() - cpu,
        load_cpu_seconds=contender.load_cpu_seconds() - load,
    )


def cpu_seconds_of(pid: int) -> float:
    """CPU used so far by another process, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
