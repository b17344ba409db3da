"""Incidents: damage to stored evidence that a person should know of, until it is closed."""

from datetime import datetime
from enum import StrEnum
from typing import Self
from uuid import UUID

from attrs import evolve, field, frozen

from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.files import Replica
from traffic_storage.domain.identifiers import FileId, StoreId
from traffic_storage.domain.numeric import plain_number
from traffic_storage.domain.query import MAX_LIMIT, Cursor

MAX_RESOLUTION = 1000
"""The greatest length of the text that says why an incident was closed."""


class IncidentKind(StrEnum):
    """What was found.

    Attributes:
        CORRUPT_REPLICA: a copy has other bytes than recorded.
        MISSING_REPLICA: a copy does not exist in its store.
        ALTERED_MANIFEST: the bytes of a copy are right, but the manifest beside them is missing or
            differs from the catalogue.
        BLOCKED_EVIDENCE: an evidential read was refused, because no copy could be verified.
        DAMAGED_IMAGE: the bytes are those that were received, and they are no complete image; found
            after they were stored (`verify_images`).
    """

    CORRUPT_REPLICA = "corrupt_replica"
    MISSING_REPLICA = "missing_replica"
    ALTERED_MANIFEST = "altered_manifest"
    BLOCKED_EVIDENCE = "blocked_evidence"
    DAMAGED_IMAGE = "damaged_image"


@frozen
class Incident:
    """Damage that was found. It is open until a copy is healed, or until a person closes it.

    Attributes:
        store_id, replica_id: the copy concerned; None if the incident concerns the file.
        details: what was found, in words.
        closed_at: None while the incident is open.
        closed_by: the person or the part of the system that closed it; empty while it is open.
        resolution: why it was closed, in words; empty while it is open.
    """

    incident_id: UUID
    kind: IncidentKind
    opened_at: datetime
    file_id: FileId
    details: str
    store_id: StoreId | None = None
    replica_id: UUID | None = None
    closed_at: datetime | None = None
    closed_by: str = ""
    resolution: str = ""

    @classmethod
    def of_replica(
        cls,
        incident_id: UUID,
        kind: IncidentKind,
        opened_at: datetime,
        file_id: FileId,
        replica: Replica,
        details: str,
    ) -> Self:
        """Return a new incident about one copy of a file."""
        return cls(
            incident_id, kind, opened_at, file_id, details, replica.store_id, replica.replica_id
        )

    def ends_with(self, file_id: FileId, replica_id: UUID) -> bool:
        """Return whether this incident ends when that copy of that file is good, or is replaced."""
        return self.file_id == file_id and (
            self.replica_id == replica_id or self.kind is IncidentKind.BLOCKED_EVIDENCE
        )

    @property
    def is_open(self) -> bool:
        """Whether the incident has not been closed."""
        return self.closed_at is None

    def concerns(self, other: "Incident") -> bool:
        """Return whether both are of one kind and about the same copy or file."""
        return (self.kind, self.file_id, self.replica_id) == (
            other.kind,
            other.file_id,
            other.replica_id,
        )

    def closed(self, closing: "Closing") -> "Incident":
        """Return the incident as it is after it was closed."""
        return evolve(
            self, closed_at=closing.at, closed_by=closing.by, resolution=closing.resolution
        )


def _checked_resolution(text: str) -> str:
    stripped = text.strip()
    if not stripped or len(stripped) > MAX_RESOLUTION:
        raise InvalidInput.of(
            "resolution",
            "must say why the incident is closed",
            f"give 1 to {MAX_RESOLUTION} characters",
        )
    return stripped


@frozen
class Closing:
    """Who closes an incident, when and why.

    Raises:
        InvalidInput: `resolution` is empty or too long.
    """

    at: datetime
    by: str
    resolution: str = field(converter=_checked_resolution)


@frozen
class OpenIncident:
    """Open an incident, unless one that concerns the same is open."""

    incident: Incident


@frozen
class CloseIncident:
    """Close an incident that is open."""

    incident_id: UUID
    closing: Closing


def _limit(value: object) -> int:
    number = plain_number(value)
    if type(number) is not int or not 1 <= number <= MAX_LIMIT:
        raise InvalidInput.of(
            "limit", f"must be a whole number from 1 to {MAX_LIMIT}", "ask for more pages"
        )
    return number


@frozen
class IncidentsQuery:
    """A query for incidents; a filter of None is not applied.

    Incidents are ordered by the time at which they were opened, newest first, and those with equal
    times by id, descending. The page starts behind the position `after`. `limit` is 1 to 1,000.

    Raises:
        InvalidInput: `limit` is out of range.
    """

    is_open: bool | None = True
    file_id: FileId | None = None
    limit: int = field(default=100, converter=_limit)
    after: Cursor | None = None
