"""DeleteSnapshot: removes a snapshot, and the objects that no other snapshot needs.

```
collecting/NAME written ─► sealed/NAME removed ─► pin removed ─► objects removed ─► collecting/NAME
```

While another snapshot is being made, nothing is removed but the names: that snapshot may use any
object. The next deletion removes what was left.
"""

from collections.abc import Collection, Sequence
from contextlib import suppress

from attrs import frozen

from traffic_storage.application.snapshots.location import (
    ForeignSnapshot,
    ObjectsKept,
    SnapshotDamaged,
    SnapshotLocation,
)
from traffic_storage.application.snapshots.objects import note_of
from traffic_storage.domain.digests import Sha256
from traffic_storage.domain.errors import NotFound
from traffic_storage.domain.snapshot import PartKind, UnpinSnapshot, object_key, snapshot_name
from traffic_storage.domain.snapshot_rows import file_in
from traffic_storage.ports.blob_store import closing
from traffic_storage.ports.changes import Changes
from traffic_storage.ports.errors import BlobConflict
from traffic_storage.ports.snapshot_store import TextFolder
from traffic_storage.ports.store_registry import StoreRegistry


@frozen
class DeletedSnapshot:
    """What was removed with a snapshot.

    `waits_for` has the snapshots that are being made: objects are removed by a later deletion.
    """

    name: str
    objects: int = 0
    size_bytes: int = 0
    waits_for: Sequence[str] = ()


class DeleteSnapshot:
    """Deletes snapshots, complete and unfinished ones. Safe to repeat after an interruption."""

    def __init__(
        self, *, location: SnapshotLocation, registry: StoreRegistry, changes: Changes
    ) -> None:
        self._location = location
        self._registry = registry
        self._changes = changes

    async def __call__(self, name: str, *, foreign: bool = False) -> DeletedSnapshot:
        """Delete a snapshot; files that it alone pinned may be purged from now on.

        With `foreign`, it may be one of another catalogue.

        Raises:
            ForeignSnapshot: it is of another catalogue; nothing was changed.
            InvalidInput: `name` is not the name of a snapshot.
            NotFound: there is no snapshot with this name, and no deletion to go on with.
            ObjectsKept: the rows of another snapshot are damaged, so that it is unknown which
                objects it needs. The named one is deleted, and no object is removed.
            StorageUnavailable: the location can't be reached.
            CatalogueUnavailable: the database can't be reached.
        """
        store = self._location.store
        if snapshot_name(name) not in await self._names():
            raise NotFound("snapshot", name)
        if not foreign and await self._is_foreign(name):
            raise ForeignSnapshot(name)
        # BlobConflict: an earlier deletion of this snapshot was interrupted.
        with suppress(BlobConflict):
            await store.put_text(TextFolder.COLLECTING, name, name.encode())
        try:
            await store.remove_text(TextFolder.SEALED, name)
            await store.remove_text(TextFolder.UNFINISHED, name)
            await store.remove_text(TextFolder.VERIFIED, name)
            await self._changes.apply(UnpinSnapshot(name))
            return await self._collect(name)
        except SnapshotDamaged as error:
            raise ObjectsKept(name, error) from error
        finally:
            await store.remove_text(TextFolder.COLLECTING, name)

    async def _is_foreign(self, name: str) -> bool:
        try:
            manifest = await self._location.manifest(name)
        except (NotFound, SnapshotDamaged):  # Whose it is, it does not say.
            return False
        return manifest.catalogue_id != await self._registry.catalogue_id()

    async def _names(self) -> Collection[str]:
        folders = TextFolder.SEALED, TextFolder.UNFINISHED, TextFolder.COLLECTING
        found = [await self._location.store.text_names(folder) for folder in folders]
        return {name for names in found for name in names}

    async def _collect(self, name: str) -> DeletedSnapshot:
        """Remove what no snapshot needs, unless one is being made.

        A creation notes itself and then looks for deletions; a deletion has noted itself and looks
        for creations now. So at least one of the two sees the other.
        """
        sealed = set(await self._location.store.text_names(TextFolder.SEALED))
        making = [one for one in await self._location.unfinished() if one not in sealed]
        if making:
            return DeletedSnapshot(name, waits_for=making)
        return await self._remove_unneeded(name)

    async def _remove_unneeded(self, name: str) -> DeletedSnapshot:
        store, objects, size_bytes = self._location.store, 0, 0
        needed, notes, parts = await self._needed()
        async with closing(store.list()) as listing:
            async for entry in listing:
                if entry.key not in needed:
                    await store.delete(entry.key)
                    objects += 1
                    size_bytes += entry.size_bytes
        for note in await store.text_names(TextFolder.DAMAGED):
            if note not in notes:
                await store.remove_text(TextFolder.DAMAGED, note)
        for part in await store.text_names(TextFolder.ROWS):
            if part not in parts:
                await store.remove_text(TextFolder.ROWS, part)
        return DeletedSnapshot(name, objects, size_bytes)

    async def _needed(self) -> tuple[Collection[str], Collection[str], Collection[Sha256]]:
        """Return the keys of all objects that snapshots need, their notes, and the names of all parts."""
        keys: set[str] = set()
        notes: set[str] = set()
        parts: set[Sha256] = set()
        for manifest in await self._location.complete():
            parts |= {part.sha256 for part in manifest.parts}
            for part in manifest.parts_of(PartKind.FILES):
                for file in map(file_in, await self._location.lines(part)):
                    keys.add(object_key(file.kind, file.stored.sha256))
                    notes.add(note_of(file))
        return keys, notes, parts
