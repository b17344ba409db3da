"""RestoreRows: makes rows of the catalogue from blobs, their manifests and metadata files."""

from asyncio import Semaphore
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import TypeAlias

from attrs import evolve

from traffic_storage.application.replica_reader import ReplicaReader
from traffic_storage.application.stores import Stores
from traffic_storage.domain.digests import WHOLE_READ_BYTES, Digests, digests_of
from traffic_storage.domain.errors import DigestMismatch, InvalidInput, NoGoodReplica, NotFound
from traffic_storage.domain.files import (
    BlobKey,
    Coding,
    FileKind,
    Replica,
    ReplicaState,
    StoredFile,
)
from traffic_storage.domain.identifiers import FileId, StoreId, ViolationId, evidence_file_id
from traffic_storage.domain.manifest import BlobManifest
from traffic_storage.domain.rebuild import (
    ImportRows,
    file_from_manifest,
    violation_from_document,
)
from traffic_storage.domain.violation import StoredViolation
from traffic_storage.ports.changes import Changes
from traffic_storage.ports.clock import Clock
from traffic_storage.ports.compressor import Compressor
from traffic_storage.ports.concurrency import together
from traffic_storage.ports.errors import BlobCorrupt, IdsTaken
from traffic_storage.ports.reconciliation import Reconciliation

_MOST_RACES = 3
_PARALLEL_READS = 16

Reason: TypeAlias = str
"""Why a row could not be restored."""


class RestoreRows:
    """Restores rows of files and violations from what the stores contain."""

    def __init__(
        self,
        *,
        stores: Stores,
        catalogue: Reconciliation,
        changes: Changes,
        replicas: ReplicaReader,
        compressor: Compressor,
        clock: Clock,
    ) -> None:
        self._stores = stores
        self._catalogue = catalogue
        self._changes = changes
        self._replicas = replicas
        self._compressor = compressor
        self._clock = clock

    async def file(
        self, store_id: StoreId, key: BlobKey, manifest: BlobManifest, *, read: bool
    ) -> StoredFile:
        """Return the row of a file, as one blob and its manifest describe it.

        With `read`, all bytes are read and compared with the manifest. Otherwise only those of a
        file with segments are: the digests of the segments are not in the manifest. The replica of
        a file that was read counts as verified.

        Raises:
            InvalidInput: the manifest is a summary, because its sidecar is missing or altered.
            DigestMismatch: the bytes are not those that the manifest or the key describes.
            BlobMissing: the blob does not exist.
            StorageUnavailable: the store can't be reached.
        """
        store = self._stores.blob_store(store_id)
        if not key.endswith(manifest.stored_sha256):
            raise DigestMismatch.of("manifest", f"describes other bytes than the key {key}")
        stored = Digests(manifest.stored_size_bytes, manifest.stored_sha256)
        content = Digests(manifest.size_bytes, manifest.sha256)
        is_long = max(stored.size_bytes, content.size_bytes) > WHOLE_READ_BYTES
        if read or is_long:
            stored = await store.measure(key)
            content = await self._content(store_id, key, manifest, stored)
        replica = Replica(
            store_id,
            store.tier,
            key,
            ReplicaState.PRESENT,
            self._clock.now() if read or is_long else None,
        )
        return file_from_manifest(manifest, stored=stored, content=content, replica=replica)

    async def violations(
        self, violation_ids: Collection[ViolationId]
    ) -> tuple[int, Mapping[ViolationId, Reason]]:
        """Restore violations from their metadata files, and add images and videos that they lack.

        Only files that the catalogue has are named by a row. Return how many violations were
        restored or completed, and why others were not: they have no readable metadata file.

        Raises:
            StorageUnavailable: a store can't be reached.
            CatalogueUnavailable: the database can't be reached.
        """
        for _ in range(_MOST_RACES):
            rows, failed = await self._violation_rows(violation_ids)
            # Another process may have stored or completed one of them meanwhile.
            with suppress(IdsTaken):
                if rows != ImportRows():
                    await self._changes.apply(rows)
                return len(rows.violations) + len(rows.completed), failed
        return 0, dict.fromkeys(violation_ids, "other processes change these violations")

    async def _violation_rows(
        self, violation_ids: Collection[ViolationId]
    ) -> tuple[ImportRows, Mapping[ViolationId, Reason]]:
        known = await self._catalogue.violations_by_id(violation_ids)
        names = [evidence_file_id(one, kind) for one in violation_ids for kind in FileKind]
        files = await self._catalogue.files_by_id(names)
        lost = sorted({*violation_ids} - known.keys())
        found = dict(zip(lost, await self._violations(lost, files), strict=True))
        lacking = ((name, *_lacking(known[name], files)) for name in sorted(known))
        rows = ImportRows(
            violations=tuple(one for one in found.values() if isinstance(one, StoredViolation)),
            completed=tuple(one for one in lacking if one[1] or one[2]),
        )
        return rows, {name: one for name, one in found.items() if isinstance(one, str)}

    async def _violations(
        self, violation_ids: Sequence[ViolationId], files: Mapping[FileId, StoredFile]
    ) -> Sequence[StoredViolation | Reason]:
        slots = Semaphore(_PARALLEL_READS)

        async def restored(violation_id: ViolationId) -> StoredViolation | Reason:
            async with slots:
                return await self._violation(violation_id, files)

        return await together(*(restored(one) for one in violation_ids))

    async def _violation(
        self, violation_id: ViolationId, files: Mapping[FileId, StoredFile]
    ) -> StoredViolation | Reason:
        file = files.get(evidence_file_id(violation_id, FileKind.METADATA))
        if file is None:
            return "its metadata file was not found"
        try:
            stored = await self._replicas.read(file, cached=False)
            document = await self._expanded(file, stored)
            found = violation_from_document(document, file, files)
        except (NoGoodReplica, NotFound, BlobCorrupt, InvalidInput) as error:
            return f"its metadata file can't be read: {error}"
        if violation_id != found.violation_id:
            return f"its metadata file describes the violation {found.violation_id}"
        image, video = (
            one if one in files else None for one in (found.image_file_id, found.video_file_id)
        )
        record = evolve(found.record, image_path=image or "", video_path=video or "")
        return evolve(found, record=record, image_file_id=image, video_file_id=video)

    async def _content(
        self, store_id: StoreId, key: BlobKey, manifest: BlobManifest, stored: Digests
    ) -> Digests:
        if manifest.coding is Coding.IDENTITY:
            return stored
        declared = Digests(manifest.size_bytes, manifest.sha256)
        data = await self._stores.blob_store(store_id).read(key, stored)
        try:
            return digests_of(await self._compressor.expand(data, declared))
        except BlobCorrupt as error:
            raise DigestMismatch.of("manifest", f"the bytes of {key} expand to others") from error

    async def _expanded(self, file: StoredFile, stored: bytes) -> bytes:
        if file.coding is Coding.IDENTITY:
            return stored
        return await self._compressor.expand(stored, file.content)


def violation_of(file_id: FileId) -> ViolationId | None:
    """Return the violation to which a file belongs by its id; None if the id is no such."""
    name, separator, _ = file_id.rpartition("~")
    return ViolationId(name) if separator else None


def _lacking(
    violation: StoredViolation, files: Mapping[FileId, StoredFile]
) -> tuple[FileId | None, FileId | None]:
    image, video = (
        file_id if held is None and file_id in files else None
        for held, file_id in (
            (violation.image_file_id, evidence_file_id(violation.violation_id, FileKind.IMAGE)),
            (violation.video_file_id, evidence_file_id(violation.violation_id, FileKind.VIDEO)),
        )
    )
    return image, video
