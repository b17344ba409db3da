"""What is built and installed is one package, whole, without the links."""

import json
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.house.tree import FOLDERS, ROOT, copy_tree

UV = ROOT / ".uv" / "bin" / "uv"

WHAT_IS_THERE = """
import importlib.util, json, sys
import traffic_storage
print(json.dumps({
    "file": traffic_storage.__file__,
    "version": traffic_storage.__version__,
    "names": [name for name in traffic_storage.__all__ if getattr(traffic_storage, name)],
    "top_level": [name for name in sys.argv[1:] if importlib.util.find_spec(name)],
}))
"""


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(kind: str, source: Path, target: Path) -> Path:
    run(sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", target, cwd=source)
    (made,) = target.iterdir()
    return made


def build_by_way_of_sdist(folder: Path) -> Path:
    """Builds a wheel from the unpacked sdist of a copy of the tree."""
    (tree := folder / "tree").mkdir()
    copy_tree(tree, "README.md", "LICENSE")
    (unpacked := folder / "unpacked").mkdir()
    sdist = build("sdist", tree, folder / "sdist")
    run("tar", "--extract", "--file", sdist, "--strip-components=1", cwd=unpacked)
    return build("wheel", unpacked, folder / "wheel")


def make_environment(folder: Path) -> Path:
    """A venv with this one's dependencies but not its editable install; returns its Python."""
    run(UV, "venv", "--quiet", "--python", sys.executable, folder, cwd=folder.parent)
    python = folder / "bin" / "python"
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder)
    Path(site.strip(), "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return python


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_by_way_of_sdist(tmp_path_factory.mktemp("built"))


def test_the_wheel_holds_every_file_of_the_folders_once(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    expected = {
        f"traffic_storage/{path.relative_to(ROOT)}"
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    packaged = [name for name in names if name.startswith("traffic_storage/")]
    facade = {
        f"traffic_storage/{name}"
        for name in ("__init__.py", "api_server.py", "testing.py", "py.typed")
    }
    assert set(packaged) - facade == expected
    assert len(packaged) == len(set(packaged))
    assert {name.split("/")[0] for name in names} == {
        "traffic_storage",
        f"{wheel.name.removesuffix('-py3-none-any.whl')}.dist-info",
    }


def test_an_installed_wheel_is_one_import_package(wheel: Path, tmp_path: Path) -> None:
    python = make_environment(tmp_path / "venv")
    run(UV, "pip", "install", "--offline", "--no-deps", "--python", python, wheel, cwd=tmp_path)
    found = json.loads(run(python, "-I", "-c", WHAT_IS_THERE, *FOLDERS, "src", cwd=tmp_path))
    assert Path(found["file"]).is_relative_to(tmp_path)
    assert found["top_level"] == []
    assert "TrafficStorageError" in found["names"]
    assert found["version"] == wheel.name.split("-")[1]
    assert shutil.which("traffic-storage", path=python.parent)
