"""Keys of uploads in a database."""

from hashlib import sha256

from traffic_storage.adapters.record_repo.sql import statements
from traffic_storage.adapters.record_repo.sql.driver import Driver, Reader, Step
from traffic_storage.adapters.record_repo.sql.rows import micros
from traffic_storage.domain.identifiers import FileId
from traffic_storage.domain.upload_keys import BindKey
from traffic_storage.ports.keyed_uploads import KeyedUploads

BINDING = (statements.BIND_KEY, statements.CHECK_UNBOUND)
"""The statements that are refused if the key stands for another file."""


class SqlKeyedUploads(KeyedUploads):
    """The keys in the database of `driver`."""

    _driver: Driver

    async def file_of_key(self, key: FileId) -> FileId | None:
        return await file_of_key(self._driver, key)


async def file_of_key(reader: Reader, key: FileId) -> FileId | None:
    """Return the id of the file that was stored with a key; None if none was."""
    ((found,),) = await reader.read(statements.FILE_OF_KEY, [(key,)])
    return None if found is None else FileId(found)


def binding(change: BindKey) -> tuple[Step, Step]:
    """Return the steps that make sure that a key stands for a file that the same transaction sees."""
    lock = Step(statements.LOCK_KEY, ((_lock_of(change.key),),))
    if change.is_derived:
        return lock, Step(statements.CHECK_UNBOUND, ((change.key,),), 1)
    row = change.key, change.file_id, micros(change.at)
    return lock, Step(statements.BIND_KEY, (row,), 1)


def _lock_of(key: FileId) -> int:
    """Return the number of the lock of a key, in 64 bits with a sign."""
    return int.from_bytes(sha256(key.encode()).digest()[:8], signed=True)
