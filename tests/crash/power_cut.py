"""Power cuts: what was acknowledged before the current went is whole when it comes back.

    python -m tests.crash.power_cut --cuts 20

A process writes to an ext4 on a loop device and says what was acknowledged. Again and again, in
mid-run, the file behind the device is copied: it holds what the file system has sent to its disk,
and nothing of what lies in the page cache. The copy is of one instant, for the file system that
holds that file is frozen meanwhile. Each copy is mounted elsewhere, where the journal is replayed
as after a cut, and searched for what had been acknowledged.

Two controls must lose: obstore's local store, and our own writer without its flushes.
"""

import argparse
import hashlib
import itertools
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack
from pathlib import Path

from attrs import frozen

from tests.crash.disk_writer import DISKS
from tests.support.privileged import can_mount, disk_image, frozen_while, new_image
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.facts import Facts

ROOT = Path(__file__).parents[2]
MIB = 1024 * 1024
DISK_BYTES = 160 * MIB
CONTROLS = frozenset({"careless", "obstore"})
STEPS_BETWEEN = 20
PATIENCE_SECONDS = 120.0
LONGEST_PAUSE_SECONDS = 0.7


@frozen
class Cut:
    """What one cut did: how much was acknowledged until then, and what of it was lost and how."""

    acknowledged: int
    deleted: int
    lost: tuple[tuple[str, str], ...]


class Writer:
    """The writing process, and what it has said so far."""

    def __init__(self, disk: str, folder: Path, *, paced: bool) -> None:
        pace = "paced" if paced else "busy"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.disk_writer", disk, str(folder), pace],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._paced = paced
        self._lines: list[str] = []
        self._more = threading.Condition()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def said(self) -> list[str]:
        """All lines until now."""
        with self._more:
            return list(self._lines)

    def step(self, count: int) -> None:
        """Return when so many more steps are done; a paced writer takes them only now."""
        for _ in range(count):
            done = self.said().count(".")
            if self._paced:
                self._tell()
            self._wait(done + 1)

    def close(self) -> None:
        """Kill it."""
        self._process.kill()
        self._listener.join()
        self._process.communicate()

    def _tell(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()

    def _wait(self, done: int) -> None:
        with self._more:
            came = self._more.wait_for(
                lambda: self._lines.count(".") >= done or self._process.poll() is not None,
                PATIENCE_SECONDS,
            )
        if not came or self._process.poll() is not None:
            raise RuntimeError(f"the writer ended or hangs after {done - 1} steps")

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._more:
                self._lines.append(line.decode().rstrip())
                self._more.notify_all()


def cut(disk: str, cuts: int, *, paced: bool, seed: int = 0) -> Iterator[Cut]:
    """Cut the current of a writing process so many times; each time a moment later.

    A busy writer is cut in the middle of everything. A paced one is cut when it has done one
    thing and nothing follows: with several writers the flush of one makes the others durable too.
    """
    chance = random.Random(seed)
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="power-cut-")))
        medium = new_image(place / "medium.img", 2 * DISK_BYTES)
        below = stack.enter_context(disk_image(medium, place / "medium"))
        image = new_image(below / "disk.img", DISK_BYTES)
        mounted = stack.enter_context(disk_image(image, place / "disk"))
        writer = Writer(disk, mounted / "blobs", paced=paced)
        stack.callback(writer.close)
        for number in range(1, cuts + 1):
            writer.step(chance.randint(1, 4) if paced else STEPS_BETWEEN)
            # Any moment: between two commits of the journal, or long after the last.
            time.sleep(chance.random() * LONGEST_PAUSE_SECONDS)
            copy = place / f"cut-{number}.img"
            with frozen_while(below, writer.said) as said:
                _copy(image, copy)
            # What was about to be deleted at the cut was named before, perhaps not yet heard.
            writer.step(1)
            going = {line[1:] for line in writer.said() if line.startswith("-")}
            yield _look(copy, place / "after", said, going, has_facts=disk != "obstore")
            copy.unlink()


def _look(
    image: Path, folder: Path, said: Sequence[str], going: AbstractSet[str], *, has_facts: bool
) -> Cut:
    """Mount what is left after a cut, and search it for what was acknowledged."""
    put = {line[1:].split()[0]: int(line.split()[1]) for line in said if line.startswith("+")}
    gone = {line[1:] for line in said if line.startswith("=")}
    with disk_image(image, folder) as disk:
        blobs = disk / "blobs"
        lost = [
            (key, problem)
            for key, size in put.items()
            if key not in going and (problem := _problem(blobs, key, size, has_facts=has_facts))
        ]
        lost += [(key, "is there again") for key in gone if (blobs / key).exists()]
    return Cut(len(put), len(gone), tuple(lost))


def _problem(blobs: Path, key: str, size: int, *, has_facts: bool) -> str:
    """What is wrong with a blob that must be there, or nothing."""
    path = blobs / key
    if not path.exists():
        return "missing"
    data = path.read_bytes()
    if len(data) != size:
        return "empty" if not data else "cut"
    if hashlib.sha256(data).hexdigest() != key[-64:]:
        return "other bytes"
    if not has_facts:
        return ""
    try:
        facts = Facts.from_text(_facts(path))
    except (OSError, InvalidInput):
        return "without facts"
    return "" if facts.sha256 == key[-64:] else "other facts"


def _facts(path: Path) -> str:
    beside = path.with_name(f"{path.name}.facts")
    if beside.exists():
        return beside.read_text()
    return os.getxattr(path, "user.traffic_storage").decode()


def _copy(image: Path, copy: Path) -> None:
    subprocess.run(["cp", "--sparse=always", str(image), str(copy)], check=True)


def main() -> int:
    """Cut both ways of writing, and the controls, and say what was lost."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cuts", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if not can_mount():
        print("needs root, mount and a loop device", file=sys.stderr)
        return 2
    good = True
    for disk, paced in itertools.product(DISKS, (False, True)):
        results = list(cut(disk, options.cuts, paced=paced, seed=options.seed))
        lost = sum(len(result.lost) for result in results)
        good = good and (lost > 0) == (disk in CONTROLS)
        print(_row(f"{disk}, {'paced' if paced else 'busy'}", results, lost), flush=True)
    return 0 if good else 1


def _row(name: str, results: Sequence[Cut], lost: int) -> str:
    ways = Counter(way for result in results for _, way in result.lost)
    return (
        f"{name:20}{len(results)} cuts, in all {sum(result.acknowledged for result in results)} "
        f"puts and {sum(result.deleted for result in results)} deletes acknowledged before them, "
        f"{lost} lost"
        + (f" ({', '.join(f'{count} {way}' for way, count in ways.most_common())})" if ways else "")
        + ("; a control: it must lose" if name.startswith(tuple(CONTROLS)) else "")
    )


if __name__ == "__main__":
    sys.exit(main())
