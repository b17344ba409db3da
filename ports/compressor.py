"""Compressor: lossless coding of bytes that gain from it (JSON, text)."""

from abc import abstractmethod
from typing import Protocol

from traffic_storage.domain.digests import Digests
from traffic_storage.domain.files import Coding
from traffic_storage.ports.spool import MemoryBody


class Compressor(Protocol):
    """One coding, both ways."""

    @property
    @abstractmethod
    def coding(self) -> Coding:
        """The coding that it writes."""

    @abstractmethod
    async def compress(self, data: bytes) -> MemoryBody:
        """The coded bytes, hashed. The same input gives the same bytes."""

    @abstractmethod
    async def expand(self, data: bytes, content: Digests) -> bytes:
        """The original bytes, checked against `content`.

        Raises:
            BlobCorrupt: not such bytes, or they expand to something else; never expands to more
                than `content.size_bytes`.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Free threads."""
