"""Facts: what travels with the bytes, so that the catalogue can be rebuilt from storage alone."""

import base64
import json
import zlib
from datetime import datetime

from attrs import evolve, frozen

from traffic_storage.domain.digests import Sha256
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.files import Coding, FileKind, StoredFile

MAX_FACTS_BYTES = 1900
MAX_WITH_METADATA = 1500
_PACKED = "z:"


@frozen
class Facts:
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
        """ASCII of at most `MAX_FACTS_BYTES`: JSON, packed (zlib, base64) only if it must be."""
        plain = self.as_json()
        if len(plain) <= MAX_FACTS_BYTES:
            return plain
        return _PACKED + base64.b64encode(zlib.compress(plain.encode(), 9)).decode()

    def as_json(self) -> str:
        """The facts as one ASCII line of JSON, however long."""
        given = {
            "v": 1,
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
    def from_text(cls, text: str) -> "Facts":
        """The facts that `to_text` wrote.

        Raises:
            InvalidInput: the text is not such facts.
        """
        try:
            if text.startswith(_PACKED):
                text = zlib.decompress(base64.b64decode(text[len(_PACKED) :])).decode()
            given = json.loads(text)
            captured = given.get("captured_at")
            return cls(
                file_id=given["file_id"],
                kind=FileKind(given["kind"]),
                content_type=given["content_type"],
                size_bytes=given["size_bytes"],
                sha256=Sha256(given["sha256"]),
                stored_size_bytes=given["stored_size_bytes"],
                stored_sha256=Sha256(given["stored_sha256"]),
                coding=Coding(given["coding"]),
                created_at=datetime.fromisoformat(given["created_at"]),
                captured_at=datetime.fromisoformat(captured) if captured else None,
                device_id=given.get("device_id"),
                violation_id=given.get("violation_id"),
                metadata=given.get("metadata"),
            )
        except (ValueError, KeyError, TypeError, AttributeError, zlib.error) as error:
            raise InvalidInput.of("facts", f"are unreadable: {error}") from error


def facts_of(file: StoredFile) -> Facts:
    """The facts that travel with a file's bytes."""
    facts = Facts(
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
    return facts if _fits(facts) else evolve(facts, metadata=None)


def _fits(facts: Facts) -> bool:
    return facts.metadata is None or len(facts.as_json()) <= MAX_WITH_METADATA
