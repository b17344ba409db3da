"""`traffic_storage` names its public parts without importing them."""

import ast
import subprocess
import sys

import pytest

import traffic_storage
from tests.house.tree import PACKAGE

LOADED_BY_IMPORT = """
import sys
before = set(sys.modules)
import traffic_storage
print(*sorted(set(sys.modules) - before))
"""


def type_checking_imports() -> dict[str, str]:
    """Public name → place, as the imports under TYPE_CHECKING tell the type checkers."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    return {
        alias.asname or alias.name: f"{node.module}:{alias.name}"
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


@pytest.mark.parametrize("name", traffic_storage.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(traffic_storage, name) is not None


def test_the_names_are_listed() -> None:
    assert dir(traffic_storage) == sorted(traffic_storage.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Unknown'"):
        _ = traffic_storage.Unknown  # type: ignore[attr-defined]


def test_type_checkers_see_what_is_resolved() -> None:
    assert type_checking_imports() == traffic_storage._PLACES
    assert set(traffic_storage.__all__) == {*traffic_storage._PLACES, "__version__"}


def test_importing_loads_nothing_else() -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", LOADED_BY_IMPORT], capture_output=True, text=True, check=True
    ).stdout.split()
    assert loaded == ["traffic_storage"]
