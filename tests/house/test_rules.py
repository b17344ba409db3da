"""The rules bite: each is shown a fault, planted in a copy of the tree."""

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.house.tree import ROOT, copy_tree

IMPORT_LINTER = Path(sys.executable).with_name("lint-imports")
RUFF = Path(sys.executable).with_name("ruff")

FAULTS_OF_IMPORTS = [
    ("domain", "import traffic_storage.ports", "Layers point inwards"),
    ("ports", "import traffic_storage.application", "Layers point inwards"),
    ("application", "import traffic_storage.adapters", "Layers point inwards"),
    ("adapters", "import traffic_storage.application", "Layers point inwards"),
    ("adapters", "import traffic_storage.entrypoints", "Layers point inwards"),
    ("domain", "import traffic_storage", "Nothing inside uses the public names"),
    ("application", "import sqlalchemy", "The core knows no technology"),
    ("application", "from redis import asyncio", "The core knows no technology"),
    ("ports", "import obstore", "The core knows no technology"),
    ("application", "import threading", "The core knows no technology"),
    ("domain", "import logging", "The domain does no input or output"),
    (
        "adapters/one",
        "import traffic_storage.adapters.other.other",
        "Adapters know no adapter of another port",
    ),
    (
        "adapters/one",
        "import traffic_storage.adapters.one.other",
        "Adapters know no other adapter of their own port",
    ),
    (
        "adapters/files",
        "import traffic_storage.adapters.one.other",
        "Adapters know no adapter of another port",
    ),
    ("adapters/one", "import obstore", "Each technology has one home"),
    ("entrypoints", "import fastapi", "Each technology has one home"),
    ("entrypoints", "import pydantic.types", "Each technology has one home"),
    ("entrypoints", "from traffic_storage import __version__", "Nothing inside uses"),
]


def _name_of(number: int) -> str:
    folder, fault, _ = FAULTS_OF_IMPORTS[number]
    return f"{folder}: {fault}"


FAULTS_OF_STYLE = [
    ("domain/fault.py", "from domain import errors\n", "TID251"),
    ("tests/fault.py", "import ports.errors\n", "TID251"),
    ("domain/fault.py", "from . import errors\n", "TID252"),
]


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """What is said of each broken contract, by its name: all faults at once, each in a module of
    its own.
    """
    tree = copy_tree(tmp_path_factory.mktemp("tree"))
    for name in ("one", "other"):
        (tree / "adapters" / name).mkdir()
        (tree / "adapters" / name / "__init__.py").touch()
        (tree / "adapters" / name / "other.py").touch()
    for number, (folder, fault, _) in enumerate(FAULTS_OF_IMPORTS):
        (tree / folder / f"fault_{number}.py").write_text(fault + "\n")
    checked = subprocess.run(
        [IMPORT_LINTER, "--no-logo", "--no-cache"],
        cwd=tree,
        env={"PYTHONPATH": str(tree / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 1, checked.stdout + checked.stderr
    _, _, details = checked.stdout.partition("Broken contracts\n")
    parts = re.split(r"^(\S.*)\n-+\n", details, flags=re.MULTILINE)
    # Long lines are wrapped.
    said = [" ".join(part.split()) for part in parts[2::2]]
    return dict(zip(parts[1::2], said, strict=True))


@pytest.mark.parametrize("number", range(len(FAULTS_OF_IMPORTS)), ids=_name_of)
def test_import_contracts_bite(reports: Mapping[str, str], number: int) -> None:
    folder, fault, contract = FAULTS_OF_IMPORTS[number]
    imported = fault.split()[1]
    if not imported.startswith("traffic_storage"):
        imported = imported.partition(".")[0]
    line = f"traffic_storage.{folder.replace('/', '.')}.fault_{number} -> {imported} (l.1)"
    assert [name for name, said in reports.items() if name.startswith(contract) and line in said]


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
