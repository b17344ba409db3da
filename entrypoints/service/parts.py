"""What the facades of one service share: its container, started at first use."""

from zoneinfo import ZoneInfo

from traffic_storage.entrypoints.container import Container
from traffic_storage.entrypoints.settings import StorageConfig


class Parts:
    """A container and what is often needed of its settings."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self.settings: StorageConfig = container.settings()

    @property
    def zone(self) -> ZoneInfo:
        """The zone in which naive times are read."""
        return self.settings.zone

    async def started(self) -> Container:
        """The container, started.

        Raises:
            CatalogueUnavailable: the database is away, or the service is closed.
            ConfigurationError: the tables of the database are newer than this version.
            WrongHome: the service was started in another process or on another event loop.
        """
        await self.container.runtime().start()
        return self.container
