"""How to reach one bucket."""

from datetime import timedelta
from typing import NoReturn
from urllib.parse import urlsplit, urlunsplit

from attrs import field, frozen
from obstore.store import S3Store

_CONNECT_SECONDS = 5.0
# Short, and only for what fails at once: who waits for an answer has waited long enough.
_RETRIES = 2
_FIRST_PAUSE = timedelta(milliseconds=100)
_LONGEST_PAUSE = timedelta(seconds=1)
# Whole bodies have our own bound, which knows their size.
_NEVER = timedelta(days=1)


@frozen
class S3Settings:
    """A bucket, the keys to it, and how patient to be.

    Attributes:
        endpoint: None is AWS in `region`.
        access_key, secret_key: without them requests are not signed. No other place is asked for
            credentials: neither environment nor instance metadata.
        timeout_seconds: how long the server may stay silent.
        probe_seconds: pause between two probes of a server that is away.
    """

    bucket: str
    region: str = "us-east-1"
    endpoint: str | None = None
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    timeout_seconds: float = 30.0
    probe_seconds: float = 2.0

    @property
    def location(self) -> str:
        """Endpoint and bucket, without anything that is nobody else's business."""
        return f"{_without_credentials(self._url)}/{self.bucket}"

    def connect(self) -> S3Store:
        """A client for the bucket. Connects to nothing yet."""
        return S3Store(
            self.bucket,
            region=self.region,
            # What is not named here is taken from AWS_* variables of the environment; they must
            # lead neither the evidence to another place nor another's credentials to this one.
            endpoint=self._url,
            aws_endpoint_url_s3=self._url,
            access_key_id=self.access_key or "",
            secret_access_key=self.secret_key or "",
            session_token="",
            skip_signature=not (self.access_key and self.secret_key),
            virtual_hosted_style_request=False,
            s3_express=False,
            request_payer=False,
            unsigned_payload=False,
            conditional_put="etag",
            checksum_algorithm="SHA256",
            disable_bulk_delete=True,
            client_options={
                "allow_http": urlsplit(self._url).scheme == "http",
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
    def _url(self) -> str:
        return (self.endpoint or f"https://s3.{self.region}.amazonaws.com").rstrip("/")

    def __reduce__(self) -> NoReturn:
        raise TypeError("S3Settings hold a secret and are not pickled")


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))
