"""Storing single files: images, videos, metadata."""

from collections.abc import Mapping

from attrs import frozen

from traffic_storage.application.drafts import Draft, DraftUnit
from traffic_storage.application.inputs import ArrayImage, FileAttributes, Upload
from traffic_storage.application.prepare import Prepare
from traffic_storage.application.store_unit import StoreUnit
from traffic_storage.application.tasks import OwnedTasks
from traffic_storage.domain.canonical import Json
from traffic_storage.domain.files import StoredFile


@frozen
class Stored:
    """A stored file; `created` False: a retry that found the first result."""

    file: StoredFile
    created: bool


class StoreFiles:
    """Stores one file. Durable and visible when it returns; nothing is left when it raises.

    A caller who is cancelled after the bytes came in does not undo it: it is then stored, and a
    retry finds it. An array or a buffer may be filled again from when the call first waited.

    Errors of all methods:
        InvalidInput (also as TooLarge, UnsupportedMedia, UndecodableMedia, DigestMismatch): the
            input; every wrong field is named.
        Conflict: the id holds other content.
        StorageFull, StorageUnavailable, CatalogueUnavailable: no place, or no database.
    """

    def __init__(self, *, prepare: Prepare, store_unit: StoreUnit, tasks: OwnedTasks) -> None:
        self._prepare = prepare
        self._store_unit = store_unit
        self._tasks = tasks

    async def image(self, image: ArrayImage | Upload, attributes: FileAttributes) -> Stored:
        """Store an image: an array is encoded, encoded bytes are kept byte for byte."""
        async with self._prepare.answering_for(image):
            draft = await self._prepare.image(image, attributes)
        return await self._tasks.run(self._store(draft))

    async def video(
        self, video: Upload, attributes: FileAttributes, *, duration_seconds: float | None = None
    ) -> Stored:
        """Store a video segment byte for byte; `duration_seconds` None takes the container's."""
        async with self._prepare.answering_for(video):
            draft = await self._prepare.video(video, attributes, duration_seconds)
        return await self._tasks.run(self._store(draft))

    async def metadata(self, data: Mapping[str, Json], attributes: FileAttributes) -> Stored:
        """Store a JSON object in canonical form."""
        return await self._tasks.run(self._store(await self._prepare.json(data, attributes)))

    async def _store(self, draft: Draft) -> Stored:
        try:
            self._tasks.check_open()
            stored = await self._store_unit(DraftUnit((draft,)))
        finally:
            await self._prepare.release(draft)
        return Stored(stored.files[draft.file_id], stored.created)
