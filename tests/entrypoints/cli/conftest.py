"""Fixtures of the command line's tests."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.entrypoints.cli.command import Program, Shell, set_environment


@pytest.fixture
def shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Shell]:
    """Commands run in this process, in a fresh home."""
    home = tmp_path / "home"
    home.mkdir()
    set_environment(monkeypatch, home)
    yield Shell(home, capsys)
    logging.getLogger("traffic_storage").setLevel(logging.NOTSET)


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """The installed program, in a fresh home."""
    home = tmp_path / "home"
    home.mkdir()
    return Program(home)
