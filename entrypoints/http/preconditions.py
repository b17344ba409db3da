"""The decision on conditional and range requests, as pure functions of header values.

The functions implement RFC 9110, sections 8.8.3 (ETags), 13 (conditional requests) and 14 (ranges).
"""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import IntEnum

from attrs import frozen

from traffic_storage.domain.verification import Span

_ENTITY_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_LONGEST_DATE = 64
_RANGES = re.compile(r"bytes[ \t]*=[ \t]*(.+)", re.IGNORECASE)
# 30 digits exceed every size. The bound is necessary because int() refuses more than 4300 digits.
_RANGE = re.compile(r"(\d{0,30})-(\d{0,30})", re.ASCII)


class Verdict(IntEnum):
    """The status of the response."""

    WHOLE = 200
    PART = 206
    NOT_MODIFIED = 304
    FAILED = 412
    UNSATISFIABLE = 416


@frozen
class Conditions:
    """The conditional and Range headers of a request; None for an absent header."""

    if_match: str | None = None
    if_none_match: str | None = None
    range: str | None = None
    if_range: str | None = None
    if_modified_since: str | None = None
    if_unmodified_since: str | None = None


@frozen
class Decision:
    """The status of the response and, for WHOLE and PART, the span of bytes to send."""

    verdict: Verdict
    span: Span


def decide(
    conditions: Conditions, *, method: str, etag: str, modified: datetime, size_bytes: int
) -> Decision:
    """Return the decision for a GET or HEAD request, evaluated in the order of section 13.2.2.

    `etag` is a strong ETag with its quotes, `modified` the time of Last-Modified, in whole seconds.
    A date counts only where there is no condition with an ETag. A request for several ranges gets the whole file, which
    section 14.2 allows. The range of a HEAD request is ignored, which section 14.2 requires.
    """
    whole = Span(0, size_bytes)
    if conditions.if_match is not None and not _matches(conditions.if_match, etag, weak=False):
        return Decision(Verdict.FAILED, whole)
    if conditions.if_match is None and _is_before(conditions.if_unmodified_since, modified):
        return Decision(Verdict.FAILED, whole)
    if conditions.if_none_match is not None:
        if _matches(conditions.if_none_match, etag, weak=True):
            return Decision(Verdict.NOT_MODIFIED, whole)
    elif (since := _date(conditions.if_modified_since)) is not None and modified <= since:
        return Decision(Verdict.NOT_MODIFIED, whole)
    if method != "GET" or conditions.range is None:
        return Decision(Verdict.WHOLE, whole)
    if not _range_holds(conditions.if_range, etag, modified):
        return Decision(Verdict.WHOLE, whole)
    return _part(conditions.range, whole)


def _matches(field: str, etag: str, *, weak: bool) -> bool:
    """Return whether the value of If-Match or If-None-Match is `*` or lists the ETag `etag`.

    Sections 13.1.1 and 13.1.2; section 8.8.3.2 defines the weak and the strong comparison.
    """
    if field.strip() == "*":
        return True
    tags = _ENTITY_TAG.finditer(field)
    return any(f'"{tag[2]}"' == etag for tag in tags if weak or not tag[1])


def _range_holds(if_range: str | None, etag: str, modified: datetime) -> bool:
    """Return whether If-Range lets the Range header apply (section 13.1.5, strong comparison).

    A date must be exactly that of Last-Modified; it is strong, because the content never changes.
    """
    if if_range is None or if_range.strip() == etag:
        return True
    return '"' not in if_range and _date(if_range) == modified


def _is_before(date: str | None, modified: datetime) -> bool:
    given = _date(date)
    return given is not None and given < modified


def _date(field: str | None) -> datetime | None:
    """Return the time of an HTTP date (section 5.6.7); None if there is none, or it is malformed."""
    try:
        found = parsedate_to_datetime(field) if field and len(field) < _LONGEST_DATE else None
    except (ValueError, TypeError, OverflowError):
        return None
    if found is None:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def _part(field: str, whole: Span) -> Decision:
    """Return which bytes to send for the value of a Range header.

    A malformed range, or one in another unit than bytes, is ignored (sections 14.1.2 and 14.2).
    """
    ranges = _RANGES.fullmatch(field.strip())
    found = _RANGE.fullmatch(ranges[1].strip()) if ranges else None
    if found is None or not (found[1] or found[2]):
        return Decision(Verdict.WHOLE, whole)
    size = whole.length
    if not found[1]:
        return _suffix(int(found[2]), size)
    first = int(found[1])
    last = int(found[2]) if found[2] else size - 1
    if found[2] and last < first:
        return Decision(Verdict.WHOLE, whole)
    if first >= size:
        return Decision(Verdict.UNSATISFIABLE, Span(0, 0))
    return Decision(Verdict.PART, Span(first, min(last + 1, size)))


def _suffix(length: int, size: int) -> Decision:
    if length == 0 or size == 0:
        return Decision(Verdict.UNSATISFIABLE, Span(0, 0))
    return Decision(Verdict.PART, Span(max(0, size - length), size))
