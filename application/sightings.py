"""Sightings in the catalogue: other violations of the same device at the same time."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from traffic_storage.domain.quality.record import Sighting
from traffic_storage.domain.query import ViolationQuery
from traffic_storage.domain.violation import StoredViolation
from traffic_storage.ports.catalogue import Catalogue

MOST = 100
"""How many violations of one device at one time are compared."""

_STEP = timedelta(microseconds=1)
_LATEST = datetime.max.replace(tzinfo=UTC) - _STEP


class Sightings:
    """Looks up the violations of which another one may be a duplicate."""

    def __init__(self, *, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    async def beside(self, own: Sighting | None) -> Sequence[Sighting]:
        """Return the available violations of the same device and time, `own` included if it is stored.

        There are at most `MOST`, the lowest ids; they are one range of an index. A violation that is
        being stored at the same moment is not seen. None, a record that can't be read, has none.

        Raises:
            CatalogueUnavailable: the database can't be reached.
        """
        if own is None or own.at > _LATEST:
            return ()
        query = ViolationQuery(
            device_id=own.device_id, start_time=own.at, end_time=own.at + _STEP, limit=MOST
        )
        return [_sighting(one) for one in (await self._catalogue.violations(query)).items]


def _sighting(violation: StoredViolation) -> Sighting:
    x1, y1, x2, y2 = violation.record.vehicle_bbox
    return Sighting(
        violation.violation_id,
        violation.record.device_id,
        violation.occurred_at,
        (x1, y1, x2, y2),
    )
