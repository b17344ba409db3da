"""The credentials of AWS itself: its variables, profiles, web identity, and the role of the machine.

botocore finds and renews them. Its modules are imported at first use, because they take long to
load.
"""

import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from traffic_storage.domain.errors import StorageUnavailable

if TYPE_CHECKING:
    from obstore.store import S3Credential

_NONE_FOUND = "no credentials of AWS were found"
# The S3 client asks again after this time; botocore renews what expires before.
_HELD = timedelta(minutes=2)


class Keys(Protocol):
    """Keys of AWS; `token` belongs to temporary ones."""

    access_key: str
    secret_key: str
    token: str | None


class Credentials(Protocol):
    """Credentials that botocore renews."""

    def get_frozen_credentials(self) -> Keys:
        """Return the keys that are valid now. Blocks while they are renewed."""


class AwsSession(Protocol):
    """The methods of botocore's session that are used; botocore carries no types."""

    def get_credentials(self) -> Credentials | None:
        """Look for credentials; return them, or None."""

    def create_client(self, service_name: str, **options: object) -> object:
        """Return a client that uses the credentials."""


class AwsCredentials:
    """Finds credentials as the tools of AWS do; thread-safe. The first use looks for them.

    They are looked for in the variables `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and
    `AWS_SESSION_TOKEN`, in the profile `AWS_PROFILE`, by a web identity token, and in the role of the
    container or of the machine.
    """

    def __init__(self) -> None:
        self._finding = threading.Lock()
        self._session: AwsSession | None = None

    def session(self) -> "AwsSession":
        """Return the session of botocore that has the credentials. Blocks.

        Raises:
            StorageUnavailable: there are none.
        """
        with self._finding:
            if self._session is None:
                from botocore.exceptions import BotoCoreError
                from botocore.session import Session

                session: AwsSession = Session()
                try:
                    found = session.get_credentials()
                except BotoCoreError as error:
                    raise none_found(f": {type(error).__name__}") from error
                if found is None:
                    raise none_found()
                self._session = session
            return self._session

    def __call__(self) -> "S3Credential":
        """Return the credentials as the S3 client obstore wants them. Blocks."""
        found = self.session().get_credentials()
        if found is None:
            raise none_found()
        keys = found.get_frozen_credentials()
        return {
            "access_key_id": keys.access_key,
            "secret_access_key": keys.secret_key,
            "token": keys.token or None,
            "expires_at": datetime.now(UTC) + _HELD,
        }


def credentials_problem(reported: str) -> StorageUnavailable | None:
    """Return the error of `AwsCredentials` that the S3 client reports; None if it is another one."""
    return none_found() if _NONE_FOUND in reported else None


def none_found(why: str = "") -> StorageUnavailable:
    """Return the error that there are no credentials."""
    return StorageUnavailable(
        f"{_NONE_FOUND}{why}",
        remedy="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or give this machine a "
        "role; or leave s3_credentials out and set both keys",
    )
