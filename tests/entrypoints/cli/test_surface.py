"""What every command has in common: help, exit codes, errors, streams."""

import asyncio
import io
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.entrypoints.cli.command import PROGRAM, Program, Shell
from tests.support import media
from traffic_storage import StorageConfig, StorageService, ViolationRecord
from traffic_storage.domain import errors
from traffic_storage.domain.amounts import in_bytes
from traffic_storage.domain.errors import FieldProblem, InvalidInput, NotFound, TrafficStorageError
from traffic_storage.entrypoints.cli.app import build
from traffic_storage.entrypoints.cli.commands import COMMANDS, EXIT_CODES, GLOBAL_OPTIONS, overview
from traffic_storage.entrypoints.cli.exit_codes import ExitCode, exit_code_of
from traffic_storage.entrypoints.cli.output import note_error, say_json
from traffic_storage.ports import errors as port_errors

OURS_FOR_HELP = {
    "traffic_storage",
    "traffic_storage.entrypoints",
    "traffic_storage.entrypoints.cli",
    "traffic_storage.entrypoints.cli.commands",
}


def modules_loaded(*command: str | Path) -> set[str]:
    """The modules that a Python program imports until it ends."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *command], check=True, capture_output=True, text=True
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines}


def test_help_names_every_command_and_exit_code(program: Program) -> None:
    out = program("--help").out

    assert all(command.name in out and command.summary in out for command in COMMANDS)
    assert all(f"{code}" in out and words in out for code, words in EXIT_CODES)
    assert program().out == program("-h").out == out


@pytest.mark.parametrize("option", ["--base-path", "--config"])
def test_an_empty_path_is_not_the_folder_one_is_in(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    assert f"{option}: the path is empty" in shell("db", "upgrade", option, "", code=2).err
    file = here / "config.toml"
    file.write_text('local_base_path = ""\n')
    assert "not an empty text" in shell("db", "upgrade", "--config", file, code=7).err
    assert list(here.iterdir()) == [file]


def test_help_loads_nothing_that_it_does_not_need() -> None:
    """What it costs is measured by benchmarks/startup.py."""
    small = modules_loaded("-c", "import contextlib, enum, gc, re, signal, typing, warnings")

    loaded = modules_loaded(PROGRAM, "--help")

    assert loaded - small == OURS_FOR_HELP


WEB = {"fastapi", "starlette", "uvicorn", "prometheus_client", "werkzeug"}
OTHERS = {"PIL", "alembic", "asyncpg", "av", "numpy", "obstore", "pyarrow", "pydantic", "redis"}
OTHERS |= {"rich", "xlsxwriter", "yaml"}
CATALOGUE = {"traffic_storage.entrypoints.container", "sqlalchemy", "dependency_injector"}
OF_OTHER_COMMANDS = (
    *("analyse_", "apply_events", "check_invariants", "export_jobs", "migrat", "package"),
    *("rebuild_catalogue", "reconcile", "retain", "snapshots", "validate_evidence"),
)

# Runs a command, and tells which modules it has loaded at its end.
COMMAND = """
import sys
from traffic_storage.entrypoints.cli import main
try:
    main()
finally:
    print(*(name for name, module in sys.modules.items() if module), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("command", "unneeded"),
    [
        (["keys", "list"], WEB | OTHERS | CATALOGUE),
        (["violations", "--help"], (WEB | OTHERS | CATALOGUE) - {"rich"}),
        (["violations"], WEB | OTHERS),
        (["stats"], WEB | OTHERS),
        (["get", "F1", "--output", "{folder}/out"], WEB | OTHERS),
        (["store", "{folder}/a.jpg"], (WEB | OTHERS) - {"PIL"}),
    ],
    ids=str.split("keys help violations stats get store"),
)
def test_a_command_loads_nothing_heavy_that_it_does_not_need(
    shell: Shell, tmp_path: Path, command: list[str], unneeded: set[str]
) -> None:
    """To import everything would take longer than the command runs."""
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "a.jpg").write_bytes(media.shipped_jpeg())
    if not {"keys", "--help"} & set(command):
        shell("store", tmp_path / "a.json", "--file-id", "F1", "--base-path", tmp_path / "store")

    given = [text.format(folder=tmp_path) for text in command]
    run = [sys.executable, "-c", COMMAND, *given, "--base-path", str(tmp_path / "store")]
    done = subprocess.run(run, check=True, capture_output=True, text=True)
    loaded = set(done.stderr.splitlines()[-1].split())

    assert "traffic_storage.entrypoints.cli" in loaded
    assert loaded & unneeded == set()
    assert ("PIL" in loaded) == (command[0] == "store")
    use_cases = (name.rpartition("traffic_storage.application.")[2] for name in loaded)
    assert [name for name in use_cases if name.startswith(OF_OTHER_COMMANDS)] == []


def test_the_quick_help_tells_of_the_options_that_there_are(shell: Shell) -> None:
    shown = shell("store", "--help").out

    for option, _ in GLOBAL_OPTIONS:
        name = option.partition(",")[0].partition(" ")[0]
        assert name in {"--help", "--version"} or name in shown


