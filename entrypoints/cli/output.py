"""What goes where: data to stdout, everything else to stderr; colour only where it is wanted."""

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TextIO

from traffic_storage.domain.canonical import is_unicode
from traffic_storage.domain.errors import FieldProblem, TrafficStorageError, WrongFields

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_BOLD = "\x1b[1m"
_BOLD_RED = "\x1b[1;31m"
_RESET = "\x1b[0m"


class CannotWriteOut(TrafficStorageError):
    """Standard output can't be written, and not because nobody reads it."""


def out_error(error: OSError) -> BrokenPipeError | CannotWriteOut:
    """What it means that stdout can't be written."""
    if isinstance(error, BrokenPipeError):
        return error
    return CannotWriteOut(
        f"standard output can't be written: {error.strerror}",
        remedy="make room where it leads to, or send it elsewhere",
    )


def say(text: str) -> None:
    """A line of data."""
    with _to_stdout():
        sys.stdout.write(text + "\n")


def say_bytes(data: bytes) -> None:
    """Data as it is."""
    with _to_stdout():
        sys.stdout.buffer.write(data)


def flush_out() -> None:
    """What was said is handed on."""
    with _to_stdout():
        sys.stdout.flush()


def drop_out() -> None:
    """What is still held back is never written, at the end of the process either."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def note(text: str) -> None:
    """A line for the person who waits."""
    sys.stderr.write(text + "\n")


def say_json(value: object) -> None:
    """A line of JSON. Written at once: who reads a stream of them need not wait."""
    text = json.dumps(value, ensure_ascii=False)
    # A name of a file may be no Unicode.
    say(text if is_unicode(text) else json.dumps(value))
    flush_out()


def say_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Aligned columns. Nothing is cut off, whatever the width of the terminal.

    An empty `header` continues a table.
    """
    rows = [[printable(cell) for cell in row] for row in rows]
    lines = [header, *rows] if header else rows
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    if header:
        say(styled(_row(header, widths), _BOLD, sys.stdout))
    for row in rows:
        say(_row(row, widths))


def say_fields(fields: Mapping[str, str]) -> None:
    """A name and a value a line."""
    width = max(map(len, fields))
    for name, value in fields.items():
        say(f"{name:{width}}  {printable(value)}".rstrip())


def note_error(error: TrafficStorageError) -> None:
    """An error in words: the cause and, where there is one, the remedy; a line a field."""
    problems = error.problems if isinstance(error, WrongFields) else ()
    if len(problems) > 1:
        _note_cause(f"{len(problems)} things are wrong", "")
        for problem in problems:
            note(printable(f"  {_problem_text(problem)}{_in_brackets(problem.remedy)}"))
        return
    cause = _problem_text(problems[0]) if problems else error.message
    _note_cause(cause, problems[0].remedy if problems else error.remedy)


def note_failure(cause: str, remedy: str = "") -> None:
    """An error that has no class of its own."""
    _note_cause(cause, remedy)


def printable(text: object) -> str:
    """A text as a terminal may get it: what is not printable, as escapes."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in str(text)
    )


def in_bytes(size: int) -> str:
    """A size for people, in powers of 1000."""
    number = float(size)
    for unit in _UNITS:
        if number < 1000 or unit == _UNITS[-1]:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    raise AssertionError("unreachable: the last unit takes any size")


def styled(text: str, code: str, stream: TextIO) -> str:
    """The text in a style (an ANSI code), if the stream is a terminal that wants colour."""
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return f"{code}{text}{_RESET}" if wanted and stream.isatty() else text


@contextmanager
def _to_stdout() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise out_error(error) from error


def _note_cause(cause: str, remedy: str) -> None:
    words = "\n".join(map(printable, f"{cause}{_in_brackets(remedy)}".split("\n")))
    note(f"{styled('error:', _BOLD_RED, sys.stderr)} {words}")


def _problem_text(problem: FieldProblem) -> str:
    return f"{problem.field}: {problem.message}"


def _in_brackets(remedy: str) -> str:
    return f" ({remedy})" if remedy else ""


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(f"{cell:{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()
