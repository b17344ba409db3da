"""Digests that prove that bytes are unaltered: SHA-256 (FIPS 180-4).

If there are more than `WHOLE_READ_BYTES`, each segment (consecutive part of `SEGMENT_BYTES`) also
gets a digest, so that a range or a stream can be verified without reading all bytes.
"""

import hashlib
from typing import NewType

from attrs import frozen

from traffic_storage.domain.errors import InvalidInput

Sha256 = NewType("Sha256", str)
"""64 lower-case hexadecimal digits."""

SEGMENT_BYTES = 1024 * 1024
WHOLE_READ_BYTES = 4 * 1024 * 1024
ALGORITHM = "sha-256"
_DIGEST_BYTES = 32
_HEX = frozenset("0123456789abcdef")


@frozen
class Digests:
    """The size and SHA-256 of a byte sequence, and of a long one the SHA-256 of each segment.

    A segment is a part of `SEGMENT_BYTES`; the last may be shorter. `segments` holds their 32-byte
    digests one after the other; it is empty if there are at most `WHOLE_READ_BYTES` bytes.
    """

    size_bytes: int
    sha256: Sha256
    segments: bytes = b""

    @property
    def segmented(self) -> bool:
        """Whether each part of `SEGMENT_BYTES` has its own digest and can be verified alone."""
        return bool(self.segments)

    def segment(self, index: int) -> bytes:
        """Return the 32-byte SHA-256 of one segment (part of `SEGMENT_BYTES`), by index from 0."""
        return self.segments[index * _DIGEST_BYTES : (index + 1) * _DIGEST_BYTES]


class Digester:
    """Computes the `Digests` of bytes that arrive in chunks, in constant memory."""

    def __init__(self) -> None:
        self._whole = hashlib.sha256()
        self._segment = hashlib.sha256()
        self._segments = bytearray()
        self._size = 0

    @property
    def size_bytes(self) -> int:
        """The number of bytes processed so far."""
        return self._size

    def update(self, chunk: bytes | memoryview) -> None:
        """Process the next bytes. The result does not depend on the sizes of the chunks."""
        view = memoryview(chunk)
        self._whole.update(view)
        while view:
            room = SEGMENT_BYTES - self._size % SEGMENT_BYTES
            part = view[:room]
            self._segment.update(part)
            self._size += len(part)
            if len(part) == room:
                self._close_segment()
            view = view[room:]

    def finish(self) -> Digests:
        """Return the digests of all bytes processed so far."""
        sha256 = Sha256(self._whole.hexdigest())
        if self._size <= WHOLE_READ_BYTES:
            return Digests(self._size, sha256)
        tail = self._segment.digest() if self._size % SEGMENT_BYTES else b""
        return Digests(self._size, sha256, bytes(self._segments) + tail)

    def _close_segment(self) -> None:
        self._segments += self._segment.digest()
        self._segment = hashlib.sha256()


class WholeDigester:
    """Computes the size and SHA-256 of bytes that arrive in chunks, without digests of segments.

    For a comparison with recorded digests; it costs half of what a `Digester` costs.
    """

    def __init__(self) -> None:
        self._whole = hashlib.sha256()
        self._size = 0

    @property
    def size_bytes(self) -> int:
        """The number of bytes processed so far."""
        return self._size

    def update(self, chunk: bytes | memoryview) -> None:
        """Process the next bytes."""
        self._whole.update(chunk)
        self._size += len(chunk)

    def finish(self) -> Digests:
        """Return the size and SHA-256 of all bytes processed so far; it has no segments."""
        return Digests(self._size, Sha256(self._whole.hexdigest()))


def digests_of(data: bytes | memoryview) -> Digests:
    """Return the size and SHA-256 of `data`; if it is long, also of each part (see `Digests`)."""
    if len(data) <= WHOLE_READ_BYTES:
        return Digests(len(data), sha256_of(data))
    digester = Digester()
    digester.update(data)
    return digester.finish()


def sha256_of(data: bytes | memoryview) -> Sha256:
    """Return the SHA-256 of `data`."""
    return Sha256(hashlib.sha256(data).hexdigest())


def declared_sha256(text: str, field: str = "sha256") -> Sha256:
    """Check a SHA-256 given as hexadecimal text; return it in lower case.

    Raises:
        InvalidInput: `text` is not 64 hexadecimal digits. The error names it by `field`.
    """
    digest = text.strip().lower()
    if len(digest) != 2 * _DIGEST_BYTES or not _HEX.issuperset(digest):
        raise InvalidInput.of(field, "is not a SHA-256", "send 64 hexadecimal digits")
    return Sha256(digest)
