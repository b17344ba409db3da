"""Contenders: implementations of one job, each in its own process, measured in turns."""

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
    """The place where a contender works: a folder, and servers if the job needs them.

    `filled` is the number of violations that the catalogue already holds.
    """

    folder: Path
    database: Database | None = None
    bucket: Bucket | None = None
    filled: int = 0


class Contender(ABC, Generic[T]):
    """One implementation of a job."""

    @abstractmethod
    async def open(self) -> None:
        """Prepare: open connections, start threads, and store what later rounds read."""

    @abstractmethod
    def items(self, numbers: range) -> Sequence[T]:
        """Make the items of a round, one per number, all different; not timed."""

    @abstractmethod
    async def do(self, item: T) -> None:
        """Do the job once."""

    @abstractmethod
    async def aclose(self) -> None:
        """Release everything that `open` acquired."""

    def end_round(self) -> None:
        """Give back what only a round needs; not timed."""

    def cpu_seconds(self) -> float:
        """Return the CPU seconds that the job has used in its process so far, over all threads."""
        return time.process_time()

    def load_cpu_seconds(self) -> float:
        """Return the CPU seconds used to generate the load so far, if another process does that."""
        return 0.0


Factory: TypeAlias = Callable[[Place], Contender[Any]]


@frozen
class Plan:
    """The items of one round, and how many of them run concurrently."""

    numbers: range
    at_once: int


@frozen
class Lap:
    """The cost of a round, measured in the contender's process."""

    items: int
    seconds: float
    cpu_seconds: float
    load_cpu_seconds: float

    @property
    def rate(self) -> float:
        """Items per second."""
        return self.items / self.seconds


class ContenderFailed(RuntimeError):
    """A contender's process reported an error or ended unexpectedly."""


class Runner:
    """Controls the process of a contender."""

    def __init__(self, name: str, factory: Factory, place: Place) -> None:
        self.name = name
        self._ours, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(theirs, factory, place), name=name)
        self._process.start()
        theirs.close()

    def wait_ready(self) -> None:
        """Wait until the contender is open."""
        self._answer()

    def lap(self, plan: Plan) -> Lap:
        """Run one round and return its cost; no other contender may run meanwhile."""
        self._ours.send(plan)
        self._answer()
        self._ours.send("go")
        lap = self._answer()
        assert isinstance(lap, Lap)
        return lap

    def close(self) -> None:
        """End the process; kill it if it does not end within `_END_SECONDS`."""
        self._ours.close()
        self._process.join(_END_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _answer(self) -> object:
        try:
            answer = self._ours.recv()
        except EOFError as error:
            raise ContenderFailed(f"the process of {self.name} ended unexpectedly") from error
        if isinstance(answer, BaseException):
            raise ContenderFailed(f"{self.name}: {answer}")
        return answer


@contextmanager
def running(entries: Iterable[tuple[str, Factory, Place]]) -> Iterator[list[Runner]]:
    """Start the contenders' processes one after the other; end them after the block."""
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
    """Return the laps of all rounds, run in the order A, B, C, C, B, A, … after a warm-up lap each."""
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
    # Ctrl-C reaches the whole process group; the parent ends this process by closing the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        asyncio.run(_live(pipe, factory(place)))
    except EOFError:
        pass
    except BaseException:  # noqa: BLE001 - the parent raises it
        pipe.send(ContenderFailed(traceback.format_exc()))
    finally:
        pipe.close()


async def _live(pipe: Connection, contender: Contender[Any]) -> None:
    loop = asyncio.get_running_loop()
    try:
        await contender.open()
        contender.end_round()
        pipe.send(None)
        while True:
            plan = await loop.run_in_executor(None, pipe.recv)
            items = contender.items(plan.numbers)
            gc.collect()
            pipe.send(None)
            await loop.run_in_executor(None, pipe.recv)
            lap = await _lap(contender, items, plan.at_once)
            contender.end_round()
            pipe.send(lap)
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
    """Return the CPU seconds that another process has used so far, over all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
