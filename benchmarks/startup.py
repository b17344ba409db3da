"""CPU time of `import traffic_storage` and of `traffic-storage --help`."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.table import Report, Row, Target

_BARE = (sys.executable, "-c", "pass")
_JOBS: Mapping[str, tuple[tuple[str, ...], Target]] = {
    "import traffic_storage": (
        (sys.executable, "-c", "import traffic_storage"),
        Target(30, 10, "ms"),
    ),
    "traffic-storage --help": (
        (str(Path(sys.executable).with_name("traffic-storage")), "--help"),
        Target(250, 100, "ms"),
    ),
}


def run(rounds: int) -> Report:
    """Measure both commands. The first round is not counted: it compiles the modules."""
    values: dict[str, list[float]] = {job: [] for job in _JOBS}
    for number in range(-1, 3 * rounds):
        bare = _cpu_ms(_BARE)
        for job, (command, _) in _JOBS.items():
            more = _cpu_ms(command) - bare
            if number >= 0:
                values[job].append(more)
    return Report(
        tuple(
            Row(job, "bare Python, CPU", target, tuple(values[job]))
            for job, (_, target) in _JOBS.items()
        )
    )


def _cpu_ms(command: Sequence[str]) -> float:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed with exit code {process.returncode}")
    return 1000 * (used.ru_utime + used.ru_stime)
