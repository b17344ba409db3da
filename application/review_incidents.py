"""ReviewIncidents: lists of incidents, and their closing by a person."""

from uuid import UUID

from traffic_storage.domain.errors import InvalidInput, NotFound, WrongState, shown
from traffic_storage.domain.incidents import CloseIncident, Closing, Incident, IncidentsQuery
from traffic_storage.domain.query import Page
from traffic_storage.ports.changes import Changes
from traffic_storage.ports.clock import Clock
from traffic_storage.ports.incidents import Incidents


class ReviewIncidents:
    """Finds and closes incidents (damage to stored evidence that was found).

    Errors of all methods:
        CatalogueUnavailable: the database can't be reached.
    """

    def __init__(self, *, incidents: Incidents, changes: Changes, clock: Clock) -> None:
        self._incidents = incidents
        self._changes = changes
        self._clock = clock

    async def find(self, query: IncidentsQuery) -> Page[Incident]:
        """Return the page of incidents that `query` selects, newest first."""
        return await self._incidents.incidents(query)

    async def get(self, incident_id: str) -> Incident:
        """Return one incident.

        Raises:
            InvalidInput: the id is not a UUID.
            NotFound: there is no such incident.
        """
        found = await self._incidents.incident(_uuid(incident_id))
        if found is None:
            raise NotFound("incident", incident_id)
        return found

    async def close(self, incident_id: str, resolution: str, *, by: str) -> Incident:
        """Close an incident, and return it. `by` is who closes it, `resolution` why.

        Raises:
            InvalidInput: the id is not a UUID, or `resolution` is empty or too long.
            NotFound: there is no such incident.
            WrongState: the incident is closed already.
        """
        closing = Closing(self._clock.now(), by, resolution)
        incident = await self.get(incident_id)
        if not await self._changes.apply(CloseIncident(incident.incident_id, closing)):
            raise WrongState(f"the incident {incident_id} is closed already")
        return await self.get(incident_id)


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise InvalidInput.of(
            "incident_id", f"{shown(text)} is not a UUID", "give the id that a list shows"
        ) from error
