"""The settings of one bucket, and its client."""

from datetime import timedelta
from typing import NoReturn
from urllib.parse import urlsplit, urlunsplit

from attrs import field, frozen
from obstore.store import S3Store

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
        access_key, secret_key: without them requests are not signed. Credentials from the
            environment or from instance metadata are never used.
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

    @property
    def is_signing(self) -> bool:
        """Whether requests are signed."""
        return bool(self.access_key and self.secret_key)

    @property
    def location(self) -> str:
        """Endpoint, bucket and prefix, without credentials, query and fragment."""
        return "/".join(filter(None, (_without_credentials(self.url), self.bucket, self.prefix)))

    def full_key(self, key: str) -> str:
        """Return the key of an object in the whole bucket."""
        return f"{self.prefix}/{key}" if self.prefix else key

    def connect(self) -> S3Store:
        """Return a client for the bucket. Opens no connection."""
        return S3Store(
            self.bucket,
            prefix=self.prefix or None,
            region=self.region,
            # Set explicitly, because obstore reads missing options from AWS_* variables. Those
            # must not redirect the evidence or send other credentials to this endpoint.
            endpoint=self.url,
            aws_endpoint_url_s3=self.url,
            access_key_id=self.access_key or "",
            secret_access_key=self.secret_key or "",
            session_token="",
            skip_signature=not self.is_signing,
            virtual_hosted_style_request=False,
            s3_express=False,
            request_payer=False,
            unsigned_payload=False,
            conditional_put="etag",
            checksum_algorithm="SHA256",
            disable_bulk_delete=True,
            client_options={
                "allow_http": urlsplit(self.url).scheme == "http",
                "connect_timeout": timedelta(seconds=min(_CONNECT_SECONDS, self.timeout_seconds)),
                "read_timeout": timedelta(seconds=self.timeout_seconds),
                "timeout": _NEVER,
            },
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
    def url(self) -> str:
        """The URL of the service, without a slash at its end."""
        return (self.endpoint or f"https://s3.{self.region}.amazonaws.com").rstrip("/")

    def __reduce__(self) -> NoReturn:
        raise TypeError("S3Settings can't be pickled: they contain a secret")


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))
