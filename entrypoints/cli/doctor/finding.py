"""The result of a check."""

from enum import StrEnum

from attrs import frozen


class Status(StrEnum):
    """The outcome of a check; only a `problem` requires action."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@frozen
class Finding:
    """One line of output: the check, its status, what was found and, if useful, a remedy."""

    check: str
    status: Status
    detail: str
    remedy: str = ""


def ok(check: str, detail: str) -> Finding:
    """Return a finding without a problem."""
    return Finding(check, Status.OK, detail)


def noted(check: str, detail: str, remedy: str = "") -> Finding:
    """Return a finding that is worth knowing but is not a problem."""
    return Finding(check, Status.NOTE, detail, remedy)


def problem(check: str, detail: str, remedy: str) -> Finding:
    """Return a problem and its remedy."""
    return Finding(check, Status.PROBLEM, detail, remedy)
