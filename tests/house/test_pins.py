"""The requirement files pin what the project asks for, by hash, and name no host."""

import re

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.house.tree import ROOT, pyproject

REQUIREMENTS = ROOT / "requirements"
PINNED = ["uv.txt", "build.txt", "runtime.txt", "dev.txt"]


def pins(name: str) -> list[tuple[Requirement, int]]:
    """Each pinned requirement of a file with the number of its hashes."""
    text = (REQUIREMENTS / name).read_text(encoding="utf-8")
    entries = re.split(r"\n(?=[a-z0-9])", text)
    return [
        (Requirement(entry.split("\\")[0].strip()), entry.count("--hash=sha256:"))
        for entry in entries
    ]


def asked_for(*extras: str) -> list[Requirement]:
    project = pyproject()["project"]
    lines: list[str] = [*project["dependencies"]]
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    return [Requirement(line) for line in lines]


@pytest.mark.parametrize("name", PINNED)
def test_everything_is_pinned_by_hash(name: str) -> None:
    for requirement, hashes in pins(name):
        assert re.fullmatch(r"==[^,*]+", str(requirement.specifier)), requirement
        assert hashes > 0, requirement


@pytest.mark.parametrize("name", PINNED)
def test_no_host_and_no_place_is_named(name: str) -> None:
    text = (REQUIREMENTS / name).read_text(encoding="utf-8")
    named = re.search(r"://|^\s*-[if]\b|--(extra-)?index|--find-links|[ =]/", text, re.MULTILINE)
    assert named is None


@pytest.mark.parametrize(
    ("name", "extras"), [("runtime.txt", ["video"]), ("dev.txt", ["video", "testing"])]
)
def test_the_pins_meet_what_the_project_asks_for(name: str, extras: list[str]) -> None:
    versions: dict[str, list[Version]] = {}
    for pin, _ in pins(name):
        versions.setdefault(pin.name, []).append(Version(str(pin.specifier).removeprefix("==")))
    for wanted in asked_for(*extras):
        pinned = versions.get(wanted.name.replace(".", "-"), [])
        assert pinned, wanted
        assert all(wanted.specifier.contains(version) for version in pinned), wanted


def test_development_takes_the_versions_of_run_time() -> None:
    development = {str(pin) for pin, _ in pins("dev.txt")}
    assert {str(pin) for pin, _ in pins("runtime.txt")} <= development