@pytest.mark.parametrize("name", [command.name for command in COMMANDS])
def test_every_command_has_help_with_exit_codes(shell: Shell, name: str) -> None:
    out = shell(name, "--help").out

    assert "Usage: traffic-storage" in out
    assert "interrupted (Ctrl-C)" in out


def test_help_says_all_and_keeps_to_the_width(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    serve, keys = shell("serve", "--help").out, shell("keys", "--help").out
    get, every = shell("get", "--help").out, shell("--verbose", "--help").out

    assert "set api_keys before you use a proxy" in " ".join(serve.split())
    assert "Create and list API keys." in keys
    assert "Write stored files to disk or stdout, verified." in every
    assert all(len(line) <= 60 for line in (serve + keys + get + every).splitlines())
    assert (
        "  --output, -o STR: A file, a folder, or - for stdout (the\n"
        "      default, unless stdout is a terminal).\n"
    ) in get


def test_every_command_is_found_where_the_catalogue_says() -> None:
    app = build()

    assert [command.name for command in COMMANDS if command.name not in app] == []


def test_the_codes_in_the_help_are_those_in_use() -> None:
    told = {code for code, _ in EXIT_CODES}

    assert told == {int(code) for code in ExitCode}


def every_error() -> list[type[TrafficStorageError]]:
    found = {
        item
        for module in (errors, port_errors)
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, TrafficStorageError)
    }
    return sorted(found, key=lambda kind: kind.__name__)


def made(kind: type[TrafficStorageError]) -> TrafficStorageError:
    if issubclass(kind, errors.WrongFields):
        return kind([FieldProblem("field", "is wrong")])
    if issubclass(kind, errors.KeyInUse):
        return kind("F1", "F2")
    if issubclass(kind, errors.Conflict):
        return kind("file", "F1", "the bytes differ")
    if issubclass(kind, NotFound):
        return kind("file", "F1")
    return kind("it happened")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("InvalidInput", 2),
        ("DigestMismatch", 6),
        ("UndecodableMedia", 6),
        ("UnsupportedMedia", 6),
        ("TooLarge", 6),
        ("Conflict", 6),
        ("AccessDenied", 6),
        ("NotFound", 4),
        ("ConfigurationError", 7),
        ("StorageUnavailable", 5),
        ("CatalogueUnavailable", 5),
        ("OutcomeUnknown", 5),
        ("DeadlinePassed", 5),
        ("StorageFull", 1),
        ("NoGoodReplica", 1),
        ("BlobCorrupt", 1),
    ],
)
def test_an_error_has_its_exit_code(name: str, code: int) -> None:
    kinds = {kind.__name__: kind for kind in every_error()}

    assert exit_code_of(made(kinds[name])) == code


def test_every_error_has_an_exit_code_that_says_it_failed() -> None:
    assert all(exit_code_of(made(kind)) != ExitCode.OK for kind in every_error())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("stroe",), 'Did you mean "store"'),
        (("get",), "FILE_ID"),
        (("get", "F1", "--outptu", "x"), "--outptu"),
        (("violations", "--limit", "many"), "limit"),
        (("serve", "--port", "http"), "port"),
        (("config", "shwo"), 'Did you mean "show"'),
        (("completion", "tcsh"), "bash"),
    ],
)
def test_wrong_usage_ends_with_2_and_a_line(
    shell: Shell, arguments: tuple[str, ...], said: str
) -> None:
    result = shell(*arguments, code=2)

    assert result.out == ""
    assert said.lower() in result.err.lower()
    assert len(result.err.strip().splitlines()) == 1
    assert "Traceback" not in result.err


