"""Blobs for tests: bytes with their key, digests and manifest."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from uuid import uuid4

from attrs import field, frozen

from traffic_storage.domain.digests import Digests, digests_of
from traffic_storage.domain.files import BlobKey, Coding, FileKind, blob_key
from traffic_storage.domain.manifest import BlobManifest
from traffic_storage.entrypoints.testing.ids import uuid7_at
from traffic_storage.ports.spool import FileBody, MemoryBody

NEVER = datetime(9999, 1, 1, tzinfo=UTC)
"""A deadline that does not pass."""

_DAY = date(2025, 11, 1)


@frozen
class Blob:
    """Bytes with everything needed to put them into a store and to read them back."""

    key: BlobKey
    data: bytes = field(repr=False)
    digests: Digests
    manifest: BlobManifest

    @property
    def body(self) -> MemoryBody:
        """The bytes as a body in memory."""
        return MemoryBody(self.data, self.digests)

    @contextmanager
    def spooled(self) -> Iterator[FileBody]:
        """Return a context whose body is an unnamed file with the bytes; its exit deletes it."""
        with tempfile.TemporaryFile() as file:
            file.write(self.data)
            file.flush()
            yield FileBody(file.fileno(), self.digests)


def new_blob(
    data: bytes,
    *,
    kind: FileKind = FileKind.IMAGE,
    day: date = _DAY,
    metadata: str | None = None,
) -> Blob:
    """Return a blob of these bytes under a new key."""
    digests = digests_of(data)
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    manifest = BlobManifest(
        file_id=f"file-{uuid4()}",
        kind=kind,
        content_type="application/octet-stream",
        size_bytes=digests.size_bytes,
        sha256=digests.sha256,
        stored_size_bytes=digests.size_bytes,
        stored_sha256=digests.sha256,
        coding=Coding.IDENTITY,
        created_at=noon,
        device_id="cámara-1",
        metadata=metadata,
    )
    return Blob(blob_key(kind, uuid7_at(noon), digests.sha256), data, digests, manifest)


def blob_with_sidecar() -> Blob:
    """Return a small blob whose manifest is too long to be stored beside it.

    A store keeps the manifest in a second file or object, the sidecar.
    """
    return new_blob(b"evidence", metadata=f'{{"note":"{os.urandom(3000).hex()}"}}')


def random_blob(size_bytes: int, *, kind: FileKind = FileKind.IMAGE, day: date = _DAY) -> Blob:
    """Return a blob of `size_bytes` random bytes under a new key."""
    return new_blob(os.urandom(size_bytes), kind=kind, day=day)
