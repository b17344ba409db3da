"""`BindKey` in the database."""

from traffic_storage.adapters.record_repo.sql.changes.writer import ChangeWriter
from traffic_storage.adapters.record_repo.sql.driver import Driver, Refused, Write
from traffic_storage.adapters.record_repo.sql.keyed_uploads import binding, file_of_key
from traffic_storage.adapters.record_repo.sql.reading import CatalogueReader
from traffic_storage.domain.upload_keys import BindKey
from traffic_storage.ports.errors import KeyTaken


class BindKeyWriter(ChangeWriter[BindKey]):
    """Inserts the row that binds a key to a stored file."""

    def __init__(self, driver: Driver, read: CatalogueReader) -> None:  # noqa: ARG002
        self._driver = driver

    async def write(self, change: BindKey) -> Write | None:
        if await file_of_key(self._driver, change.key) == change.file_id:
            return None
        return Write(binding(change), grows=True)

    async def refused(self, change: BindKey, refused: Refused) -> bool:
        if refused.dangling:
            # The file does not exist, which is a defect of the caller.
            raise refused.__cause__ or refused from None
        stored_as = await file_of_key(self._driver, change.key)
        if stored_as == change.file_id:
            return refused.repeated
        raise KeyTaken(f"the key was used for the file {stored_as}") from refused
