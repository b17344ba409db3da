"""A signed report: any change of it is told, and so is another key."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traffic_storage.domain.canonical import Json, canonical_json, parse_json_object
from traffic_storage.domain.errors import DigestMismatch, InvalidInput
from traffic_storage.domain.signed_report import report_in, signed_report

KEY, SCHEMA = b"k" * 32, "a-report/1"
REPORT: dict[str, Json] = {"days": [{"day": "2026-03-14", "files": 3}], "equal": True, "é": None}


def test_a_report_comes_back() -> None:
    assert report_in(signed_report(SCHEMA, REPORT, KEY), SCHEMA, KEY) == REPORT


def test_layout_does_not_matter() -> None:
    text = signed_report(SCHEMA, REPORT, KEY).replace(b",", b" ,\n ")
    assert report_in(text, SCHEMA, KEY) == REPORT


def test_another_key_is_told_from_a_change() -> None:
    document = signed_report(SCHEMA, REPORT, KEY)
    with pytest.raises(DigestMismatch, match=r"was signed with another key .* than that") as raised:
        report_in(document, SCHEMA, b"x" * 32)
    assert "settings" in raised.value.remedy
    assert "changed since" not in str(raised.value)
    with pytest.raises(DigestMismatch, match="was changed since it was signed") as raised:
        report_in(document.replace(b'"files":3', b'"files":4'), SCHEMA, KEY)
    assert "another key" not in str(raised.value)


def test_a_report_that_names_no_key_may_have_another_or_be_changed() -> None:
    """As an earlier version has made it."""
    document = re.sub(rb'"key_id":"[0-9a-f]+",', b"", signed_report(SCHEMA, REPORT, KEY))
    assert report_in(document, SCHEMA, KEY) == REPORT
    with pytest.raises(DigestMismatch, match="with another key, or was changed"):
        report_in(document, SCHEMA, b"x" * 32)


def test_the_name_of_a_key_tells_nothing_of_it() -> None:
    names = {signed_report(SCHEMA, REPORT, key).split(b'"key_id":')[1][:18] for key in (KEY, b"x")}
    assert len(names) == 2
    assert KEY not in signed_report(SCHEMA, REPORT, KEY)


@given(st.data())
def test_every_changed_byte_is_told(data: st.DataObject) -> None:
    document = signed_report(SCHEMA, REPORT, KEY)
    at = data.draw(st.integers(0, len(document) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != document[at]))
    changed = document[:at] + bytes([other]) + document[at + 1 :]
    try:
        same = canonical_json(parse_json_object(changed, "x")) == document
    except InvalidInput:
        same = False
    if same:
        return
    try:
        found = report_in(changed, SCHEMA, KEY)
    except InvalidInput:  # DigestMismatch is one
        return
    # Only a word that is not signed may differ, such as the name of the algorithm.
    assert found == REPORT


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"schema": "a-report/1", "report": 3}'])
def test_what_is_no_report_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidInput):
        report_in(text, SCHEMA, KEY)
