"""BlobManifest: the catalogue row of a file, kept beside its bytes in every store.

Manifest and bytes together give the row again (`domain.rebuild`). Digests of segments are not in
the manifest: they are measured from the bytes.

A store has room for about 2 KB beside a blob (an extended attribute, the user metadata of an S3
object). A manifest that is longer lies in a sidecar, a blob of its own under `sidecar_key`. The
text beside the blob is then a summary, which names the sidecar by its SHA-256.
"""

import base64
import json
import zlib
from datetime import datetime
from typing import Any

import orjson
from attrs import evolve, field, frozen

from traffic_storage.domain.digests import Sha256, sha256_of
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
"""The longest text that a store keeps beside a blob; S3 takes 2 KB with the name."""
MAX_SIDECAR_BYTES = 8 * 1024 * 1024
"""The longest sidecar that is read; the caller's metadata of 1 MiB makes one of 3 MiB at most."""

_VERSION = 2
_PACKED = "z:"
# Compressed and in base64 a text of more does not fit into a summary, but for rare ones.
_MAX_PACKABLE_BYTES = 8 * 1024
_MAX_UNPACKED_BYTES = 64 * 1024
_SIDECAR_SUFFIX = ".manifest"


@frozen(kw_only=True)
class BlobManifest:
    """A file's identity, digests and attributes.

    Attributes:
        size_bytes, sha256: of the content, as handed in and handed out.
        stored_size_bytes, stored_sha256: of the bytes as stored.
        created_at: receipt.
        metadata: the caller's, canonical JSON text of an object.
        sidecar_sha256: only of a summary: the SHA-256 of the sidecar that holds the whole manifest.
        The other attributes are those of `StoredFile`.
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
    sidecar_sha256: Sha256 | None = None

    def to_text(self) -> str:
        """The whole manifest as one line of ASCII JSON, of any length."""
        members = {"v": _VERSION, **_converter.unstructure(self)}
        text = orjson.dumps(members)
        return text.decode() if text.isascii() else _ascii(text)

    @classmethod
    def from_text(cls, text: str) -> "BlobManifest":
        """The manifest of a text by `to_text`, or of the summary that `kept` made of it.

        Raises:
            InvalidInput: the text is no manifest, or one of another version.
        """
        try:
            members = orjson.loads(_unpacked(text) if text.startswith(_PACKED) else text)
            return _converter.structure(_of_this_version(members), cls)
        except InvalidInput:
            raise
        # cattrs raises groups of whatever the hooks raised.
        except Exception as error:
            raise _unreadable(refusal_text(error)) from error

    def kept(self) -> "KeptManifest":
        """The texts as which a store with little room beside a blob keeps this manifest."""
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
        """The whole manifest that a summary names; the summary where `sidecar` is not that one."""
        if sidecar is None or sha256_of(sidecar) != self.sidecar_sha256:
            return self
        return self.from_text(sidecar.decode())

    def _summary(self, sidecar_sha256: Sha256) -> "BlobManifest":
        """What always fits: without the texts that may be long."""
        return evolve(
            self,
            device_id=None,
            placement=None,
            retention_rule=None,
            retention_basis=None,
            original_name=None,
            metadata=None,
            sidecar_sha256=sidecar_sha256,
        )


@frozen
class KeptManifest:
    """A manifest as a store keeps it.

    Attributes:
        summary: printable ASCII of at most `MAX_SUMMARY_BYTES`, kept with the blob.
        sidecar: the whole manifest, where the summary has no room for it: a blob under
            `sidecar_key`, durable before the blob is published and removed after it.
    """

    summary: str
    sidecar: bytes | None = None


def sidecar_key(key: BlobKey) -> str:
    """The key of a blob's sidecar. No blob has such a key, so listings of blobs pass it over."""
    return key + _SIDECAR_SUFFIX


def manifest_of(file: StoredFile) -> BlobManifest:
    """The manifest that is kept with a file's bytes."""
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
    )


def manifest_in(summary: str | None) -> BlobManifest | None:
    """The manifest of a summary that a store has kept; None where it is missing or unreadable."""
    try:
        return None if summary is None else BlobManifest.from_text(summary)
    except InvalidInput:
        return None


_converter = strict_converter()


def _of_this_version(members: object) -> dict[str, Any]:
    if type(members) is not dict or "v" not in members:
        raise _unreadable("not an object with a version")
    version = members.pop("v")
    if type(version) is not int or version != _VERSION:
        raise InvalidInput.of(
            "manifest",
            f"has version {shown(version)}; this release reads version {_VERSION}",
            "read the store with the release that wrote it, or a newer one",
        )
    return members


def _unreadable(why: str) -> InvalidInput:
    return InvalidInput.of("manifest", f"is unreadable: {shown(why, 160)}")


def _unpacked(text: str) -> bytes:
    unpacker = zlib.decompressobj()
    data = unpacker.decompress(base64.b64decode(text[len(_PACKED) :]), _MAX_UNPACKED_BYTES)
    if not unpacker.eof:
        raise ValueError("the packed text is cut off, or too long")
    return data


def _ascii(text: bytes) -> str:
    return json.dumps(json.loads(text), separators=(",", ":"))
