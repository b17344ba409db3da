"""The command line: `traffic-storage`."""

import gc
import io
import os
import signal
import sys

# How many objects may come into being between two runs of the garbage collector. With Python's own
# 700 a sixth of the time that a command takes to start is spent on looking at modules, and with
# 100,000 a tenth. `session.started` sets what holds afterwards.
_OBJECTS_UNTIL_STARTED = 1_000_000


def main() -> None:
    """Run the command in `sys.argv` and exit with its exit code."""
    gc.set_threshold(_OBJECTS_UNTIL_STARTED)
    _open_closed_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # The reader of a pipe receives each line as soon as it is written.
        # What its encoding can't hold is escaped, so that a command does not fail after its work.
        sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
    code = _run(sys.argv[1:])
    # The command is complete: Ctrl-C during interpreter exit must not change the exit code.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(code)


def _open_closed_streams() -> None:
    """Open /dev/null for standard streams that are closed, as some init scripts leave them.

    Without this, the next file or socket that is opened would become standard output.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
        if getattr(sys, name) is None:
            mode = "w" if number else "r"
            stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115 - stays open
            setattr(sys, name, stream)


def _run(arguments: list[str]) -> int:
    if arguments in ([], ["--help"], ["-h"]):
        from traffic_storage.entrypoints.cli.commands import overview

        try:
            sys.stdout.write(overview())
            sys.stdout.flush()
        except OSError as error:
            from traffic_storage.entrypoints.cli.app import tell
            from traffic_storage.entrypoints.cli.output import out_error

            return tell(out_error(error), verbose=False)
        return 0
    if arguments == ["--version"]:
        arguments = ["version"]
    from traffic_storage.entrypoints.cli.app import run

    return run(arguments)
