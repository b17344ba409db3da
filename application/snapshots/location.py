"""SnapshotLocation: where snapshots are, with checks of what is read there."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from traffic_storage.domain.digests import WHOLE_READ_BYTES, Digests, sha256_of
from traffic_storage.domain.errors import InvalidInput, NotFound, WrongState
from traffic_storage.domain.files import BlobKey, StoredFile
from traffic_storage.domain.snapshot import (
    Part,
    SnapshotManifest,
    Verification,
    object_key,
    snapshot_name,
)
from traffic_storage.domain.verification import Span
from traffic_storage.ports.blob_store import closing
from traffic_storage.ports.compressor import Compressor
from traffic_storage.ports.errors import BlobConflict, BlobCorrupt
from traffic_storage.ports.snapshot_store import SnapshotStore, TextFolder
from traffic_storage.ports.spool import Body, MemoryBody, Spool

_MARK = "snapshots"
_MARK_TEXT = b"traffic-storage/snapshot-location/1\n"


class SnapshotDamaged(WrongState):
    """The manifest of a snapshot, or a part of it, is missing or altered."""

    def __init__(self, what: str) -> None:
        super().__init__(f"a snapshot is damaged: {what}", remedy="use another snapshot")


class ObjectsKept(WrongState):
    """A snapshot is deleted; what it used stays, because it is unknown what another one uses."""

    def __init__(self, name: str, error: SnapshotDamaged) -> None:
        super().__init__(
            f"{name!r} is deleted, but nothing that it used was removed: {error.message}",
            remedy="delete the damaged snapshot too, which removes what neither needs",
        )


class ForeignSnapshot(WrongState):
    """The snapshot is of another catalogue than this one."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the snapshot {name!r} is of another catalogue, for which it may be the only backup",
            remedy="if it is no longer needed, use `snapshot delete --foreign` (in Python: "
            "foreign=True)",
        )


class SnapshotExists(WrongState):
    """There is a complete snapshot with this name."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"there is a snapshot {name!r}", remedy="choose another name, or delete it first"
        )


class SnapshotGone(WrongState):
    """The snapshot was deleted while it was being made."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the snapshot {name!r} was deleted while it was being made",
            remedy="make it again",
        )


class SnapshotTooLarge(WrongState):
    """The manifest would be larger than a text of a snapshot location can be."""

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"the snapshot has too many parts: its manifest would have {size_bytes} bytes, "
            f"and at most {limit_bytes} can be written",
            remedy="set snapshot_database = false, back the database up with its own tools, and make "
            "the snapshot again; or delete it, which ends what it keeps from being purged",
        )


class NoSnapshotLocation(WrongState):
    """The place has something in it that is not of snapshots."""

    def __init__(self, location: str) -> None:
        super().__init__(
            f"{location} is not empty, and is no place of snapshots",
            remedy="name an empty folder or part of a bucket in snapshot_location",
        )


class SnapshotBusy(WrongState):
    """Objects that no snapshot needs are being removed from the location."""

    def __init__(self, location: str, deleted: Sequence[str]) -> None:
        names = ", ".join(deleted)
        super().__init__(
            f"objects are being removed from {location}, because a snapshot is deleted: {names}",
            remedy="try again when that has ended; if it was interrupted, delete the snapshot again",
        )


