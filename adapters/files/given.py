"""Files that a caller names: anything may lie there, and only a regular file is read."""

import os
import stat
from os import PathLike

from traffic_storage.adapters.files.descriptors import Descriptor
from traffic_storage.domain.errors import InvalidInput

CHUNK_BYTES = 1024 * 1024
_REMEDY = "give the path of a readable regular file"


class GivenFile:
    """A file by its path, opened by the first `read`. For one reader, in any thread."""

    def __init__(self, path: str | PathLike[str]) -> None:
        self._path = os.fspath(path)
        self._file: Descriptor | None = None
        self._ended = False

    def read(self) -> bytes:
        """The next `CHUNK_BYTES` bytes; fewer only at the end, none after it or after `close`.

        Raises:
            InvalidInput: not a regular file, or it can't be read.
        """
        if self._ended:
            return b""
        try:
            self._file = file = self._file or self._open()
            chunk = os.read(file.fd, CHUNK_BYTES)
        except InvalidInput:
            raise
        except (OSError, ValueError) as error:
            raise self._refused(getattr(error, "strerror", None) or str(error)) from error
        self._ended = len(chunk) < CHUNK_BYTES
        return chunk

    def close(self) -> None:
        """Close the file, or leave that to a `read` that is under way. Never waits."""
        self._ended, self._file = True, None

    def _open(self) -> Descriptor:
        # Opening alone can hang (a pipe) or start something (a device), so look before.
        self._check(os.stat(self._path))
        file = Descriptor(os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        self._check(os.fstat(file.fd))
        return file

    def _check(self, found: os.stat_result) -> None:
        if stat.S_ISDIR(found.st_mode):
            raise self._refused("is a folder")
        if not stat.S_ISREG(found.st_mode):
            raise self._refused("is a pipe, a socket or a device")

    def _refused(self, why: str) -> InvalidInput:
        return InvalidInput.of("path", f"{self._path!a:.500}: {why}", _REMEDY)
