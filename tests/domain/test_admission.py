"""Admission: the byte limit of one source."""

import pytest

from traffic_storage.domain.admission import Admission
from traffic_storage.domain.errors import InvalidInput, TooLarge


def test_chunks_are_admitted_up_to_the_limit() -> None:
    admission = Admission(5, "body")
    assert [admission.admit(b"abc"), admission.admit(b""), admission.admit(b"de")] == [
        b"abc",
        b"",
        b"de",
    ]
    assert admission.taken_bytes == 5
    with pytest.raises(TooLarge, match=r"body: has more than 5 bytes"):
        admission.admit(b"f")


def test_a_chunk_is_copied_from_its_buffer() -> None:
    buffer = bytearray(b"abc")
    for sent in (buffer, memoryview(buffer)):
        admitted = Admission(9, "body").admit(sent)
        buffer[:] = b"xyz"
        assert admitted == b"abc"
        buffer[:] = b"abc"


@pytest.mark.parametrize("chunk", ["text", None, 7, [1]])
def test_what_is_no_bytes_is_refused(chunk: object) -> None:
    with pytest.raises(InvalidInput, match=r"body: yielded a chunk of type \w+, not bytes"):
        Admission(9, "body").admit(chunk)
