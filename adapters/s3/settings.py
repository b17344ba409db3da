"""The settings of one bucket, and its client."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import urlsplit, urlunsplit

from attrs import field, frozen
from obstore.store import S3Store

from traffic_storage.adapters.s3.credentials import AwsCredentials
from traffic_storage.domain.errors import StorageUnavailable

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Config, S3Credential

_CONNECT_SECONDS = 5.0
# Short pauses: retries are meant for requests that fail at once. A slow one uses up the time.
_RETRIES = 2
_FIRST_PAUSE = timedelta(milliseconds=100)
_LONGEST_PAUSE = timedelta(seconds=1)
# The guard limits the time of whole bodies, by their size.
_NEVER = timedelta(days=1)


@frozen
class S3Settings:
    """A bucket, its credentials and its time limits.

    Attributes:
        endpoint: URL of the service; None means AWS in `region`.
        prefix: the part of the bucket that is used, `snapshots` or `a/b`; empty: all of it.
        access_key, secret_key: without them, and without `aws`, requests are not signed.
            Credentials from the environment are never used unless `aws` is set.
        session_token: of temporary keys; None: no header with a token is sent.
        aws: the credentials of AWS itself, instead of the keys.
        virtual_hosted: whether the bucket is a part of the host's name (`bucket.host`), instead of
            the path.
        checksum_headers: whether an upload states its SHA-256 in a header; without, what was written
            is read back.
        conditional_writes: whether the service is asked to refuse an overwrite; without, it is asked
            before whether there is an object.
        ca_file: a PEM file of authorities that are trusted beside the system's.
        encryption: `AES256` or `aws:kms`, which the service is asked for with each object; None:
            what the bucket does by itself.
        kms_key: the key of `aws:kms`; None: that of the account.
        timeout_seconds: the longest time during which the server may send nothing.
        probe_seconds: first pause between two availability checks of an unavailable server.
    """

    bucket: str
    region: str = "us-east-1"
    endpoint: str | None = None
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    timeout_seconds: float = 30.0
    probe_seconds: float = 2.0
    prefix: str = ""
    session_token: str | None = field(default=None, repr=False)
    aws: AwsCredentials | None = field(default=None, repr=False)
    virtual_hosted: bool = False
    checksum_headers: bool = True
    conditional_writes: bool = True
    ca_file: Path | None = None
    encryption: str | None = None
    kms_key: str | None = None

    @property
    def is_signing(self) -> bool:
        """Whether requests are signed."""
        return self.aws is not None or bool(self.access_key and self.secret_key)

    @property
    def location(self) -> str:
        """Endpoint, bucket and prefix, without credentials, query and fragment."""
        return "/".join(filter(None, (_without_credentials(self.url), self.bucket, self.prefix)))

    def full_key(self, key: str) -> str:
        """Return the key of an object in the whole bucket."""
        return f"{self.prefix}/{key}" if self.prefix else key

    def connect(self) -> S3Store:
        """Return a client for the bucket. Opens no connection.

        Raises:
            StorageUnavailable: `ca_file` can't be read.
        """
        options: S3Config = {
            "region": self.region,
            # Set explicitly, because obstore reads missing options from AWS_* variables. Those
            # must not redirect the evidence or send other credentials to this endpoint.
            "endpoint": self._address,
            "aws_endpoint_url_s3": self._address,
            "skip_signature": not self.is_signing,
            "virtual_hosted_style_request": self.virtual_hosted,
            "s3_express": False,
            "request_payer": False,
            "unsigned_payload": False,
            "conditional_put": "etag",
            "disable_bulk_delete": True,
        }
        if self.checksum_headers:
            options["checksum_algorithm"] = "SHA256"
        if self.encryption:
            options["server_side_encryption"] = self.encryption
        if self.encryption and self.kms_key:
            options["sse_kms_key_id"] = self.kms_key
        return S3Store(
            self.bucket,
            prefix=self.prefix or None,
            config=options,
            # Not as options: those send the header of an empty token, or a token of AWS_* variables
            # beside keys that it does not belong to.
            credential_provider=self.aws or self._keys if self.is_signing else None,
            client_options=self._client_options(),
            retry_config={
                "max_retries": _RETRIES,
                "retry_timeout": timedelta(seconds=self.timeout_seconds),
                "backoff": {
                    "init_backoff": _FIRST_PAUSE,
                    "max_backoff": _LONGEST_PAUSE,
                    "base": 2,
                },
            },
        )

    @property
    def _address(self) -> str:
        """The URL that the client gets: with the bucket where it is a part of the host's name."""
        if not self.virtual_hosted:
            return self.url
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(netloc=f"{self.bucket}.{parts.netloc}"))

    def _keys(self) -> "S3Credential":
        return {
            "access_key_id": self.access_key or "",
            "secret_access_key": self.secret_key or "",
            "token": self.session_token,
            "expires_at": None,
        }

    def _client_options(self) -> "ClientConfig":
        options: ClientConfig = {
            "allow_http": urlsplit(self.url).scheme == "http",
            "connect_timeout": timedelta(seconds=min(_CONNECT_SECONDS, self.timeout_seconds)),
            "read_timeout": timedelta(seconds=self.timeout_seconds),
            "timeout": _NEVER,
        }
        if self.ca_file is not None:
            try:
                options["root_certificate"] = self.ca_file.read_bytes()
            except OSError as error:
                raise StorageUnavailable(
                    f"the certificates in {self.ca_file} can't be read: {error.strerror}",
                    remedy="correct s3_ca_file",
                ) from error
        return options

    @property
    def url(self) -> str:
        """The URL of the service, without a slash at its end."""
        return (self.endpoint or f"https://s3.{self.region}.amazonaws.com").rstrip("/")

    def __reduce__(self) -> NoReturn:
        raise TypeError("S3Settings can't be pickled: they contain a secret")


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))
