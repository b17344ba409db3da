"""Stands beside a run and ends its servers when the run is gone, however it went.

Started as `python -I -S guard.py FOLDER` with a pipe as standard input. Nobody writes into the
pipe; when its other end closes (the owner closed it, exited or was killed), every process that
works below FOLDER is ended, the paths listed in FOLDER/litter are removed, then FOLDER itself.
"""

import os
import shutil
import signal
import sys
import time
from pathlib import Path

LITTER = "litter"
"""File in the folder: one path a line that servers make outside the folder."""

_GRACE_SECONDS = 0.3
_PATIENCE_SECONDS = 10.0


def workers_below(folder: Path) -> list[int]:
    """Process ids whose working directory is `folder` or lies below it."""
    pids = [entry.name for entry in os.scandir("/proc") if entry.name.isdigit()]
    return [int(pid) for pid in pids if _works_below(pid, folder)]


def _works_below(pid: str, folder: Path) -> bool:
    try:
        cwd = str(Path(f"/proc/{pid}/cwd").readlink())
    except OSError:
        return False
    return Path(cwd.removesuffix(" (deleted)")).is_relative_to(folder)


def end_all(folder: Path) -> None:
    """End every process that works below `folder`; return when none is left.

    SIGQUIT first: PostgreSQL takes it as an immediate stop and gives its shared memory back.
    """
    _signal_all(folder, signal.SIGQUIT, signal.SIGCONT)
    _wait_empty(folder, _GRACE_SECONDS)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while workers_below(folder) and time.monotonic() < deadline:
        _signal_all(folder, signal.SIGKILL)
        _wait_empty(folder, 0.1)


def _signal_all(folder: Path, *signals: signal.Signals) -> None:
    for pid in workers_below(folder):
        for number in signals:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                break


def _wait_empty(folder: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while workers_below(folder) and time.monotonic() < deadline:
        time.sleep(0.01)


def _sweep(folder: Path) -> None:
    litter = folder / LITTER
    if litter.exists():
        for line in litter.read_text().splitlines():
            Path(line).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Wait for the end of standard input, then end and sweep."""
    folder = Path(sys.argv[1])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    end_all(folder)
    _sweep(folder)


if __name__ == "__main__":
    main()
