"""Retention: until when a file is kept, by its kind and its capture time."""

from datetime import datetime, timedelta

from attrs import frozen

from traffic_storage.domain.files import FileKind, StoredFile


@frozen
class RetentionPeriods:
    """How long files of each kind are kept, counted from capture."""

    image: timedelta = timedelta(days=90)
    video: timedelta = timedelta(days=30)
    metadata: timedelta = timedelta(days=365)

    def of(self, kind: FileKind) -> timedelta:
        """The period for a kind."""
        return {
            FileKind.IMAGE: self.image,
            FileKind.VIDEO: self.video,
            FileKind.METADATA: self.metadata,
        }[kind]


def expires_at(file: StoredFile, periods: RetentionPeriods) -> datetime:
    """When the file's retention ends, UTC.

    The clock is capture; where nobody said when that was, it is receipt, which is never earlier.
    """
    return (file.captured_at or file.created_at) + periods.of(file.kind)