def test_wrong_settings_end_with_7_and_a_line_each(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAFFIC_STORAGE_PARALLEL_UPLOADS", "0")
    monkeypatch.setenv("TRAFFIC_STORAGE_IMAGE_QUALITY", "101")

    result = shell("config", "show", code=7)

    for name, limits in (("parallel_uploads", "from 1 to 256, not 0"), ("image_quality", "101")):
        line = next(line for line in result.err.splitlines() if f"{name}:" in line)
        assert limits in line
        assert f"TRAFFIC_STORAGE_{name.upper()}" in line
    assert "Traceback" not in result.err


def test_a_strategy_without_its_settings_ends_with_7_and_names_them(shell: Shell) -> None:
    result = shell("stats", "--strategy", "cloud_only", code=7)

    assert "s3_credentials" in result.err
    assert not shell.base.exists()


def test_options_of_every_command_stand_before_or_after_it(shell: Shell) -> None:
    for arguments in (
        ("--strategy", "local_only", "config", "show", "--json"),
        ("config", "--strategy", "local_only", "show", "--json"),
        ("config", "show", "--json", "--strategy", "local_only"),
    ):
        shown = {line["name"]: line for line in shell(*arguments).value}
        assert shown["strategy"]["value"] == "LOCAL_ONLY"


def test_verbose_shows_where_an_error_came_from(shell: Shell) -> None:
    assert "Traceback" in shell("--verbose", "stats", "--strategy", "cloud_only", code=7).err


def test_an_error_is_a_cause_and_a_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    note_error(NotFound("file", "F1"))
    note_error(InvalidInput.of("limit", "is 0", "give 1"))
    note_error(InvalidInput([FieldProblem("a", "is b", "give c"), FieldProblem("d", "is e")]))

    assert capsys.readouterr().err.splitlines() == [
        "error: there is no file 'F1' (check the id for typing errors; a file that was refused is not stored)",
        "error: limit: is 0 (give 1)",
        "error: 2 problems",
        "  a: is b (give c)",
        "  d: is e",
    ]


def test_a_bug_is_told_in_a_line(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(text: str) -> None:
        raise KeyError(text)

    monkeypatch.setattr("traffic_storage.entrypoints.cli.version.say", broken)

    result = shell("version", code=1)

    assert "KeyError" in result.err
    assert "Traceback" not in result.err
    assert "Traceback" in shell("version", "--verbose", code=1).err


def test_nobody_reads_any_more(program: Program) -> None:
    with program.started("config", "show") as process:
        assert process.stdout is not None
        process.stdout.close()
        process.wait(timeout=60)
        assert process.stderr is not None
        assert process.stderr.read() == ""

    assert process.returncode == ExitCode.PIPE_BROKEN


@pytest.mark.parametrize("json", [(), ("--json",)])
def test_nobody_reads_what_several_tasks_say(
    program: Program, tmp_path: Path, json: tuple[str, ...]
) -> None:
    for place in range(40):
        (tmp_path / f"{place}.json").write_text(f'{{"place": {place}}}')
    with program.started("store", tmp_path, *json) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.stdout.close()
        process.wait(timeout=60)
        assert process.stderr is not None
        assert process.stderr.read() == ""

    assert process.returncode == ExitCode.PIPE_BROKEN


def test_an_output_that_cant_be_written_is_told(program: Program, shell: Shell) -> None:
    (program.home / "m.json").write_text('{"vehicles": 7}')
    shell("store", program.home / "m.json", "--file-id", "M")
    asyncio.run(store_a_violation(program.home / ".local" / "share" / "traffic-storage"))

    for arguments in (
        ("stats",),
        ("get", "M"),
        ("violations", "--json"),
        ("store", "m.json", "--json"),
        ("get", "--help"),
    ):
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(
                [PROGRAM, *arguments],
                stdout=full,
                stderr=subprocess.PIPE,
                cwd=program.home,
                env=program.variables(),
                text=True,
                check=False,
            )

        assert done.returncode == ExitCode.FAILURE, arguments
        told = "error: standard output can't be written: No space left on device (free space"
        assert done.stderr.startswith(told), arguments
        assert len(done.stderr.splitlines()) == 1, arguments


async def store_a_violation(base: Path) -> None:
    async with StorageService(StorageConfig(local_base_path=base)) as storage:
        await storage.store_violation_evidence(
            violation_record=ViolationRecord(
                violation_id="V1",
                device_id="cam",
                violation_type="speed",
                timestamp=datetime(2026, 3, 1, tzinfo=UTC),
                vehicle_bbox=[1, 2, 3, 4],
                vehicle_class="car",
                confidence=0.5,
            )
        )


@pytest.mark.parametrize(
    "arguments",
    [
        ("stats",),
        ("stats", "--json"),
        ("get", "F"),
        ("url", "F"),
        ("violations",),
        ("violations", "show", "V1"),
    ],
)
def test_who_only_reads_makes_no_store(shell: Shell, arguments: tuple[str, ...]) -> None:
    result = shell(*arguments, code=ExitCode.NOT_FOUND)

    assert str(shell.base) in result.err
    assert "--base-path" in result.err
    assert result.out == ""
    assert list(shell.home.iterdir()) == []


def test_colour_only_for_a_terminal_that_wants_it(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert "\x1b" not in shell("config", "show").out

    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[1m" in shell("config", "show").out


def test_the_version_is_the_distributions(program: Program, shell: Shell) -> None:
    from importlib.metadata import version

    assert program("--version").out == f"traffic-storage {version('traffic-storage')}\n"
    assert shell("version", "--json").value == {"version": version("traffic-storage")}


def test_it_runs_as_a_module_too(program: Program) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "traffic_storage.entrypoints.cli", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "HOME": str(program.home)},
    )

    assert done.stdout == overview()


def test_sizes_are_for_people() -> None:
    assert [in_bytes(size) for size in (0, 999, 1000, 1_500_000, 10**18)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "1.5 MB",
        "1000.0 PB",
    ]


def test_a_closed_stream_is_dev_null(monkeypatch: pytest.MonkeyPatch) -> None:
    from traffic_storage.entrypoints import cli

    monkeypatch.setattr(sys, "stdout", None)
    cli._open_closed_streams()

    assert sys.stdout.fileno() == 1
    sys.stdout.write("")


def test_json_is_escaped_where_stdout_lacks_a_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.TextIOWrapper(io.BytesIO(), "latin-1")
    monkeypatch.setattr(sys, "stdout", out)

    say_json({"place": "\u2079 K\u00f6ln"})

    out.seek(0)
    assert json.loads(out.read()) == {"place": "\u2079 K\u00f6ln"}
