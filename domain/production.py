"""Production: handing out a file as evidence, on record."""

from datetime import datetime
from uuid import UUID

from attrs import frozen

from traffic_storage.domain.events import Event, EventKind
from traffic_storage.domain.files import FileState, StoredFile
from traffic_storage.domain.identifiers import FileId


@frozen
class RecordProduction:
    """Record that a copy of an available file was verified, and is handed out as evidence.

    Attributes:
        by: who gets the bytes.
    """

    production_id: UUID
    file_id: FileId
    replica_id: UUID
    at: datetime
    by: str

    def event_of(self, file: StoredFile | None) -> Event | None:
        """Return the event to record; None if the file is not available."""
        if file is None or file.state is not FileState.AVAILABLE:
            return None
        return Event(
            EventKind.PRODUCED,
            self.at,
            file.file_id,
            file.violation_id,
            {
                "production_id": str(self.production_id),
                "replica_id": str(self.replica_id),
                "sha256": file.content.sha256,
                "size_bytes": file.content.size_bytes,
                "by": self.by,
            },
        )
