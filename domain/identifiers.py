"""Identifiers: their types, their rules, and the derivation of an id if the caller gave none.

A `file_id` or `violation_id` is ASCII and safe in a URL path, a file name and a header. Only ids
that this library gives to the files of a violation (`V001~image`) contain `~`; a caller's id can't,
so the two never collide.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import NewType
from uuid import UUID, uuid5

from traffic_storage.domain.canonical import Json, canonical_json
from traffic_storage.domain.errors import FieldProblem, InvalidInput

FileId = NewType("FileId", str)
ViolationId = NewType("ViolationId", str)
DeviceId = NewType("DeviceId", str)
StoreId = NewType("StoreId", str)
CatalogueId = NewType("CatalogueId", str)
Incarnation = NewType("Incarnation", str)
AttemptId = NewType("AttemptId", str)

MAX_FILE_ID = 200
MAX_VIOLATION_ID = 180
MAX_TEXT = 128

_ID = re.compile(r"[A-Za-z0-9._\-:@+=]+")
_EVIDENCE_ID = re.compile(r"[A-Za-z0-9._\-:@+=]+~(?:image|video|metadata)")
_NAMESPACE = UUID("6f1d0d3e-5b0a-5c57-9a53-6a8d6f5a3f11")
_ID_REMEDY = "use ASCII letters, digits and . _ - : @ + =, not only dots"


def id_problem(field: str, text: object, longest: int) -> FieldProblem | None:
    """Return what is wrong with an id that a caller gives, or None if it is valid.

    `field` is the name of the input field in the problem; `longest` is the allowed length.
    """
    if not isinstance(text, str):
        return FieldProblem(field, f"must be text, not {type(text).__name__}", _ID_REMEDY)
    if not text:
        return FieldProblem(field, "is empty", _ID_REMEDY)
    if len(text) > longest:
        return FieldProblem(
            field, f"has {len(text)} characters", f"use at most {longest} characters"
        )
    if "~" in text:
        return FieldProblem(
            field,
            "contains '~', which is reserved to evidence: the files of violations",
            _ID_REMEDY,
        )
    if not _ID.fullmatch(text):
        return FieldProblem(
            field, f"contains characters that are not allowed: {text!a}", _ID_REMEDY
        )
    if not text.strip("."):
        return FieldProblem(field, "consists of dots only", _ID_REMEDY)
    return None


def text_problem(field: str, text: object, longest: int = MAX_TEXT) -> FieldProblem | None:
    """Return what is wrong with a name (of a device, a violation type, …), or None if it is valid.

    A valid name is printable Unicode, not blank, and has at most `longest` characters. `field` is
    the name of the input field in the problem.
    """
    if not isinstance(text, str):
        return FieldProblem(field, f"must be text, not {type(text).__name__}", "give a text")
    if not text.strip():
        return FieldProblem(field, "is empty", "give a text that is not blank")
    if len(text) > longest:
        return FieldProblem(
            field, f"has {len(text)} characters", f"use at most {longest} characters"
        )
    if not text.isprintable():
        return FieldProblem(
            field,
            f"contains control, bidirectional or unprintable characters: {text!a}",
            "remove them",
        )
    return None


def new_file_id(text: str) -> FileId:
    """Check the id that a caller gives to a new file, and return it.

    Raises:
        InvalidInput: `text` breaks the rules for ids, or contains the reserved `~`.
    """
    if problem := id_problem("file_id", text, MAX_FILE_ID):
        raise InvalidInput([problem])
    return FileId(text)


def known_file_id(text: str) -> FileId:
    """Check the id of a file to look up, and return it.

    Unlike the id of a new file, it may be the id of a violation's file (`V001~image`).

    Raises:
        InvalidInput: no file can have this id.
    """
    problem = id_problem("file_id", text, MAX_FILE_ID)
    if problem and not _is_evidence_id(text):
        raise InvalidInput([problem])
    return FileId(text)


def is_known_id(text: object) -> bool:
    """Return whether a value has the form of a file's or a violation's id."""
    return _is_evidence_id(text) or id_problem("id", text, MAX_FILE_ID) is None


def violation_id(text: str) -> ViolationId:
    """Check the id of a violation, and return it.

    Raises:
        InvalidInput: `text` breaks the rules for ids.
    """
    if problem := id_problem("violation_id", text, MAX_VIOLATION_ID):
        raise InvalidInput([problem])
    return ViolationId(text)


def evidence_file_id(violation: ViolationId, kind: str) -> FileId:
    """Return the id of a violation's file of this kind, as `V001~image` for the image of `V001`."""
    return FileId(f"{violation}~{kind}")


def derived_file_id(
    *,
    kind: str,
    content_sha256: str,
    device: str | None,
    violation: str | None,
    captured_at: datetime | None,
    metadata: Mapping[str, Json] | None,
) -> FileId:
    """Return the id of a file for which the caller gave none: a UUIDv5 (RFC 9562) of the arguments.

    A repeated request with the same arguments gets the same id; if any argument differs, the id
    differs.
    """
    given: dict[str, Json] = {
        "kind": kind,
        "sha256": content_sha256,
        "device_id": device,
        "violation_id": violation,
        "captured_at": captured_at.isoformat() if captured_at else None,
        "metadata": dict(metadata) if metadata is not None else None,
    }
    return FileId(str(uuid5(_NAMESPACE, canonical_json(given).decode())))


def _is_evidence_id(text: object) -> bool:
    return (
        isinstance(text, str)
        and len(text) <= MAX_FILE_ID
        and _EVIDENCE_ID.fullmatch(text) is not None
    )


def keyed_file_id(*, principal: str, key: str, role: str) -> FileId:
    """Return the file id derived from the `Idempotency-Key` of a request without a file id.

    The same key of the same principal (the identity of the request) at the same endpoint, which
    `role` names, gives the same id.
    """
    given: dict[str, Json] = {"principal": principal, "key": key, "role": role}
    return FileId(str(uuid5(_NAMESPACE, canonical_json(given).decode())))
