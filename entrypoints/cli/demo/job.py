"""The demo's work: store evidence, find it, read it back and compare it byte for byte."""

import hashlib
import io
from contextlib import aclosing
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
from attrs import define, field, frozen
from PIL import Image

from traffic_storage.application.inputs import ArrayImage, FileAttributes, Upload
from traffic_storage.application.store_evidence import StoredEvidence
from traffic_storage.domain.amounts import counted, in_bytes
from traffic_storage.domain.digests import sha256_of
from traffic_storage.domain.errors import TrafficStorageError
from traffic_storage.domain.files import FileKind, StoredFile
from traffic_storage.domain.pixels import Pixels
from traffic_storage.domain.query import ViolationQuery
from traffic_storage.domain.violation import StoredViolation
from traffic_storage.entrypoints.cli.demo.story import (
    STREETS,
    VEHICLES,
    Incident,
    incidents,
    media,
    video,
)
from traffic_storage.entrypoints.cli.figures import say_statistics
from traffic_storage.entrypoints.cli.output import say, say_table

if TYPE_CHECKING:
    from traffic_storage.entrypoints.container import Container


class NotTheSame(TrafficStorageError):
    """A file that was read back differs from what was stored, or a retry was not recognised."""


@frozen
class Sample:
    """Ids of a violation, an image and a video, for the example commands that the demo prints."""

    violation_id: str
    image_file_id: str
    video_file_id: str


@define
class _Given:
    """The stored files, as file id → SHA-256 of the file's bytes, and their total size."""

    digests: dict[str, str] = field(factory=dict)
    size_bytes: int = 0

    def note(self, file: StoredFile, data: bytes | None = None) -> None:
        """Record the SHA-256 of a stored file, to compare it with the bytes that are read back.

        `data` are the bytes handed in; None for a pixel array, whose file has the digest in `file`.
        """
        self.digests[file.file_id] = file.content.sha256 if data is None else sha256_of(data)
        self.size_bytes += file.content.size_bytes


async def do_the_job(container: "Container", day: date) -> Sample:
    """Run all steps and print each on stdout.

    Raises:
        NotTheSame: a file that was read back differs from what was stored.
    """
    given = _Given()
    say(f"{len(STREETS)} cameras, the night before {day}:")
    first = await _store_incidents(container, day, given)
    await _store_single_files(container, day, given)
    await _retry(container, first)
    found = await _find(container)
    await _read_back(container, given)
    say("\nStatistics")
    say_statistics(await container.statistics()())
    return _sample(found)


async def _store_incidents(container: "Container", day: date, given: _Given) -> Incident:
    rows, first = [], None
    for place, incident in enumerate(incidents(day)):
        first = first or incident
        stored = await _store(container, incident, place, given)
        rows.append(_row(incident, stored))
    say_table(("violation", "seen", "image", "video", "stored"), rows)
    if first is None:
        raise AssertionError("the demo needs at least one camera, and was given none")
    return first


async def _store(
    container: "Container", incident: Incident, place: int, given: _Given
) -> StoredEvidence:
    """Store a violation with its image: a pixel array if `place` is even, else a JPEG.

    If `place` is divisible by 3, the violation also gets a video.
    """
    jpeg = incident.jpeg if place % 2 else None
    image = ArrayImage(_pixels(incident.jpeg)) if jpeg is None else Upload(jpeg, "image/jpeg")
    film = video() if place % 3 == 0 else None
    stored = await container.store_evidence()(
        incident.record, image, None if film is None else Upload(film, "video/mp4")
    )
    handed_in = {FileKind.IMAGE: jpeg, FileKind.VIDEO: film}
    for kind, file in stored.files.items():
        given.note(file, handed_in.get(kind))
    return stored


def _pixels(jpeg: bytes) -> Pixels:
    """Return the pixels of a JPEG as an array of shape `(H, W, 3)`, uint8, RGB."""
    with Image.open(io.BytesIO(jpeg)) as picture:
        return np.asarray(picture)


def _row(incident: Incident, stored: StoredEvidence) -> tuple[str, ...]:
    image, video = stored.files[FileKind.IMAGE], stored.files.get(FileKind.VIDEO)
    return (
        incident.record.violation_id,
        incident.caption,
        f"{image.content_type} {in_bytes(image.content.size_bytes)}",
        f"{video.content_type} {in_bytes(video.content.size_bytes)}" if video else "",
        image.placement.decision if stored.created else "already stored",
    )


async def _store_single_files(container: "Container", day: date, given: _Given) -> None:
    """Store two files without a violation: a snapshot, and a JSON file of hourly vehicle counts."""
    snapshot = media(VEHICLES[0].picture)
    attributes = FileAttributes.of(
        file_id=f"DEMO-{day:%Y%m%d}-snapshot", device_id=STREETS[0].camera
    )
    given.note((await container.store_files().image(Upload(snapshot), attributes)).file, snapshot)
    hours = {f"{hour:02}:00": 40 + (hour * 7919) % 300 for hour in range(24)}
    counts = {street.camera: hours for street in STREETS}
    attributes = FileAttributes.of(file_id=f"DEMO-{day:%Y%m%d}-analysis")
    stored = await container.store_files().metadata({"vehicles_per_hour": counts}, attributes)
    given.note(stored.file)
    say("and a snapshot and an analysis that belong to no violation.")


async def _retry(container: "Container", incident: Incident) -> None:
    again = await _store(container, incident, 0, _Given())
    if again.created:
        raise NotTheSame("storing the same violation again was not recognised as a retry")
    say(f"\nStored {incident.record.violation_id} again: recognised as a retry, nothing changed.")


async def _find(container: "Container") -> tuple[StoredViolation, ...]:
    query = ViolationQuery(violation_type="speed", min_confidence=0.9, limit=10)
    page = await container.find().violations(query)
    say("\nThe latest violations for speed with a confidence of 0.9 and more:")
    rows = [
        (found.occurred_at.isoformat(), found.violation_id, f"{found.record.confidence:.3f}")
        for found in page.items
    ]
    say_table(("time", "violation", "confidence"), rows)
    return page.items


async def _read_back(container: "Container", given: _Given) -> None:
    for file_id, digest in given.digests.items():
        received = hashlib.sha256()
        opened = await container.read_files().open(file_id)
        async with aclosing(opened.chunks()) as chunks:
            async for chunk in chunks:
                received.update(chunk)
        if received.hexdigest() != digest:
            raise NotTheSame(f"{file_id}: the bytes read back differ from the bytes stored")
    files = counted(len(given.digests), "file")
    say(f"\nRead {files} back, {in_bytes(given.size_bytes)}: each byte is as it was stored.")


def _sample(found: tuple[StoredViolation, ...]) -> Sample:
    latest = found[0]
    with_video = next((one for one in found if one.video_file_id), latest)
    return Sample(
        latest.violation_id,
        str(latest.image_file_id),
        str(with_video.video_file_id or latest.metadata_file_id),
    )
