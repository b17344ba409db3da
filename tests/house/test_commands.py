"""The guide lists each command that there is, and no other."""

import re
from collections.abc import Iterator
from importlib import import_module

from cyclopts import App

from tests.house.tree import ROOT
from traffic_storage.entrypoints.cli.commands import COMMANDS


def _names_in(app: App) -> list[str]:
    return [name for name in app if not name.startswith("-")]


def commands_of(app: App, name: str) -> Iterator[str]:
    """The commands of an application, each with its words."""
    inside = _names_in(app)
    if not inside or app.default_command is not None:
        yield name
    for part in inside:
        yield from commands_of(app[part], f"{name} {part}")


def all_commands() -> Iterator[str]:
    for command in COMMANDS:
        module, _, name = command.place.partition(":")
        made = getattr(import_module(module), name)
        if isinstance(made, App):
            yield from commands_of(made, command.name)
        else:
            yield command.name


def test_the_guide_lists_all_commands() -> None:
    text = (ROOT / "docs" / "guide.md").read_text("utf-8")
    section = text.partition("\n## Command line\n")[2].partition("\n## ")[0]
    rows = "\n".join(line for line in section.splitlines() if line.startswith("|"))
    listed = [one for one in re.findall(r"`([^`]+)`", rows) if not one.startswith("-")]
    assert sorted(listed) == sorted(all_commands())


def test_no_message_of_a_command_counts_without_looking_at_the_number() -> None:
    """`counted` says "1 file": a number in a text, before the plural of a noun, does not."""
    nouns = "files|jobs|copies|violations|records|days|images|objects|migrations|certificates"
    pattern = re.compile(rf"\{{[^{{}}]+\}}(?: or more)?(?: deleted)? (?:{nouns})\b")
    said = {
        f"{path.name}: {line.strip()}"
        for path in (ROOT / "entrypoints" / "cli").rglob("*.py")
        for line in path.read_text("utf-8").splitlines()
        if pattern.search(line)
    }
    # It is never 1.
    assert {line.partition(":")[0] for line in said} == {"get.py"}
