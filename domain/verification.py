"""Verification: the checks of sizes and digests before a store returns bytes of a blob.

Three witnesses state the digest of a blob: the catalogue (`Digests`), the blob's key, and the
manifest beside the bytes. Where they disagree, somebody has changed one of them, and no byte is
returned.

These are pure functions: an adapter reads the bytes. A long blob is verified by segments (parts of
1 MiB with their own digests); a span (the requested range of bytes) needs the segments that it
overlaps.
"""

import hashlib
from collections.abc import Iterator

from attrs import frozen

from traffic_storage.domain.digests import SEGMENT_BYTES, WHOLE_READ_BYTES, Digests
from traffic_storage.domain.errors import BlobCorrupt, InvalidInput
from traffic_storage.domain.files import BlobKey, is_blob_key, is_of_digest
from traffic_storage.domain.manifest import BlobManifest, segments_digest

MAX_CHUNK_BYTES = WHOLE_READ_BYTES


@frozen
class Span:
    """A range of bytes of a blob, from `start` to `stop` (exclusive); `0 ≤ start ≤ stop`."""

    start: int
    stop: int

    def __attrs_post_init__(self) -> None:
        if not 0 <= self.start <= self.stop:
            raise InvalidInput.of(
                "span", f"{self.start}–{self.stop} is not a range of bytes", "give 0 ≤ start ≤ stop"
            )

    @property
    def length(self) -> int:
        """The number of bytes in this range."""
        return self.stop - self.start


@frozen
class Segment:
    """A part of a blob that has its own digest: the bytes `start` to `stop` (exclusive)."""

    index: int
    start: int
    stop: int

    @property
    def length(self) -> int:
        """The number of bytes in this part of the blob."""
        return self.stop - self.start


def check_key(key: BlobKey) -> None:
    """Check the form of a blob's key before it is used as a name in a file system or bucket.

    Raises:
        InvalidInput: `key` does not have the form that `blob_key` produces.
    """
    if not is_blob_key(key):
        raise InvalidInput.of("key", f"{key!a:.120} does not have the form of a blob key")


def check_named(key: BlobKey, digests: Digests) -> None:
    """Check that a blob's key ends with the SHA-256 that the catalogue records for its bytes.

    Raises:
        BlobCorrupt: it names another digest.
    """
    if not is_of_digest(key, digests.sha256):
        raise BlobCorrupt(
            f"{key} names another SHA-256 than the catalogue records for it: {digests.sha256}"
        )


def check_witnesses(key: BlobKey, manifest: BlobManifest | None, digests: Digests) -> None:
    """Check that the key and the manifest of a blob state the digests that the catalogue records.

    `manifest` may be a summary. None (it is missing or unreadable) contradicts nothing.

    Raises:
        BlobCorrupt: the key or the manifest states another one.
    """
    check_named(key, digests)
    if manifest is None:
        return
    noted = (manifest.stored_size_bytes, manifest.stored_sha256)
    if noted != (digests.size_bytes, digests.sha256):
        raise BlobCorrupt(
            f"{key}: the manifest beside the bytes records the SHA-256 {manifest.stored_sha256}, "
            f"but the catalogue {digests.sha256}"
        )
    if manifest.segments_sha256 not in (None, segments_digest(digests)):
        raise BlobCorrupt(
            f"{key}: the catalogue records other digests of segments than the manifest beside the "
            "bytes"
        )


def check_span(span: Span, digests: Digests) -> None:
    """Check that a span (a range of bytes) is within the blob with these digests.

    Raises:
        InvalidInput: the span ends after the end of the blob.
    """
    if span.stop > digests.size_bytes:
        raise InvalidInput.of(
            "span", f"ends at {span.stop}, but the blob has only {digests.size_bytes} bytes"
        )


def check_size(key: BlobKey, size_bytes: int, digests: Digests) -> None:
    """Check that the size of a stored blob is the one recorded in `digests`.

    Raises:
        BlobCorrupt: the sizes differ.
    """
    if size_bytes != digests.size_bytes:
        raise BlobCorrupt(f"{key} has {size_bytes} bytes instead of {digests.size_bytes}")


