"""Digest fields of RFC 9530."""

import base64
import hashlib

import pytest

from traffic_storage.domain.digests import sha256_of
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.entrypoints.http.digest_fields import digest_field, parse_digest_field

HELLO = base64.b64encode(hashlib.sha256(b"hello").digest()).decode()


def test_what_is_written_is_read() -> None:
    written = digest_field(sha256_of(b"hello")).decode()
    assert written == f"sha-256=:{HELLO}:"
    assert parse_digest_field(written, "Content-Digest") == sha256_of(b"hello")


@pytest.mark.parametrize(
    "text",
    [
        f"sha-512=:AAAA:, sha-256=:{HELLO}:",
        f"sha-256=:{HELLO}:,sha-512=:AAAA:",
        f"  sha-256=:{HELLO}:  ",
        f"sha-256=:AAAA:, sha-256=:{HELLO}:",
    ],
)
def test_one_of_several_members_is_found_and_the_last_of_a_name_counts(text: str) -> None:
    assert parse_digest_field(text, "Content-Digest") == sha256_of(b"hello")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha-512=:AAAA:",
        f"sha-256={HELLO}",
        f"sha-256=:{HELLO}",
        "sha-256=:AAAA:",
        "sha-256=:A:",
        "sha-256=::",
        hashlib.sha256(b"hello").hexdigest(),
        f"SHA-256=:{HELLO}:",
        "x" * 10_000,
    ],
)
def test_a_digest_that_cant_be_read_is_refused_not_passed_over(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_digest_field(text, "Content-Digest")
    assert caught.value.problems[0].field == "Content-Digest"
    assert caught.value.remedy
