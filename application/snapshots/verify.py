"""VerifySnapshot: reads all of a snapshot, and compares it with its digests."""

from collections.abc import Callable, Sequence

from attrs import define, field

from traffic_storage.application.snapshots.location import SnapshotLocation, digests_in
from traffic_storage.domain.errors import StorageUnavailable
from traffic_storage.domain.files import StoredFile
from traffic_storage.domain.identifiers import FileId
from traffic_storage.domain.jobs import Progress
from traffic_storage.domain.journal import Note
from traffic_storage.domain.snapshot import PartKind, SnapshotManifest
from traffic_storage.domain.snapshot_rows import file_in, violation_in
from traffic_storage.ports.errors import BlobMissing

_BATCH = 500
_MOST_EXAMPLES = 1000


@define
class VerifiedSnapshot:
    """What was found; the snapshot is good if `corrupt` and `missing` are 0.

    Attributes:
        files, size_bytes: the files whose bytes were read, and these bytes. Files with the same
            bytes share one object, which is read once for each batch of files.
        violations: the lines of violations that were read.
        database_bytes: the bytes of the backup of the database.
        examples: ids of the first 1,000 files whose bytes are corrupt or missing. Those that were
            damaged when the snapshot was made are not among them.
    """

    manifest: SnapshotManifest
    files: int = 0
    violations: int = 0
    size_bytes: int = 0
    database_bytes: int = 0
    corrupt: int = 0
    missing: int = 0
    examples: list[FileId] = field(factory=list)

    @property
    def is_good(self) -> bool:
        """Whether everything that the snapshot has is intact."""
        return not self.corrupt and not self.missing


class VerifySnapshot:
    """Verifies the snapshots at one location; it changes nothing."""

    def __init__(self, *, location: SnapshotLocation) -> None:
        self._location = location

    async def __call__(
        self, name: str, report: Callable[[Progress], None] = lambda _progress: None
    ) -> VerifiedSnapshot:
        """Read the manifest, all rows and all bytes of a snapshot.

        Raises:
            InvalidInput: `name` is not the name of a snapshot.
            NotFound: there is no complete snapshot with this name.
            SnapshotDamaged: the manifest, or a part of the rows, is missing or altered.
            StorageUnavailable: the location can't be reached.
        """
        manifest = await self._location.manifest(name)
        found = VerifiedSnapshot(manifest)
        known_lost = frozenset(manifest.damaged)
        for part in manifest.parts:
            text = await self._location.piece(part)
            if part.kind is PartKind.EVENTS:
                Note.from_text(text)
            elif part.kind is PartKind.DATABASE:
                found.database_bytes += len(text)
            elif part.kind is PartKind.VIOLATIONS:
                found.violations += len([violation_in(line) for line in text.splitlines()])
            else:
                files = [file_in(line) for line in text.splitlines()]
                wanted = [file for file in files if file.file_id not in known_lost]
                for begin in range(0, len(wanted), _BATCH):
                    await self._examine(wanted[begin : begin + _BATCH], found)
                    report(Progress(found.files, manifest.files, found.size_bytes))
        return found

    async def _examine(self, files: Sequence[StoredFile], found: VerifiedSnapshot) -> None:
        objects = dict(map(digests_in, files))
        results = await self._location.store.examine(list(objects.items()))
        errors = {key: one.error for key, one in zip(objects, results, strict=True)}
        for file in files:
            error = errors[digests_in(file)[0]]
            if isinstance(error, StorageUnavailable):
                raise error
            found.files += 1
            found.size_bytes += file.stored.size_bytes
            if error is not None:
                found.missing += isinstance(error, BlobMissing)
                found.corrupt += not isinstance(error, BlobMissing)
                found.examples += [file.file_id] if len(found.examples) < _MOST_EXAMPLES else []
