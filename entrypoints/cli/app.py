"""The application: commands by import string, the options of all of them, errors to exit codes."""

import asyncio
import inspect
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, Group, Parameter, UnusedCliTokensError

from traffic_storage.domain.errors import TrafficStorageError
from traffic_storage.entrypoints.cli.catalogue import ABOUT, COMMANDS, PROGRAM, exit_codes_help
from traffic_storage.entrypoints.cli.exit_codes import ExitCode, exit_code_of
from traffic_storage.entrypoints.cli.output import note, note_error, note_failure
from traffic_storage.entrypoints.cli.session import Flag, Session

_GLOBAL = Group("Options of every command", sort_key=100)


def build() -> App:
    """The application with all its commands, none of them loaded."""
    app = App(
        name=PROGRAM,
        help=ABOUT,
        help_epilogue=exit_codes_help(),
        help_format="plaintext",
        help_formatter="plain",
        version_flags=(),
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
    )
    for command in COMMANDS:
        app.command(command.place, name=command.name, help=command.summary)
    app.meta.suppress_keyboard_interrupt = False
    app.meta.default(_launcher(app))
    return app


def run(arguments: Sequence[str]) -> ExitCode:
    """Run one command; what goes wrong is told on stderr."""
    verbose = not {"--verbose", "-v"}.isdisjoint(arguments)
    try:
        code = build().meta(arguments)
        sys.stdout.flush()
    except CycloptsError as error:
        note_failure(*_misuse(error))
        return ExitCode.USAGE
    except TrafficStorageError as error:
        if verbose:
            _note_traceback()
        note_error(error)
        return exit_code_of(error)
    except KeyboardInterrupt:
        note("interrupted")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # Nobody reads any more. What is still buffered must not be written at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.PIPE_BROKEN
    except Exception as error:  # noqa: BLE001  # the last resort: a bug is told, not thrown
        if verbose:
            _note_traceback()
        note_failure(
            f"this should not happen: {type(error).__name__}: {error}",
            "--verbose shows where; please report it",
        )
        return ExitCode.FAILURE
    return ExitCode(code or ExitCode.OK)


def _misuse(error: CycloptsError) -> tuple[str, str]:
    """What was written wrongly, and whose help tells what would be right."""
    cause = str(error).strip()
    if isinstance(error, UnusedCliTokensError):
        cause = f"too many arguments: {' '.join(error.unused_tokens or ())}"
    command = " ".join((PROGRAM, *(error.command_chain or ())))
    return cause, f"`{command} --help` shows what there is"


def _launcher(app: App) -> Callable[..., object]:
    def launch(
        *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
        config: Annotated[Path | None, Parameter(group=_GLOBAL)] = None,
        base_path: Annotated[Path | None, Parameter(group=_GLOBAL)] = None,
        strategy: Annotated[str | None, Parameter(group=_GLOBAL)] = None,
        verbose: Annotated[Flag, Parameter(name=("--verbose", "-v"), group=_GLOBAL)] = False,
    ) -> object:
        """Run a command.

        Parameters
        ----------
        config:
            Settings file; else TRAFFIC_STORAGE_CONFIG, else the user's own.
        base_path:
            Use this local_base_path.
        strategy:
            Use this strategy, as HYBRID or LOCAL_ONLY.
        verbose:
            Log in detail, and show where an error came from.
        """
        session = Session(config, base_path, strategy, verbose)
        _configure_logging(verbose=verbose)
        command, bound, ignored = app.parse_args(tokens)
        given = dict.fromkeys(ignored, session)
        return _finished(command(*bound.args, **bound.kwargs, **given))

    return launch


def _finished(result: object) -> object:
    if inspect.isawaitable(result):
        return asyncio.run(_awaited(result))
    return result


async def _awaited(result: Awaitable[object]) -> object:
    return await result


def _configure_logging(*, verbose: bool) -> None:
    import logging

    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s" if verbose else "%(message)s",
    )
    # Of ours alone: what other libraries say in detail may hold what users sent.
    logging.getLogger("traffic_storage").setLevel(logging.DEBUG if verbose else logging.NOTSET)


def _note_traceback() -> None:
    import traceback

    note(traceback.format_exc().rstrip())
