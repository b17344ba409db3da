"""Open files as sources of bytes: `open(…, "rb")`, `BytesIO`, and what else has a method `read`."""

import asyncio
import inspect
import io
from collections.abc import AsyncIterator
from typing import Protocol, runtime_checkable

from traffic_storage.domain.errors import InvalidInput, shown

_CHUNK_BYTES = 1024 * 1024


@runtime_checkable
class BinaryFile(Protocol):
    """A file that is open for reading bytes. It is read from its position on, and stays open."""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, at most `size`; empty at the end."""


def content_of(file: BinaryFile | io.TextIOBase, field: str) -> "bytes | Reader":
    """Return the bytes of a file in memory, else what reads the file.

    Raises:
        InvalidInput: the file is open as text, not for reading, or in memory and at its end.
    """
    if isinstance(file, io.TextIOBase):
        raise InvalidInput.of(field, "is a file that is open as text", "open it with mode 'rb'")
    if isinstance(file, io.IOBase) and (file.closed or not file.readable()):
        state = "closed" if file.closed else "not open for reading"
        raise InvalidInput.of(field, f"is a file that is {state}", "open it with mode 'rb'")
    if not isinstance(file, io.BytesIO):
        return Reader(file, field)
    data = file.read()
    if not data and file.tell():
        raise InvalidInput.of(
            field, "is a file whose position is at its end", "call seek(0), or give getvalue()"
        )
    return data


class Reader(AsyncIterator[bytes]):
    """Reads an open file in other threads, piece by piece."""

    def __init__(self, file: BinaryFile, field: str) -> None:
        self._file = file
        self._field = field

    async def __anext__(self) -> bytes:
        """Return the next bytes.

        Raises:
            InvalidInput: the file can't be read, or gives something else.
        """
        try:
            piece: object = await asyncio.to_thread(self._file.read, _CHUNK_BYTES)
            if inspect.isawaitable(piece):
                piece = await piece
        except (OSError, ValueError) as error:
            raise InvalidInput.of(
                self._field, f"can't be read: {error}", "give a file that is open for reading"
            ) from error
        if not isinstance(piece, bytes | bytearray | memoryview):
            raise InvalidInput.of(
                self._field,
                f"is a file that gives {shown(piece)} instead of bytes",
                "open it with mode 'rb'",
            )
        if not piece:
            raise StopAsyncIteration
        return bytes(piece)
