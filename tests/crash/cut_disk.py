"""A disk whose current can be cut under a process that writes to it and tells what it did.

It is an ext4 on a loop device. The file behind the device holds what the file system has sent to
its disk, and nothing of what lies in the page cache; a copy of that file is what a cut leaves. The
copy is of one instant, for the file system that holds the file is frozen meanwhile. When it is
mounted, the journal is replayed as after a cut.
"""

import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from attrs import frozen

from tests.support.privileged import disk_image, frozen_while, new_image

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
MIB = 1024 * 1024
DISK_BYTES = 160 * MIB
LONGEST_PAUSE_SECONDS = 0.7
"""Any moment before a cut: between two commits of the journal, or long after the last."""
PATIENCE_SECONDS = 120.0


@frozen
class Cut:
    """What one cut did: how much was acknowledged until then, and what of it was lost and how."""

    acknowledged: int
    lost: tuple[tuple[str, str], ...]
    deleted: int = 0


@frozen
class CutDisk:
    """The disk, mounted on `folder`; `place` is for what is not on it."""

    folder: Path
    place: Path
    _image: Path
    _below: Path

    def cut(self, look: Callable[[], T]) -> T:
        """Keep what a cut at this instant leaves; what `look` saw just before it."""
        with frozen_while(self._below, look) as seen:
            # Past the page cache, which may hold blocks from before a write of the loop device; unlike
            # cp, dd does not ask where the holes are.
            self._copy.unlink(missing_ok=True)
            copy = (f"if={self._image}", f"of={self._copy}", "bs=1M", "conv=sparse", "status=none")
            subprocess.run(["dd", *copy, "iflag=direct"], check=True)
        return seen

    @contextmanager
    def left(self, folder: Path) -> Iterator[Path]:
        """What the last cut left, mounted on `folder` for the time of a block.

        That may be the folder of the disk itself, when nothing writes to it: it is covered.
        """
        with disk_image(self._copy, folder):
            yield folder

    @property
    def log(self) -> Path:
        """For the errors of whoever writes to the disk."""
        return self.place / "writer.log"

    @property
    def _copy(self) -> Path:
        return self.place / "copy.img"


@contextmanager
def cut_disk() -> Iterator[CutDisk]:
    """A new disk, for the time of a block."""
    with tempfile.TemporaryDirectory(prefix="power-cut-") as name:
        place = Path(name)
        medium = new_image(place / "medium.img", 2 * DISK_BYTES)
        with disk_image(medium, place / "medium") as below:
            image = new_image(below / "disk.img", DISK_BYTES)
            with disk_image(image, place / "disk") as folder:
                yield CutDisk(folder, place, image, below)


class Teller:
    """A process, `python -m` a module with arguments, and what it has said. Errors go to `log`."""

    def __init__(self, log: Path, module: str, *arguments: str) -> None:
        self._log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        self._lines: list[str] = []
        self._more = threading.Condition()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def said(self) -> list[str]:
        """All lines until now."""
        with self._more:
            return list(self._lines)

    def tell(self) -> None:
        """Give it a line of input."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()

    def wait(self, count: int, line: str | None = None) -> None:
        """Return when it has said so many lines, or `line` so often; it must not have ended."""
        with self._more:
            came = self._more.wait_for(
                lambda: self._count(line) >= count or self._process.poll() is not None,
                PATIENCE_SECONDS,
            )
            if not came or self._process.poll() is not None:
                log = self._log.read_text()[-2000:]
                raise RuntimeError(f"it ended or hangs after {self._count(line)} of {count}: {log}")

    def close(self) -> None:
        """Kill it."""
        self._process.kill()
        self._listener.join()
        self._process.communicate()

    def _count(self, line: str | None) -> int:
        return len(self._lines) if line is None else self._lines.count(line)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._more:
                self._lines.append(line.decode().rstrip())
                self._more.notify_all()
