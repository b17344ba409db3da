"""SnapshotObjects: writes objects of a snapshot location from the stores, also in place of damaged ones.

A damaged object has a note (`damaged/KIND-DIGEST`) until it is written anew. It is removed only when
its bytes are at hand, read from a store and verified, and the object was found damaged once more.
An interruption between removing and writing leaves no object, which the next snapshot or the next
verification writes.
"""

import asyncio
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import timedelta

from traffic_storage.application.snapshots.location import SnapshotLocation, digests_in
from traffic_storage.application.verified_bodies import VerifiedBodies
from traffic_storage.domain.errors import NoGoodReplica, NotFound, StorageUnavailable
from traffic_storage.domain.files import StoredFile
from traffic_storage.domain.manifest import manifest_of
from traffic_storage.ports.blob_store import Examination
from traffic_storage.ports.clock import Clock
from traffic_storage.ports.errors import BlobConflict
from traffic_storage.ports.reconciliation import Reconciliation
from traffic_storage.ports.snapshot_store import TextFolder

_WRITE_SECONDS = 120
_SLOWEST_BYTES_PER_SECOND = 1024 * 1024


class SnapshotObjects:
    """Writes objects, each from the first file with its bytes that a store has intact."""

    def __init__(
        self,
        *,
        location: SnapshotLocation,
        rows: Reconciliation,
        bodies: VerifiedBodies,
        clock: Clock,
        parallel: int,
    ) -> None:
        self._location = location
        self._rows = rows
        self._bodies = bodies
        self._clock = clock
        self._turns = asyncio.Semaphore(parallel)

    async def noted(self) -> Collection[str]:
        """Return the notes of the objects that were found damaged; see `note_of`."""
        return frozenset(await self._location.store.text_names(TextFolder.DAMAGED))

    async def note(self, file: StoredFile, cause: str) -> None:
        """Note that the object of a file is damaged, so that the next snapshot writes it anew."""
        # BlobConflict: another verification has noted it.
        with suppress(BlobConflict):
            await self._location.store.put_text(TextFolder.DAMAGED, note_of(file), cause.encode())

    async def write(self, sharers: Sequence[StoredFile], *, anew: bool) -> bool:
        """Write the object of these files, which have the same bytes.

        With `anew`, one may be there or noted: it is replaced if it is damaged, it stays if it is
        intact, and its note is removed. Return False if none of the files has a good replica: nothing
        is changed.

        Raises:
            StorageUnavailable: the location, or a store with the bytes, can't be reached.
            StorageFull: the location has no space.
            CatalogueUnavailable: the database can't be reached.
        """
        async with self._turns:
            known = await self._rows.files_by_id([file.file_id for file in sharers])
            for file in sharers:
                own = known.get(file.file_id)
                same = own is not None and own.stored.sha256 == file.stored.sha256
                if await self._is_written(own if own is not None and same else file, anew=anew):
                    if anew:
                        await self._location.store.remove_text(TextFolder.DAMAGED, note_of(file))
                    return True
        return False

    async def _is_written(self, file: StoredFile, *, anew: bool) -> bool:
        key, stored = digests_in(file)
        store = self._location.store
        try:
            async with self._bodies.of(file) as body:
                if anew and await self._is_intact(file):
                    return True
                if anew:
                    await store.delete(key)
                seconds = _WRITE_SECONDS + stored.size_bytes / _SLOWEST_BYTES_PER_SECOND
                deadline = self._clock.now() + timedelta(seconds=seconds)
                await store.put(key, body, manifest_of(file), deadline=deadline)
        except (NoGoodReplica, NotFound):
            return False
        return True

    async def _is_intact(self, file: StoredFile) -> bool:
        error = (await self.examine([file]))[0].error
        if isinstance(error, StorageUnavailable):
            raise error
        return error is None

    async def examine(self, files: Sequence[StoredFile]) -> Sequence[Examination]:
        """Read the objects of files, and return what was found, in the same order."""
        objects = dict(map(digests_in, files))
        found = await self._location.store.examine(list(objects.items()))
        results = dict(zip(objects, found, strict=True))
        return [results[digests_in(file)[0]] for file in files]


def note_of(file: StoredFile) -> str:
    """Return the name of the note that says that the object of a file is damaged."""
    return f"{file.kind}-{file.stored.sha256}"
