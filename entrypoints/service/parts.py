"""`Parts`: the objects that `Files`, `Violations` and `Maintenance` of one service share."""

from zoneinfo import ZoneInfo

from traffic_storage.entrypoints.container import Container
from traffic_storage.entrypoints.service.home import Home
from traffic_storage.entrypoints.settings import StorageConfig


class Parts:
    """The container of a service, which is started at first use, and the service's settings."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self.settings: StorageConfig = container.settings()
        self._home = Home()

    @property
    def zone(self) -> ZoneInfo:
        """The zone in which naive times are interpreted."""
        return self.settings.zone

    async def started(self) -> Container:
        """Start the container if it is not started, and return it.

        Raises:
            CatalogueUnavailable: the database can't be reached, or the service is closed.
            ConfigurationError: the tables of the database are newer than this version, or a file that
                a setting names is wrong.
            WrongHome: the service was started in another process or on another event loop.
        """
        # Before the container makes anything: it does not do so for several threads at once.
        self._home.claim()
        self.container.profiles()
        await self.container.runtime().start()
        return self.container
