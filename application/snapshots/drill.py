"""DrillSnapshot: restores a sample of a snapshot into an empty place, and compares it.

A snapshot that was never restored is a hope. A drill does what a restore does, with some files
chosen at random, and compares each field and all bytes with what the snapshot says.
"""

from collections.abc import Mapping, Sequence

from attrs import field, frozen

from traffic_storage.application.read_files import ReadFiles
from traffic_storage.application.snapshots.location import SnapshotLocation
from traffic_storage.application.snapshots.restore import (
    Restored,
    RestoreSnapshot,
    nothing_destroyed,
)
from traffic_storage.domain.digests import WholeDigester
from traffic_storage.domain.errors import NotFound
from traffic_storage.domain.files import StoredFile
from traffic_storage.domain.identifiers import FileId
from traffic_storage.domain.snapshot import PartKind, SnapshotManifest, differences, sampled
from traffic_storage.domain.snapshot_rows import file_in
from traffic_storage.domain.verification import Span
from traffic_storage.ports.blob_store import closing


@frozen
class Drilled:
    """What a drill has found; it has passed if nothing differs and all of the sample is there.

    Attributes:
        seed: chose the sample; the same seed chooses the same files of a snapshot.
        differing: for each file of the sample that differs, in what.
    """

    manifest: SnapshotManifest
    seed: int
    restored: Restored
    sample: int
    size_bytes: int
    differing: Mapping[FileId, Sequence[str]] = field(factory=dict)

    @property
    def has_passed(self) -> bool:
        """Whether the sample was restored as the snapshot has it."""
        return not self.differing and self.restored.is_whole


class DrillSnapshot:
    """Drills the restore of snapshots. The caller gives the use cases of an empty place."""

    def __init__(self, *, location: SnapshotLocation) -> None:
        self._location = location

    async def __call__(
        self, name: str, restore: RestoreSnapshot, read: ReadFiles, *, sample: int, seed: int
    ) -> Drilled:
        """Restore `sample` files by `restore`, read them by `read`, and compare them.

        Raises:
            InvalidInput, NotFound, SnapshotDamaged, StorageUnavailable, StorageFull: as a restore.
        """
        manifest = await self._location.manifest(name)
        files = await self._sample(manifest, sample, seed)
        names = frozenset(files)
        restored = await restore(self._location, name, destroyed=nothing_destroyed, only=names)
        differing = {}
        for file_id, file in files.items():
            if found := await _compared(file, read):
                differing[file_id] = found
        size_bytes = sum(file.stored.size_bytes for file in files.values())
        return Drilled(manifest, seed, restored, len(files), size_bytes, differing)

    async def _sample(
        self, manifest: SnapshotManifest, sample: int, seed: int
    ) -> Mapping[FileId, StoredFile]:
        """Choose files, from a few parts if there are many, so that not all rows are read."""
        chosen = sampled(manifest.parts_of(PartKind.FILES), sample, seed)
        lines = [line for part in chosen for line in await self._location.lines(part)]
        lost = frozenset(manifest.damaged)
        files = map(file_in, sampled(lines, sample, seed))
        return {file.file_id: file for file in files if file.file_id not in lost}


async def _compared(file: StoredFile, read: ReadFiles) -> Sequence[str]:
    """Return in what a restored file differs from its row in the snapshot; empty: in nothing."""
    try:
        opened = await read.open(file.file_id)
    except NotFound:
        return ["it was not restored"]
    found = list(differences(file, opened.file))
    digester = WholeDigester()
    whole = Span(0, file.content.size_bytes)
    async with closing(opened.chunks(whole)) as chunks:
        async for chunk in chunks:
            digester.update(chunk)
    content = digester.finish()
    if (content.size_bytes, content.sha256) != (file.content.size_bytes, file.content.sha256):
        found.append("bytes")
    return found