def check_whole(key: BlobKey, data: bytes | memoryview, digests: Digests) -> None:
    """Check that the bytes of a whole blob have the size and SHA-256 recorded in `digests`.

    Raises:
        BlobCorrupt: the size or digest differs, or `key` names another digest.
    """
    check_named(key, digests)
    check_size(key, len(data), digests)
    if hashlib.sha256(data).hexdigest() != digests.sha256:
        raise BlobCorrupt(f"{key} does not have the digest that was recorded for it")


def check_measured(key: BlobKey, measured: Digests, digests: Digests) -> None:
    """Check that the digests computed by a store equal the recorded `digests`.

    Raises:
        BlobCorrupt: the size or digest differs, or `key` names another digest.
    """
    check_named(key, digests)
    check_size(key, measured.size_bytes, digests)
    if measured.sha256 != digests.sha256:
        raise BlobCorrupt(f"{key} does not have the digest that was recorded for it")


def check_segment(
    key: BlobKey, data: bytes | memoryview, segment: Segment, digests: Digests
) -> None:
    """Check one segment (a part with its own digest) of a blob against the recorded digest.

    Raises:
        BlobCorrupt: `data` is shorter than the segment or does not have the recorded digest.
    """
    if len(data) != segment.length:
        raise ended_early(key, segment.start + len(data))
    check_segment_sha256(key, hashlib.sha256(data).digest(), segment, digests)


def check_segment_sha256(key: BlobKey, found: bytes, segment: Segment, digests: Digests) -> None:
    """Check the SHA-256 that was computed of all bytes of a segment (a part with its own digest).

    Raises:
        BlobCorrupt: it is not the recorded one.
    """
    if found != digests.segment(segment.index):
        raise BlobCorrupt(
            f"{key}: bytes {segment.start} to {segment.stop} do not have the recorded digest"
        )


def ended_early(key: BlobKey, at: int) -> BlobCorrupt:
    """Return the error of a blob that had its recorded size, and then no bytes from `at` on."""
    return BlobCorrupt(f"{key} ends early, at byte {at}")


def segments_of(span: Span, digests: Digests) -> Iterator[Segment]:
    """Yield the segments of a blob that a span overlaps, in order; none if the span is empty.

    A segment is a part of the blob with its own digest; a span is the requested range of bytes.
    """
    if not span.length:
        return
    for index in range(span.start // SEGMENT_BYTES, (span.stop - 1) // SEGMENT_BYTES + 1):
        start = index * SEGMENT_BYTES
        yield Segment(index, start, min(start + SEGMENT_BYTES, digests.size_bytes))


def part_of_segment(data: bytes, segment: Segment, span: Span) -> bytes:
    """Return those bytes of one segment (a part of a blob) that are in the requested range, `span`.

    `data` has all bytes of the segment; if all are requested, it is returned without a copy.
    """
    return data[max(span.start - segment.start, 0) : span.stop - segment.start]


def parts_of(span: Span) -> Iterator[Span]:
    """Yield the parts of a span (range of bytes) that are read at once.

    A short span is one part, even if it is empty. A long one is divided at the borders of segments,
    so that a slow reader of a stream holds only one of them in memory.
    """
    if span.length <= MAX_CHUNK_BYTES:
        yield span
        return
    start = span.start
    while start < span.stop:
        stop = min(start - start % SEGMENT_BYTES + SEGMENT_BYTES, span.stop)
        yield Span(start, stop)
        start = stop


def chunks_of(data: bytes, span: Span) -> Iterator[bytes]:
    """Yield the bytes of a blob (`data`) in the range `span`, at most `MAX_CHUNK_BYTES` at a time."""
    for start in range(span.start, span.stop, MAX_CHUNK_BYTES):
        yield data[start : min(start + MAX_CHUNK_BYTES, span.stop)]
