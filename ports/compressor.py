"""Compressor: lossless compression of JSON and text."""

from abc import abstractmethod
from typing import Protocol

from traffic_storage.domain.digests import Digests
from traffic_storage.domain.files import Coding
from traffic_storage.ports.spool import MemoryBody


class Compressor(Protocol):
    """Compresses bytes with one method, and expands them again."""

    @property
    @abstractmethod
    def coding(self) -> Coding:
        """The coding that `compress` produces."""

    @abstractmethod
    async def compress(self, data: bytes) -> MemoryBody:
        """Return the compressed bytes with their digests. Equal inputs give equal outputs."""

    @abstractmethod
    async def expand(self, data: bytes, content: Digests) -> bytes:
        """Return the original bytes, verified against `content`.

        Never expands to more than `content.size_bytes`.

        Raises:
            BlobCorrupt: `data` is not in this coding, or expands to other bytes.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Stop the threads of this compressor."""
