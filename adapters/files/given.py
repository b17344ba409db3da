"""Files that a caller names by path; only regular files are read."""

import os
import stat
from os import PathLike

from attrs import frozen

from traffic_storage.adapters.files.descriptors import Descriptor
from traffic_storage.domain.errors import InvalidInput

CHUNK_BYTES = 1024 * 1024
_REMEDY = "give the path of a readable regular file"


@frozen
class _State:
    """Size and times of a file, which show whether the file was changed."""

    size_bytes: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, file: Descriptor) -> "_State":
        """Return the present state of a file."""
        found = os.fstat(file.fd)
        return cls(found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class GivenFile:
    """A file that a caller gave by path, opened by the first `read`. One reader, in any thread.

    If the file changes while it is read, the last `read` raises. `field_name` is the name of the
    path in errors.
    """

    def __init__(self, path: str | PathLike[str], field_name: str) -> None:
        self._path = os.fspath(path)
        self._field_name = field_name
        self._file: Descriptor | None = None
        self._begun: _State | None = None
        self._missing_bytes = 0
        self._ended = False

    def read(self) -> bytes:
        """Return the next bytes, at most `CHUNK_BYTES`; b"" at and after the end, or after `close`.

        Raises:
            InvalidInput: the file is not regular, can't be read, or changed since the first call.
        """
        if self._ended:
            return b""
        try:
            return self._next(self._file or self._open())
        except InvalidInput:
            raise
        except (OSError, ValueError) as error:
            raise self._refused(getattr(error, "strerror", None) or str(error)) from error

    def close(self) -> None:
        """Close the file, after a `read` that is running. Does not wait."""
        self._ended, self._file = True, None

    def _open(self) -> Descriptor:
        # Opening a pipe can block, and opening a device can have effects: check before.
        self._check(os.stat(self._path))
        file = Descriptor(os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        self._check(os.fstat(file.fd))
        self._file, self._begun = file, _State.of(file)
        self._missing_bytes = self._begun.size_bytes
        return file

    def _next(self, file: Descriptor) -> bytes:
        # A short read is not the end: network and user-space file systems return partial data.
        chunk = os.read(file.fd, CHUNK_BYTES)
        self._missing_bytes -= len(chunk)
        ended = not chunk
        if self._missing_bytes < 0 or (ended and not self._is_whole(file)):
            raise self._refused("changed while it was read", "store it when it is complete")
        self._ended = ended
        return chunk

    def _is_whole(self, file: Descriptor) -> bool:
        return self._missing_bytes == 0 and _State.of(file) == self._begun

    def _check(self, found: os.stat_result) -> None:
        if stat.S_ISDIR(found.st_mode):
            raise self._refused("is a folder")
        if not stat.S_ISREG(found.st_mode):
            raise self._refused("is a pipe, a socket or a device")

    def _refused(self, why: str, remedy: str = _REMEDY) -> InvalidInput:
        return InvalidInput.of(self._field_name, f"{self._path!a:.500}: {why}", remedy)
