"""Output: data goes to stdout, messages go to stderr; colours are used only on a terminal."""

import codecs
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TextIO

from traffic_storage.domain.canonical import is_unicode
from traffic_storage.domain.errors import FieldProblem, TrafficStorageError, WrongFields

_BOLD = "\x1b[1m"
_BOLD_RED = "\x1b[1;31m"
_RESET = "\x1b[0m"


class CannotWriteOut(TrafficStorageError):
    """Standard output can't be written, for another reason than a closed pipe."""


def out_error(error: OSError) -> BrokenPipeError | CannotWriteOut:
    """Return the error to raise when a write to stdout fails; a broken pipe is kept as it is."""
    if isinstance(error, BrokenPipeError):
        return error
    return CannotWriteOut(
        f"standard output can't be written: {error.strerror}",
        remedy="free space where it is written to, or redirect it to another place",
    )


def say(text: str) -> None:
    """Write a line of data to stdout."""
    with _to_stdout():
        sys.stdout.write(text + "\n")


def say_bytes(data: bytes) -> None:
    """Write bytes to stdout, unchanged."""
    with _to_stdout():
        sys.stdout.buffer.write(data)


class ShownText:
    """Writes the bytes of a text to stdout: unchanged, or on a terminal with escapes.

    The escapes (as in JSON) stand for bytes that are not UTF-8 and for characters that are not
    printable, such as control characters, which a terminal obeys, and marks of direction.
    """

    def __init__(self) -> None:
        is_shown = sys.stdout.isatty()
        decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._decoder = decoder if is_shown else None

    def write(self, data: bytes, *, final: bool = False) -> None:
        """Write a piece of the text; `final` is true for the last one, which may be empty."""
        if self._decoder is None:
            say_bytes(data)
            return
        # A lone carriage return would let the rest of the line replace what is shown.
        text = _escaped(self._decoder.decode(data, final).replace("\r\n", "\n"), kept="\n\t")
        say_bytes(text.encode(sys.stdout.encoding or "utf-8", "backslashreplace"))


def flush_out() -> None:
    """Flush stdout."""
    with _to_stdout():
        sys.stdout.flush()


def drop_out() -> None:
    """Discard what stdout still buffers, so that the exit of the process does not write it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def note(text: str) -> None:
    """Write a message to stderr."""
    sys.stderr.write(text + "\n")


def say_json(value: object) -> None:
    """Write a line of JSON to stdout and flush it, so that a reader receives it at once.

    What a terminal could obey is escaped, everywhere: a pipe may end at a terminal, too.
    """
    text = _escaped(json.dumps(value, ensure_ascii=False))
    # A file name that is not UTF-8 has surrogates, which only escaped JSON can hold; so do letters
    # that the encoding of stdout lacks.
    say(text if is_unicode(text) and _is_encodable(text) else json.dumps(value))
    flush_out()


def _escaped(text: str, kept: str = "") -> str:
    """Return a text with what is not printable as JSON escapes it; surrogates stay as they are."""
    if text.isprintable():
        return text
    return "".join(
        letter
        if letter.isprintable() or letter in kept or "\ud800" <= letter <= "\udfff"
        else f"\\u{ord(letter):04x}"
        if letter <= "\uffff"
        else json.dumps(letter)[1:-1]
        for letter in text
    )


def _is_encodable(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def say_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write aligned columns to stdout. Cells are never cut to the width of the terminal.

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
    """Write one line per field to stdout: its name and its value."""
    width = max(map(len, fields))
    for name, value in fields.items():
        say(f"{name:{width}}  {printable(value)}".rstrip())


def note_error(error: TrafficStorageError) -> None:
    """Write an error to stderr with its remedy; several wrong fields get one line each."""
    problems = error.problems if isinstance(error, WrongFields) else ()
    if len(problems) > 1:
        _note_cause(f"{len(problems)} problems", "")
        for problem in problems:
            note(printable(f"  {_problem_text(problem)}{_in_brackets(problem.remedy)}"))
        return
    cause = _problem_text(problems[0]) if problems else error.message
    _note_cause(cause, problems[0].remedy if problems else error.remedy)


def note_failure(cause: str, remedy: str = "") -> None:
    """Write an error message to stderr, with a remedy if there is one."""
    _note_cause(cause, remedy)


def printable(text: object) -> str:
    """Return a text with unprintable characters escaped, so that it can't control a terminal."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in str(text)
    )


def styled(text: str, code: str, stream: TextIO) -> str:
    """Return the text in a style (an ANSI code) if the stream is a terminal.

    NO_COLOR and TERM=dumb turn styles off.
    """
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
