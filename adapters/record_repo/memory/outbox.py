"""Events in the memory of this process."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from traffic_storage.domain.events import Event, RecordedEvent
from traffic_storage.domain.journal import JOURNALED


class InMemoryOutbox:
    """Events that exist as long as this object."""

    def __init__(self) -> None:
        self._events: list[RecordedEvent] = []
        self._last_event = 0
        self._forgotten = 0

    def record(self, events: Iterable[Event]) -> None:
        """Add events at the end."""
        for event in events:
            self._last_event += 1
            self._events.append(RecordedEvent(self._last_event, event))

    async def events(self, after: int = 0, limit: int = 100) -> Sequence[RecordedEvent]:
        return [one for one in self._events if one.sequence > after][:limit]

    async def last_event(self) -> int:
        return self._last_event

    async def forget_events(self, before: datetime, limit: int = 1000) -> None:
        looked_at = [one for one in self._events if one.sequence > self._forgotten][:limit]
        old = [one for one in looked_at if one.event.at < before]
        exported = self._exported()
        forgotten = {
            one.sequence
            for one in old
            if one.event.kind not in JOURNALED or one.sequence <= exported
        }
        self._events = [one for one in self._events if one.sequence not in forgotten]
        self._forgotten = old[-1].sequence if old else 0

    def _exported(self) -> int:
        """Return the number up to which the journals of all registered stores have the events."""
        return 0
