"""Events in the memory of this process."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from traffic_storage.domain.events import Event, RecordedEvent


class InMemoryOutbox:
    """Events that exist as long as this object."""

    def __init__(self) -> None:
        self._events: list[RecordedEvent] = []
        self._last_event = 0

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
        forgotten = [one for one in self._events[:limit] if one.event.at < before]
        self._events = [one for one in self._events if one not in forgotten]
