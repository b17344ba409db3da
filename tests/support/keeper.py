"""A folder for servers and the promise that none of them outlives its owner."""

import atexit
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from tests.support import guard
from tests.support.lifetime import Closable

_PREFIX = "traffic-servers-"


class Keeper(Closable):
    """Owns one folder below which servers keep their data and their working directories.

    When `close()` is called, or this process ends in any way (SIGKILL too), every process that
    works below the folder is ended and the folder is removed. Servers that other processes start
    in the folder are covered as well.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_parent())).resolve()
        # Servers of another user (PostgreSQL refuses root) must be able to pass through.
        self.folder.chmod(0o711)
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__, str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )

    @property
    def guard_pid(self) -> int:
        """The process that ends the servers when we are gone; it ends last."""
        return self._guard.pid

    def close(self) -> None:
        """End every server in the folder and remove it. Calling it again does nothing."""
        if self._guard.stdin is not None and not self._guard.stdin.closed:
            self._guard.stdin.close()
        self._guard.wait()


def note_litter(folder: Path, *paths: Path) -> None:
    """Have `paths`, which lie outside `folder`, removed together with the kept folder above it.

    Does nothing for a folder that no keeper owns.
    """
    for root in folder.parents:
        if root.name.startswith(_PREFIX):
            with (root / guard.LITTER).open("a") as litter:
                litter.writelines(f"{path}\n" for path in paths)
            return


@cache
def process_keeper() -> Keeper:
    """The keeper of this process, made at first use, closed at exit."""
    keeper = Keeper()
    atexit.register(keeper.close)
    return keeper


def _parent() -> Path:
    temporary = Path(tempfile.gettempdir()).resolve()
    if os.geteuid() != 0 or open_to_all(temporary):
        return temporary
    return Path("/tmp")


def open_to_all(folder: Path) -> bool:
    """Whether every user may pass through `folder` and all folders above it."""
    return all(step.stat().st_mode & 0o001 for step in (folder, *folder.parents))
