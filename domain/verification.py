"""Verification: the checks of sizes, digests and segments before a store returns a byte.

Pure functions. An adapter reads the bytes; these functions compute which bytes a span needs and
check them.
"""

import hashlib
from collections.abc import Iterator

from attrs import frozen

from traffic_storage.domain.digests import SEGMENT_BYTES, WHOLE_READ_BYTES, Digests
from traffic_storage.domain.errors import BlobCorrupt, InvalidInput
from traffic_storage.domain.files import BlobKey, is_blob_key

MAX_CHUNK_BYTES = WHOLE_READ_BYTES


@frozen
class Span:
    """Bytes `start` to `stop` (exclusive) of a blob; `0 ≤ start ≤ stop`."""

    start: int
    stop: int

    def __attrs_post_init__(self) -> None:
        if not 0 <= self.start <= self.stop:
            raise InvalidInput.of(
                "span", f"{self.start}–{self.stop} is not a span of bytes", "give 0 ≤ start ≤ stop"
            )

    @property
    def length(self) -> int:
        """The number of bytes in the span."""
        return self.stop - self.start


@frozen
class Segment:
    """Bytes `start` to `stop` (exclusive) of a blob, which have their own digest."""

    index: int
    start: int
    stop: int

    @property
    def length(self) -> int:
        """The number of bytes in the segment."""
        return self.stop - self.start


def check_key(key: BlobKey) -> None:
    """Check the form of a key before it reaches a file system or a bucket.

    Raises:
        InvalidInput: `key` does not have the form that `blob_key` produces.
    """
    if not is_blob_key(key):
        raise InvalidInput.of("key", f"{key!a:.120} is not the key of a blob")


def check_span(span: Span, digests: Digests) -> None:
    """Check that a span ends within the blob.

    Raises:
        InvalidInput: the span ends after the end of the blob.
    """
    if span.stop > digests.size_bytes:
        raise InvalidInput.of(
            "span", f"ends at {span.stop}, but the blob has {digests.size_bytes} bytes"
        )


def check_size(key: BlobKey, size_bytes: int, digests: Digests) -> None:
    """Check the size that a store reports against the expected size.

    Raises:
        BlobCorrupt: the sizes differ.
    """
    if size_bytes != digests.size_bytes:
        raise BlobCorrupt(f"{key} has {size_bytes} bytes instead of {digests.size_bytes}")


def check_whole(key: BlobKey, data: bytes | memoryview, digests: Digests) -> None:
    """Check a whole blob against its digests.

    Raises:
        BlobCorrupt: the size or digest differs.
    """
    check_size(key, len(data), digests)
    if hashlib.sha256(data).hexdigest() != digests.sha256:
        raise BlobCorrupt(f"{key} does not have the digest that was recorded for it")


def check_measured(key: BlobKey, measured: Digests, digests: Digests) -> None:
    """Check the digests that a store measured against the expected ones.

    Raises:
        BlobCorrupt: the size or digest differs.
    """
    check_size(key, measured.size_bytes, digests)
    if measured.sha256 != digests.sha256:
        raise BlobCorrupt(f"{key} does not have the digest that was recorded for it")


def check_segment(
    key: BlobKey, data: bytes | memoryview, segment: Segment, digests: Digests
) -> None:
    """Check one segment against its digest.

    Raises:
        BlobCorrupt: the segment is incomplete or has another digest.
    """
    if len(data) != segment.length:
        raise BlobCorrupt(f"{key} ends early, at byte {segment.start + len(data)}")
    if hashlib.sha256(data).digest() != digests.segment(segment.index):
        raise BlobCorrupt(
            f"{key}: bytes {segment.start} to {segment.stop} do not have the recorded digest"
        )


def segments_of(span: Span, digests: Digests) -> Iterator[Segment]:
    """Yield the segments that a span touches, in order; none for an empty span."""
    if not span.length:
        return
    for index in range(span.start // SEGMENT_BYTES, (span.stop - 1) // SEGMENT_BYTES + 1):
        start = index * SEGMENT_BYTES
        yield Segment(index, start, min(start + SEGMENT_BYTES, digests.size_bytes))


def part_of_segment(data: bytes, segment: Segment, span: Span) -> bytes:
    """Return the bytes of a segment that are in a span; not copied if the whole segment is."""
    return data[max(span.start - segment.start, 0) : span.stop - segment.start]


def chunks_of(data: bytes, span: Span) -> Iterator[bytes]:
    """Yield the bytes of a span of a whole blob in chunks of at most `MAX_CHUNK_BYTES`."""
    for start in range(span.start, span.stop, MAX_CHUNK_BYTES):
        yield data[start : min(start + MAX_CHUNK_BYTES, span.stop)]
