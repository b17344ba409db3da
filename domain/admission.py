"""Admission: the check of the type and total size of an upload's chunks before they are spooled."""

from attrs import define

from traffic_storage.domain.errors import InvalidInput, TooLarge


@define
class Admission:
    """Checks the chunks of one upload and counts their bytes against a limit.

    Attributes:
        field_name: the input field that gives the chunks; error messages name it.
        taken_bytes: the number of bytes in the chunks so far.
    """

    limit_bytes: int
    field_name: str
    taken_bytes: int = 0

    def admit(self, chunk: object) -> bytes:
        """Return the chunk as bytes. A mutable buffer is copied, because the sender may reuse it.

        Raises:
            InvalidInput: the chunk is not a bytes-like object.
            TooLarge: all chunks so far, with this one, have more than `limit_bytes`.
        """
        if not isinstance(chunk, bytes | bytearray | memoryview):
            raise InvalidInput.of(
                self.field_name,
                f"yielded a chunk of type {type(chunk).__name__}, not bytes",
                "give an iterator of bytes",
            )
        data = bytes(chunk)
        self.taken_bytes += len(data)
        if self.taken_bytes > self.limit_bytes:
            raise TooLarge.of(
                self.field_name,
                f"has more than {self.limit_bytes} bytes",
                f"send at most {self.limit_bytes} bytes, or raise the limit in the settings",
            )
        return data
