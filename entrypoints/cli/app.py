"""The cyclopts application: commands, options of every command, exit codes of errors."""

import asyncio
import inspect
import sys
import textwrap
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, CycloptsError, Group, Parameter, Token, UnusedCliTokensError
from cyclopts.help import PlainFormatter

from traffic_storage.domain.errors import TrafficStorageError
from traffic_storage.entrypoints.cli.commands import ABOUT, COMMANDS, PROGRAM, exit_codes_help
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

if TYPE_CHECKING:
    from rich.console import Console

_GLOBAL = Group("Options of every command", sort_key=100)


class _Wrapped(PlainFormatter):
    """Wraps help texts to the width of the terminal, with a hanging indent for each entry."""

    def _print_plain(self, console: "Console", text: str) -> None:
        indent = self.indent if text.startswith(self.indent) else ""
        paragraphs = text.split("\n\n") if not indent else [text]
        wrapped = [_wrapped(paragraph, indent, console.width) for paragraph in paragraphs]
        super()._print_plain(console, "\n\n".join(wrapped))


def _wrapped(paragraph: str, indent: str, width: int) -> str:
    if not indent and "\n " in paragraph:  # a table
        return paragraph
    return textwrap.fill(
        " ".join(paragraph.split()),
        width,
        initial_indent=indent,
        subsequent_indent=3 * indent,
        break_on_hyphens=False,
        break_long_words=False,
    )


def build(arguments: Sequence[str] = ()) -> App:
    """Return the application with all commands, without importing their modules.

    A command that `arguments` name shows its docstring as help, the others show their summary.
    """
    app = App(
        name=PROGRAM,
        help=ABOUT,
        help_epilogue=exit_codes_help(),
        help_format="plaintext",
        help_formatter=_Wrapped(),
        version_flags=(),
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
    )
    for command in COMMANDS:
        summary = None if command.name in arguments else command.summary
        app.command(command.place, name=command.name, help=summary)
    app.meta.suppress_keyboard_interrupt = False
    app.meta.default(_launcher(app))
    return app


def run(arguments: Sequence[str]) -> ExitCode:
    """Run one command and return its exit code; report an error on stderr."""
    verbose = not {"--verbose", "-v"}.isdisjoint(arguments)
    try:
        code = build(arguments).meta(arguments)
        flush_out()
    except (Exception, KeyboardInterrupt, BaseExceptionGroup) as error:  # noqa: BLE001  # reported
        return tell(_cause(error), verbose=verbose)
    return ExitCode(code or ExitCode.OK)


def tell(error: BaseException, *, verbose: bool) -> ExitCode:
    """Report an error on stderr and return its exit code."""
    if isinstance(error, CycloptsError):
        note_failure(*_misuse(error))
        return ExitCode.USAGE
    if isinstance(error, KeyboardInterrupt):
        note("interrupted")
        return ExitCode.INTERRUPTED
    if type(error) is OSError:
        error = _help_error(error)
    if isinstance(error, BrokenPipeError | CannotWriteOut):
        drop_out()
    if isinstance(error, BrokenPipeError):  # without a reader there is nothing to report to
        return ExitCode.PIPE_BROKEN
    if verbose:
        _note_traceback()
    if isinstance(error, TrafficStorageError):
        note_error(error)
        return exit_code_of(error)
    # Any other error is a bug; it is reported without a traceback.
    note_failure(
        f"internal error: {type(error).__name__}: {error}",
        "run it again with --verbose and report the output",
    )
    return ExitCode.FAILURE


def _help_error(error: OSError) -> BaseException:
    """Return the error to report for an OSError that cyclopts may raise while it prints help.

    If flushing stdout fails as well, return that failure, which caused the OSError.
    """
    try:
        flush_out()
    except CannotWriteOut as failed:
        return failed
    return error


def _cause(error: BaseException) -> BaseException:
    """Return the error to report: of a group, a broken pipe if there is one, else the first."""
    leaves = list(_leaves(error))
    return next((leaf for leaf in leaves if isinstance(leaf, BrokenPipeError)), leaves[0])


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    else:
        yield error


def _misuse(error: CycloptsError) -> tuple[str, str]:
    """Return what is wrong with the command line, and a reference to the help of the command."""
    cause = str(error).strip()
    if isinstance(error, UnusedCliTokensError):
        cause = f"too many arguments: {' '.join(error.unused_tokens or ())}"
    command = " ".join((PROGRAM, *(error.command_chain or ())))
    return cause, f"see `{command} --help`"


def _named(_: object, tokens: Sequence[Token]) -> Path:
    """Return a path of the command line. An empty path (an unset shell variable) is an error."""
    if not tokens[0].value:
        raise ValueError("the path is empty: give a file or folder")
    return Path(tokens[0].value)


def _launcher(app: App) -> Callable[..., object]:
    def launch(
        *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
        config: Annotated[Path | None, Parameter(group=_GLOBAL, converter=_named)] = None,
        base_path: Annotated[Path | None, Parameter(group=_GLOBAL, converter=_named)] = None,
        strategy: Annotated[str | None, Parameter(group=_GLOBAL)] = None,
        verbose: Annotated[Flag, Parameter(name=("--verbose", "-v"), group=_GLOBAL)] = False,
    ) -> object:
        """Run a command.

        Parameters
        ----------
        config:
            Settings file; default: TRAFFIC_STORAGE_CONFIG, then the user's own.
        base_path:
            Use this local_base_path.
        strategy:
            Use this strategy, such as HYBRID or LOCAL_ONLY.
        verbose:
            Log in detail, and show the traceback of an error.
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
    from traffic_storage.entrypoints.logs import configure

    configure(sys.stderr, "text", "debug" if verbose else "warning", detailed=verbose)


def _note_traceback() -> None:
    import traceback

    note(traceback.format_exc().rstrip())
