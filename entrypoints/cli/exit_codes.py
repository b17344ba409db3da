"""Exit codes, and the table that maps errors to them."""

from enum import IntEnum

from traffic_storage.domain.errors import (
    AccessDenied,
    ConfigurationError,
    Conflict,
    DigestMismatch,
    IncompleteEvidence,
    InvalidInput,
    LowQuality,
    NotFound,
    TooLarge,
    Unavailable,
    UndecodableMedia,
    UnsupportedMedia,
    WrongState,
)
from traffic_storage.ports.errors import DeadlinePassed


class ExitCode(IntEnum):
    """The exit codes of all commands; `commands.EXIT_CODES` describes them."""

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


# The first matching entry applies; an error without a match is a FAILURE.
_TABLE: tuple[tuple[type[Exception], ExitCode], ...] = (
    (ConfigurationError, ExitCode.CONFIGURATION),
    (NotFound, ExitCode.NOT_FOUND),
    (Conflict, ExitCode.REFUSED),
    (WrongState, ExitCode.REFUSED),
    (AccessDenied, ExitCode.REFUSED),
    (DigestMismatch, ExitCode.REFUSED),
    (UndecodableMedia, ExitCode.REFUSED),
    (UnsupportedMedia, ExitCode.REFUSED),
    (LowQuality, ExitCode.REFUSED),
    (IncompleteEvidence, ExitCode.REFUSED),
    (TooLarge, ExitCode.REFUSED),
    (InvalidInput, ExitCode.USAGE),
    (Unavailable, ExitCode.TEMPORARY),
    (DeadlinePassed, ExitCode.TEMPORARY),
)


def exit_code_of(error: BaseException) -> ExitCode:
    """Return the exit code for an error."""
    for kind, code in _TABLE:
        if isinstance(error, kind):
            return code
    return ExitCode.FAILURE
