"""TableWriter: writes one table in a file format, as bytes that a caller stores or sends."""

from abc import abstractmethod
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Protocol, TypeAlias

from traffic_storage.domain.tabular import Batch, Column, ExportFormat, TableForm


class TableWriter(Protocol):
    """Writes a table: `begin`, then `add` for each batch, then `end`; `aclose` in any case.

    The bytes that these return, one after the other, are the file. The memory that is used does not
    grow with the number of rows. Work of more than a millisecond is done off the event loop.
    """

    @abstractmethod
    async def begin(self) -> bytes:
        """Return the first bytes of the file."""

    @abstractmethod
    async def add(self, batch: Batch) -> bytes:
        """Return the bytes that follow because of these rows; they may be kept for a later call.

        Raises:
            TooLarge: the format can't hold as many rows.
        """

    @abstractmethod
    def end(self) -> AsyncGenerator[bytes, None]:
        """Yield the rest of the file."""

    @abstractmethod
    async def aclose(self) -> None:
        """Release threads and temporary files; also of a table that was not ended."""


OpenTable: TypeAlias = Callable[[ExportFormat, Sequence[Column], TableForm], TableWriter]
"""Returns the writer of a new table.

Raises:
    InvalidInput: the format can't hold these columns, or needs a package that is not installed.
"""
