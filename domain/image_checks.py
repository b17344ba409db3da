"""When images are decoded as a check: before they are stored, or by a job afterwards."""

from datetime import timedelta
from enum import StrEnum
from uuid import UUID

from traffic_storage.domain.files import StoredFile
from traffic_storage.domain.identifiers import StoreId
from traffic_storage.domain.jobs import JobKind, NewJob, Priority

DECODE_IMAGE = JobKind("decode_image")
"""The job that decodes a stored image, and opens an incident if it is damaged."""


PUT_OFF = timedelta(minutes=1)
"""How long after an image was stored it is decoded, so that a burst of images is stored first."""


class VerifyImages(StrEnum):
    """Which encoded images are decoded completely before they are stored.

    Attributes:
        ALWAYS: all; a damaged one is refused.
        UNLESS_VOUCHED: those that come without their SHA-256. A digest that matches shows that the
            bytes are those which the sender has, so a job decodes them later.
    """

    ALWAYS = "always"
    UNLESS_VOUCHED = "unless_vouched"


def decoding_job(job_id: UUID, file: StoredFile, source: StoreId) -> NewJob:
    """Return the job that decodes an image, whose bytes are in the store `source`."""
    return NewJob(
        job_id,
        DECODE_IMAGE,
        {"file_id": file.file_id, "bytes": file.stored.size_bytes},
        key=f"decode:{file.file_id}",
        priority=Priority.BACKGROUND,
        delay=PUT_OFF,
        store_id=source,
    )
