"""Parse and format the digest fields `Content-Digest` and `Repr-Digest` (RFC 9530)."""

import base64
import binascii
import re

from traffic_storage.domain.digests import ALGORITHM, Sha256
from traffic_storage.domain.errors import InvalidInput

# A member of a structured dictionary (RFC 8941, section 3.2) whose value is a byte sequence.
_MEMBER = re.compile(r"[ \t]*([a-z*][a-z0-9_\-.*]*)=:([A-Za-z0-9+/=]*):[ \t]*(?:,|\Z)")
_DIGEST_BYTES = 32
_REMEDY = f"send {ALGORITHM}=:<base64 of the 32 bytes>:"


def digest_field(sha256: Sha256) -> bytes:
    """Return the value of a digest field for this digest."""
    return f"{ALGORITHM}=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:".encode()


def parse_digest_field(text: str, field: str) -> Sha256:
    """Return the SHA-256 in a digest field named `field`.

    Raises:
        InvalidInput: the field is malformed or has no SHA-256. A field with only other algorithms
            is an error because a declared digest must never go unchecked.
    """
    members: dict[str, str] = {}
    at = 0
    while at < len(text):
        member = _MEMBER.match(text, at)
        if member is None:
            raise InvalidInput.of(field, f"is malformed: {text!a:.100}", _REMEDY)
        members[member[1]] = member[2]
        at = member.end()
    if ALGORITHM not in members:
        raise InvalidInput.of(field, f"has no {ALGORITHM} digest", _REMEDY)
    return _decoded(members[ALGORITHM], field)


def _decoded(encoded: str, field: str) -> Sha256:
    try:
        digest = base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise InvalidInput.of(field, "is not base64", _REMEDY) from error
    if len(digest) != _DIGEST_BYTES:
        raise InvalidInput.of(field, f"has {len(digest)} bytes, not {_DIGEST_BYTES}", _REMEDY)
    return Sha256(digest.hex())
