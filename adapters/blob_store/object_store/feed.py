"""Gives the bytes of an upload in pieces to obstore, which reads them in a thread."""

import os
from collections.abc import Callable, Iterator

from traffic_storage.adapters.files.descriptors import Descriptor, read_all
from traffic_storage.domain.files import BlobKey
from traffic_storage.domain.verification import check_size
from traffic_storage.ports.errors import DeadlinePassed
from traffic_storage.ports.spool import Body, MemoryBody

_PIECE_BYTES = 1024 * 1024


class Feed:
    """Iterates over the bytes of a body; raises DeadlinePassed after `stop`.

    An error of the iterator makes obstore abort the upload and remove its parts. A cancellation
    would leave the parts. A duplicated descriptor keeps the spool's file open.
    """

    def __init__(self, key: BlobKey, body: Body) -> None:
        self._key = key
        self._read, self.size_bytes = _source(body)
        self.stopped = False
        check_size(key, self.size_bytes, body.digests)

    def stop(self) -> None:
        """Make the upload fail at its next piece."""
        self.stopped = True

    def __iter__(self) -> Iterator[bytes]:
        for start in range(0, self.size_bytes, _PIECE_BYTES):
            if self.stopped:
                raise DeadlinePassed(
                    f"{self._key} was not stored: the call was cancelled, or its deadline passed"
                )
            yield self._read(start, min(_PIECE_BYTES, self.size_bytes - start))

    def whole(self) -> bytes:
        """Return all bytes of the body."""
        return self._read(0, self.size_bytes)


def _source(body: Body) -> tuple[Callable[[int, int], bytes], int]:
    if isinstance(body, MemoryBody):
        data = body.data
        return lambda start, length: data[start : start + length], len(data)
    file = Descriptor(os.dup(body.fd))
    return lambda start, length: read_all(file.fd, length, start), os.fstat(file.fd).st_size
