"""Questions to the user before something is deleted, and the name of the user."""

import getpass
import os
import sys

from traffic_storage.domain.errors import InvalidInput


def actor() -> str:
    """Return the name under which a command acts: that of the user of the operating system."""
    return f"cli:{user_name()}"


def user_name() -> str:
    """Return the name of the user of the operating system; the number where there is no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


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
