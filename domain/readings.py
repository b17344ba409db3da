"""Readings: figures about a running system that cost the same however much is stored."""

from datetime import datetime, timedelta

from attrs import frozen

from traffic_storage.domain.jobs import JobKind

MOST_COUNTED = 10_000
"""The most jobs of a kind and state, and the most due files, that are counted."""


@frozen
class WaitingJobs:
    """The jobs of one kind that are not done. Of each state at most `MOST_COUNTED` are counted.

    `oldest_at` is when the oldest ready job was written, by the database's clock; None without one.
    """

    kind: JobKind
    ready: int = 0
    running: int = 0
    dead: int = 0
    oldest_at: datetime | None = None

    def age(self, now: datetime) -> timedelta:
        """Return for how long the oldest ready job has waited; zero if none is ready."""
        return max(timedelta(0), now - self.oldest_at) if self.oldest_at else timedelta(0)


@frozen
class DueRetention:
    """The available files whose retention has ended, held ones included, and their stored bytes.

    At most `MOST_COUNTED` files are counted, those first whose retention ended first.
    """

    files: int = 0
    bytes: int = 0
