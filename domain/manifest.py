"""BlobManifest: what travels with the bytes, so that the catalogue can be rebuilt from storage alone."""

import base64
import json
import zlib
from collections.abc import Mapping
from datetime import datetime
from typing import TypeVar

from attrs import evolve, frozen

from traffic_storage.domain.digests import Sha256, declared_sha256
from traffic_storage.domain.errors import InvalidInput, shown
from traffic_storage.domain.files import Coding, FileKind, StoredFile

MAX_MANIFEST_BYTES = 1900
MAX_WITH_METADATA = 1500
T = TypeVar("T", int, str)

_VERSION = 1
_PACKED = "z:"
# More than any manifest have: what claims to unpack to more is none of ours.
_MAX_UNPACKED_BYTES = 64 * 1024


@frozen
class BlobManifest:
    """A file's identity and digests, kept beside its bytes in every store.

    `metadata` is the caller's canonical JSON, left out where it would not fit.
    """

    file_id: str
    kind: FileKind
    content_type: str
    size_bytes: int
    sha256: Sha256
    stored_size_bytes: int
    stored_sha256: Sha256
    coding: Coding
    created_at: datetime
    captured_at: datetime | None = None
    device_id: str | None = None
    violation_id: str | None = None
    metadata: str | None = None

    def to_text(self) -> str:
        """ASCII of at most `MAX_MANIFEST_BYTES`: JSON, packed (zlib, base64) only if it must be."""
        plain = self.as_json()
        if len(plain) <= MAX_MANIFEST_BYTES:
            return plain
        return _PACKED + base64.b64encode(zlib.compress(plain.encode(), 9)).decode()

    def as_json(self) -> str:
        """The manifest as one ASCII line of JSON, however long."""
        given = {
            "v": _VERSION,
            "file_id": self.file_id,
            "kind": self.kind,
            "content_type": self.content_type,
            "size_bytes": self.size_bytes,
            "sha256": self.sha256,
            "stored_size_bytes": self.stored_size_bytes,
            "stored_sha256": self.stored_sha256,
            "coding": self.coding,
            "created_at": self.created_at.isoformat(),
            "captured_at": self.captured_at.isoformat() if self.captured_at else None,
            "device_id": self.device_id,
            "violation_id": self.violation_id,
            "metadata": self.metadata,
        }
        present = {name: value for name, value in given.items() if value is not None}
        return json.dumps(present, separators=(",", ":"), ensure_ascii=True)

    @classmethod
    def from_text(cls, text: str) -> "BlobManifest":
        """The manifest that `to_text` wrote.

        Raises:
            InvalidInput: the text is not such manifest.
        """
        try:
            return cls._from_json(_unpacked(text) if text.startswith(_PACKED) else text)
        except (ValueError, KeyError, TypeError, RecursionError, zlib.error) as error:
            raise InvalidInput.of("manifest", f"are unreadable: {shown(str(error))}") from error

    @classmethod
    def _from_json(cls, text: str) -> "BlobManifest":
        given = json.loads(text)
        if not isinstance(given, dict) or given.get("v") != _VERSION:
            raise ValueError(f"they are not of version {_VERSION}")
        return cls(
            file_id=_of_type(str, given, "file_id"),
            kind=FileKind(given["kind"]),
            content_type=_of_type(str, given, "content_type"),
            size_bytes=_of_type(int, given, "size_bytes"),
            sha256=declared_sha256(_of_type(str, given, "sha256")),
            stored_size_bytes=_of_type(int, given, "stored_size_bytes"),
            stored_sha256=declared_sha256(_of_type(str, given, "stored_sha256")),
            coding=Coding(given["coding"]),
            created_at=_time(given, "created_at"),
            captured_at=_time(given, "captured_at") if "captured_at" in given else None,
            device_id=_of_type(str, given, "device_id") if "device_id" in given else None,
            violation_id=_of_type(str, given, "violation_id") if "violation_id" in given else None,
            metadata=_of_type(str, given, "metadata") if "metadata" in given else None,
        )


def manifest_of(file: StoredFile) -> BlobManifest:
    """The manifest that travel with a file's bytes."""
    manifest = BlobManifest(
        file_id=file.file_id,
        kind=file.kind,
        content_type=file.content_type,
        size_bytes=file.content.size_bytes,
        sha256=file.content.sha256,
        stored_size_bytes=file.stored.size_bytes,
        stored_sha256=file.stored.sha256,
        coding=file.coding,
        created_at=file.created_at,
        captured_at=file.captured_at,
        device_id=file.device_id,
        violation_id=file.violation_id,
        metadata=file.metadata,
    )
    return manifest if _fits(manifest) else evolve(manifest, metadata=None)


def _unpacked(text: str) -> str:
    unpacker = zlib.decompressobj()
    data = unpacker.decompress(base64.b64decode(text[len(_PACKED) :]), _MAX_UNPACKED_BYTES)
    if not unpacker.eof:
        raise ValueError("they are cut off, or too long")
    return data.decode()


def _of_type(wanted: type[T], given: Mapping[str, object], name: str) -> T:
    value = given[name]
    if not isinstance(value, wanted) or isinstance(value, bool):
        raise TypeError(f"{name} is a {type(value).__name__}")
    return value


def _time(given: Mapping[str, object], name: str) -> datetime:
    moment = datetime.fromisoformat(_of_type(str, given, name))
    if moment.tzinfo is None:
        raise ValueError(f"{name} names no zone")
    return moment


def _fits(manifest: BlobManifest) -> bool:
    return manifest.metadata is None or len(manifest.as_json()) <= MAX_WITH_METADATA
