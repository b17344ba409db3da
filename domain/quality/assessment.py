"""Assessments: what checks find out about an image, a video or a record, and the score from it.

A check is a function. It is given what is judged and returns a `Part`: a factor of the score and the
findings that explain it. An assessment is a list of checks applied to one value, so a check is added
or replaced by changing the list.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from math import isfinite
from types import MappingProxyType
from typing import TypeAlias, TypeVar

from attrs import field, frozen

T = TypeVar("T")


class Severity(StrEnum):
    """How serious a finding is. A value with an error is not valid; a warning lowers the score."""

    ERROR = "error"
    WARNING = "warning"


class ValidationMode(StrEnum):
    """Whether files are judged when they are stored, and what happens to one with an error."""

    OFF = "off"
    WARN = "warn"
    REFUSE = "refuse"


@frozen
class Finding:
    """One thing that is wrong with what was judged.

    Attributes:
        kind: a word by which findings are counted, such as `blurred`.
        field: the path of the field that it is about, such as `camera_info.device_time` or
            `metrics.sharpness`.
        message: what is wrong, with the figures.
        remedy: what to do.
    """

    severity: Severity
    kind: str
    field: str
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        remedy = f" ({self.remedy})" if self.remedy else ""
        return f"{self.field}: {self.message}{remedy}"


def error(kind: str, field_path: str, message: str, remedy: str = "") -> Finding:
    """Return a finding that makes what was judged invalid."""
    return Finding(Severity.ERROR, kind, field_path, message, remedy)


def warning(kind: str, field_path: str, message: str, remedy: str = "") -> Finding:
    """Return a finding that only lowers the score."""
    return Finding(Severity.WARNING, kind, field_path, message, remedy)


def _in_range(_: object, __: object, score: float) -> None:
    if not (isfinite(score) and 0 <= score <= 1):
        raise ValueError(f"the score of a part must be a number from 0 to 1, not {score!r}")


@frozen
class Part:
    """The result of one check: its name, its factor of the score in [0, 1], and its findings.

    Raises:
        ValueError: the score is not in [0, 1].
    """

    name: str
    score: float = field(default=1.0, validator=_in_range)
    findings: tuple[Finding, ...] = ()


Check: TypeAlias = Callable[[T], Part]


@frozen
class Assessment:
    """The result of all checks of one value.

    Attributes:
        score: the product of the parts, in [0, 1]. One bad part is not made up for by good ones.
        parts: name of a check → its factor, in the order of the checks.
        costs: kind of a finding → by how much the checks that found it lower their factors below 1;
            kinds that one check found share its part equally.
    """

    score: float
    parts: Mapping[str, float]
    errors: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()
    costs: Mapping[str, float] = field(factory=lambda: MappingProxyType({}))

    @property
    def valid(self) -> bool:
        """Whether no check found an error."""
        return not self.errors

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The errors, then the warnings."""
        return self.errors + self.warnings


def assess(value: T, checks: Iterable[Check[T]]) -> Assessment:
    """Apply all checks to a value.

    Raises:
        ValueError: two checks return parts of the same name.
    """
    return combined(check(value) for check in checks)


def combined(parts: Iterable[Part]) -> Assessment:
    """Return the assessment that consists of these parts.

    Raises:
        ValueError: two parts have the same name.
    """
    scores: dict[str, float] = {}
    findings: list[Finding] = []
    costs: dict[str, float] = {}
    product = 1.0
    for part in parts:
        if part.name in scores:
            raise ValueError(f"two checks are named {part.name!r}")
        scores[part.name] = part.score
        product *= part.score
        findings += part.findings
        kinds = {one.kind for one in part.findings}
        for kind in kinds:
            costs[kind] = costs.get(kind, 0.0) + (1 - part.score) / len(kinds)
    return Assessment(
        score=product,
        parts=MappingProxyType(scores),
        errors=tuple(one for one in findings if one.severity is Severity.ERROR),
        warnings=tuple(one for one in findings if one.severity is Severity.WARNING),
        costs=MappingProxyType(costs),
    )


def ramp(value: float, worst: float, best: float) -> float:
    """Return 0 at `worst` and beyond, 1 at `best` and beyond, and proportionally in between.

    `worst` may be greater than `best`.
    """
    return min(1.0, max(0.0, (value - worst) / (best - worst)))
