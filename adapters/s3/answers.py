"""Converts errors of S3 and of the network to errors of the ports.

Errors of the S3 client obstore quote the server's response, and a server may quote the request with
its signature. So the errors of the ports contain only the status, the code and the kind of a
failure.
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
_TOLD_TO_WAIT = frozenset(
    {
        "429",
        *("SlowDown", "SlowDownRead", "SlowDownWrite", "Throttling", "ThrottlingException"),
        *("RequestLimitExceeded", "RequestThrottled", "BandwidthLimitExceeded"),
        *("TooManyRequests", "TooManyRequestsException"),
    }
)
# An answer to HEAD has no body, and so no code.
_HEAD = re.compile(r"\bHEAD\b")
_FULL = frozenset({"XMinioStorageFull", "QuotaExceeded", "InsufficientStorage", "507"})
_KINDS = {
    "Timeout": "did not answer in time",
    "Connect": "can't be reached",
    "Interrupted": "closed the connection early",
}


class S3Reported(Exception):
    """The cause of an error: what the S3 client obstore reported, without the server's own text."""


class Throttled(StorageUnavailable):
    """The server is there and asks for fewer requests: the same request succeeds later.

    It did not do what was asked.
    """


def port_error(error: Exception, location: str, key: str, *, creates: bool) -> TrafficStorageError:
    """Convert an error of obstore to an error of the port.

    `key` is empty if the request concerned no blob. `creates`: the request was conditional, so it
    required that the object does not exist, or that it has a certain entity tag.
    """
    failure = _port_error(error, location, key, creates=creates)
    failure.__cause__ = S3Reported(f"{type(error).__name__}: {_summary(error)}")
    return failure


def silent(location: str, seconds: float) -> StorageUnavailable:
    """Return the error for a server that did not answer in time."""
    return StorageUnavailable(
        f"{location} did not answer within {seconds:.3g} s",
        remedy="check the endpoint and the network, or raise s3_timeout_seconds",
    )


def _port_error(error: Exception, location: str, key: str, *, creates: bool) -> TrafficStorageError:
    status, code = _found(_STATUS, error), _found(_CODE, error)
    if code == "NoSuchBucket":
        return StorageUnavailable(
            f"there is no such bucket: {location}",
            remedy="create the bucket, or correct s3_bucket",
        )
    if code == "NoSuchUpload":
        return StorageUnavailable(
            f"{location} does not know the upload of {key} in parts: it was completed, or removed",
            remedy="send the file again",
        )
    if isinstance(error, FileNotFoundError) and key:
        return BlobMissing(f"{location} has no blob {key}")
    if status == "416" and key:
        return BlobCorrupt(f"the blob {key} in {location} is shorter than its recorded size")
    if isinstance(error, AlreadyExistsError | PreconditionError) and creates:
        return BlobConflict(
            f"{location} has another object under the key {key} than the request expects"
        )
    is_bare_503 = status == "503" and not code and bool(_HEAD.search(str(error)))
    if is_bare_503 or not _TOLD_TO_WAIT.isdisjoint({status, code}):
        return Throttled(
            f"{location} asks for fewer requests ({code or status})",
            remedy="wait a little; raise the limit of requests at the S3 service if it lasts",
        )
    if not _FULL.isdisjoint({status, code}):
        return StorageFull(
            f"{location} is full: {code or status}",
            remedy="raise the bucket's quota, or free space",
        )
    if code == "InvalidObjectState" and key:
        return StorageUnavailable(
            f"the blob {key} can't be read: {location} keeps it in an archive",
            remedy="restore the object in the bucket",
        )
    if status in {"401", "403"}:
        return StorageUnavailable(
            f"{location} refuses the credentials: {code or status}",
            remedy="check s3_access_key, s3_secret_key, the bucket's policy and this host's clock",
        )
    return StorageUnavailable(
        f"{location} {_summary(error)}",
        remedy="check the endpoint and the network; no restart is needed",
    )


def _summary(error: Exception) -> str:
    if status := _found(_STATUS, error):
        return f"answered {status} {_found(_CODE, error)}".rstrip()
    return _KINDS.get(_found(_KIND, error), "failed")


def _found(pattern: re.Pattern[str], error: Exception) -> str:
    found = pattern.search(str(error))
    return found[1] if found else ""
