"""Time that passes between two processes without anybody waiting for it."""

from datetime import datetime, timedelta

from dependency_injector.providers import Object

from traffic_storage.adapters.clock.system import SystemClock
from traffic_storage.entrypoints.container import Container

AN_HOUR = timedelta(hours=1)
"""More than an attempt may take, and what recovery leaves a request on its way."""


class LaterClock(SystemClock):
    """The system's clock, put forward by `later`."""

    def __init__(self, later: timedelta) -> None:
        self.later = later

    def now(self) -> datetime:
        return super().now() + self.later

    def pass_time(self, more: timedelta) -> None:
        """Put the clock further forward."""
        self.later += more


def put_forward(container: Container, later: timedelta) -> None:
    """Give a container, of which nothing was used yet, a clock that is so much ahead.

    Time passes for its database, too.
    """
    container.clock.override(Object(LaterClock(later)))
    container._ingest_journal.override(container._record_repo)
