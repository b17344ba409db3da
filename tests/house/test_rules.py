"""The rules bite: each is shown a fault, planted in a copy of the tree."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.tree import ROOT, copy_tree

IMPORT_LINTER = Path(sys.executable).with_name("lint-imports")
RUFF = Path(sys.executable).with_name("ruff")

FAULTS_OF_IMPORTS = [
    ("domain/fault.py", "import traffic_storage.ports", "Layers point inwards"),
    ("ports/fault.py", "import traffic_storage.application", "Layers point inwards"),
    ("application/fault.py", "import traffic_storage.adapters", "Layers point inwards"),
    ("adapters/fault.py", "import traffic_storage.application", "Layers point inwards"),
    ("adapters/fault.py", "import traffic_storage.entrypoints", "Layers point inwards"),
    ("domain/fault.py", "import traffic_storage", "Nothing inside uses the public names"),
    ("application/fault.py", "import sqlalchemy", "The core knows no technology"),
    ("application/fault.py", "from redis import asyncio", "The core knows no technology"),
    ("ports/fault.py", "import obstore", "The core knows no technology"),
    ("application/fault.py", "import threading", "The core knows no technology"),
    ("domain/fault.py", "import logging", "The domain does no input or output"),
    (
        "adapters/one/fault.py",
        "import traffic_storage.adapters.other.fault",
        "Adapters know no adapter of another port",
    ),
    (
        "adapters/one/fault.py",
        "import traffic_storage.adapters.one.other",
        "Adapters know no other adapter of their own port",
    ),
    (
        "adapters/files/fault.py",
        "import traffic_storage.adapters.one.other",
        "Adapters know no adapter of another port",
    ),
    ("adapters/one/fault.py", "import obstore", "Each technology has one home"),
    ("entrypoints/fault.py", "import fastapi", "Each technology has one home"),
    ("entrypoints/fault.py", "import pydantic.types", "Each technology has one home"),
    ("entrypoints/fault.py", "from traffic_storage import __version__", "Nothing inside uses"),
]

FAULTS_OF_STYLE = [
    ("domain/fault.py", "from domain import errors\n", "TID251"),
    ("tests/fault.py", "import ports.errors\n", "TID251"),
    ("domain/fault.py", "from . import errors\n", "TID252"),
]


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = copy_tree(tmp_path_factory.mktemp("tree"))
    for name in ("one", "other"):
        (tree / "adapters" / name).mkdir()
        (tree / "adapters" / name / "__init__.py").touch()
        (tree / "adapters" / name / "other.py").touch()
        (tree / "adapters" / name / "fault.py").touch()
    (tree / "adapters" / "files" / "fault.py").touch()
    return tree


@pytest.mark.parametrize(("place", "fault", "contract"), FAULTS_OF_IMPORTS)
def test_import_contracts_bite(copied: Path, place: str, fault: str, contract: str) -> None:
    (copied / place).write_text(fault + "\n")
    try:
        checked = subprocess.run(
            [IMPORT_LINTER, "--no-logo", "--no-cache"],
            cwd=copied,
            env={"PYTHONPATH": str(copied / "src")},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        (copied / place).write_text("")
    broken = [line for line in checked.stdout.splitlines() if " BROKEN" in line]
    assert checked.returncode == 1, checked.stdout + checked.stderr
    assert any(line.startswith(contract) for line in broken), checked.stdout


@pytest.mark.parametrize(("place", "fault", "rule"), FAULTS_OF_STYLE)
def test_style_rules_bite(place: str, fault: str, rule: str) -> None:
    checked = subprocess.run(
        [RUFF, "check", "--no-cache", "--output-format=concise", "--stdin-filename", place, "-"],
        cwd=ROOT,
        input=fault,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 1, checked.stdout + checked.stderr
    assert f" {rule} " in checked.stdout
