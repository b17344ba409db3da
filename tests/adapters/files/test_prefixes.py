"""Parts of segments that were verified before: less is read, and nothing is taken for right."""

import os
import random
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from traffic_storage.adapters.files import blobs
from traffic_storage.adapters.files.blobs import OpenBlob
from traffic_storage.adapters.files.descriptors import Descriptor, read_all
from traffic_storage.adapters.files.prefixes import STEP_BYTES, Prefixes
from traffic_storage.domain.digests import SEGMENT_BYTES, Digests
from traffic_storage.domain.verification import Segment, Span
from traffic_storage.entrypoints.testing.blobs import random_blob
from traffic_storage.ports.errors import BlobCorrupt

MIB = SEGMENT_BYTES
BLOB = random_blob(6 * MIB + STEP_BYTES + 17)
SIZE = len(BLOB.data)


class File:
    """A blob's file, which can be damaged and made whole again."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(BLOB.data)
        self._writing = Descriptor(os.open(path, os.O_RDWR))

    def open(self, prefixes: Prefixes, digests: Digests = BLOB.digests) -> OpenBlob:
        return OpenBlob(BLOB.key, digests, self._writing, "here", prefixes)

    def flip(self, at: int) -> None:
        byte = os.pread(self._writing.fd, 1, at)[0]
        os.pwrite(self._writing.fd, bytes([byte ^ 1]), at)

    def cut(self, at: int) -> None:
        os.ftruncate(self._writing.fd, at)


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path / "blob")


@pytest.fixture
def read_bytes(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many bytes were read from files since the last call."""
    counted: list[int] = []

    def count(fd: int, size_bytes: int, start: int = 0) -> bytes:
        counted.append(size_bytes)
        return read_all(fd, size_bytes, start)

    def since() -> int:
        total = sum(counted)
        counted.clear()
        return total

    monkeypatch.setattr(blobs, "read_all", count)
    return since


@pytest.mark.parametrize(
    ("span", "first", "later"),
    [
        (Span(MIB + 70_000, 2 * MIB + 70_000), 2 * MIB, MIB + STEP_BYTES),
        (Span(MIB, 2 * MIB), MIB, MIB),
        (Span(3 * MIB + 5, 3 * MIB + 6), MIB, STEP_BYTES),
        (Span(3 * MIB - 1, 3 * MIB + 1), 2 * MIB, 2 * STEP_BYTES),
        (Span(MIB + STEP_BYTES - 1, MIB + STEP_BYTES + 1), MIB, 2 * STEP_BYTES),
        (Span(SIZE - 1, SIZE), STEP_BYTES + 17, 17),
        (Span(6 * MIB, SIZE - 1), STEP_BYTES + 17, STEP_BYTES + 17),
        (Span(7, 7), 0, 0),
    ],
)
def test_a_part_of_a_verified_segment_is_read_in_steps(
    file: File, read_bytes: Callable[[], int], span: Span, first: int, later: int
) -> None:
    blob = file.open(Prefixes())
    for expected in (first, later, later):
        assert blob.read(span) == BLOB.data[span.start : span.stop]
        assert read_bytes() == expected


def test_what_one_opening_has_verified_another_one_knows(
    file: File, read_bytes: Callable[[], int]
) -> None:
    prefixes = Prefixes()
    for expected in (MIB, STEP_BYTES):
        assert file.open(prefixes).read(Span(5, 6)) == BLOB.data[5:6]
        assert read_bytes() == expected


def test_only_the_segments_that_were_used_last_are_known(
    file: File, read_bytes: Callable[[], int]
) -> None:
    blob = file.open(Prefixes(segments=2))
    for segment, expected in (
        (0, MIB),
        (1, MIB),
        (0, STEP_BYTES),
        (2, MIB),
        (0, STEP_BYTES),
        (1, MIB),
    ):
        blob.read(Span(segment * MIB, segment * MIB + 1))
        assert read_bytes() == expected


def test_no_altered_byte_is_returned_whatever_was_verified_before(file: File) -> None:
    chance = random.Random(14)
    blob = file.open(Prefixes())
    edges = [step * STEP_BYTES + by for step in range(SIZE // STEP_BYTES) for by in (-1, 0, 1)]
    refused = 0
    for _ in range(60):
        start = chance.choice([chance.randrange(SIZE), max(0, chance.choice(edges))])
        stop = min(SIZE, start + chance.choice([1, 100, STEP_BYTES, MIB, 2 * MIB]))
        span = Span(start, stop)
        if chance.random() < 0.5:
            assert blob.read(span) == BLOB.data[start:stop]
        inside = chance.choice([start, stop - 1, chance.randrange(start, stop)])
        file.flip(inside)
        with pytest.raises(BlobCorrupt, match="do not have the recorded digest"):
            blob.read(span)
        file.flip(inside)
        outside = chance.randrange(SIZE)
        file.flip(outside)
        try:
            assert blob.read(span) == BLOB.data[start:stop]
        except BlobCorrupt:
            refused += 1
        file.flip(outside)
        assert blob.read(span) == BLOB.data[start:stop]
    assert 0 < refused < 60


def test_a_segment_that_fits_to_its_digest_is_right_whatever_is_known_of_it(
    file: File, read_bytes: Callable[[], int]
) -> None:
    prefixes = Prefixes()
    segment = Segment(1, MIB, 2 * MIB)
    prefixes.remember(segment, BLOB.digests, [sha256(b"damaged memory")] * 15)
    blob = file.open(prefixes)
    span = Span(MIB + 5, MIB + 6)
    for expected in (STEP_BYTES + MIB, STEP_BYTES):
        assert blob.read(span) == BLOB.data[span.start : span.stop]
        assert read_bytes() == expected


def test_nothing_is_known_of_a_segment_that_was_not_verified(file: File) -> None:
    blob = file.open(Prefixes())
    file.flip(MIB + 9)
    for _ in range(2):
        with pytest.raises(BlobCorrupt, match=f"bytes {MIB} to {2 * MIB} do not"):
            blob.read(Span(2 * MIB - 1, 2 * MIB))


@pytest.mark.parametrize(
    "named", [bytes(32), BLOB.digests.segments[-32:]], ids=["unknown", "of another segment"]
)
def test_what_is_known_does_not_help_false_digests(file: File, named: bytes) -> None:
    prefixes = Prefixes()
    for start in (5, SIZE - 5):
        file.open(prefixes).read(Span(start, start + 1))
    segments = named + BLOB.digests.segments[32:]
    blob = file.open(prefixes, Digests(SIZE, BLOB.digests.sha256, segments))
    for start in (5, MIB - 5):
        with pytest.raises(BlobCorrupt):
            blob.read(Span(start, start + 1))


def test_a_file_that_became_shorter_ends_early(file: File) -> None:
    blob = file.open(Prefixes())
    blob.read(Span(5 * MIB, SIZE))
    file.cut(5 * MIB + 3)
    for span in (Span(5 * MIB, 5 * MIB + 9), Span(6 * MIB, SIZE), Span(0, 6 * MIB)):
        with pytest.raises(BlobCorrupt, match="ends early, at byte"):
            blob.read(span)
