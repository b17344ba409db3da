"""Incidents: damage to stored evidence that was found.

Errors of all methods:
    CatalogueUnavailable: the database can't be reached or did not answer in time.
"""

from abc import abstractmethod
from typing import Protocol
from uuid import UUID

from traffic_storage.domain.incidents import Incident, IncidentsQuery
from traffic_storage.domain.query import Page


class Incidents(Protocol):
    """Reads incidents. `OpenIncident`, `CloseIncident` and `RecordVerifications` write them."""

    @abstractmethod
    async def incident(self, incident_id: UUID) -> Incident | None:
        """Return an incident; None if it does not exist."""

    @abstractmethod
    async def incidents(self, query: IncidentsQuery) -> Page[Incident]:
        """Return the page of incidents that `query` selects, newest first."""
