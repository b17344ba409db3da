"""The compressor for Zstandard (RFC 8878)."""

import sys
from collections.abc import Callable
from typing import TypeVar

from traffic_storage.adapters.threads.pool import Threads
from traffic_storage.domain.digests import Digests, digests_of, sha256_of
from traffic_storage.domain.files import Coding
from traffic_storage.ports.compressor import Compressor
from traffic_storage.ports.errors import BlobCorrupt
from traffic_storage.ports.spool import MemoryBody

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

T = TypeVar("T")

# Up to this size, compressing or expanding takes less than 1 ms. A hop to a thread takes 0.1 ms.
_ON_LOOP_BYTES = 64 * 1024


class ZstdCompressor(Compressor):
    """Compresses a byte string to one Zstandard frame, and expands it again.

    Up to 64 KiB are compressed or expanded on the event loop, more in a separate thread. `level` is
    the compression level, 1–22: a higher level gives fewer bytes and takes longer.
    """

    def __init__(self, level: int = zstd.COMPRESSION_LEVEL_DEFAULT) -> None:
        self._level = level
        self._threads = Threads(1, "traffic-storage-zstd")
        # Reused: a new compressor allocates 1 MB, which costs far more than a small document.
        self._idle: list[zstd.ZstdCompressor] = []

    @property
    def coding(self) -> Coding:
        return Coding.ZSTD

    async def compress(self, data: bytes) -> MemoryBody:
        return await self._run(len(data), lambda: self._compress(data))

    async def expand(self, data: bytes, content: Digests) -> bytes:
        return await self._run(content.size_bytes, lambda: _expand(data, content))

    async def aclose(self) -> None:
        await self._threads.aclose()

    async def _run(self, size_bytes: int, work: Callable[[], T]) -> T:
        return work() if size_bytes <= _ON_LOOP_BYTES else await self._threads.run(work)

    def _compress(self, data: bytes) -> MemoryBody:
        try:
            coder = self._idle.pop()
        except IndexError:
            coder = zstd.ZstdCompressor(self._level)
        coded = coder.compress(data, zstd.ZstdCompressor.FLUSH_FRAME)
        self._idle.append(coder)
        return MemoryBody(coded, digests_of(coded))


def _expand(data: bytes, content: Digests) -> bytes:
    """Expand one Zstandard frame; raise BlobCorrupt if the result does not match `content`."""
    decompressor = zstd.ZstdDecompressor()
    try:
        # One byte more than expected reveals a frame that is too long.
        expanded = decompressor.decompress(data, content.size_bytes + 1)
    except zstd.ZstdError as error:
        raise BlobCorrupt(f"the stored bytes are not a valid Zstandard frame: {error}") from error
    if not decompressor.eof or decompressor.unused_data or len(expanded) != content.size_bytes:
        raise BlobCorrupt(f"the stored bytes do not expand to exactly {content.size_bytes} bytes")
    if sha256_of(expanded) != content.sha256:
        raise BlobCorrupt("the expanded bytes do not match the recorded SHA-256")
    return expanded
