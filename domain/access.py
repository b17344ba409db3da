"""Access tokens: a file id and an expiry time, authenticated by HMAC-SHA-256 (RFC 2104).

`verify` compares the whole token byte for byte, so no other encoding of the same content is valid.
"""

import base64
import hashlib
import hmac
import re
from datetime import UTC, datetime, timedelta

from traffic_storage.domain.errors import AccessDenied, InvalidInput, shown
from traffic_storage.domain.identifiers import FileId
from traffic_storage.domain.numeric import plain_number

MIN_KEY_BYTES = 32
_LAST_SECOND = int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())
_TOKEN = re.compile(rb"v1\.([0-9]{1,12})\.([A-Za-z0-9_-]{1,400})\.([A-Za-z0-9_-]{43})")


def sign(file_id: FileId, expires_at: datetime, key: bytes) -> str:
    """Return a token that gives access to this file until `expires_at` (whole seconds, UTC)."""
    payload = f"v1.{int(expires_at.timestamp())}.{_encode(file_id.encode())}"
    return f"{payload}.{_signature(payload.encode(), key)}"


def verify(token: bytes, now: datetime, key: bytes) -> FileId:
    """Return the id of the file that an access token gives access to.

    Raises:
        AccessDenied: the token is malformed, was not signed with `key`, or has expired.
    """
    found = _TOKEN.fullmatch(token)
    if not found:
        raise _denied("is malformed")
    expires, encoded, _ = found.groups()
    payload = b"v1." + expires + b"." + encoded
    if not hmac.compare_digest(token, payload + b"." + _signature(payload, key).encode()):
        raise _denied("was not signed with the key of this service")
    if int(expires) > _LAST_SECOND:
        raise _denied("expires after the year 9999")
    if now >= datetime.fromtimestamp(int(expires), UTC):
        raise _denied("has expired")
    return FileId(base64.urlsafe_b64decode(encoded + b"=" * (-len(encoded) % 4)).decode())


def bounded_expiry(expires_in: float, longest: timedelta) -> timedelta:
    """Check the requested lifetime of an access token (in seconds) and return it as a duration.

    Raises:
        InvalidInput: `expires_in` is not a number, is less than 1, or is longer than `longest`.
    """
    most = int(longest.total_seconds())
    seconds = plain_number(expires_in)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise InvalidInput.of("expires_in", "is not a number", f"give 1 to {most} seconds")
    if not 1 <= seconds <= most:
        raise InvalidInput.of("expires_in", f"is {shown(expires_in)}", f"give 1 to {most} seconds")
    return timedelta(seconds=seconds)


def _signature(payload: bytes, key: bytes) -> str:
    return _encode(hmac.digest(key, payload, hashlib.sha256))


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _denied(why: str) -> AccessDenied:
    return AccessDenied(f"the access token {why}", remedy="ask for a new access URL")
