"""Where settings come from: a TOML file, files that hold one secret, the environment.

Errors name the setting, and the source where it is what is wrong; none quotes a secret.
"""

import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

from attrs import Attribute, frozen

from traffic_storage.domain.errors import FieldProblem
from traffic_storage.entrypoints.settings.kinds import Folder, Parsed, kind_of, near

PREFIX = "TRAFFIC_STORAGE_"
FILE_VARIABLE = "TRAFFIC_STORAGE_CONFIG"
_IN_FILE = "_file"
_TOML_REMEDY = "correct it: each name stands once, and text needs quotes"

Settings: TypeAlias = Mapping[str, "Attribute[Any]"]


@frozen
class Given:
    """A value of the setting `name`, and where it came from, in words."""

    name: str
    value: Parsed
    source: str


def collect(
    settings: Settings,
    path: str | PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    overrides: Mapping[str, Parsed] | None = None,
) -> tuple[dict[str, Given], list[FieldProblem]]:
    """What is given for these settings: overrides win over the environment, it over the file.

    And what is wrong with the sources: the file can't be read, or something in it or in the
    environment is no setting.
    """
    env = os.environ if env is None else env
    given: dict[str, Given] = {}
    problems: list[FieldProblem] = []
    for found in (_from_file(settings, path, env), _from_environment(settings, env)):
        for item in found:
            if isinstance(item, Given):
                given[item.name] = item
            else:
                problems.append(item)
    for name, value in (overrides or {}).items():
        given[name] = Given(name, value, "command line")
    return given, problems


def settings_file(
    path: str | PathLike[str] | None = None, env: Mapping[str, str] | None = None
) -> tuple[Path, bool]:
    """The file of settings, and whether somebody named it (it must exist then)."""
    env = os.environ if env is None else env
    named = path or env.get(FILE_VARIABLE)
    if named:
        return Path(named).expanduser().absolute(), True
    from platformdirs import user_config_path

    return user_config_path("traffic-storage", appauthor=False) / "config.toml", False


def unknown_setting(name: str, names: Iterable[str], prefix: str = "") -> FieldProblem:
    """The problem with a name that is no setting, with the near one suggested."""
    meant = near(name.removeprefix(prefix), names)
    spelled = prefix + meant.upper() if prefix else meant
    return FieldProblem(
        name,
        "is not a setting",
        f"did you mean {spelled}?" if meant else "`traffic-storage config show` lists all",
    )


def _from_file(
    settings: Settings, path: str | PathLike[str] | None, env: Mapping[str, str]
) -> Iterator[Given | FieldProblem]:
    file, named = settings_file(path, env)
    try:
        content = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        if named:
            yield FieldProblem(str(file), "does not exist", "name a file that exists")
        return
    except OSError as error:
        yield FieldProblem(str(file), f"can't be read: {error.strerror}", "make it readable")
        return
    except ValueError as error:
        # Its place and at most one character of it: no secret.
        yield FieldProblem(str(file), f"is not TOML: {error}", _TOML_REMEDY)
        return
    for name, value in content.items():
        if name not in settings:
            yield _secret_in_file(settings, name, value, file.parent) or unknown_setting(
                name, settings
            )
        elif isinstance(kind_of(settings[name]), Folder) and isinstance(value, str) and value:
            yield Given(name, file.parent / Path(value).expanduser(), str(file))
        else:
            yield Given(name, value, str(file))


def _from_environment(settings: Settings, env: Mapping[str, str]) -> Iterator[Given | FieldProblem]:
    for variable, text in env.items():
        name = variable.removeprefix(PREFIX).lower()
        if not variable.startswith(PREFIX) or variable == FILE_VARIABLE:
            continue
        if name in settings:
            yield Given(name, kind_of(settings[name]).read(text), variable)
        else:
            yield _secret_in_file(settings, name, text, Path()) or unknown_setting(
                variable, settings, PREFIX
            )


def _secret_in_file(
    settings: Settings, name: str, value: Parsed, folder: Path
) -> Given | FieldProblem | None:
    """What `db_password_file = "…"` means; None where `name` is no such name."""
    setting = settings.get(name.removesuffix(_IN_FILE))
    if not name.endswith(_IN_FILE) or setting is None or not setting.metadata["secret"]:
        return None
    if not isinstance(value, str) or not value:
        return FieldProblem(name, "is not the path of a file", "name a file that holds the secret")
    file = folder / Path(value).expanduser()
    try:
        text = file.read_text("utf-8")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        return FieldProblem(
            name, f"{file} can't be read: {why}", "name a file that holds the secret"
        )
    return Given(setting.name, text.removesuffix("\n").removesuffix("\r"), str(file))
