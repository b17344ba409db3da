"""The five folders at the root are the package; links, build and tools name the same five."""

from tests.house.tree import FOLDERS, PACKAGE, ROOT, pyproject

FACADE = [
    f"src/traffic_storage/{name}"
    for name in ("__init__.py", "api_server.py", "testing.py", "py.typed")
]


def test_the_links_are_relative_and_lead_to_the_folders() -> None:
    links = {path.name: str(path.readlink()) for path in PACKAGE.iterdir() if path.is_symlink()}
    assert links == {name: f"../../{name}" for name in FOLDERS}


def test_the_folders_are_real_packages() -> None:
    for name in FOLDERS:
        assert not (ROOT / name).is_symlink()
        assert (ROOT / name / "__init__.py").is_file()


def test_the_wheel_is_made_of_the_folders_that_the_links_show() -> None:
    wheel = pyproject()["tool"]["hatch"]["build"]["targets"]["wheel"]
    mapped = {name: f"traffic_storage/{name}" for name in FOLDERS}
    assert wheel["sources"] == {"src": "", **mapped}
    assert {*FACADE, *FOLDERS} <= set(wheel["only-include"])


def test_the_sdist_holds_all_that_the_wheel_is_made_of() -> None:
    targets = pyproject()["tool"]["hatch"]["build"]["targets"]
    assert set(targets["wheel"]["only-include"]) <= set(targets["sdist"]["only-include"])


def test_the_tools_look_at_the_same_folders() -> None:
    tool = pyproject()["tool"]
    assert set(tool["coverage"]["run"]["source"]) == {"domain", "ports", "application"}
    assert set(FOLDERS) <= set(tool["pyright"]["include"])
    assert set(FOLDERS) <= set(tool["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"])
