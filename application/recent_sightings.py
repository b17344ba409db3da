"""Recent sightings: violations that were judged before, by which one under another id is recognised."""

from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime

from traffic_storage.domain.quality.record import JudgedRecord, Sighting

_REMEMBERED = 10_000
_MOST_AT_ONE_TIME = 100


class RecentSightings:
    """Remembers device, time and box of the last records, of 10,000 devices and times at most.

    For one thread at a time.
    """

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, datetime], list[Sighting]] = OrderedDict()

    def beside(self, judged: JudgedRecord) -> JudgedRecord:
        """Return a record beside what was seen of its device at its time, and remember it."""
        own = judged.sighting
        return judged if own is None else judged.beside(self._remembered(own))

    def _remembered(self, own: Sighting) -> Sequence[Sighting]:
        key = own.device_id, own.at
        seen = self._seen.setdefault(key, [])
        self._seen.move_to_end(key)
        before = tuple(seen)
        if own not in seen and len(seen) < _MOST_AT_ONE_TIME:
            seen.append(own)
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return before
