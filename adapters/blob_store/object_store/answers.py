"""What S3 and the way to it say, in the words of the ports.

obstore hands on what a server wrote, and a server may quote the request with its signature. So
only the status, the code and the kind of a failure go on from here.
"""

import re

from obstore.exceptions import AlreadyExistsError, PreconditionError

from traffic_storage.domain.errors import TrafficStorageError
from traffic_storage.ports.errors import (
    BlobConflict,
    BlobCorrupt,
    BlobMissing,
    StorageFull,
    StorageUnavailable,
)

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w{1,64})</Code>")
_KIND = re.compile(r"kind: (Timeout|Connect|Interrupted)\b")
_FULL = frozenset({"XMinioStorageFull", "QuotaExceeded", "InsufficientStorage", "507"})
_KINDS = {
    "Timeout": "did not answer in time",
    "Connect": "can't be reached",
    "Interrupted": "broke the connection off",
}


class S3Said(Exception):
    """The cause of an error: what obstore reported, without what the server quoted."""


def in_words(error: Exception, location: str, key: str, *, creates: bool) -> TrafficStorageError:
    """A report of obstore as the error of a port.

    `key` is empty for what concerns no blob; `creates` says whether the request was conditional:
    on there being no such object, or only one of a certain entity tag.
    """
    failure = _in_words(error, location, key, creates=creates)
    failure.__cause__ = S3Said(f"{type(error).__name__}: {_summary(error)}")
    return failure


def silent(location: str, seconds: float) -> StorageUnavailable:
    """The error for a server that took too long."""
    return StorageUnavailable(
        f"{location} did not answer within {seconds:.3g} s",
        remedy="check the endpoint and the way to it, or raise s3_timeout_seconds",
    )


def _in_words(error: Exception, location: str, key: str, *, creates: bool) -> TrafficStorageError:
    status, code = _found(_STATUS, error), _found(_CODE, error)
    if code == "NoSuchBucket":
        return StorageUnavailable(
            f"{location}: there is no such bucket",
            remedy="create the bucket, or correct s3_bucket",
        )
    if isinstance(error, FileNotFoundError) and key:
        return BlobMissing(f"{location} has no blob {key}")
    if status == "416" and key:
        return BlobCorrupt(f"{location}: {key} ends before the bytes that it should have")
    if isinstance(error, AlreadyExistsError | PreconditionError) and creates:
        return BlobConflict(f"{location} has another {key} already")
    if not _FULL.isdisjoint({status, code}):
        return StorageFull(
            f"{location} is full: {code or status}",
            remedy="raise the bucket's quota, or free space",
        )
    if code == "InvalidObjectState" and key:
        return StorageUnavailable(
            f"{location} has {key} in an archive", remedy="restore the object in the bucket first"
        )
    if status in {"401", "403"}:
        return StorageUnavailable(
            f"{location} refuses the credentials: {code or status}",
            remedy="check s3_access_key, s3_secret_key, the bucket's policy and this host's clock",
        )
    return StorageUnavailable(
        f"{location} {_summary(error)}",
        remedy="check the endpoint and the way to it; the service goes on when it is back",
    )


def _summary(error: Exception) -> str:
    if status := _found(_STATUS, error):
        return f"answered {status} {_found(_CODE, error)}".rstrip()
    return _KINDS.get(_found(_KIND, error), "failed")


def _found(pattern: re.Pattern[str], error: Exception) -> str:
    found = pattern.search(str(error))
    return found[1] if found else ""
