"""BlobManifest: the catalogue row of a file as a text that every store keeps beside the bytes.

The row can be restored from the manifest and the bytes (`domain.rebuild`). The digests of single
parts of the bytes (segments) are not in the manifest: they are computed from the bytes. Only their
common digest is in it, so that nobody can replace them in the catalogue unnoticed.

A store can keep about 2 KB of text with a blob (in an extended attribute, or in the user metadata
of an S3 object). A longer manifest is stored in a sidecar, which is another blob under
`sidecar_key`. The text with the blob is then a summary of the manifest, which contains the SHA-256
of the sidecar.
"""

import base64
import json
import zlib
from datetime import datetime
from typing import Any

import orjson
from attrs import evolve, field, frozen

from traffic_storage.domain.digests import Digests, Sha256, sha256_of
from traffic_storage.domain.errors import InvalidInput, shown
from traffic_storage.domain.files import (
    BlobKey,
    Coding,
    FileKind,
    MediaInfo,
    PlacementNote,
    RetentionBasis,
    StoredFile,
)
from traffic_storage.domain.strict import refusal_text, strict_converter

MAX_SUMMARY_BYTES = 1900
"""The greatest length of the text that a store keeps with a blob.

S3 allows 2 KB, including the name of the metadata entry.
"""
MAX_SIDECAR_BYTES = 8 * 1024 * 1024
"""The greatest length of a sidecar (the blob with a long manifest) that is read.

The longest sidecar that is written has 3 MiB, because metadata of a caller has at most 1 MiB.
"""

_VERSION = 2
_PACKED = "z:"
# A longer text is not compressed: compressed and in base64, it hardly ever fits into a summary.
_MAX_PACKABLE_BYTES = 8 * 1024
_MAX_UNPACKED_BYTES = 64 * 1024
_SIDECAR_SUFFIX = ".manifest"