class SnapshotLocation:
    """Reads the snapshots at one location.

    Errors of all methods:
        StorageUnavailable: the location can't be reached.
    """

    def __init__(self, *, store: SnapshotStore, spool: Spool, compressor: Compressor) -> None:
        self.store = store
        self._spool = spool
        self._compressor = compressor

    async def claim(self) -> None:
        """Mark the place as a snapshot location, if it is empty. Call it before anything is written.

        Raises:
            NoSnapshotLocation: the place has something in it that is not of snapshots.
            StorageFull: the location has no space.
        """
        if await self._is_marked():
            return
        # A location with snapshots from before there were marks is one.
        if not (await self.store.is_unused() or await self._has_snapshots()):
            # Another process may have marked it meanwhile.
            if await self._is_marked():
                return
            raise NoSnapshotLocation(self.store.location)
        await self.store.put_text(TextFolder.LOCATION, _MARK, _MARK_TEXT)

    async def _is_marked(self) -> bool:
        return await self.store.text(TextFolder.LOCATION, _MARK) == _MARK_TEXT

    async def _has_snapshots(self) -> bool:
        return bool(await self.store.text_names(TextFolder.SEALED) or await self.unfinished())

    async def complete(self) -> Sequence[SnapshotManifest]:
        """Return the manifests of all complete snapshots, the newest first.

        Raises:
            SnapshotDamaged: the manifest of one is damaged.
        """
        found, damaged = await self.readable()
        if damaged:
            raise _unreadable(damaged[0])
        return found

    async def readable(self) -> tuple[Sequence[SnapshotManifest], Sequence[str]]:
        """Return the manifests of complete snapshots, the newest first, and the names of damaged ones."""
        found: list[SnapshotManifest] = []
        damaged: list[str] = []
        for name in await self.store.text_names(TextFolder.SEALED):
            try:
                found.append(await self.manifest(name))
            except SnapshotDamaged:
                damaged.append(name)
            except NotFound:  # It was deleted at this moment.
                continue
        return sorted(found, key=lambda one: (one.begun_at, one.name), reverse=True), damaged

    async def verification(self, name: str) -> Verification | None:
        """Return what the last verification of a snapshot found; None: none has ended."""
        text = await self.store.text(TextFolder.VERIFIED, name)
        with suppress(InvalidInput):
            return None if text is None else Verification.from_text(text)
        return None

    async def record(self, name: str, found: Verification) -> None:
        """Record what a verification found, in place of what the one before found."""
        await self.store.remove_text(TextFolder.VERIFIED, name)
        # BlobConflict: another verification has ended at this moment, and is recorded.
        with suppress(BlobConflict):
            await self.store.put_text(TextFolder.VERIFIED, name, found.to_text())

    async def unfinished(self) -> Sequence[str]:
        """Return the names of the snapshots that are being made, or whose making was interrupted."""
        return await self.store.text_names(TextFolder.UNFINISHED)

    async def manifest(self, name: str) -> SnapshotManifest:
        """Return the manifest of a complete snapshot, checked against its own digest.

        Raises:
            InvalidInput: `name` is not the name of a snapshot.
            NotFound: there is no complete snapshot with this name.
            SnapshotDamaged: the manifest is damaged.
        """
        text = await self.store.text(TextFolder.SEALED, snapshot_name(name))
        if text is None:
            raise await self._absent(name)
        try:
            return SnapshotManifest.from_text(text)
        except InvalidInput as error:
            raise _unreadable(name) from error

    async def part(self, part: Part) -> bytes:
        """Return the text of a part, checked against its digest.

        Raises:
            SnapshotDamaged: it is missing or altered.
        """
        text = await self.store.text(TextFolder.ROWS, part.sha256)
        if text is None or sha256_of(text) != part.sha256:
            what = "is missing" if text is None else "is altered"
            raise SnapshotDamaged(f"the part {part.sha256} ({part.kind}) {what}")
        return text

    async def piece(self, part: Part) -> bytes:
        """Return what a compressed part expands to, checked against its digests.

        Raises:
            SnapshotDamaged: it is missing or altered.
        """
        text = await self.part(part)
        if part.content is None:
            return text
        try:
            return await self._compressor.expand(text, part.content)
        except BlobCorrupt as error:
            raise SnapshotDamaged(f"the part {part.sha256} can't be expanded: {error}") from error

    async def lines(self, part: Part) -> Sequence[bytes]:
        """Return the lines of a part, as `part`."""
        return (await self.part(part)).splitlines()

    @asynccontextmanager
    async def body(self, file: StoredFile) -> AsyncIterator[Body]:
        """Return a context with the stored bytes of a file, each checked when it was read.

        Raises (on entry):
            BlobMissing, BlobCorrupt: the location has them not, or not intact.
        """
        key = object_key(file.kind, file.stored.sha256)
        if file.stored.size_bytes <= WHOLE_READ_BYTES:
            yield MemoryBody(await self.store.read(key, file.stored), file.stored)
            return
        async with self.store.lend(key, file.stored) as lent:
            if lent is not None:
                yield lent
                return
        async with self._spooled(key, file.stored) as body:
            yield body

    @asynccontextmanager
    async def _spooled(self, key: BlobKey, digests: Digests) -> AsyncIterator[Body]:
        whole = Span(0, digests.size_bytes)
        async with (
            closing(self.store.open(key, digests, whole)) as source,
            self._spool.take(source, limit_bytes=whole.stop, field_name="snapshot") as body,
        ):
            if body.digests != digests:
                raise BlobCorrupt(f"the object {key} changed while it was read")
            yield body

    async def _absent(self, name: str) -> NotFound:
        error = NotFound("snapshot", name)
        if name in await self.unfinished():
            error.message = f"the snapshot {name!r} is not complete: its making did not end"
            error.remedy = "create it again, which goes on, or delete it"
        return error


def digests_in(file: StoredFile) -> tuple[BlobKey, Digests]:
    """Return the key of the object with the bytes of a file, and their digests."""
    return object_key(file.kind, file.stored.sha256), file.stored


def _unreadable(name: str) -> SnapshotDamaged:
    return SnapshotDamaged(f"the manifest of {name!r} is unreadable")
