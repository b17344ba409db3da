"""What S3 and the way to it answer: each cause is named, with the setting that remedies it.

The texts are those of obstore 0.12, cut.
"""

import pytest
from obstore.exceptions import GenericError, PermissionDeniedError

from traffic_storage.adapters.s3.answers import Throttled, port_error
from traffic_storage.ports.errors import StorageUnavailable

PLACE = "http://s3.example/evidence"


def answered(status: int, code: str = "", message: str = "", verb: str = "PUT") -> str:
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>" if code else ""
    return (
        f"Generic S3 error: Error performing {verb} {PLACE}/a in 1ms - "
        f"Server returned non-2xx status code: {status} Bad Request: {body}"
    )


@pytest.mark.parametrize(
    ("text", "said", "remedy"),
    [
        (
            answered(
                400,
                "AuthorizationHeaderMalformed",
                "the region 'us-east-1' is wrong; expecting 'eu-central-1'",
            ),
            "another region, eu-central-1",
            "s3_region",
        ),
        ("Received redirect without LOCATION, this normally …", "another region", "s3_region"),
        (answered(301, "PermanentRedirect"), "another region", "s3_endpoint"),
        (answered(400, "ExpiredToken"), "expired", "s3_session_token"),
        (answered(403, "InvalidToken"), "expired or wrong", "s3_session_token"),
        (answered(403, "SecondLevelDomainForbidden"), "virtual", "s3_virtual_hosted_style"),
        (answered(403, "PathStyleDomainForbidden"), "virtual", "s3_virtual_hosted_style"),
        (
            answered(400, "InvalidArgument", "Unsupported header 'x-amz-checksum-sha256'"),
            "checksum",
            "s3_checksum_headers",
        ),
        (
            answered(501, "NotImplemented", "x-amz-sdk-checksum-algorithm"),
            "checksum",
            "s3_checksum_headers",
        ),
        (answered(501, "NotImplemented"), "If-None-Match", "s3_conditional_writes"),
        ("Unable to extract metadata: ETag Header missing", "no S3 service", "s3_endpoint"),
        ("Received non-partial response when range …", "no S3 service", "s3_endpoint"),
        ("kind: Connect … invalid peer certificate: UnknownIssuer", "certificate", "s3_ca_file"),
        (answered(403, "AccessDenied"), "AccessDenied", "s3:ListBucket"),
        (answered(403, "RequestTimeTooSkewed"), "RequestTimeTooSkewed", "clock"),
        (answered(403, "SignatureDoesNotMatch"), "credentials", "s3_secret_key"),
        (answered(403, "InvalidAccessKeyId"), "credentials", "s3_session_token"),
        (answered(403, verb="HEAD"), "credentials: 403", "policy"),
    ],
)
def test_the_cause_and_the_setting_are_named(text: str, said: str, remedy: str) -> None:
    kind = PermissionDeniedError if " 403 " in text else GenericError
    found = port_error(kind(text), PLACE, "a", creates=True)
    assert type(found) is StorageUnavailable
    assert said in found.message
    assert remedy in found.remedy


@pytest.mark.parametrize(
    "text",
    [
        answered(503, "SlowDown"),
        answered(429),
        answered(429, "TooManyRequests"),
        answered(400, "Throttling"),
        answered(503, verb="HEAD"),
    ],
)
def test_the_request_to_send_less_is_told_apart(text: str) -> None:
    assert isinstance(port_error(GenericError(text), PLACE, "a", creates=False), Throttled)


@pytest.mark.parametrize(
    "text", [answered(503), answered(503, "ServiceUnavailable"), answered(500)]
)
def test_a_server_that_is_not_able_is_an_outage(text: str) -> None:
    assert type(port_error(GenericError(text), PLACE, "a", creates=False)) is StorageUnavailable


def test_the_proxy_on_the_way_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    error = GenericError("Error performing GET … kind: Connect")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    assert "HTTP_PROXY" in port_error(error, PLACE, "", creates=False).message
    monkeypatch.setenv("no_proxy", "s3.example")
    assert "HTTP_PROXY" not in port_error(error, PLACE, "", creates=False).message
