"""The command line: `traffic-storage`."""

import sys


def main() -> None:
    """Run the command that the process was started with, and end with its exit code."""
    sys.exit(_run(sys.argv[1:]))


def _run(arguments: list[str]) -> int:
    if arguments in ([], ["--help"], ["-h"]):
        from traffic_storage.entrypoints.cli.catalogue import overview

        sys.stdout.write(overview())
        return 0
    if arguments == ["--version"]:
        arguments = ["version"]
    from traffic_storage.entrypoints.cli.app import run

    return run(arguments)
