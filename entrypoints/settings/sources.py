"""Sources of settings: a TOML file, files that hold one secret each, the environment.

Messages never quote a value, because it may be a secret.
"""

import logging
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

from attrs import Attribute, evolve, frozen

from traffic_storage.domain.errors import ConfigurationError, FieldProblem
from traffic_storage.entrypoints.settings.rules import FILE, FOLDER, near
from traffic_storage.entrypoints.settings.secret import Secret

PREFIX = "TRAFFIC_STORAGE_"
FILE_VARIABLE = "TRAFFIC_STORAGE_CONFIG"
ARGUMENT = "argument"

PARTS_OF_REDIS_URL = (
    "redis_host",
    "redis_port",
    "redis_db",
    "redis_username",
    "redis_password",
    "redis_tls",
)
"""The settings that `redis_url` gives together."""

_IN_FILE = "_file"
_NEAR_VARIABLE = 0.8
# Kubernetes sets these variables for each Service whose name begins with traffic-storage.
_OF_SERVICE = re.compile(r"(.*_)?(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT_\d+_(TCP|UDP|SCTP)(_.*)?)")
_SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://\S+")

Settings: TypeAlias = Mapping[str, "Attribute[Any]"]
log = logging.getLogger(__name__)


@frozen
class Given:
    """A value given for the setting `name`.

    `source` is the path of the file, the name of the environment variable, or `argument`.
    """

    name: str
    value: object
    source: str


def collect(
    settings: Settings,
    path: str | PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
) -> tuple[dict[str, Given], list[FieldProblem]]:
    """Return the values that the sources of settings give, and the problems of the sources.

    Overrides take precedence over the environment, the environment over the file. Problems are an
    unreadable file, an unknown name, and a secret that is given twice in one source.
    """
    env = {name: text for name, text in (os.environ if env is None else env).items() if text}
    given: dict[str, Given] = {}
    problems: list[FieldProblem] = []
    for source in (_from_file(settings, path, env), _from_environment(settings, env)):
        of_source: dict[str, Given] = {}
        for item in source:
            if isinstance(item, FieldProblem):
                problems.append(item)
            elif item.name in of_source:
                message = f"is given twice: directly and by {item.name}{_IN_FILE}"
                problems.append(FieldProblem(item.name, message, "leave out one of the two"))
            else:
                of_source[item.name] = item
        given = _overridden(given, of_source)
    arguments = {name: Given(name, value, ARGUMENT) for name, value in (overrides or {}).items()}
    return _overridden(given, arguments), problems


def _overridden(given: Mapping[str, Given], by: Mapping[str, Given]) -> dict[str, Given]:
    """Return the settings of two sources, of which the second has precedence.

    An address of Redis replaces the one of the first source as a whole.
    """
    replaced: Iterable[str] = ()
    if "redis_url" in by:
        replaced = PARTS_OF_REDIS_URL
    elif "redis_host" in by:
        replaced = ("redis_url",)
    return {name: entry for name, entry in given.items() if name not in replaced} | dict(by)


def with_source(problem: FieldProblem, given: Mapping[str, Given]) -> FieldProblem:
    """Return the problem with the file or variable of the setting added to its message."""
    entry = given.get(re.split(r"[\[.]", problem.field)[0])
    if entry is None or entry.source == ARGUMENT:
        return problem
    return evolve(problem, message=f"{problem.message}; it comes from {entry.source}")


def settings_file(
    path: str | PathLike[str] | None = None, env: Mapping[str, str] | None = None
) -> tuple[Path | None, bool]:
    """Return the path of the settings file, and whether it must exist because it was named.

    The path is None if none was named and the user has no home folder.
    """
    named = path or (os.environ if env is None else env).get(FILE_VARIABLE)
    if named:
        return below_home(named).absolute(), True
    from platformdirs import user_config_path

    try:
        return user_config_path("traffic-storage", appauthor=False) / "config.toml", False
    except RuntimeError:  # No HOME, and no entry in the table of users, as in many containers.
        return None, False


