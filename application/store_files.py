"""Storing single files: images, videos, metadata."""

from collections.abc import Mapping
from contextlib import AsyncExitStack

from attrs import frozen

from traffic_storage.application.drafts import Draft, DraftUnit
from traffic_storage.application.inputs import ArrayImage, FileAttributes, Upload
from traffic_storage.application.prepare import Prepare, taken_over
from traffic_storage.application.store_keyed import StoreKeyed
from traffic_storage.application.store_unit import StoreUnit
from traffic_storage.application.tasks import OwnedTasks
from traffic_storage.domain.canonical import Json
from traffic_storage.domain.files import StoredFile
from traffic_storage.domain.identifiers import FileId


@frozen
class Stored:
    """A stored file. `created` is False if the file was stored before.

    `labels_added` has the names of the labels that this call has added to it then.
    """

    file: StoredFile
    created: bool
    labels_added: tuple[str, ...] = ()


class StoreFiles:
    """Stores one file. The file is durable and visible when a call returns.

    After an error nothing of the file is visible. Cancelling a call after its bytes were taken in
    does not stop it: the file is stored, and a retry finds it. The caller may change an array or a
    buffer after the call has first waited.

    `bodies` is the exit stack on which the caller entered the bodies (received bytes of the spool)
    that it passes as sources. The call takes over the contexts at its first step and leaves them
    when the file is stored or refused, even if the caller was cancelled.

    `key` is the id that is derived from the key of the request (`identifiers.keyed_file_id`), if it
    has one. A request that has a key and gives no other id has the attribute `file_id` of that value:
    it is stored under the id of an earlier request with the key, if there was one.

    Errors of all methods:
        InvalidInput (also as TooLarge, UnsupportedMedia, UndecodableMedia, DigestMismatch): the
            input is invalid; every wrong field is named.
        Conflict: the id has other content or labels. Labels that its file lacks are added, except
            metadata. As KeyInUse: another file was stored with the key.
        StorageFull, StorageUnavailable: no store accepts the file.
        CatalogueUnavailable: the database can't be reached.
    """

    def __init__(
        self,
        *,
        prepare: Prepare,
        store_unit: StoreUnit,
        store_keyed: StoreKeyed,
        tasks: OwnedTasks,
    ) -> None:
        self._prepare = prepare
        self._store_unit = store_unit
        self._store_keyed = store_keyed
        self._tasks = tasks

    async def image(
        self,
        image: ArrayImage | Upload,
        attributes: FileAttributes,
        *,
        key: FileId | None = None,
        bodies: AsyncExitStack | None = None,
    ) -> Stored:
        """Store an image. An array is encoded; encoded bytes are stored byte for byte."""
        async with taken_over(bodies) as own:
            draft = await self._prepare.image(image, attributes, own)
            return await self._tasks.run(self._store(draft, own.pop_all(), key))

    async def video(
        self,
        video: Upload,
        attributes: FileAttributes,
        *,
        duration_seconds: float | None = None,
        key: FileId | None = None,
        bodies: AsyncExitStack | None = None,
    ) -> Stored:
        """Store a video byte for byte. `duration_seconds` None selects the container's duration."""
        async with taken_over(bodies) as own:
            draft = await self._prepare.video(video, attributes, own, duration_seconds)
            return await self._tasks.run(self._store(draft, own.pop_all(), key))

    async def metadata(self, data: Mapping[str, Json], attributes: FileAttributes) -> Stored:
        """Store a JSON object in canonical form."""
        draft = await self._prepare.json(data, attributes)
        return await self._tasks.run(self._store(draft, AsyncExitStack()))

    async def document(
        self, text: bytes, attributes: FileAttributes, *, key: FileId | None = None
    ) -> Stored:
        """Store a JSON object of which `text` is the canonical form."""
        draft = await self._prepare.document(text, attributes)
        return await self._tasks.run(self._store(draft, AsyncExitStack(), key))

    async def _store(
        self, draft: Draft, bodies: AsyncExitStack, key: FileId | None = None
    ) -> Stored:
        async with bodies:
            self._tasks.check_open()
            if key is None:
                stored = await self._store_unit(DraftUnit((draft,)))
            else:
                stored = await self._store_keyed(draft, key)
        (file,) = stored.files.values()
        return Stored(file, stored.created, stored.labels_added.get(file.file_id, ()))
