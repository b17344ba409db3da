"""What a check found."""

from enum import StrEnum

from attrs import frozen


class Status(StrEnum):
    """How it is; a `problem` needs somebody."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@frozen
class Finding:
    """One line of the doctor: what was looked at, how it is, and what to do about it."""

    check: str
    status: Status
    detail: str
    remedy: str = ""


def ok(check: str, detail: str) -> Finding:
    """All is well."""
    return Finding(check, Status.OK, detail)


def noted(check: str, detail: str, remedy: str = "") -> Finding:
    """Nothing is wrong, but it is good to know."""
    return Finding(check, Status.NOTE, detail, remedy)


def problem(check: str, detail: str, remedy: str) -> Finding:
    """Something is wrong."""
    return Finding(check, Status.PROBLEM, detail, remedy)
