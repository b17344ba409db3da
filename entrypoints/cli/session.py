"""What every command shares: the options before or after it, the settings, the opened system."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

from attrs import frozen
from cyclopts import Parameter

from traffic_storage.domain.errors import NotFound

if TYPE_CHECKING:
    from traffic_storage.entrypoints.container import Container
    from traffic_storage.entrypoints.settings import StorageConfig


class NoStore(NotFound):
    """Nothing was ever stored where a command is to read."""

    def __init__(self, base: Path) -> None:
        super().__init__("store", str(base))
        self.remedy = (
            "nothing was stored there yet; to read another folder name it with --base-path or "
            "the setting local_base_path"
        )


@frozen
class Session:
    """The options that every command takes."""

    config: Path | None = None
    base_path: Path | None = None
    strategy: str | None = None
    verbose: bool = False

    def overrides(self) -> dict[str, object]:
        """The settings that the command line gives."""
        given = {"local_base_path": self.base_path, "strategy": self.strategy}
        return {name: value for name, value in given.items() if value is not None}

    def settings(self) -> "StorageConfig":
        """The settings of file, environment and command line.

        Raises:
            ConfigurationError: they are wrong.
        """
        from traffic_storage.entrypoints.settings import StorageConfig

        return StorageConfig.load(self.config, overrides=self.overrides())

    def container(self, settings: "StorageConfig | None" = None) -> "Container":
        """All parts, not yet opened.

        Raises:
            ConfigurationError: the settings are wrong, or lack what the strategy needs.
        """
        from traffic_storage.entrypoints.container import build

        return build(settings or self.settings())


@asynccontextmanager
async def opened(container: "Container") -> AsyncIterator["Container"]:
    """The system, started; closed at the end, whatever happens."""
    from traffic_storage.entrypoints.container import running

    try:
        async with running(container) as started:
            yield started
    finally:
        # obstore's streams schedule a last callback: the loop runs it before it ends.
        await asyncio.sleep(0)


@asynccontextmanager
async def opened_to_read(container: "Container") -> AsyncIterator["Container"]:
    """The system, started for a command that only reads: it makes no store where there is none.

    Raises:
        NoStore: there is none.
    """
    settings: StorageConfig = container.settings()
    if is_new(settings):
        raise NoStore(settings.local_base_path)
    async with opened(container) as started:
        yield started


def instant_of(text: str | None, name: str, settings: "StorageConfig") -> datetime | None:
    """The instant that a time on the command line means; without a zone, in the setting's zone.

    Raises:
        InvalidInput: it is no time.
    """
    from traffic_storage.domain.times import instant, parse_time

    return None if text is None else instant(parse_time(text, name), settings.zone).at


def is_new(settings: "StorageConfig") -> bool:
    """Whether there is no catalogue on this machine yet, where it would be."""
    return settings.db_host is None and is_absent(settings.sqlite_file)


def is_absent(path: Path) -> bool:
    """Whether there is no such thing; what may not be looked at is taken to be there."""
    try:
        path.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


Shared: TypeAlias = Annotated[Session, Parameter(parse=False)]
"""Given by the launcher, not by the command line."""

Flag: TypeAlias = Annotated[bool, Parameter(negative="", show_default=False)]
"""A switch that is off unless it is named."""

AsJson: TypeAlias = Annotated[Flag, Parameter(name="--json")]
"""Print JSON instead of text for people."""
