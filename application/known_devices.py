"""Whether anything of a device was ever stored, so that a wrong id is told from an empty result."""

from datetime import datetime, timedelta

from traffic_storage.domain.errors import NotFound
from traffic_storage.domain.identifiers import DeviceId
from traffic_storage.domain.usage import day_of
from traffic_storage.ports.catalogue import Catalogue

_LONG_AGO = timedelta(days=3650)


async def check_known(catalogue: Catalogue, device_id: str, now: datetime) -> None:
    """Check that something of a device was stored within ten years.

    Raises:
        CatalogueUnavailable: the database can't be reached.
        NotFound: nothing was.
    """
    first, today = day_of(now - _LONG_AGO), day_of(now)
    if not await catalogue.daily_usage(first, today, DeviceId(device_id)):
        raise NotFound("device", device_id)
