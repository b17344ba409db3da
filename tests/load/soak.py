"""A service stores, reads and runs all jobs for a long time, while its servers fail now and then.

    python -m tests.load.soak --minutes 30

Servers are killed, ended or hang for up to three seconds. The memory, descriptors and threads of the
service are sampled; the medians of the first and of the last third of the time are compared. The
folders that are kept open are counted apart, because they may grow up to a fixed number for as long
as they are fewer. Exit status 1 if one of the others has grown by more than its bound, if there were
more folders than that number, or if anything is lost or wrong.
"""

import argparse
import asyncio
import random
import statistics
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import define, field, frozen

from tests.crash.kill_loop import Record
from tests.crash.points.place import query
from tests.load.stops import Server, busy_service, stop_once, stores_again

SAMPLE_SECONDS = 2.0
FAULT_SECONDS = 20.0
PAUSE_SECONDS = 0.8
WARM_UP = 0.1
"""The share of the time in which caches and pools fill; it is left out."""


@frozen
class Sample:
    """What the service held at one time."""

    rss_mib: float
    descriptors: float
    """Without folders."""
    folders: float
    threads: float

    @classmethod
    def of(cls, pid: int) -> "Sample":
        """Sample a process."""
        status = dict(
            line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        )
        folders = others = 0
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            if descriptor.is_dir():
                folders += 1
            else:
                others += 1
        return cls(int(status["VmRSS"].split()[0]) / 1024, others, folders, int(status["Threads"]))


BOUNDS: Mapping[str, tuple[float, float]] = {
    "rss_mib": (0.15, 16.0),
    "descriptors": (0.15, 10.0),
    "threads": (0.15, 4.0),
}
"""By how much each may grow: a share of the first third and an absolute amount, added."""

MAX_FOLDERS = 2 * (2 * 64 + 4) + 32
"""Of the local store and of the spool: 64 each for reads and writes, and what each keeps beside
these (its root, its lock); and as many as the 32 threads at work may hold for a moment."""


@frozen
class Growth:
    """The medians of the first and of the last third, and whether that is flat."""

    name: str
    first: float
    last: float

    @property
    def is_flat(self) -> bool:
        """Whether the growth is within the bound."""
        share, amount = BOUNDS[self.name]
        return self.last <= self.first * (1 + share) + amount


def growth(samples: Sequence[Sample]) -> list[Growth]:
    """Compare the thirds of what was sampled after the warm-up."""
    kept = samples[int(len(samples) * WARM_UP) :]
    third = max(1, len(kept) // 3)
    return [
        Growth(
            name,
            statistics.median(getattr(one, name) for one in kept[:third]),
            statistics.median(getattr(one, name) for one in kept[-third:]),
        )
        for name in BOUNDS
    ]


@define
class Report:
    """What was seen."""

    record: Record
    samples: list[Sample] = field(factory=list)
    faults: int = 0
    jobs: Sequence[tuple[str, int]] = ()
    broken: list[str] = field(factory=list)


def soak(minutes: float, seed: int = 1) -> Report:
    """Run the service, its faults and the audit."""
    chance = random.Random(seed)
    with busy_service(seed, PAUSE_SECONDS) as (loop, servers):
        report = Report(loop.record)
        ending = threading.Event()
        with loop.running() as process:
            failing = threading.Thread(
                target=_fail, args=([*servers.values()], chance, ending, report)
            )
            stores_again(loop.record)
            failing.start()
            try:
                _sample(int(process.pid or 0), minutes, report)
            except FileNotFoundError:
                report.broken.append(f"the service has ended: {loop.log()}")
            finally:
                ending.set()
                failing.join()
        report.broken += asyncio.run(loop.audit())
        done = "SELECT kind, count(*) FROM job WHERE state = 'done' GROUP BY kind ORDER BY kind"
        report.jobs = [(kind, count) for kind, count in asyncio.run(query(loop.settings, done))]
    return report


def _fail(
    servers: Sequence[Server], chance: random.Random, ending: threading.Event, report: Report
) -> None:
    while not ending.wait(chance.uniform(0.5, 1.5) * FAULT_SECONDS):
        stop_once(chance.choice(servers), chance)
        report.faults += 1


def _sample(pid: int, minutes: float, report: Report) -> None:
    begun = time.monotonic()
    while (passed := time.monotonic() - begun) < minutes * 60:
        time.sleep(SAMPLE_SECONDS)
        report.samples.append(Sample.of(pid))
        now = report.samples[-1]
        print(
            f"\r{passed / 60:5.1f} min, {len(report.record.acknowledged)} files, "
            f"{report.record.rounds} rounds, {report.faults} faults, {now.rss_mib:.0f} MiB, "
            f"{now.descriptors:.0f} descriptors, {now.threads:.0f} threads",
            end="",
            file=sys.stderr,
            flush=True,
        )


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    report = soak(given.minutes, given.seed)
    record, grown = report.record, growth(report.samples)
    print(
        f"\n{given.minutes:g} minutes, {len(record.acknowledged)} files acknowledged, "
        f"{len(record.deleted)} deletions, {record.rounds} rounds of jobs, {report.faults} faults, "
        f"{len(report.broken)} broken"
    )
    print(f"  jobs done: {', '.join(f'{kind} {count}' for kind, count in report.jobs)}")
    print(f"  what a round ended with: {dict(record.failed)}")
    for one in grown:
        verdict = "flat" if one.is_flat else "GROWN"
        print(
            f"  {one.name}: {one.first:.1f} in the first third, {one.last:.1f} in the last: {verdict}"
        )
    folders = max(one.folders for one in report.samples)
    verdict = "within" if folders <= MAX_FOLDERS else "MORE THAN"
    print(f"  folders: at most {folders:.0f}, {verdict} the {MAX_FOLDERS} that may be kept open")
    for line in report.broken[:20]:
        print(f"  {line}")
    is_flat = all(one.is_flat for one in grown) and folders <= MAX_FOLDERS
    return int(bool(report.broken) or not is_flat)


if __name__ == "__main__":
    sys.exit(main())
