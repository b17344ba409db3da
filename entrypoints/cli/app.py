"""The application: commands by import string, the options of all of them, errors to exit codes."""

import asyncio
import inspect
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, Group, Parameter, UnusedCliTokensError

from traffic_storage.domain.errors import TrafficStorageError
from traffic_storage.entrypoints.cli.catalogue import ABOUT, COMMANDS, PROGRAM, exit_codes_help
from traffic_storage.entrypoints.cli.exit_codes import ExitCode, exit_code_of
from traffic_storage.entrypoints.cli.output import (
    CannotWriteOut,
    drop_out,
    flush_out,
    note,
    note_error,
    note_failure,
)
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
        flush_out()
    except (Exception, KeyboardInterrupt, BaseExceptionGroup) as error:  # noqa: BLE001  # told
        return tell(_cause(error), verbose=verbose)
    return ExitCode(code or ExitCode.OK)


def tell(error: BaseException, *, verbose: bool) -> ExitCode:
    """Say on stderr why a command ended, and give the code for the shell."""
    if isinstance(error, CycloptsError):
        note_failure(*_misuse(error))
        return ExitCode.USAGE
    if isinstance(error, KeyboardInterrupt):
        note("interrupted")
        return ExitCode.INTERRUPTED
    if type(error) is OSError:
        error = _of_help(error)
    if isinstance(error, BrokenPipeError | CannotWriteOut):
        drop_out()
    if isinstance(error, BrokenPipeError):  # nobody reads any more
        return ExitCode.PIPE_BROKEN
    if verbose:
        _note_traceback()
    if isinstance(error, TrafficStorageError):
        note_error(error)
        return exit_code_of(error)
    # The last resort: a bug is told, not thrown.
    note_failure(
        f"this should not happen: {type(error).__name__}: {error}",
        "--verbose shows where; please report it",
    )
    return ExitCode.FAILURE


def _of_help(error: OSError) -> BaseException:
    """Help is written by cyclopts: what is still held back tells whether it could not be."""
    try:
        flush_out()
    except CannotWriteOut as failed:
        return failed
    return error


def _cause(error: BaseException) -> BaseException:
    """What to tell of what went wrong in several tasks: that nobody reads, else the first."""
    leaves = list(_leaves(error))
    return next((leaf for leaf in leaves if isinstance(leaf, BrokenPipeError)), leaves[0])


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    else:
        yield error


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
