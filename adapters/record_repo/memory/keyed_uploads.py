"""Keys of uploads in the memory of this process."""

from traffic_storage.domain.files import StoredFile
from traffic_storage.domain.identifiers import FileId
from traffic_storage.domain.upload_keys import BindKey
from traffic_storage.ports.errors import KeyTaken
from traffic_storage.ports.keyed_uploads import KeyedUploads


class InMemoryKeyedUploads(KeyedUploads):
    """Keys that are bound as long as this object exists."""

    _files: dict[FileId, StoredFile]

    def __init__(self) -> None:
        self._keyed: dict[FileId, FileId] = {}

    async def file_of_key(self, key: FileId) -> FileId | None:
        return self._file_of_key(key)

    def bind_key(self, change: BindKey) -> bool:
        """Apply `BindKey`."""
        stored_as = self._file_of_key(change.key)
        if stored_as == change.file_id:
            return False
        if stored_as is not None:
            raise KeyTaken(f"the key was used for the file {stored_as}")
        if not change.is_derived:
            self._keyed[change.key] = change.file_id
        return True

    def _file_of_key(self, key: FileId) -> FileId | None:
        return self._keyed.get(key) or (key if key in self._files else None)
