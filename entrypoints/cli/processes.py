"""Several processes that serve one address: they are started, watched, replaced and stopped.

The first one starts alone, so that an error which prevents the start is told once, and tables are
brought up to date once. A process that ends while the others serve is replaced. When this process
ends, however it ends, the others stop.

They are forks of this process, which has no thread and no event loop: so they have its settings, of which
secrets can't be handed over otherwise, and share the memory of the modules.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import Factory, define, evolve, frozen

from traffic_storage.domain.errors import InvalidInput
from traffic_storage.entrypoints.cli.exit_codes import ExitCode
from traffic_storage.entrypoints.cli.listening import Tls
from traffic_storage.entrypoints.cli.output import note
from traffic_storage.entrypoints.cli.serving import CANCELLED_BY
from traffic_storage.entrypoints.cli.session import started

if TYPE_CHECKING:
    from traffic_storage.entrypoints.settings import StorageConfig

logger = logging.getLogger("traffic_storage.http")

_MOST_PROCESSES = 64
_LONGEST_SOCKET_PATH = 100
_SHORTEST_LIFE_SECONDS = 10.0
"""A process that lived for less is replaced after a pause, which doubles up to the longest one."""
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
_STOPPED_BY = (signal.SIGINT, signal.SIGTERM)


@frozen
class Served:
    """What several processes serve, and the socket that they share.

    `verbose`: an error has its traceback.
    """

    settings: "StorageConfig"
    listener: socket.socket
    tls: Tls | None
    verbose: bool

    def share(self, index: int, count: int) -> "Served":
        """Return what the process `index` of `count` serves: it has its share of the workers."""
        workers, more = divmod(self.settings.workers, count)
        return evolve(
            self, settings=evolve(self.settings, workers=workers + (1 if index < more else 0))
        )


def check_processes(count: int, settings: "StorageConfig") -> None:
    """Check that so many processes can serve.

    Raises:
        InvalidInput: the number is out of range, or the database is SQLite.
    """
    if not 1 <= count <= _MOST_PROCESSES:
        raise InvalidInput.of(
            "--processes",
            f"must be from 1 to {_MOST_PROCESSES}",
            "start about as many as the machine has processor cores",
        )
    if count > 1 and settings.db_host is None:
        raise InvalidInput.of(
            "--processes",
            f"is {count}, and the database is SQLite, to which one process at a time writes",
            "use PostgreSQL (the setting db_host), or serve with one process",
        )


def run_processes(count: int, served: Served, announce: Callable[[], None]) -> ExitCode:
    """Serve with several processes until Ctrl-C or SIGTERM.

    `announce` is called once all of them accept requests.

    Raises:
        InvalidInput: the folder of temporary files has too long a path.
    """
    # Loaded once, for all.
    import traffic_storage.entrypoints.http  # noqa: F401

    with _folder_of_sockets() as folder, _wakened() as woken:
        alive, held = multiprocessing.Pipe(duplex=False)
        with alive, held:
            found = _Several(count, served, folder, (alive, held), woken).run(announce)
    note("stopped")
    return found


@contextlib.contextmanager
def _folder_of_sockets() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="traffic-storage-") as name:
        if len(os.fsencode(name)) > _LONGEST_SOCKET_PATH:
            raise InvalidInput.of(
                "TMPDIR", f"is too long a path for sockets: {name}", "name a shorter one, as /tmp"
            )
        yield Path(name)


@contextlib.contextmanager
def _wakened() -> Iterator[socket.socket]:
    """Yield a socket that can be read as soon as a signal asks this process to stop."""
    reader, writer = socket.socketpair()
    with reader, writer:
        writer.setblocking(False)

        def asked(*_: object) -> None:
            with contextlib.suppress(OSError):  # full, or closed: it stops already
                writer.send(b"\0")

        for number in _STOPPED_BY:
            signal.signal(number, asked)
        yield reader


@define(eq=False)
class _Member:
    """One of the processes.

    Attributes:
        ready: the process sends a byte when it accepts requests.
        pause_seconds: how long its successor waits if it ends soon.
        runs: its end was not noticed yet.
        due: when its successor starts; None while it runs.
    """

    index: int
    process: ForkProcess
    ready: Connection
    pause_seconds: float
    began: float = Factory(time.monotonic)
    is_ready: bool = False
    runs: bool = True
    due: float | None = None

    def ended(self) -> str:
        """Return in words how the process ended."""
        code = self.process.exitcode or 0
        return f"was killed by signal {-code}" if code < 0 else f"ended with {code}"


class _Several:
    def __init__(
        self,
        count: int,
        served: Served,
        folder: Path,
        alive: tuple[Connection, Connection],
        woken: socket.socket,
    ) -> None:
        self._count = count
        self._served = served
        self._folder = folder
        self._alive = alive
        self._woken = woken
        self._members: list[_Member] = []
        self._is_announced = False
        self._failure: ExitCode | None = None
        self._is_stopping = False

    def run(self, announce: Callable[[], None]) -> ExitCode:
        """Start the processes, and return when all have ended."""
        try:
            self._members.append(self._started(0, 0))
            while any(one.runs for one in self._members) or not self._is_stopping:
                self._wait()
                self._start_others()
                if not self._is_announced and self._all_ready():
                    self._is_announced = True
                    started()
                    announce()
                self._replace()
        finally:
            self._stop()
            for one in self._members:
                one.process.join()
        return ExitCode.OK if self._failure is None else self._failure

    def _all_ready(self) -> bool:
        return len(self._members) == self._count and all(one.is_ready for one in self._members)

    def _start_others(self) -> None:
        """Start the others once the first one accepts requests."""
        if len(self._members) == 1 and self._members[0].is_ready and not self._is_stopping:
            self._members += [self._started(index, 0) for index in range(1, self._count)]

    def _started(self, index: int, pause_seconds: float) -> _Member:
        context = multiprocessing.get_context("fork")
        ready, told = context.Pipe(duplex=False)
        # One that is sent to the new process before it can handle it would be lost.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPED_BY)
        process = context.Process(
            target=_serve_one,
            args=(
                index,
                self._served.share(index, self._count),
                self._folder,
                self._alive,
                told,
                self._woken,
            ),
            name=f"traffic-storage {index}",
        )
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        told.close()
        return _Member(index, process, ready, pause_seconds)

    def _wait(self) -> None:
        """Wait until something happens, and take note of it."""
        # Not those that are alive: one that has ended meanwhile would be noticed by nobody.
        running = [one for one in self._members if one.runs]
        starting = [one for one in running if not one.is_ready]
        pauses = [one.due - time.monotonic() for one in self._members if one.due is not None]
        happened = wait(
            [
                self._woken,
                *(one.process.sentinel for one in running),
                *(one.ready for one in starting),
            ],
            timeout=max(0.0, min(pauses)) if pauses else None,
        )
        if self._woken in happened:
            self._woken.recv(64)
            self._stop(again=self._is_stopping)
        for one in starting:
            if one.ready in happened:
                with contextlib.suppress(EOFError):  # it has ended, which its sentinel tells
                    one.ready.recv_bytes()
                    one.is_ready = True
        for one in running:
            if one.process.sentinel in happened:
                self._ended(one)

    def _ended(self, one: _Member) -> None:
        one.process.join()
        one.runs = False
        if self._is_stopping:
            return
        if not self._is_announced:
            if (one.process.exitcode or 0) < 0:  # otherwise it has told why
                logger.error("process %d of %d %s", one.index, self._count, one.ended())
            self._failure = _exit_code(one.process.exitcode)
            self._stop()
            return
        pause = 0.0
        if time.monotonic() - one.began < _SHORTEST_LIFE_SECONDS:
            pause = min(_LONGEST_PAUSE_SECONDS, max(_FIRST_PAUSE_SECONDS, 2 * one.pause_seconds))
        ended = one.ended()
        logger.warning("process %d of %d %s; another one starts", one.index, self._count, ended)
        one.pause_seconds, one.due = pause, time.monotonic() + pause

    def _replace(self) -> None:
        """Start the successors that are due."""
        now = time.monotonic()
        for at, one in enumerate(self._members):
            if one.due is not None and one.due <= now and not self._is_stopping:
                one.ready.close()
                self._members[at] = self._started(one.index, one.pause_seconds)

    def _stop(self, *, again: bool = False) -> None:
        """Ask all processes to stop; again: to cancel running requests."""
        self._is_stopping = True
        for one in self._members:
            if one.process.is_alive():
                one.process.terminate()
                if again and one.process.pid is not None:
                    os.kill(one.process.pid, CANCELLED_BY)


def _exit_code(code: int | None) -> ExitCode:
    try:
        return ExitCode(code or 0)
    except ValueError:
        return ExitCode.FAILURE


def _serve_one(
    index: int,
    served: Served,
    folder: Path,
    alive: tuple[Connection, Connection],
    told: Connection,
    woken: socket.socket,
) -> None:
    """Serve in one of the processes."""
    # Until the server handles signals: Ctrl-C goes to all, and the process that started this one
    # sends SIGTERM, which ends it at once.
    for ignored in (signal.SIGINT, CANCELLED_BY):
        signal.signal(ignored, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPED_BY)
    woken.close()
    watched, held = alive
    # Once the process that started this one has ended, nobody holds the other end.
    held.close()
    from traffic_storage.entrypoints.cli.app import tell
    from traffic_storage.entrypoints.cli.serving import OneOfSeveral, run_server
    from traffic_storage.entrypoints.http.siblings import Siblings

    def announce() -> None:
        told.send_bytes(b"\0")
        told.close()

    several = OneOfSeveral(Siblings(folder, index), watched)
    try:
        code = run_server(served.settings, served.listener, announce, served.tls, several)
    except Exception as error:  # noqa: BLE001 - reported
        code = tell(error, verbose=served.verbose)
    sys.exit(code)
