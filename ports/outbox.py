"""Outbox: what has happened, in the order in which it was committed.

Events are written by `Changes.apply`, in the transaction of the change that they tell of.

Errors of all methods:
    CatalogueUnavailable: the database can't be reached or did not answer in time.
"""

from abc import abstractmethod
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from traffic_storage.domain.events import RecordedEvent


class Outbox(Protocol):
    """Reads events by their number (`sequence`)."""

    @abstractmethod
    async def events(self, after: int = 0, limit: int = 100) -> Sequence[RecordedEvent]:
        """Return at most `limit` events with a number higher than `after`, ascending.

        An event with a lower number than a returned one never appears later. Therefore an event may
        be returned only some time after its change was committed, while other changes are running.
        """

    @abstractmethod
    async def last_event(self) -> int:
        """Return the highest number that `events` may return now; 0 if there is none."""

    @abstractmethod
    async def forget_events(self, before: datetime, limit: int = 1000) -> None:
        """Delete events that happened before this time; each call goes on behind the one before.

        It looks at `limit` events, and begins again at the lowest number when it has come to events
        that are not old enough. An event that belongs into the journal beside the blobs
        (`domain.journal.JOURNALED`) stays until the journals of all registered stores have it.
        """
