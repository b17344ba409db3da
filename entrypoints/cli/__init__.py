"""The command line: `traffic-storage`."""

import gc
import io
import signal
import sys

# How many objects may come into being between two runs of the garbage collector. With Python's own
# 700 a sixth of the time that a command takes to start is spent on looking at modules.
_OBJECTS_BETWEEN_COLLECTIONS = 100_000


def main() -> None:
    """Run the command in `sys.argv` and exit with its exit code."""
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # The reader of a pipe receives each line as soon as it is written.
        sys.stdout.reconfigure(line_buffering=True)
    code = _run(sys.argv[1:])
    # The command is complete: Ctrl-C during interpreter exit must not change the exit code.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(code)


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
