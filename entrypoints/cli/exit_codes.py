"""Exit codes: a table from what went wrong to what the shell is told."""

from enum import IntEnum

from traffic_storage.domain.errors import (
    AccessDenied,
    ConfigurationError,
    Conflict,
    DigestMismatch,
    InvalidInput,
    NotFound,
    TooLarge,
    Unavailable,
    UndecodableMedia,
    UnsupportedMedia,
)
from traffic_storage.ports.errors import DeadlinePassed


class ExitCode(IntEnum):
    """What a command tells the shell; `catalogue.EXIT_CODES` says it in words."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    FINDINGS = 3
    NOT_FOUND = 4
    TEMPORARY = 5
    REFUSED = 6
    CONFIGURATION = 7
    INTERRUPTED = 130
    PIPE_BROKEN = 141


# The first that fits holds; what is in none of them is a failure.
_TABLE: tuple[tuple[type[Exception], ExitCode], ...] = (
    (ConfigurationError, ExitCode.CONFIGURATION),
    (NotFound, ExitCode.NOT_FOUND),
    (Conflict, ExitCode.REFUSED),
    (AccessDenied, ExitCode.REFUSED),
    (DigestMismatch, ExitCode.REFUSED),
    (UndecodableMedia, ExitCode.REFUSED),
    (UnsupportedMedia, ExitCode.REFUSED),
    (TooLarge, ExitCode.REFUSED),
    (InvalidInput, ExitCode.USAGE),
    (Unavailable, ExitCode.TEMPORARY),
    (DeadlinePassed, ExitCode.TEMPORARY),
)


def exit_code_of(error: BaseException) -> ExitCode:
    """The exit code for an error."""
    for kind, code in _TABLE:
        if isinstance(error, kind):
            return code
    return ExitCode.FAILURE
