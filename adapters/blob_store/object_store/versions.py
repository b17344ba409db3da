"""Removes what a bucket with versioning keeps of deleted objects, as far as the bucket lets it.

obstore knows no versions, so that the requests go through botocore, whose calls block. Its modules
are imported when a blob is first deleted: they take longer to load than most commands run.
"""

import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from attrs import frozen

from traffic_storage.adapters.s3.settings import S3Settings
from traffic_storage.domain.errors import StorageUnavailable
from traffic_storage.ports.blob_store import KeptVersion

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

_CONNECT_SECONDS = 5.0
_MOST_ATTEMPTS = 3
_TOLD_SECONDS = 60.0
"""For how long the bucket's answer holds that it keeps no versions."""
_UNKNOWN = "it is unknown whether the bucket keeps versions: {}"
_GONE = frozenset({"NoSuchVersion", "NoSuchKey", "404"})


class _Client(Protocol):
    """The methods of botocore's client that are used; botocore carries no types."""

    def get_bucket_versioning(self, **named: str) -> Mapping[str, Any]: ...

    def get_paginator(self, operation_name: str) -> "_Paginator": ...

    def head_object(self, **named: str) -> Mapping[str, Any]: ...

    def delete_object(self, **named: str) -> Mapping[str, Any]: ...

    def close(self) -> None: ...


class _Paginator(Protocol):
    def paginate(self, **named: str) -> Iterable[Mapping[str, Any]]: ...


@frozen
class _Version:
    """A version of an object, or a marker that hides the versions before it."""

    key: str
    version_id: str


class Versions:
    """The versions of objects in one bucket. All calls block; threads may call at the same time.

    Errors of all methods:
        StorageUnavailable: the bucket can't be reached.
    """

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self._client: _Client | None = None
        self._connecting = threading.Lock()
        self._without_until = 0.0

    def remove(self, keys: Collection[str]) -> Sequence[KeptVersion]:
        """Remove all versions of these deleted objects; return what the bucket does not let go.

        The markers that hide a kept version stay: without them the object would be there again.
        """
        if time.monotonic() < self._without_until:
            return ()
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            if not self._are_kept():
                self._without_until = time.monotonic() + _TOLD_SECONDS
                return ()
            return [kept for key in keys for kept in self._remove(self._settings.full_key(key))]
        except ClientError as error:
            if _is_passing(error):
                raise self._unavailable(f"answered {_code(error)}") from None
            return [KeptVersion(None, _UNKNOWN.format(_code(error)))]
        except BotoCoreError as error:
            raise self._unavailable(f"failed: {type(error).__name__}") from None

    def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _are_kept(self) -> bool:
        """Return whether the bucket keeps versions, or has kept some once."""
        answer = self._s3.get_bucket_versioning(Bucket=self._settings.bucket)
        return "Status" in answer

    def _remove(self, key: str) -> Sequence[KeptVersion]:
        versions, markers = self._of(key)
        kept = [one for version in versions if (one := self._removed(version)) is not None]
        if not kept:
            for marker in markers:
                self._delete(marker)
        return kept

    def _of(self, key: str) -> tuple[list[_Version], list[_Version]]:
        """Return the versions of an object, and the markers of its deletions."""
        versions: list[_Version] = []
        markers: list[_Version] = []
        pages = self._s3.get_paginator("list_object_versions")
        for page in pages.paginate(Bucket=self._settings.bucket, Prefix=key):
            versions += _those_of(key, page.get("Versions", ()))
            markers += _those_of(key, page.get("DeleteMarkers", ()))
        return versions, markers

    def _removed(self, version: _Version) -> KeptVersion | None:
        from botocore.exceptions import ClientError

        try:
            self._delete(version)
        except ClientError as error:
            if _code(error) in _GONE:
                return None
            if _is_passing(error):
                raise
            return KeptVersion(version.version_id, self._lock_of(version) or _code(error))
        return None

    def _lock_of(self, version: _Version) -> str:
        """Return why the bucket keeps a version; empty if it does not tell."""
        from botocore.exceptions import ClientError

        try:
            head = self._s3.head_object(
                Bucket=self._settings.bucket, Key=version.key, VersionId=version.version_id
            )
        except ClientError:
            return ""
        reasons = []
        if until := head.get("ObjectLockRetainUntilDate"):
            reasons.append(f"locked ({head.get('ObjectLockMode')}) until {until.isoformat()}")
        if head.get("ObjectLockLegalHoldStatus") == "ON":
            reasons.append("under a legal hold of the bucket")
        return " and ".join(reasons)

    def _delete(self, version: _Version) -> None:
        self._s3.delete_object(
            Bucket=self._settings.bucket, Key=version.key, VersionId=version.version_id
        )

    def _unavailable(self, what: str) -> StorageUnavailable:
        return StorageUnavailable(
            f"{self._settings.location} {what} when the versions of a deleted blob were removed",
            remedy="check the endpoint and the network; no restart is needed",
        )

    @property
    def _s3(self) -> _Client:
        with self._connecting:
            if self._client is None:
                self._client = _connect(self._settings)
            return self._client


def _connect(settings: S3Settings) -> _Client:
    from botocore import UNSIGNED
    from botocore.config import Config
    from botocore.session import Session

    if settings.aws is not None:
        session = settings.aws.session()
    else:
        # Neither the files nor the variables of AWS's own tools: they must not redirect a deletion.
        nothing = (None, None, None, None)
        session = Session(session_vars={"profile": nothing, "config_file": nothing})
    client = session.create_client(
        "s3",
        region_name=settings.region,
        endpoint_url=settings.url,
        aws_access_key_id=settings.access_key,
        aws_secret_access_key=settings.secret_key,
        aws_session_token=settings.session_token,
        verify=None if settings.ca_file is None else str(settings.ca_file),
        config=Config(
            signature_version="s3v4" if settings.is_signing else UNSIGNED,
            s3={"addressing_style": "virtual" if settings.virtual_hosted else "path"},
            connect_timeout=min(_CONNECT_SECONDS, settings.timeout_seconds),
            read_timeout=settings.timeout_seconds,
            retries={"total_max_attempts": _MOST_ATTEMPTS, "mode": "standard"},
            ignore_configured_endpoint_urls=True,
        ),
    )
    return cast("_Client", client)


def _those_of(key: str, found: Sequence[Mapping[str, str]]) -> Iterator[_Version]:
    # A prefix names other objects too.
    return (_Version(key, one["VersionId"]) for one in found if one["Key"] == key)


def _status(error: "ClientError") -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _is_passing(error: "ClientError") -> bool:
    """Return whether the same request may succeed later: the server failed, or had no time for it."""
    status = _status(error)
    return status in {408, 429} or (status >= 500 and status != 501)


def _code(error: "ClientError") -> str:
    return str(error.response.get("Error", {}).get("Code") or _status(error))
