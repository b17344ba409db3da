"""Digests: the same whatever the chunks, and those of segments for what is long."""

import hashlib
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traffic_storage.domain.digests import (
    SEGMENT_BYTES,
    WHOLE_READ_BYTES,
    Digester,
    Digests,
    declared_sha256,
    digests_of,
    sha256_of,
)
from traffic_storage.domain.errors import InvalidInput

NOISE = hashlib.shake_256(b"noise").digest(WHOLE_READ_BYTES + 2 * SEGMENT_BYTES + 3)
EDGES = [
    edge + step
    for edge in (0, SEGMENT_BYTES, WHOLE_READ_BYTES, WHOLE_READ_BYTES + SEGMENT_BYTES)
    for step in (-1, 0, 1)
    if edge + step >= 0
]


def by_the_book(data: bytes) -> Digests:
    pieces = [data[at : at + SEGMENT_BYTES] for at in range(0, len(data), SEGMENT_BYTES)]
    segments = b"".join(hashlib.sha256(piece).digest() for piece in pieces)
    return Digests(len(data), sha256_of(data), segments if len(data) > WHOLE_READ_BYTES else b"")


def digested(data: bytes, cuts: list[int]) -> Digests:
    digester = Digester()
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    for start, stop in pairwise(edges):
        digester.update(memoryview(data)[start:stop])
    assert digester.size_bytes == len(data)
    return digester.finish()


@pytest.mark.parametrize("size", EDGES)
def test_what_is_long_has_digests_of_its_segments(size: int) -> None:
    data = NOISE[:size]
    digests = digests_of(data)
    assert digests == digests_of(memoryview(data)) == by_the_book(data)
    assert digests.segmented == (size > WHOLE_READ_BYTES)
    if digests.segmented:
        last = (size - 1) // SEGMENT_BYTES
        tail = data[last * SEGMENT_BYTES :]
        assert digests.segment(last) == hashlib.sha256(tail).digest()
        assert digests.segment(1) == hashlib.sha256(data[SEGMENT_BYTES:][:SEGMENT_BYTES]).digest()
        assert digests.segment(last + 1) == b""


@given(st.binary(max_size=300), st.lists(st.integers(0, 300)))
def test_any_chunks_give_the_same_digests(data: bytes, cuts: list[int]) -> None:
    assert digested(data, cuts) == digests_of(data)


@settings(max_examples=15)
@given(st.sampled_from(EDGES), st.lists(st.integers(0, len(NOISE)), max_size=6))
def test_any_chunks_over_segments_give_the_same_digests(size: int, cuts: list[int]) -> None:
    data = NOISE[:size]
    assert digested(data, cuts) == digests_of(data)


def test_an_empty_sequence_has_the_digest_of_nothing() -> None:
    nothing = Digests(0, declared_sha256(hashlib.sha256().hexdigest()))
    assert Digester().finish() == digests_of(b"") == nothing


@given(st.binary(max_size=10))
def test_a_declared_digest_is_read_in_either_case(data: bytes) -> None:
    digest = sha256_of(data)
    assert declared_sha256(f" {digest.upper()}\n") == digest


@pytest.mark.parametrize(
    "text",
    ["", "0" * 63, "0" * 65, "g" * 64, "0x" + "0" * 62, "\u0660" * 64, "-" + "0" * 63, "İ" * 32],
)
def test_what_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"Content-Digest: is not a SHA-256 \(send 64 hex"):
        declared_sha256(text, "Content-Digest")
