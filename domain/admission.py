"""Admission: which chunks of a source a spool accepts, and when it refuses the next one."""

from attrs import define

from traffic_storage.domain.errors import InvalidInput, TooLarge


@define
class Admission:
    """Counts the bytes of one source against a limit; `field_name` is how errors name the source."""

    limit_bytes: int
    field_name: str
    taken_bytes: int = 0

    def admit(self, chunk: object) -> bytes:
        """The chunk as bytes, copied where the sender may reuse its buffer.

        Raises:
            InvalidInput: the chunk is no bytes-like object.
            TooLarge: with this chunk the source exceeds `limit_bytes`.
        """
        if not isinstance(chunk, bytes | bytearray | memoryview):
            raise InvalidInput.of(
                self.field_name,
                f"a {type(chunk).__name__} came, not bytes",
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
