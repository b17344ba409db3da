"""Asking before something is changed: on a terminal; elsewhere `--yes` is needed."""

import sys
from typing import Annotated, TypeAlias

from cyclopts import Parameter

from traffic_storage.domain.errors import InvalidInput
from traffic_storage.entrypoints.cli.output import note
from traffic_storage.entrypoints.cli.session import Flag

Yes: TypeAlias = Annotated[Flag, Parameter(name=("--yes", "-y"))]
"""Do it without asking."""


def confirmed(question: str, *, yes: bool) -> bool:
    """Return whether the user wants what the question asks; a refusal is noted on stderr.

    Raises:
        InvalidInput: nobody can be asked, because stdin or stderr is no terminal, and `yes` is
            False.
    """
    if yes:
        return True
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InvalidInput.of(
            "--yes", "is needed where no terminal can be asked", "give --yes, or --dry-run"
        )
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() in {"y", "yes"}:
        return True
    note("nothing was changed")
    return False
