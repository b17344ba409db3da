"""Shared by all commands: the options of every command, the settings, the started container."""

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

from attrs import evolve, frozen
from cyclopts import Parameter

from traffic_storage.domain.errors import NotFound

if TYPE_CHECKING:
    from traffic_storage.entrypoints.container import Container
    from traffic_storage.entrypoints.logs import LogFormat, LogLevel
    from traffic_storage.entrypoints.settings import StorageConfig

_LAST_DAY = (9999, 12, 31)
_OBJECTS_BETWEEN_COLLECTIONS = 100_000


class NoStore(NotFound):
    """A command that only reads found no store."""

    def __init__(self, base: Path) -> None:
        super().__init__("store", str(base))
        if (base / "blobs").is_dir():
            self.message = f"there are blobs below {str(base)!r}, but their catalogue is missing"
            self.remedy = "put its database back, or make it anew from the blobs with `rebuild`"
            return
        self.remedy = (
            "nothing is stored there yet; to read another folder, name it with --base-path or "
            "the setting local_base_path"
        )


@frozen
class Session:
    """The options that every command accepts, and the settings and container made from them."""

    config: Path | None = None
    base_path: Path | None = None
    strategy: str | None = None
    verbose: bool = False

    def overrides(self) -> dict[str, object]:
        """Return the settings that the command line gives."""
        given = {"local_base_path": self.base_path, "strategy": self.strategy}
        return {name: value for name, value in given.items() if value is not None}

    def log_as(self, log_format: "LogFormat", level: "LogLevel | None") -> None:
        """Log in another format and at another level than commands do, to stderr."""
        from traffic_storage.entrypoints.logs import configure

        usual: LogLevel = "debug" if self.verbose else "warning"
        configure(sys.stderr, log_format, level or usual, detailed=self.verbose or bool(level))

    def settings(self) -> "StorageConfig":
        """Load the settings from the file, the environment and the command line.

        Raises:
            ConfigurationError: settings are wrong.
        """
        from traffic_storage.entrypoints.settings import StorageConfig

        return StorageConfig.load(self.config, overrides=self.overrides())

    def gives(self, name: str) -> bool:
        """Return whether a setting is given, even if by its default value."""
        from attrs import fields_dict

        from traffic_storage.entrypoints.settings import StorageConfig
        from traffic_storage.entrypoints.settings.sources import collect

        given, _ = collect(fields_dict(StorageConfig), self.config, overrides=self.overrides())
        return name in given

    def container(self, settings: "StorageConfig | None" = None) -> "Container":
        """Build the container of a command, which does no jobs; nothing is opened yet.

        Raises:
            ConfigurationError: settings are wrong, or settings that the strategy needs are missing.
        """
        load_container()
        from traffic_storage.entrypoints.container import build

        return build(evolve(settings or self.settings(), workers=0))


def load_container() -> None:
    """Import the container without the web frameworks that dependency_injector would import.

    It imports them where they are installed, for its wiring, which is not used: a fifth of the time
    that a command takes to start. Call this before anything else imports the container.
    """
    frameworks = ("fastapi", "pydantic", "pydantic_settings", "starlette", "werkzeug", "yaml")
    with _absent(*frameworks):
        import traffic_storage.entrypoints.container  # noqa: F401 - loads it


def started() -> None:
    """Let the garbage collector run as often as a long command needs, and pass over what is loaded.

    Without effect where `main` did not put it off, as in a program that runs a command itself.
    """
    if gc.get_threshold()[0] > _OBJECTS_BETWEEN_COLLECTIONS:
        gc.freeze()
        gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)


@asynccontextmanager
async def opened(container: "Container") -> AsyncIterator["Container"]:
    """Start the container on entry and close it on exit, after an error too.

    Raises:
        ConfigurationError: local_base_path is no folder, and none can be made there.
    """
    from traffic_storage.entrypoints.base_path import check_base_path
    from traffic_storage.entrypoints.container import running

    check_base_path(container.settings(), make=True)

    try:
        async with running(container) as service:
            started()
            yield service
    finally:
        # obstore's streams schedule a last callback, which the loop must run before it closes.
        await asyncio.sleep(0)


@asynccontextmanager
async def opened_to_read(container: "Container") -> AsyncIterator["Container"]:
    """Start the container for a command that only reads, and close it on exit.

    Raises:
        NoStore: nothing is stored in `local_base_path` yet; the command creates no store.
        ConfigurationError: `local_base_path` is no folder, and none can be made there.
    """
    from traffic_storage.entrypoints.base_path import check_base_path

    settings: StorageConfig = container.settings()
    check_base_path(settings, make=False, to_write=False)
    if is_new(settings):
        raise NoStore(settings.local_base_path)
    async with opened(container) as service:
        yield service


def instant_of(text: str | None, name: str, settings: "StorageConfig") -> datetime | None:
    """Return the instant of a time on the command line, in the setting `timezone` if it has no zone.

    Raises:
        InvalidInput: the text is not a time.
    """
    from traffic_storage.domain.times import instant, parse_time

    return None if text is None else instant(parse_time(text, name), settings.zone, name).at


def end_of(text: str | None, name: str, settings: "StorageConfig") -> datetime | None:
    """Return the instant at which a range ends: `instant_of`, but a date alone includes its day.

    Raises:
        InvalidInput: the text is not a time.
    """
    from traffic_storage.domain.times import instant, is_date, parse_time

    if text is None or not is_date(text):
        return instant_of(text, name, settings)
    day = parse_time(text, name)
    # The last day of the calendar has no day after it.
    following = day if (day.year, day.month, day.day) == _LAST_DAY else day + timedelta(days=1)
    return instant(following, settings.zone, name).at


@contextmanager
def _absent(*names: str) -> Iterator[None]:
    """Return a context in which these modules can't be imported, unless they are loaded already."""
    hiding = _Hiding(names)
    sys.meta_path.insert(0, hiding)
    try:
        yield
    finally:
        sys.meta_path.remove(hiding)


class _Hiding(MetaPathFinder):
    """Finds no module of these names, and so ends the search for them."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(names)

    def find_spec(self, fullname: str, *_: object) -> None:
        """Do nothing for other modules.

        Raises:
            ModuleNotFoundError: `fullname` is one of the names.
        """
        if fullname in self._names:
            raise ModuleNotFoundError(fullname, name=fullname)


def is_new(settings: "StorageConfig") -> bool:
    """Return whether the catalogue is an SQLite file that does not exist yet."""
    return settings.db_host is None and is_absent(settings.sqlite_file)


def is_absent(path: Path) -> bool:
    """Return whether the path does not exist.

    A path that the user has no permission to check counts as existing.
    """
    try:
        path.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


Shared: TypeAlias = Annotated[Session, Parameter(parse=False)]
"""The session of a command, passed by the launcher, not parsed from the command line."""

Flag: TypeAlias = Annotated[bool, Parameter(negative="", show_default=False)]
"""A switch, off by default."""

AsJson: TypeAlias = Annotated[Flag, Parameter(name="--json")]
"""Print JSON instead of text for people."""
