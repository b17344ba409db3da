"""`Fixity`: the part of `StorageService` for verifications and incidents."""

from traffic_storage.domain.identifiers import known_file_id
from traffic_storage.domain.incidents import IncidentsQuery
from traffic_storage.domain.query import Cursor, Page
from traffic_storage.entrypoints.fixity_views import (
    FixityView,
    IncidentView,
    IntegrityView,
    fixity_view,
    incident_view,
    integrity_view,
)
from traffic_storage.entrypoints.service.arguments import check_type
from traffic_storage.entrypoints.service.parts import Parts

_PYTHON = "python"


class Fixity:
    """Verifies the copies of files, and lists and closes incidents."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def verify(self, sample: int | None, *, heal: bool) -> IntegrityView:
        """Implement `StorageService.verify_data_integrity`."""
        check_type("heal", heal, bool)
        verify = (await self._parts.started()).verify_replicas()
        return integrity_view(await verify(sample, heal=heal))

    async def fixity(self) -> FixityView:
        """Implement `StorageService.get_fixity`."""
        verify = (await self._parts.started()).verify_replicas()
        return fixity_view(await verify.coverage(), await verify.history())

    async def incidents(
        self, open_: bool | None, file_id: str | None, limit: int, after: Cursor | None
    ) -> Page[IncidentView]:
        """Implement `StorageService.find_incidents`."""
        known = None if file_id is None else known_file_id(file_id)
        query = IncidentsQuery(is_open=open_, file_id=known, limit=limit, after=after)
        page = await (await self._parts.started()).review_incidents().find(query)
        return Page(tuple(map(incident_view, page.items)), page.next)

    async def close_incident(self, incident_id: str, resolution: str) -> IncidentView:
        """Implement `StorageService.close_incident`."""
        review = (await self._parts.started()).review_incidents()
        return incident_view(await review.close(incident_id, resolution, by=_PYTHON))
