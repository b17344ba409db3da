"""One server process: started with a deadline, stopped, killed, stalled."""

import contextlib
import functools
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path

from attrs import define, field

from tests.support.ports import PortLease

START_SECONDS = 30.0
"""Deadline of a start; on an idle machine every server here needs less than two seconds."""

_POLL_SECONDS = 0.01
_TAIL_CHARS = 4_000


class ServerMissing(RuntimeError):
    """The program of a server is not installed, so the tests that need it can't pass."""


class ServerFailed(RuntimeError):
    """A server did not start or stop in time; the message carries the end of its log."""


@functools.cache
def shipped(distribution: str, program: str) -> Path:
    """The path of the program that the installed package `distribution` ships.

    `program` is the end of its path there, one part or several. Raises ServerMissing when the
    package or the program in it is not there.
    """
    remedy = f"install the development requirements (scripts/test does): package {distribution}"
    try:
        files = metadata.files(distribution) or []
    except metadata.PackageNotFoundError as error:
        raise ServerMissing(f"{program} is missing: {remedy}") from error
    for file in files:
        path = Path(str(file.locate()))
        if f"/{file}".endswith(f"/{program}") and os.access(path, os.X_OK):
            return path.resolve()
    raise ServerMissing(f"{program} is missing: {remedy}")


@define
class ServerProcess:
    """A server program in its own session, with its output in `folder`/log.

    `user` is a (user id, group id) to run as, None for our own. The locks of `leases` are handed
    on, so the ports stay leased while the server lives.
    """

    name: str
    argv: Sequence[str]
    folder: Path
    leases: Sequence[PortLease] = ()
    environment: Mapping[str, str] = field(factory=dict)
    user: tuple[int, int] | None = None
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if self._process is None:
            raise ServerFailed(f"{self.name} is not running")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, is_ready: Callable[[], bool]) -> None:
        """Start and return when `is_ready()`; ServerFailed when it ends or the deadline passes."""
        if self.is_running:
            raise ServerFailed(f"{self.name} runs already")
        process = self._process = self._spawn()
        deadline = time.monotonic() + START_SECONDS
        while not is_ready():
            if process.poll() is not None:
                raise self._failure(f"ended with {process.returncode} while it started")
            if time.monotonic() > deadline:
                self.kill()
                raise self._failure(f"was not ready after {START_SECONDS:.0f} s")
            time.sleep(_POLL_SECONDS)

    def stop(self, number: signal.Signals, seconds: float = 20.0) -> None:
        """Send `number` and wait for the end; ServerFailed (and killed) when it takes longer."""
        if self._process is None or not self.is_running:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise self._failure(f"did not stop within {seconds:.0f} s") from error

    def kill(self) -> None:
        """SIGKILL the server and everything that it has started; return when all are gone."""
        if self._process is None:
            return
        family = [self._process.pid, *descendants(self._process.pid)]
        _send(family, signal.SIGKILL)
        self._process.wait()
        while any(_is_alive(pid) for pid in family[1:]):
            time.sleep(_POLL_SECONDS)

    def stall(self) -> None:
        """SIGSTOP the server and everything that it has started: connections hang, none closes."""
        # The parent first, or it could start a child between the listing and the signal.
        _send([self.pid], signal.SIGSTOP)
        _send(descendants(self.pid), signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT what `stall` stopped."""
        _send([*descendants(self.pid), self.pid], signal.SIGCONT)

    def log_tail(self) -> str:
        """The last few thousand characters of the server's output."""
        return self._log.read_text(errors="replace")[-_TAIL_CHARS:] if self._log.exists() else ""

    @property
    def _log(self) -> Path:
        return self.folder / "log"

    def _spawn(self) -> subprocess.Popen[bytes]:
        user, group = self.user or (None, None)
        with self._log.open("ab") as log:
            return subprocess.Popen(
                self.argv,
                cwd=self.folder,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[lease.lock for lease in self.leases],
                user=user,
                group=group,
                extra_groups=None if self.user is None else [],
            )

    def _failure(self, what: str) -> ServerFailed:
        return ServerFailed(f"{self.name} {what}; the end of its log:\n{self.log_tail()}")


def descendants(pid: int) -> list[int]:
    """The process ids of the children of `pid`, their children and so on."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (parent := _parent_of(entry)) is not None:
            children.setdefault(parent, []).append(int(entry.name))
    found: list[int] = []
    queue = [pid]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


def _parent_of(entry: Path) -> int | None:
    try:
        stat = (entry / "stat").read_text()
    except OSError:
        return None
    # The command name stands in brackets and may itself hold spaces and brackets.
    return int(stat.rpartition(")")[2].split()[1])


def state_of(pid: int) -> str | None:
    """The state of a process, as R, S, T (stopped) or Z (ended); None if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return None


def _is_alive(pid: int) -> bool:
    return state_of(pid) not in {None, "Z"}


def _send(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
