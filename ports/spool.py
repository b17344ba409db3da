"""Spool: receives byte streams of unknown length up to a limit, and hashes and keeps the bytes."""

from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import AbstractAsyncContextManager
from os import PathLike
from typing import Protocol, TypeAlias

from attrs import field, frozen

from traffic_storage.domain.admission import Admission
from traffic_storage.domain.digests import Digests


@frozen
class MemoryBody:
    """Bytes in memory with their digests."""

    data: bytes = field(repr=False)
    digests: Digests


@frozen
class FileBody:
    """Bytes in an open file that is no longer changed, with their digests.

    Read it with `os.pread(fd, …)` only, because the position of the descriptor is shared. The
    descriptor belongs to the spool, or to the store that lends a blob (`BlobStore.lend`), and is
    valid inside the context of `Spool.take` or `BlobStore.lend`.
    """

    fd: int
    digests: Digests


Body: TypeAlias = MemoryBody | FileBody


class Spool(Protocol):
    """Takes bytes in and hashes them outside the event loop's thread.

    The files of a process that died are removed, at the latest, when the next process opens its
    spool.
    """

    @abstractmethod
    def take(
        self, source: AsyncIterable[bytes], *, limit_bytes: int, field_name: str
    ) -> AbstractAsyncContextManager[Body]:
        """Return a context whose entry reads all bytes of `source` and whose exit frees the body.

        Small bodies stay in memory; large bodies go into a file. Memory is bounded. When the entry
        fails or is cancelled, `source` is closed (if it has an `aclose`) and no file remains.

        Raises (on entry):
            TooLarge: `source` gave more than `limit_bytes`; raised as soon as they are exceeded,
                naming `field_name`.
            InvalidInput: `source` gave an object that is not bytes-like; names `field_name`.
            StorageFull: the medium of the spool has no space.
            StorageUnavailable: the medium of the spool can't be written.
        """

    @abstractmethod
    async def wrap(self, data: bytes) -> MemoryBody:
        """Return `data` as a body in memory, with its digests. It need not be freed."""

    @abstractmethod
    def chunks(self, body: Body) -> AsyncIterator[bytes]:
        """Yield the bytes of a body of this spool, in order, in chunks of at most 1 MiB."""

    @abstractmethod
    def read_path(
        self, path: str | PathLike[str], *, field_name: str = "path"
    ) -> AsyncIterator[bytes]:
        """Yield the bytes of a regular file, in chunks of 1 byte to 1 MiB.

        Closing the iterator early closes the file.

        Raises (while iterated):
            InvalidInput: there is no such readable regular file, or it changed while it was read
                (raised after its last bytes); names `field_name` and the path.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Free all bodies that `take` returned and whose contexts have not ended.

        Leaving such a context afterwards does nothing.
        """


async def admitted(
    source: AsyncIterable[bytes], *, limit_bytes: int, field_name: str
) -> AsyncGenerator[bytes, None]:
    """Yield the chunks of a source after `Admission` has checked their type and total size.

    Every spool reads its sources through this function.

    The iterator of `source` is closed in every case (if it has an `aclose`).

    Raises:
        InvalidInput, TooLarge: as `Admission.admit`.
    """
    admission = Admission(limit_bytes, field_name)
    iterator = aiter(source)
    try:
        async for chunk in iterator:
            yield admission.admit(chunk)
    finally:
        if aclose := getattr(iterator, "aclose", None):
            await aclose()
