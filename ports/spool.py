"""Spool: bytes of unknown length in; bounded, hashed, and at hand as a whole out."""

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
    """Bytes at hand in memory, with their digests."""

    data: bytes = field(repr=False)
    digests: Digests


@frozen
class SpooledBody:
    """Bytes in an open file that nobody changes any more, with their digests.

    Read with `os.pread(fd, …)` only: the descriptor's position is shared. The descriptor belongs
    to the spool and is valid inside the context of `Spool.take`.
    """

    fd: int
    digests: Digests


Body: TypeAlias = MemoryBody | SpooledBody


class Spool(Protocol):
    """Takes bytes in and hashes them away from the event loop.

    What a dead process left behind is gone, at the latest, when the next one opens its spool.
    """

    @abstractmethod
    def take(
        self, source: AsyncIterable[bytes], *, limit_bytes: int, field_name: str
    ) -> AbstractAsyncContextManager[Body]:
        """A context whose entry reads all bytes of `source` and whose exit frees the body.

        Small bodies stay in memory, large ones go into a file. Memory stays bounded whatever
        comes. When the entry fails or is cancelled, `source` is closed (if it has an `aclose`) and
        nothing is left behind.

        Raises (on entry):
            TooLarge: more than `limit_bytes` came; raised as soon as they are exceeded, naming
                `field_name`.
            InvalidInput: something that is no bytes came, naming `field_name`.
            StorageFull: the spool's medium has no room.
            StorageUnavailable: the spool's medium can't be written.
        """

    @abstractmethod
    async def wrap(self, data: bytes) -> MemoryBody:
        """Bytes at hand, hashed. A body in memory needs no release."""

    @abstractmethod
    def chunks(self, body: Body) -> AsyncIterator[bytes]:
        """The bytes of a body that was taken in, in order, in chunks of at most 1 MiB."""

    @abstractmethod
    def read_path(
        self, path: str | PathLike[str], *, field_name: str = "path"
    ) -> AsyncIterator[bytes]:
        """The bytes of a regular file, in chunks of at most 1 MiB, none empty.

        Closing the iterator early frees everything at once.

        Raises (while iterated):
            InvalidInput: there is no such readable regular file, or it changed while it was read,
                which shows after its last bytes; names `field_name` and the path.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Free every body that is still held; leaving its context afterwards does nothing."""


async def admitted(
    source: AsyncIterable[bytes], *, limit_bytes: int, field_name: str
) -> AsyncGenerator[bytes, None]:
    """The chunks of a source that `Admission` admits; every spool reads its source through this.

    However it ends, `source`'s iterator is closed (if it has an `aclose`).

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
