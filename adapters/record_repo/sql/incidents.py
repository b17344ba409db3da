"""Incidents in a database."""

from uuid import UUID

from traffic_storage.adapters.record_repo.sql import incident_statements as statements
from traffic_storage.adapters.record_repo.sql import rows
from traffic_storage.adapters.record_repo.sql.driver import Driver, Step
from traffic_storage.adapters.record_repo.sql.statement import Args
from traffic_storage.domain.identifiers import FileId, StoreId
from traffic_storage.domain.incidents import Closing, Incident, IncidentKind, IncidentsQuery
from traffic_storage.domain.query import Cursor, Page
from traffic_storage.ports.incidents import Incidents

_NO_REPLICA = bytes(16)
_LATEST = 2**63 - 1
_BEHIND_ALL_IDS = b"\xff" * 16


class SqlIncidents(Incidents):
    """The incidents in the database of `driver`."""

    _driver: Driver

    async def incident(self, incident_id: UUID) -> Incident | None:
        found = await self._driver.read(statements.INCIDENT, [(incident_id.bytes,)])
        return incident_of(found[0]) if found else None

    async def incidents(self, query: IncidentsQuery) -> Page[Incident]:
        filters = statements.Filters(query.is_open, query.file_id is not None)
        found = await self._driver.read(statements.PAGES[filters], [_page_row(query)])
        items = tuple(map(incident_of, found[: query.limit]))
        if len(found) <= query.limit:
            return Page(items)
        return Page(items, Cursor(items[-1].opened_at, str(items[-1].incident_id)))


def opening(*incidents: Incident) -> Step:
    """Return the step that opens incidents, but for those that concern what an open one does."""
    return Step(statements.OPEN_INCIDENT, tuple(map(_row, incidents)))


def closing_of_replica(file_id: FileId, replica_id: UUID, closing: Closing) -> Step:
    """Return the step that closes the open incidents of a good or replaced copy, and of its file."""
    row = (replica_id.bytes, file_id, *_closing_row(closing))
    return Step(statements.CLOSE_INCIDENTS_OF_REPLICA, (row,))


def closing_of(incident_id: UUID, closing: Closing) -> Step:
    """Return the step that closes an open incident; it is refused if there is none."""
    return Step(statements.CLOSE_INCIDENT, ((incident_id.bytes, *_closing_row(closing)),), 1)


def incident_of(row: rows.Row) -> Incident:
    """Return the incident of a row."""
    incident_id, opened_at, closed_at, replica_id, kind, file_id, store_id = row[:7]
    details, closed_by, resolution = row[7:]
    return Incident(
        UUID(bytes=incident_id),
        IncidentKind(kind),
        rows.moment(opened_at),
        FileId(file_id),
        details,
        None if store_id is None else StoreId(store_id),
        None if replica_id == _NO_REPLICA else UUID(bytes=replica_id),
        None if closed_at is None else rows.moment(closed_at),
        closed_by,
        resolution,
    )


def _row(incident: Incident) -> Args:
    return (
        incident.incident_id.bytes,
        rows.micros(incident.opened_at),
        None if incident.closed_at is None else rows.micros(incident.closed_at),
        _NO_REPLICA if incident.replica_id is None else incident.replica_id.bytes,
        incident.kind.value,
        incident.file_id,
        incident.store_id,
        incident.details,
        incident.closed_by,
        incident.resolution,
    )


def _closing_row(closing: Closing) -> Args:
    return rows.micros(closing.at), closing.by, closing.resolution


def _page_row(query: IncidentsQuery) -> Args:
    if query.after is None:
        return query.file_id, _LATEST, _BEHIND_ALL_IDS, query.limit + 1
    latest, after = rows.micros(query.after.at), UUID(query.after.row_id).bytes
    return query.file_id, latest, after, query.limit + 1
