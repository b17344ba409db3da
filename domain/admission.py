"""Admission: checks the chunks of a source for a spool, by type and total size."""

from attrs import define

from traffic_storage.domain.errors import InvalidInput, TooLarge


@define
class Admission:
    """Counts the bytes of one source against a limit. Errors name the source by `field_name`."""

    limit_bytes: int
    field_name: str
    taken_bytes: int = 0

    def admit(self, chunk: object) -> bytes:
        """Return the chunk as bytes. A mutable buffer is copied, because the sender may reuse it.

        Raises:
            InvalidInput: the chunk is not a bytes-like object.
            TooLarge: with this chunk the source exceeds `limit_bytes`.
        """
        if not isinstance(chunk, bytes | bytearray | memoryview):
            raise InvalidInput.of(
                self.field_name,
                f"gave a chunk of type {type(chunk).__name__}, not bytes",
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
