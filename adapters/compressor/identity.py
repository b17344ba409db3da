"""A compressor that leaves the bytes as they are, for tests and for uncompressed storage."""

from traffic_storage.domain.digests import Digests, digests_of
from traffic_storage.domain.files import Coding
from traffic_storage.ports.compressor import Compressor
from traffic_storage.ports.errors import BlobCorrupt
from traffic_storage.ports.spool import MemoryBody


class IdentityCompressor(Compressor):
    """Returns the given bytes unchanged, with their digests (computed on the event loop)."""

    @property
    def coding(self) -> Coding:
        return Coding.IDENTITY

    async def compress(self, data: bytes) -> MemoryBody:
        return MemoryBody(data, digests_of(data))

    async def expand(self, data: bytes, content: Digests) -> bytes:
        found = digests_of(data)
        if (found.size_bytes, found.sha256) != (content.size_bytes, content.sha256):
            raise BlobCorrupt(
                f"the stored bytes do not match the recorded digest: {found.size_bytes} instead of "
                f"{content.size_bytes} bytes, SHA-256 {found.sha256}"
            )
        return data

    async def aclose(self) -> None:
        return None
