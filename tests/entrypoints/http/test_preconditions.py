"""Conditional and partial requests, as RFC 9110 has them."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traffic_storage.domain.verification import Span
from traffic_storage.entrypoints.http.preconditions import Conditions, Decision, Verdict, decide

ETAG = '"abc"'
SIZE = 100
MODIFIED = datetime(2026, 3, 14, 12, 0, 7, tzinfo=UTC)
AT = "Sat, 14 Mar 2026 12:00:07 GMT"
BEFORE = "Sat, 14 Mar 2026 12:00:06 GMT"
AFTER = "Sat, 14 Mar 2026 12:00:08 GMT"
NO_DATES = ["", "yesterday", "0", "x" * 5000, "Sat, 99 Mar 2026 12:00:07 GMT"]


def decided(method: str = "GET", **headers: str) -> Decision:
    return decide(
        Conditions(**headers), method=method, etag=ETAG, modified=MODIFIED, size_bytes=SIZE
    )


@pytest.mark.parametrize(
    ("field", "span"),
    [
        ("bytes=0-0", Span(0, 1)),
        ("bytes=0-9", Span(0, 10)),
        ("bytes=10-", Span(10, 100)),
        ("bytes=99-", Span(99, 100)),
        ("bytes=-1", Span(99, 100)),
        ("bytes=-1000", Span(0, 100)),
        ("bytes=0-100000", Span(0, 100)),
        ("bytes=90-99999999999999999999", Span(90, 100)),
        ("BYTES=1-2", Span(1, 3)),
        (" bytes = 1-2 ", Span(1, 3)),
    ],
)
def test_one_range_gives_its_bytes(field: str, span: Span) -> None:
    assert decided(range=field) == Decision(Verdict.PART, span)


@pytest.mark.parametrize("field", ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=10000000-"])
def test_a_range_without_a_byte_is_not_satisfiable(field: str) -> None:
    assert decided(range=field).verdict is Verdict.UNSATISFIABLE


@pytest.mark.parametrize(
    "field",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=5-4",
        "bytes=1",
        "bytes=0-1,5-6",
        "bytes=\u0660-\u0669",
        "lines=0-1",
        "bytes=" + "9" * 10_000 + "-",
        "bytes=--1",
        "bytes=1-2-3",
    ],
)
def test_malformed_foreign_and_several_ranges_are_answered_whole(field: str) -> None:
    assert decided(range=field) == Decision(Verdict.WHOLE, Span(0, SIZE))


def test_a_head_ignores_ranges() -> None:
    assert decided("HEAD", range="bytes=0-1").verdict is Verdict.WHOLE


@pytest.mark.parametrize("field", [ETAG, f"W/{ETAG}", f'"x", {ETAG}', "*", f'W/"x",W/{ETAG}'])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_client_that_has_the_content_gets_none(method: str, field: str) -> None:
    assert decided(method, if_none_match=field).verdict is Verdict.NOT_MODIFIED


@pytest.mark.parametrize("field", ['"other"', "abc", "", 'W/"other"', '"abc'])
def test_a_client_that_has_other_content_gets_ours(field: str) -> None:
    assert decided(if_none_match=field).verdict is Verdict.WHOLE


def test_not_modified_comes_before_the_range() -> None:
    assert decided(if_none_match=ETAG, range="bytes=0-1").verdict is Verdict.NOT_MODIFIED


@pytest.mark.parametrize(("field", "met"), [(ETAG, True), ("*", True), (f"W/{ETAG}", False)])
def test_if_match_compares_strongly_and_goes_first(field: str, met: bool) -> None:
    expected = Verdict.NOT_MODIFIED if met else Verdict.FAILED
    assert decided(if_match=field, if_none_match=ETAG).verdict is expected


@pytest.mark.parametrize(
    ("field", "verdict"),
    [
        (ETAG, Verdict.PART),
        (f"W/{ETAG}", Verdict.WHOLE),
        ('"old"', Verdict.WHOLE),
        ("Sat, 01 Nov 2025 10:00:00 GMT", Verdict.WHOLE),
    ],
)
def test_a_range_of_other_content_is_answered_whole(field: str, verdict: Verdict) -> None:
    assert decided(range="bytes=0-1", if_range=field).verdict is verdict


@given(st.text(max_size=60), st.integers(min_value=0, max_value=2**40))
def test_whatever_a_range_says_the_span_lies_in_the_file(text: str, size: int) -> None:
    conditions = Conditions(range=f"bytes={text}")
    decision = decide(conditions, method="GET", etag=ETAG, modified=MODIFIED, size_bytes=size)
    assert decision.span.stop <= size
    assert decision.verdict is not Verdict.PART or decision.span.length > 0


@pytest.mark.parametrize(
    ("date", "verdict"),
    [
        (AT, Verdict.NOT_MODIFIED),
        (AFTER, Verdict.NOT_MODIFIED),
        ("Saturday, 14-Mar-26 12:00:07 GMT", Verdict.NOT_MODIFIED),
        ("Sat Mar 14 12:00:07 2026", Verdict.NOT_MODIFIED),
        (BEFORE, Verdict.WHOLE),
        *((date, Verdict.WHOLE) for date in NO_DATES),
    ],
)
def test_what_is_not_newer_than_a_date_is_not_sent(date: str, verdict: Verdict) -> None:
    for method in ("GET", "HEAD"):
        assert decided(method, if_modified_since=date).verdict is verdict
        # An ETag is exact, so the date beside it is ignored.
        assert decided(method, if_modified_since=date, if_none_match='"b"').verdict is Verdict.WHOLE


@pytest.mark.parametrize(
    ("date", "verdict"),
    [
        (BEFORE, Verdict.FAILED),
        (AT, Verdict.WHOLE),
        (AFTER, Verdict.WHOLE),
        *((date, Verdict.WHOLE) for date in NO_DATES),
    ],
)
def test_what_is_newer_than_a_date_fails(date: str, verdict: Verdict) -> None:
    assert decided(if_unmodified_since=date).verdict is verdict
    assert decided(if_unmodified_since=date, if_match=ETAG).verdict is Verdict.WHOLE


@pytest.mark.parametrize("date", [BEFORE, AFTER, *NO_DATES])
def test_only_the_exact_date_lets_a_range_apply(date: str) -> None:
    assert decided(range="bytes=1-2", if_range=AT).verdict is Verdict.PART
    assert decided(range="bytes=1-2", if_range=date).verdict is Verdict.WHOLE
