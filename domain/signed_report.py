"""Signed reports: a JSON document with an HMAC-SHA256 (RFC 2104) of what it reports.

The signature proves to whoever has the key that a holder of the key made the report and that no
character of it was changed since. It proves nothing to others: who can check it can also make it.
"""

import hashlib
import hmac
from collections.abc import Mapping

from traffic_storage.domain.canonical import Json, canonical_json, parse_json_object
from traffic_storage.domain.errors import DigestMismatch, InvalidInput

ALGORITHM = "hmac-sha256"


def signed_report(schema: str, report: Mapping[str, Json], key: bytes) -> bytes:
    """Return a report as canonical JSON with its schema and its signature."""
    signature = {"algorithm": ALGORITHM, "value": _signature(schema, report, key)}
    return canonical_json({"schema": schema, "report": report, "signature": signature}, "report")


def report_in(document: bytes, schema: str, key: bytes) -> Mapping[str, Json]:
    """Return the report in a document that `signed_report` made with this key.

    Raises:
        InvalidInput: it is no such document.
        DigestMismatch: the report was changed, or signed with another key.
    """
    found = parse_json_object(document, "report")
    report, signature = found.get("report"), found.get("signature")
    if (
        found.get("schema") != schema
        or not isinstance(report, Mapping)
        or not isinstance(signature, Mapping)
    ):
        raise InvalidInput.of("report", f"is not a document of the kind {schema}")
    value = str(signature.get("value"))
    if not hmac.compare_digest(_signature(schema, report, key).encode(), value.encode()):
        raise DigestMismatch.of(
            "report",
            "was changed since it was signed, or was signed with another key",
            "check it with the url_signing_key of the target of the migration",
        )
    return report


def _signature(schema: str, report: Mapping[str, Json], key: bytes) -> str:
    signed = canonical_json({"schema": schema, "report": report}, "report")
    return hmac.digest(key, signed, hashlib.sha256).hex()
