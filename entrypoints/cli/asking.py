"""Questions to the user before something is deleted, and the name of the user."""

import getpass
import sys

from traffic_storage.domain.errors import InvalidInput


def actor() -> str:
    """Return the name under which a command acts: that of the user of the operating system."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):
        return "cli"


def confirmed(question: str, *, yes: bool) -> bool:
    """Return whether the user agrees: `yes` was given, or the user types it on the terminal.

    Raises:
        InvalidInput: `yes` was not given, and the standard input is no terminal.
    """
    if yes:
        return True
    if not sys.stdin.isatty():
        raise InvalidInput.of("--yes", "is missing", "give --yes where no terminal can be asked")
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
