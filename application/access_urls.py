"""Access URLs: links of our own API that open one file for a while."""

from collections.abc import Callable
from datetime import datetime, timedelta

from attrs import frozen

from traffic_storage.domain.access import bounded_expiry, sign, verify
from traffic_storage.domain.identifiers import FileId, known_file_id
from traffic_storage.ports.clock import Clock


@frozen
class AccessUrl:
    """A link, and until when it opens."""

    url: str
    expires_at: datetime


class AccessUrls:
    """Signs and opens links. `key` is asked at first need and gives at least 32 bytes."""

    def __init__(
        self, *, public_url: str, key: Callable[[], bytes], clock: Clock, longest: timedelta
    ) -> None:
        self._public_url = public_url.rstrip("/")
        self._key = key
        self._clock = clock
        self._longest = longest

    def url(self, file_id: str, expires_in: float = 3600) -> AccessUrl:
        """A link to this file for `expires_in` seconds. The file is not looked up.

        The link stays valid wherever the file moves; it is resolved when it is opened.

        Raises:
            InvalidInput: no file can have this id, or the time is out of bounds.
        """
        known = known_file_id(file_id)
        life = bounded_expiry(expires_in, self._longest)
        expires_at = (self._clock.now() + life).replace(microsecond=0)
        return AccessUrl(
            f"{self._public_url}/access/{sign(known, expires_at, self._key())}", expires_at
        )

    def open(self, token: bytes) -> FileId:
        """The file that a token opens, compared as raw bytes.

        Raises:
            AccessDenied: not a token of this service, or expired.
        """
        return verify(token, self._clock.now(), self._key())
