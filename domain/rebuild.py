"""Rebuild: restoring the rows of the catalogue (the database) from what the stores contain.

The row of a file is restored from the digests of its bytes (`BlobStore.measure`), the store in
which they are, and the manifest, the copy of the row beside them. The row of a violation is
restored from its metadata file.
"""

from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from attrs import frozen

from traffic_storage.domain.canonical import parse_json
from traffic_storage.domain.digests import Digests
from traffic_storage.domain.errors import DigestMismatch, InvalidInput
from traffic_storage.domain.files import FileKind, Replica, StoredFile
from traffic_storage.domain.identifiers import (
    DeviceId,
    FileId,
    StoreId,
    ViolationId,
    evidence_file_id,
)
from traffic_storage.domain.ingest import Unit
from traffic_storage.domain.manifest import BlobManifest
from traffic_storage.domain.times import parse_time
from traffic_storage.domain.violation import (
    DOCUMENT_SCHEMA,
    StoredViolation,
    ViolationRecord,
    with_paths,
)


@frozen
class RebuildCursor:
    """How far the rebuild of one store has come.

    Attributes:
        after: blobs with replica ids up to this one were examined; None at the beginning.
        is_done: whether all blobs of the store were examined.
    """

    store_id: StoreId
    after: UUID | None = None
    is_done: bool = False


@frozen
class ImportRows:
    """Insert rows that were restored from what the stores contain; all of them, or none.

    Attributes:
        files: new files with their replicas.
        further: existing files; `replicas` of such a row has the new replicas only.
        violations: new violations; their files exist.
        completed: the ids of existing violations, and of an image and a video that they lack.
        cursor: recorded in the same transaction, if given.

    Entries of the quarantine with the keys of the new replicas are deleted. A blob that is being
    deleted is not recorded: the change is refused.
    """

    files: tuple[StoredFile, ...] = ()
    further: tuple[StoredFile, ...] = ()
    violations: tuple[StoredViolation, ...] = ()
    completed: tuple[tuple[ViolationId, FileId | None, FileId | None], ...] = ()
    cursor: RebuildCursor | None = None

    @property
    def unit(self) -> Unit:
        """The files and replicas, as a unit of storing has them."""
        return Unit(self.files, restored=self.further)


def file_from_manifest(
    manifest: BlobManifest, *, stored: Digests, content: Digests, replica: Replica
) -> StoredFile:
    """Return the catalogue row of an available file from one replica (copy) and its manifest.

    `stored` has the digests of the bytes in the store, and `content` those of the bytes after
    decompression (both are equal if the coding is `identity`).

    Raises:
        InvalidInput: the manifest is only a summary, because its sidecar (the blob with the whole
            manifest) is missing or altered.
        DigestMismatch: `stored` or `content` differs from the manifest.
    """
    basis, rule, keep_until = (
        manifest.retention_basis,
        manifest.retention_rule,
        manifest.keep_until,
    )
    placement = manifest.placement
    if basis is None or rule is None or keep_until is None or placement is None:
        raise InvalidInput.of(
            "manifest",
            f"is incomplete: the sidecar of {replica.key} is missing or altered",
            "restore the sidecar, or read another replica of the file",
        )
    _check("the stored bytes", stored, manifest.stored_size_bytes, manifest.stored_sha256)
    _check("the content", content, manifest.size_bytes, manifest.sha256)
    return StoredFile(
        file_id=FileId(manifest.file_id),
        kind=manifest.kind,
        content_type=manifest.content_type,
        content=content,
        stored=stored,
        coding=manifest.coding,
        created_at=manifest.created_at,
        captured_at=manifest.captured_at,
        device_id=None if manifest.device_id is None else DeviceId(manifest.device_id),
        violation_id=None if manifest.violation_id is None else ViolationId(manifest.violation_id),
        media=manifest.media,
        placement=placement,
        metadata=manifest.metadata,
        replicas=(replica,),
        keep_until=keep_until,
        retention_rule=rule,
        retention_basis=basis,
        historic=manifest.historic,
        original_name=manifest.original_name,
        quality=manifest.quality,
    )


def violation_from_document(
    document: bytes, file: StoredFile, found: Collection[FileId]
) -> StoredViolation:
    """Return the catalogue row of an available violation from its metadata file.

    `document` is the content of `file`, the row of the metadata file. `found` has the ids of all
    files that were found in the stores. The row has the ids of an image and a video that were
    stored together with the violation, even if they were not found, and of an image and a video
    that were added later, if they were found.

    Raises:
        InvalidInput: `document` or `file` is not the metadata file of a violation.
    """
    members: Any = parse_json(document, "document")
    try:
        record, zone, parts = _record(members), members["zone_assumed"], members["files"]
        violation_id = ViolationId(record.violation_id)
        image = _file_id(violation_id, FileKind.IMAGE, parts, found)
        video = _file_id(violation_id, FileKind.VIDEO, parts, found)
    except (LookupError, TypeError, ValueError) as error:
        raise InvalidInput.of(
            "document", f"is not the metadata file of a violation: {error}"
        ) from error
    if file.file_id != evidence_file_id(violation_id, FileKind.METADATA) or not file.captured_at:
        raise InvalidInput.of("file", f"{file.file_id} is not the metadata file of {violation_id}")
    return StoredViolation(
        record=with_paths(record, image or "", video or ""),
        record_sha256=record.sha256(),
        occurred_at=file.captured_at,
        zone_assumed=zone,
        received_at=file.created_at,
        metadata_file_id=file.file_id,
        image_file_id=image,
        video_file_id=video,
    )


def _check(what: str, measured: Digests, size_bytes: int, sha256: str) -> None:
    if (measured.size_bytes, measured.sha256) != (size_bytes, sha256):
        raise DigestMismatch.of(
            "manifest",
            f"{what}: {measured.size_bytes} bytes with SHA-256 {measured.sha256} were found, "
            f"but the manifest records {size_bytes} bytes with SHA-256 {sha256}",
            "read another replica of the file",
        )


def _record(members: Mapping[str, Any]) -> ViolationRecord:
    if members["schema"] != DOCUMENT_SCHEMA:
        raise ValueError(f"the member schema is not {DOCUMENT_SCHEMA}")
    given = members["record"]
    return ViolationRecord(**{**given, "timestamp": parse_time(given["timestamp"], "timestamp")})


def _file_id(
    violation_id: ViolationId, kind: FileKind, parts: Mapping[str, Any], found: Collection[FileId]
) -> FileId | None:
    file_id = evidence_file_id(violation_id, kind)
    return file_id if kind in parts or file_id in found else None