def below_home(path: str | PathLike[str]) -> Path:
    """Return a path with the home folder in place of `~`; unchanged where there is none."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def toml_of(file: Path) -> dict[str, Any]:
    """Return the content of a TOML file that a setting names.

    Raises:
        ConfigurationError: the file can't be read, or is not TOML.
    """
    try:
        return tomllib.loads(file.read_text("utf-8-sig"))
    except OSError as error:
        raise ConfigurationError.of(
            str(file), f"can't be read: {error.strerror}", "name a file that exists and is readable"
        ) from error
    except ValueError as error:
        raise ConfigurationError.of(
            str(file), f"is not TOML: {error}", "correct the file: a text needs quotes"
        ) from error


def unknown_setting(
    name: str, names: Iterable[str], meant: str = "", where: str = ""
) -> FieldProblem:
    """Return the problem of a name that is not a setting; its remedy suggests a similar name."""
    meant = meant or near(name, names)
    remedy = f"did you mean {meant}?" if meant else "`traffic-storage config reference` lists all"
    return FieldProblem(name, f"is not a setting{where}", remedy)


def _from_file(
    settings: Settings, path: str | PathLike[str] | None, env: Mapping[str, str]
) -> Iterator[Given | FieldProblem]:
    file, is_named = settings_file(path, env)
    if file is not None:
        yield from _in_file(settings, file, is_named=is_named)


def _in_file(settings: Settings, file: Path, *, is_named: bool) -> Iterator[Given | FieldProblem]:
    try:
        content = tomllib.loads(file.read_text("utf-8-sig"))
    except FileNotFoundError:
        if is_named:
            yield FieldProblem(str(file), "does not exist", "name a file that exists")
        return
    except OSError as error:
        if is_named or _is_seen(file):
            remedy = "make the file readable"
            yield FieldProblem(str(file), f"can't be read: {error.strerror}", remedy)
        else:
            log.warning(
                "settings in %s, if there are any, are not used: %s; HOME is perhaps that of another "
                "user. Name a settings file by %s",
                *(file, error.strerror, FILE_VARIABLE),
            )
        return
    except ValueError as error:
        # The message quotes the position and at most one character of the file, so no secret.
        remedy = "correct the file: each name may occur once, and a text needs quotes"
        yield FieldProblem(str(file), f"is not TOML: {error}", remedy)
        return
    for name, value in content.items():
        if name not in settings and isinstance(value, dict):
            remedy = "write each setting as `name = value`, before any [table]"
            yield FieldProblem(
                name, f"is a table, and no setting is in a table (in {file})", remedy
            )
        elif name not in settings:
            by_file = _secret_in_file(settings, name, value, file.parent)
            yield by_file or unknown_setting(name, settings, where=f" (in {file})")
        elif settings[name].metadata["rule"] in {FOLDER, FILE} and isinstance(value, str) and value:
            yield Given(name, file.parent / below_home(value), str(file))
        else:
            yield Given(name, value, str(file))


def _is_seen(file: Path) -> bool:
    try:
        return bool(file.lstat())
    except OSError:
        return False


def _from_environment(settings: Settings, env: Mapping[str, str]) -> Iterator[Given | FieldProblem]:
    for variable, text in env.items():
        name = variable.removeprefix(PREFIX).lower()
        if not variable.startswith(PREFIX) or variable == FILE_VARIABLE:
            continue
        if _is_of_service(variable, text, settings.get(name)):
            continue
        if name in settings:
            yield Given(name, settings[name].metadata["rule"].read(text), variable)
        elif by_file := _secret_in_file(settings, name, text, Path()):
            yield by_file
        elif meant := near(name, _spellings(settings), _NEAR_VARIABLE):
            yield unknown_setting(variable, (), PREFIX + meant.upper())
        else:
            log.warning("the environment variable %s is not a setting and is ignored", variable)


def _is_of_service(variable: str, text: str, setting: "Attribute[Any] | None") -> bool:
    """Return whether Kubernetes set the environment variable for one of its Services.

    The name of this variable may equal that of a setting, as TRAFFIC_STORAGE_DB_PORT.
    """
    if variable.endswith("PORT") and _SERVICE_ADDRESS.fullmatch(text):
        return True
    return setting is None and bool(_OF_SERVICE.fullmatch(variable.removeprefix(PREFIX)))


def _spellings(settings: Settings) -> Iterator[str]:
    for name, setting in settings.items():
        yield name
        if setting.metadata["rule"].kind is Secret:
            yield name + _IN_FILE


def _secret_in_file(
    settings: Settings, name: str, value: object, folder: Path
) -> Given | FieldProblem | None:
    """Read a secret from a file of its own, as in `db_password_file = "…"`.

    Return None if `name` is not the name of a setting followed by `_file`.
    """
    setting = settings.get(name.removesuffix(_IN_FILE))
    if not name.endswith(_IN_FILE) or setting is None:
        return None
    if setting.metadata["rule"].kind is not Secret:
        return FieldProblem(
            name,
            "is not a setting: only a secret can be in a file of its own",
            f"set {setting.name}",
        )
    remedy = "name a file that holds the secret"
    if not isinstance(value, str) or not value:
        return FieldProblem(name, "must be the path of a file", remedy)
    file = folder / below_home(value)
    try:
        return Given(setting.name, Secret.read(file.absolute()), str(file))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        return FieldProblem(name, f"{file} can't be read: {why}", remedy)