@frozen(kw_only=True)
class BlobManifest:
    """The identity, digests and attributes of a file, as kept with its bytes in a store.

    A summary is a manifest without the long texts; see the module. Attributes that are not listed
    here are those of `StoredFile`.

    Attributes:
        size_bytes, sha256: the size and digest of the content as received and returned.
        stored_size_bytes, stored_sha256: the size and digest of the bytes as stored.
        segments_sha256: the SHA-256 of the digests of all segments, one after the other; None if
            the stored bytes have no segments.
        created_at: the time of receipt.
        metadata: the metadata that the caller gave, as canonical JSON text of an object.
        quality: what validating found when the file was stored, likewise (`domain.quality.note`).
        sidecar_sha256: in a summary, the SHA-256 of the sidecar (the blob with the whole
            manifest); otherwise None.
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
    media: MediaInfo = field(factory=MediaInfo)
    placement: PlacementNote | None = None
    keep_until: datetime | None = None
    retention_rule: str | None = None
    retention_basis: RetentionBasis | None = None
    historic: bool = False
    original_name: str | None = None
    metadata: str | None = None
    quality: str | None = None
    segments_sha256: Sha256 | None = None
    sidecar_sha256: Sha256 | None = None

    def to_text(self) -> str:
        """Return the manifest (a copy of a file's catalogue row) as one line of ASCII JSON."""
        members = {"v": _VERSION, **_converter.unstructure(self)}
        text = orjson.dumps(members)
        return text.decode() if text.isascii() else _ascii(text)

    @classmethod
    def from_text(cls, text: str) -> "BlobManifest":
        """Parse a manifest (a copy of a file's catalogue row) from the text that `to_text` returned.

        The `summary` of a `KeptManifest` can be parsed too.

        Raises:
            InvalidInput: the text is not a manifest, or its format version is not supported.
        """
        try:
            members = orjson.loads(_unpacked(text) if text.startswith(_PACKED) else text)
            return _converter.structure(_of_this_version(members), cls)
        except InvalidInput:
            raise
        # cattrs raises exception groups of the exceptions of its hooks, which have many types.
        except Exception as error:
            raise _unreadable(refusal_text(error)) from error

    def kept(self) -> "KeptManifest":
        """Return this manifest in the form in which a store keeps it.

        The form is one short text, or a summary and a sidecar (a blob with the whole manifest).
        """
        text = self.to_text()
        if len(text) <= MAX_SUMMARY_BYTES:
            return KeptManifest(text)
        if len(text) <= _MAX_PACKABLE_BYTES:
            packed = _PACKED + base64.b64encode(zlib.compress(text.encode())).decode()
            if len(packed) <= MAX_SUMMARY_BYTES:
                return KeptManifest(packed)
        sidecar = text.encode()
        return KeptManifest(self._summary(sha256_of(sidecar)).to_text(), sidecar)

    def completed(self, sidecar: bytes | None) -> "BlobManifest":
        """Return the whole manifest of which this one is the summary, read from `sidecar`.

        Return this manifest if `sidecar` is None or does not have the digest `sidecar_sha256`.
        """
        if sidecar is None or sha256_of(sidecar) != self.sidecar_sha256:
            return self
        return self.from_text(sidecar.decode())

    def _summary(self, sidecar_sha256: Sha256) -> "BlobManifest":
        """Return this manifest without the texts that may be long, so that it always fits."""
        return evolve(
            self,
            device_id=None,
            placement=None,
            retention_rule=None,
            retention_basis=None,
            original_name=None,
            metadata=None,
            quality=None,
            sidecar_sha256=sidecar_sha256,
        )


@frozen
class KeptManifest:
    """A manifest in the form in which a store keeps it: one short text, or a summary and a blob.

    A manifest is a copy of the catalogue row of a file.

    Attributes:
        summary: printable ASCII of at most `MAX_SUMMARY_BYTES`, kept with the blob: the whole
            manifest if it fits, else a summary of it.
        sidecar: the whole manifest if it does not fit into `summary`, else None. A store writes it
            as a blob under `sidecar_key` before it publishes the file's blob, and removes it after
            that blob.
    """

    summary: str
    sidecar: bytes | None = None


def sidecar_key(key: BlobKey) -> str:
    """Return the key of a blob's sidecar: a second blob with a manifest too long to be kept beside.

    The key does not have the form of a file's blob key, so listings of blobs omit sidecars.
    """
    return key + _SIDECAR_SUFFIX


def manifest_of(file: StoredFile) -> BlobManifest:
    """Return the manifest of a file: a copy of its row, which a store keeps with its bytes."""
    return BlobManifest(
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
        media=file.media,
        placement=file.placement,
        keep_until=file.keep_until,
        retention_rule=file.retention_rule,
        retention_basis=file.retention_basis,
        historic=file.historic,
        original_name=file.original_name,
        metadata=file.metadata,
        quality=file.quality,
        segments_sha256=segments_digest(file.stored),
    )


def segments_digest(digests: Digests) -> Sha256 | None:
    """Return the SHA-256 of the digests of all segments of a blob; None if it has no segments."""
    return sha256_of(digests.segments) if digests.segmented else None


def manifest_in(summary: str | None) -> BlobManifest | None:
    """Parse the text that a store keeps with a blob; return None if it is not a manifest.

    A manifest is a copy of a file's catalogue row. `summary` is None if the text is missing.
    """
    try:
        return None if summary is None else BlobManifest.from_text(summary)
    except InvalidInput:
        return None


_converter = strict_converter()


def _of_this_version(members: object) -> dict[str, Any]:
    if type(members) is not dict or "v" not in members:
        raise _unreadable("it is not a JSON object with a version")
    version = members.pop("v")
    if type(version) is not int or version != _VERSION:
        raise InvalidInput.of(
            "manifest",
            f"has version {shown(version)}, but this release reads only version {_VERSION}",
            "read the store with the release that wrote it, or a newer one",
        )
    return members


def _unreadable(why: str) -> InvalidInput:
    return InvalidInput.of("manifest", f"is unreadable: {shown(why, 160)}")


def _unpacked(text: str) -> bytes:
    unpacker = zlib.decompressobj()
    data = unpacker.decompress(base64.b64decode(text[len(_PACKED) :]), _MAX_UNPACKED_BYTES)
    if not unpacker.eof:
        raise ValueError("the compressed text is truncated or too long")
    return data


def _ascii(text: bytes) -> str:
    return json.dumps(json.loads(text), separators=(",", ":"))
