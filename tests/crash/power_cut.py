"""Power cuts: what was acknowledged before the current went is whole when it comes back.

    python -m tests.crash.power_cut --cuts 20

A process writes to a disk and says what was acknowledged. Again and again, in mid-run, the current
is cut (`cut_disk` says how), and what is left is searched for what had been acknowledged: the
blobs of a store alone, and everything that a service had stored (`service_cut`).

The controls must lose: obstore's local store, and ours without its flushes; the service without
those of its blobs or of its catalogue.
"""

import argparse
import hashlib
import itertools
import logging
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import closing
from pathlib import Path

from tests.crash.careless import CARELESS
from tests.crash.cut_disk import LONGEST_PAUSE_SECONDS, Cut, CutDisk, Teller, cut_disk
from tests.crash.disk_writer import DISKS
from tests.crash.service_cut import cut_service
from tests.support.privileged import can_mount
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.manifest import BlobManifest

CONTROLS = frozenset({"careless", "obstore"})
STEPS_BETWEEN = 20


class Writer(Teller):
    """The process that writes blobs, step by step."""

    def __init__(self, disk: CutDisk, way: str, *, paced: bool) -> None:
        pace = "paced" if paced else "busy"
        super().__init__(disk.log, "tests.crash.disk_writer", way, str(disk.folder / "blobs"), pace)
        self._paced = paced

    def step(self, count: int) -> None:
        """Return when so many more steps are done; a paced writer takes them only now."""
        for _ in range(count):
            done = self.said().count(".")
            if self._paced:
                self.tell()
            self.wait(done + 1, ".")


def cut(disk: str, cuts: int, *, paced: bool, seed: int = 0) -> Iterator[Cut]:
    """Cut the current of a writing process so many times; each time a moment later.

    A busy writer is cut in the middle of everything. A paced one is cut when it has done one
    thing and nothing follows: with several writers the flush of one makes the others durable too.
    """
    chance = random.Random(seed)
    with cut_disk() as medium, closing(Writer(medium, disk, paced=paced)) as writer:
        for _ in range(cuts):
            writer.step(chance.randint(1, 4) if paced else STEPS_BETWEEN)
            time.sleep(chance.random() * LONGEST_PAUSE_SECONDS)
            said = medium.cut(writer.said)
            # What was about to be deleted at the cut was named before, perhaps not yet heard.
            writer.step(1)
            going = {line[1:] for line in writer.said() if line.startswith("-")}
            with medium.left(medium.place / "after") as left:
                yield _look(left / "blobs", said, going, has_facts=disk != "obstore")


def _look(blobs: Path, said: Sequence[str], going: AbstractSet[str], *, has_facts: bool) -> Cut:
    """Search what is left after a cut for what was acknowledged."""
    put = {line[1:].split()[0]: int(line.split()[1]) for line in said if line.startswith("+")}
    gone = {line[1:] for line in said if line.startswith("=")}
    lost = [
        (key, problem)
        for key, size in put.items()
        if key not in going and (problem := _problem(blobs, key, size, has_facts=has_facts))
    ]
    lost += [(key, "is there again") for key in gone if (blobs / key).exists()]
    return Cut(len(put), tuple(lost), len(gone))


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
        manifest = BlobManifest.from_text(_facts(path))
    except (OSError, InvalidInput):
        return "without manifest"
    return "" if manifest.sha256 == key[-64:] else "other manifest"


def _facts(path: Path) -> str:
    beside = path.with_name(f"{path.name}.manifest")
    if beside.exists():
        return beside.read_text()
    return os.getxattr(path, "user.traffic_storage").decode()


def main() -> int:
    """Cut blob stores and services, and the controls, and say what was lost."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cuts", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if not can_mount():
        print("needs root, mount and a loop device", file=sys.stderr)
        return 2
    # A service on what a cut left of a careless one has much to complain of.
    logging.disable()
    good = True
    for name, must_lose, results in _runs(options.cuts, options.seed):
        lost = Counter(way for result in results for _, way in result.lost)
        good = good and bool(lost) == must_lose
        end = "; a control: it must lose\n" if must_lose else "\n"
        print(_row(name, results, lost), end=end, flush=True)
    return 0 if good else 1


def _runs(cuts: int, seed: int) -> Iterator[tuple[str, bool, Sequence[Cut]]]:
    """Everything that is cut: its name, whether it must lose, and its cuts."""
    for disk, paced in itertools.product(DISKS, (False, True)):
        name = f"{disk}, {'paced' if paced else 'busy'}"
        yield name, disk in CONTROLS, list(cut(disk, cuts, paced=paced, seed=seed))
    for part in (None, *CARELESS):
        name = f"service, careless {part}" if part else "service"
        yield name, part is not None, list(cut_service(cuts, careless=part, seed=seed))


def _row(name: str, results: Sequence[Cut], lost: Counter[str]) -> str:
    deleted = sum(result.deleted for result in results)
    return (
        f"{name:28}{len(results)} cuts, looked in all for "
        f"{sum(result.acknowledged for result in results)} acknowledged puts"
        + (f" and {deleted} deletes" if deleted else "")
        + f", {lost.total()} lost or broken"
        + (f" ({', '.join(f'{count} {way}' for way, count in lost.most_common())})" if lost else "")
    )


if __name__ == "__main__":
    sys.exit(main())
