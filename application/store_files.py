"""Storing single files: images, videos, metadata."""

from collections.abc import Mapping
from contextlib import AsyncExitStack

from attrs import frozen

from traffic_storage.application.drafts import Draft, DraftUnit
from traffic_storage.application.inputs import ArrayImage, FileAttributes, Upload
from traffic_storage.application.prepare import Prepare, taken_over
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

    Cancelling a call after its bytes came in does not undo it: the file is stored, and a retry
    finds it. The caller may change an array or a buffer once the call has first waited.

    `bodies` is the stack on which the caller entered the bodies that it passes as sources. The call
    takes the contexts over at its first step and leaves them when the file is stored or refused,
    also when the caller is gone by then.

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

    async def image(
        self,
        image: ArrayImage | Upload,
        attributes: FileAttributes,
        *,
        bodies: AsyncExitStack | None = None,
    ) -> Stored:
        """Store an image: an array is encoded, encoded bytes are kept byte for byte."""
        async with taken_over(bodies) as own:
            draft = await self._prepare.image(image, attributes, own)
            return await self._tasks.run(self._store(draft, own.pop_all()))

    async def video(
        self,
        video: Upload,
        attributes: FileAttributes,
        *,
        duration_seconds: float | None = None,
        bodies: AsyncExitStack | None = None,
    ) -> Stored:
        """Store a video segment byte for byte; `duration_seconds` None takes the container's."""
        async with taken_over(bodies) as own:
            draft = await self._prepare.video(video, attributes, own, duration_seconds)
            return await self._tasks.run(self._store(draft, own.pop_all()))

    async def metadata(self, data: Mapping[str, Json], attributes: FileAttributes) -> Stored:
        """Store a JSON object in canonical form."""
        draft = await self._prepare.json(data, attributes)
        return await self._tasks.run(self._store(draft, AsyncExitStack()))

    async def _store(self, draft: Draft, bodies: AsyncExitStack) -> Stored:
        async with bodies:
            self._tasks.check_open()
            stored = await self._store_unit(DraftUnit((draft,)))
        return Stored(stored.files[draft.file_id], stored.created)
