"""The checkout, for tests that read or copy it."""

import shutil
import tomllib
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGE: Final = ROOT / "src" / "traffic_storage"
FOLDERS: Final = ("domain", "ports", "adapters", "application", "entrypoints")


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def copy_tree(target: Path, *extra: str) -> Path:
    """Copies what makes the package, and `extra` files of the root, to `target`; returns it."""
    for name in ("src", *FOLDERS):
        shutil.copytree(
            ROOT / name, target / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("pyproject.toml", *extra):
        shutil.copy(ROOT / name, target / name)
    return target
