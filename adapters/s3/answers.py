"""Converts errors of S3 and of the network to errors of the ports.

Errors of the S3 client obstore quote the server's response, and a server may quote the request with
its signature. So the errors of the ports contain only the status, the code and the kind of a
failure.
"""

import re
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from obstore.exceptions import AlreadyExistsError, PreconditionError

from traffic_storage.adapters.s3.credentials import credentials_problem
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
_ANOTHER_REGION = frozenset(
    {
        *("AuthorizationHeaderMalformed", "PermanentRedirect", "TemporaryRedirect"),
        *("IllegalLocationConstraintException", "IncorrectEndpoint"),
    }
)
_EXPECTED = re.compile(r"expecting '([a-z0-9-]{1,64})'")
_PATH_STYLE = frozenset({"SecondLevelDomainForbidden", "PathStyleDomainForbidden"})
_EXPIRED = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired"}
)
_CHECKSUM = re.compile(r"<Message>[^<]*x-amz-(sdk-)?checksum", re.IGNORECASE)
_RIGHTS = (
    "check the policy of bucket and user: it must grant s3:GetObject, s3:PutObject, s3:DeleteObject "
    "and s3:AbortMultipartUpload on the objects, and s3:ListBucket on the bucket (without it S3 "
    "answers 403 for an object that does not exist). Check s3_access_key and s3_secret_key, and with s3_encryption kms the "
    "rights kms:GenerateDataKey and kms:Decrypt"
)
_REFUSED = {
    "AccessDenied": _RIGHTS,
    "InvalidAccessKeyId": "check s3_access_key and s3_endpoint; temporary keys need s3_session_token",
    "RequestTimeTooSkewed": "set the clock of this host (NTP)",
}
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
    named = _named(error, location, status, code, creates=creates)
    return named or _unnamed(error, location, status, code)


def _unnamed(error: Exception, location: str, status: str, code: str) -> StorageUnavailable:
    if status in {"401", "403"}:
        return StorageUnavailable(
            f"{location} refuses the credentials: {code or status}",
            remedy=_REFUSED.get(
                code,
                "check s3_access_key, s3_secret_key, the bucket's policy and this host's clock",
            ),
        )
    return StorageUnavailable(
        f"{location} {_summary(error)}",
        remedy="check the endpoint and the network; no restart is needed",
    )


def _named(
    error: Exception, location: str, status: str, code: str, *, creates: bool
) -> StorageUnavailable | None:
    """Return the error of a known cause that a setting remedies; None for any other."""
    return (
        _of_the_credentials(error, location, code)
        or _of_the_headers(error, location, status, code, creates=creates)
        or _of_the_way(error, location, status)
    )


def _of_the_credentials(error: Exception, location: str, code: str) -> StorageUnavailable | None:
    if code in _ANOTHER_REGION or "redirect without LOCATION" in str(error):
        expected = _found(_EXPECTED, error)
        return StorageUnavailable(
            f"{location}: the bucket is in another region"
            + (f", {expected}" if expected else " or at another endpoint"),
            remedy="correct s3_region, and s3_endpoint where it names a region",
        )
    if code in _PATH_STYLE:
        return StorageUnavailable(
            f"{location} wants the bucket in the host's name (virtual-hosted style): {code}",
            remedy="set s3_virtual_hosted_style = true",
        )
    if problem := credentials_problem(str(error)):
        return problem
    if code in _EXPIRED:
        return StorageUnavailable(
            f"{location}: the temporary credentials are expired or wrong ({code})",
            remedy="give new credentials with their s3_session_token, or set s3_credentials = aws, "
            "which renews them",
        )
    return None


def _of_the_headers(
    error: Exception, location: str, status: str, code: str, *, creates: bool
) -> StorageUnavailable | None:
    if status in {"400", "501"} and _CHECKSUM.search(str(error)):
        return StorageUnavailable(
            f"{location} refuses the header with the checksum of an upload ({code or status})",
            remedy="set s3_checksum_headers = false: what is written is then read back",
        )
    if status == "501" and creates:
        return StorageUnavailable(
            f"{location} has no conditional writes (If-None-Match): {code or status}",
            remedy="set s3_conditional_writes = false",
        )
    return None


def _of_the_way(error: Exception, location: str, status: str) -> StorageUnavailable | None:
    text = str(error)
    if "ETag Header missing" in text or "non-partial response" in text:
        return StorageUnavailable(
            f"{location} is no S3 service: its answer is not one of S3",
            remedy="correct s3_endpoint: it may name the port of a web console",
        )
    if "certificate" in text.lower() and not status:
        return StorageUnavailable(
            f"{location}: the certificate of the server is not trusted",
            remedy="name the PEM file of its authority in s3_ca_file, and the server as its certificate does",
        )
    if not status and (proxy := _proxy_to(location)):
        return StorageUnavailable(
            f"{location} {_summary(error)} through the proxy of the variable {proxy}",
            remedy="correct the variable, or name the host in NO_PROXY",
        )
    return None


def _proxy_to(location: str) -> str:
    """Return the name of the variable whose proxy leads to a location; empty if there is none."""
    parts = urlsplit(location)
    is_used = parts.scheme in getproxies() and not proxy_bypass(parts.hostname or "")
    return f"{parts.scheme.upper()}_PROXY" if is_used else ""


def _summary(error: Exception) -> str:
    if status := _found(_STATUS, error):
        return f"answered {status} {_found(_CODE, error)}".rstrip()
    return _KINDS.get(_found(_KIND, error), "failed")


def _found(pattern: re.Pattern[str], error: Exception) -> str:
    found = pattern.search(str(error))
    return found[1] if found else ""
