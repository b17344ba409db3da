"""Access URLs: signed URLs of the HTTP API that give access to one file until they expire."""

from collections.abc import Callable
from datetime import datetime, timedelta

from attrs import frozen

from traffic_storage.domain.access import bounded_expiry, sign, verify
from traffic_storage.domain.identifiers import FileId, known_file_id
from traffic_storage.ports.clock import Clock


@frozen
class AccessUrl:
    """A signed URL that gives access to one file, and the time at which it expires."""

    url: str
    expires_at: datetime


class AccessUrls:
    """Signs and verifies access URLs.

    `key` is called at each signing and verification; it returns the key of at least 32 bytes.
    """

    def __init__(
        self, *, public_url: str, key: Callable[[], bytes], clock: Clock, longest: timedelta
    ) -> None:
        self._public_url = public_url.rstrip("/")
        self._key = key
        self._clock = clock
        self._longest = longest

    def url(self, file_id: str, expires_in: float = 3600) -> AccessUrl:
        """Return an access URL of a file that is valid for `expires_in` seconds.

        The file is looked up when the URL is opened, not here: the URL stays valid when the file
        moves to another store.

        Raises:
            InvalidInput: `file_id` is not a valid id, or `expires_in` is out of range.
        """
        known = known_file_id(file_id)
        life = bounded_expiry(expires_in, self._longest)
        expires_at = (self._clock.now() + life).replace(microsecond=0)
        return AccessUrl(
            f"{self._public_url}/access/{sign(known, expires_at, self._key())}", expires_at
        )

    def open(self, token: bytes) -> FileId:
        """Verify the token at the end of an access URL and return the id of the file.

        Raises:
            AccessDenied: the token is malformed, was not signed by this service, or has expired.
        """
        return verify(token, self._clock.now(), self._key())
