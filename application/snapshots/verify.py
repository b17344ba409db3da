"""VerifySnapshot: reads all of a snapshot, compares it with its digests, and mends what is damaged.

A damaged object is written anew from a store that has its bytes intact. Where none has, a note says so,
and the next snapshot writes the object if a store has the bytes again.
"""

import logging
from collections.abc import Callable, Sequence

from attrs import define, field, frozen

from traffic_storage.application.snapshots.location import (
    SnapshotDamaged,
    SnapshotLocation,
    digests_in,
)
from traffic_storage.application.snapshots.objects import SnapshotObjects
from traffic_storage.domain.errors import StorageFull, StorageUnavailable, Unavailable
from traffic_storage.domain.files import BlobKey, StoredFile
from traffic_storage.domain.identifiers import FileId
from traffic_storage.domain.jobs import Progress
from traffic_storage.domain.journal import Note
from traffic_storage.domain.snapshot import PartKind, SnapshotManifest, Verification
from traffic_storage.domain.snapshot_rows import file_in, violation_in
from traffic_storage.ports.clock import Clock
from traffic_storage.ports.errors import BlobCorrupt, BlobMissing, DeadlinePassed

logger = logging.getLogger("traffic_storage.snapshots")

UNREPAIRED = (
    "bring the file back into a store (`traffic-storage verify`, or `snapshot restore` of another location), "
    "then verify this snapshot again or make another one: both write the damaged bytes anew"
)
"""The remedy for files whose bytes in a snapshot location are damaged and in no store intact."""

_BATCH = 500
_MOST_EXAMPLES = 1000


@frozen
class DamagedFile:
    """A file whose bytes in the location were corrupt or missing.

    Attributes:
        cause: what was found.
        repaired: whether they are intact again, written from a store.
        unrepaired_because: why they are not; empty if they are.
    """

    file_id: FileId
    cause: str
    repaired: bool
    unrepaired_because: str = ""

    @property
    def remedy(self) -> str:
        """What to do; empty if it is repaired."""
        return "" if self.repaired else UNREPAIRED


@define
class VerifiedSnapshot:
    """What was found; the snapshot is good if all that is corrupt or missing was repaired.

    Attributes:
        files, size_bytes: the files whose bytes were read, and these bytes. Files with the same
            bytes share one object, which is read once for each batch of files.
        violations: the lines of violations that were read.
        database_bytes: the bytes of the backup of the database.
        corrupt, missing: files whose bytes were found corrupt or missing. Those that were damaged when
            the snapshot was made are not among them.
        repaired: how many of these have their bytes intact again.
        examples: the first 1,000 of them.
    """

    manifest: SnapshotManifest
    files: int = 0
    violations: int = 0
    size_bytes: int = 0
    database_bytes: int = 0
    corrupt: int = 0
    missing: int = 0
    repaired: int = 0
    examples: list[DamagedFile] = field(factory=list)

    @property
    def is_good(self) -> bool:
        """Whether everything that the snapshot has is intact now."""
        return self.corrupt + self.missing == self.repaired


class VerifySnapshot:
    """Verifies the snapshots at one location, and repairs objects from the stores."""

    def __init__(
        self, *, location: SnapshotLocation, objects: SnapshotObjects, clock: Clock
    ) -> None:
        self._location = location
        self._objects = objects
        self._clock = clock

    async def __call__(
        self, name: str, report: Callable[[Progress], None] = lambda _progress: None
    ) -> VerifiedSnapshot:
        """Read the manifest, all rows and all bytes of a snapshot; repair bytes, and record the result.

        Raises:
            InvalidInput: `name` is not the name of a snapshot.
            NotFound: there is no complete snapshot with this name.
            SnapshotDamaged: the manifest, or a part of the rows, is missing or altered.
            StorageUnavailable: the location can't be reached.
        """
        manifest = await self._location.manifest(name)
        found = VerifiedSnapshot(manifest)
        try:
            await self._read(manifest, found, report)
        except SnapshotDamaged as error:
            await self._record(found, error.message)
            raise
        await self._record(found)
        return found

    async def _read(
        self,
        manifest: SnapshotManifest,
        found: VerifiedSnapshot,
        report: Callable[[Progress], None],
    ) -> None:
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

    async def _record(self, found: VerifiedSnapshot, damage: str = "") -> None:
        counts = found.corrupt, found.missing, found.repaired
        try:
            await self._location.record(
                found.manifest.name, Verification(self._clock.now(), *counts, damage)
            )
        except (StorageUnavailable, StorageFull) as error:
            # A location may be read only; what was found is told all the same.
            logger.warning("the result of a verification is not recorded: %s", str(error))

    async def _examine(self, files: Sequence[StoredFile], found: VerifiedSnapshot) -> None:
        bad: dict[BlobKey, list[tuple[StoredFile, BlobMissing | BlobCorrupt]]] = {}
        examined = await self._objects.examine(files)
        for file, error in zip(files, (one.error for one in examined), strict=True):
            if isinstance(error, StorageUnavailable):
                raise error
            found.files += 1
            found.size_bytes += file.stored.size_bytes
            if error is not None:
                bad.setdefault(digests_in(file)[0], []).append((file, error))
        for sharers in bad.values():
            await self._mend(sharers, found)

    async def _mend(
        self,
        sharers: Sequence[tuple[StoredFile, BlobMissing | BlobCorrupt]],
        found: VerifiedSnapshot,
    ) -> None:
        """Write an object anew, or note that it is damaged; count its files."""
        error = sharers[0][1]
        repaired, reason = await self._is_repaired(
            sharers[0][0], [file for file, _ in sharers], error
        )
        found.missing += len(sharers) if isinstance(error, BlobMissing) else 0
        found.corrupt += len(sharers) if isinstance(error, BlobCorrupt) else 0
        found.repaired += len(sharers) if repaired else 0
        room = max(0, _MOST_EXAMPLES - len(found.examples))
        found.examples += [
            DamagedFile(file.file_id, error.message, repaired=repaired, unrepaired_because=reason)
            for file, _error in sharers[:room]
        ]

    async def _is_repaired(
        self, file: StoredFile, sharers: Sequence[StoredFile], error: BlobMissing | BlobCorrupt
    ) -> tuple[bool, str]:
        """Return whether an object is intact again, and otherwise why it is not."""
        reason = "no store has its bytes intact"
        try:
            if await self._objects.write(sharers, anew=True):
                return True, ""
        except (Unavailable, StorageFull, DeadlinePassed) as failed:
            reason = str(failed)
        try:
            await self._objects.note(file, error.message)
        except (StorageUnavailable, StorageFull) as failed:
            logger.warning("damage in a snapshot location is not noted: %s", str(failed))
        return False, reason
