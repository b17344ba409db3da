"""Fixtures of the command line's tests."""

from pathlib import Path

import pytest

from tests.entrypoints.cli.command import Program, Shell, set_environment


@pytest.fixture
def shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    """Commands run in this process, in a fresh home, the same as that of `program`."""
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    set_environment(monkeypatch, home)
    return Shell(home, capsys)


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """The installed program, in a fresh home, the same as that of `shell`."""
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    return Program(home)
