"""Signed reports: a JSON document with an HMAC-SHA256 (RFC 2104) of what it reports.

The signature proves to whoever has the key that a holder of the key made the report and that no
character of it was changed since. It proves nothing to others: who can check it can also make it.
"""

import hashlib
import hmac
from collections.abc import Mapping

from traffic_storage.domain.canonical import Json, canonical_json, parse_json_object
from traffic_storage.domain.errors import DigestMismatch, InvalidInput, shown

ALGORITHM = "hmac-sha256"
_ID_DIGITS = 16
_REMEDY = "check it with the settings, and so the url_signing_key, of the target of the migration"


def signed_report(schema: str, report: Mapping[str, Json], key: bytes) -> bytes:
    """Return a report as canonical JSON with its schema and its signature."""
    signature = {
        "algorithm": ALGORITHM,
        "key_id": _key_id(key),
        "value": _signature(schema, report, key),
    }
    return canonical_json({"schema": schema, "report": report, "signature": signature}, "report")


def report_in(document: bytes, schema: str, key: bytes) -> Mapping[str, Json]:
    """Return the report in a document that `signed_report` made with this key.

    Raises:
        InvalidInput: it is no such document.
        DigestMismatch: the report was changed, or signed with another key; the message says which,
            but for a report of an earlier version, which does not name its key.
    """
    found = parse_json_object(document, "report")
    report, signature = found.get("report"), found.get("signature")
    if (
        found.get("schema") != schema
        or not isinstance(report, Mapping)
        or not isinstance(signature, Mapping)
    ):
        raise InvalidInput.of("report", f"is not a document of the kind {schema}")
    value, known = str(signature.get("value")), signature.get("key_id")
    if hmac.compare_digest(_signature(schema, report, key).encode(), value.encode()):
        return report
    own = _key_id(key)
    if known is None:
        raise DigestMismatch.of(
            "report", "was signed with another key, or was changed since it was signed", _REMEDY
        )
    if known != own:
        raise DigestMismatch.of(
            "report",
            f"was signed with another key ({shown(known)}) than that of this configuration ({own}), "
            "with which can't be checked whether it was changed",
            _REMEDY,
        )
    raise DigestMismatch.of(
        "report", "was changed since it was signed", "compare it with the copy that was kept"
    )


def _key_id(key: bytes) -> str:
    """Return what tells one key from another, and nothing about its value."""
    return hmac.digest(key, b"the id of this key", hashlib.sha256).hex()[:_ID_DIGITS]


def _signature(schema: str, report: Mapping[str, Json], key: bytes) -> str:
    signed = canonical_json({"schema": schema, "report": report}, "report")
    return hmac.digest(key, signed, hashlib.sha256).hex()
