"""StoreKeyed: stores the file of a request that has a key, so that the key stands for one file."""

from attrs import evolve

from traffic_storage.application.drafts import Draft, DraftUnit
from traffic_storage.application.store_unit import StoredUnit, StoreUnit
from traffic_storage.domain.errors import KeyInUse
from traffic_storage.domain.identifiers import FileId
from traffic_storage.ports.errors import KeyTaken
from traffic_storage.ports.keyed_uploads import KeyedUploads


class StoreKeyed:
    """Finds the file of a key before it stores, and has the commit make sure of it.

    Concurrent requests with one key store one file, whatever ids they give: the commit of the
    first one decides.
    """

    def __init__(self, *, keys: KeyedUploads, store_unit: StoreUnit) -> None:
        self._keys = keys
        self._store_unit = store_unit

    async def __call__(self, draft: Draft, key: FileId) -> StoredUnit:
        """Store a draft, or recognise it; `key` is the id that is derived from its key.

        A draft with that id is of a request that gave none: it is stored under the id of an earlier
        request with the key, if there was one.

        Raises (nothing is stored):
            KeyInUse: another file was stored with the key.
            as `StoreUnit`: it can't be stored.
        """
        try:
            return await self._try(draft, key)
        except KeyTaken:
            # Another request with the key was first. Its file stays that of the key.
            return await self._try(draft, key)

    async def _try(self, draft: Draft, key: FileId) -> StoredUnit:
        stored_as = await self._keys.file_of_key(key)
        if stored_as is None:
            return await self._store_unit(DraftUnit((draft,), key=key))
        if draft.file_id not in (key, stored_as):
            raise KeyInUse(stored_as, draft.file_id)
        return await self._store_unit(DraftUnit((evolve(draft, file_id=stored_as),)))
