"""What a conditional or partial request gets: pure functions over header values.

RFC 9110, sections 8.8.3 (entity tags), 13 (conditional requests) and 14 (ranges). Nothing here
reads or sends.
"""

import re
from enum import IntEnum

from attrs import frozen

from traffic_storage.domain.verification import Span

_ENTITY_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_RANGES = re.compile(r"bytes[ \t]*=[ \t]*(.+)", re.IGNORECASE)
# More digits than any size has; int() refuses thousands of them.
_RANGE = re.compile(r"(\d{0,30})-(\d{0,30})", re.ASCII)


class Verdict(IntEnum):
    """What is answered, as a status code."""

    WHOLE = 200
    PART = 206
    NOT_MODIFIED = 304
    FAILED = 412
    UNSATISFIABLE = 416


@frozen
class Conditions:
    """The headers of a request that decide; None where a header is absent."""

    if_match: str | None = None
    if_none_match: str | None = None
    range: str | None = None
    if_range: str | None = None


@frozen
class Decision:
    """The verdict, and the span of bytes to send for WHOLE and PART."""

    verdict: Verdict
    span: Span


def decide(conditions: Conditions, *, method: str, etag: str, size_bytes: int) -> Decision:
    """What a GET or HEAD gets, in the order of RFC 9110, section 13.2.2.

    `etag` is strong and comes with its quotes. Several ranges are answered whole, as section
    14.2 allows; a range of HEAD is ignored, as it demands.
    """
    whole = Span(0, size_bytes)
    if conditions.if_match is not None and not _matches(conditions.if_match, etag, weak=False):
        return Decision(Verdict.FAILED, whole)
    if conditions.if_none_match is not None and _matches(conditions.if_none_match, etag, weak=True):
        return Decision(Verdict.NOT_MODIFIED, whole)
    if method != "GET" or conditions.range is None or not _range_holds(conditions.if_range, etag):
        return Decision(Verdict.WHOLE, whole)
    return _part(conditions.range, whole)


def _matches(field: str, etag: str, *, weak: bool) -> bool:
    """Sections 13.1.1 and 13.1.2: `*`, or one of the listed tags compares equal (8.8.3.2)."""
    if field.strip() == "*":
        return True
    tags = _ENTITY_TAG.finditer(field)
    return any(f'"{tag[2]}"' == etag for tag in tags if weak or not tag[1])


def _range_holds(if_range: str | None, etag: str) -> bool:
    """Section 13.1.5: strong comparison; a date never holds, since none is ever sent."""
    return if_range is None or if_range.strip() == etag


def _part(field: str, whole: Span) -> Decision:
    """Sections 14.1.2 and 14.2: what is malformed or of another unit is ignored."""
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
