"""Canonical JSON: one value, one byte sequence; nothing that JSON can't carry; no hostile text."""

import json
import math
from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from traffic_storage.domain.canonical import (
    MAX_JSON_DEPTH,
    Json,
    canonical_json,
    json_copy,
    parse_json,
    parse_json_object,
)
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.entrypoints.testing import strategies as kit

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
INTEGERS = st.integers(-(2**1023), 2**1023)
SCALARS = (
    st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
)
VALUES: st.SearchStrategy[Json] = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(TEXTS, inner, max_size=5)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(TEXTS, inner, max_size=3).map(MappingProxyType)
    ),
    max_leaves=20,
)


def plain(value: Json) -> Json:
    match value:
        case Mapping():
            return {key: plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case _:
            return value


def nested(levels: int) -> Json:
    value: Json = 1
    for _ in range(levels):
        value = [value]
    return value


@given(VALUES)
def test_what_is_written_is_read_again(value: Json) -> None:
    text = canonical_json(value)
    assert parse_json(text, "metadata") == plain(value)
    assert canonical_json(parse_json(text, "metadata")) == text
    assert json.loads(text) == plain(value)


@given(st.dictionaries(TEXTS, SCALARS, max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_keys_makes_no_difference(value: dict[str, Json], random: object) -> None:
    keys = list(value)
    random.shuffle(keys)  # type: ignore[attr-defined]
    assert canonical_json({key: value[key] for key in keys}) == canonical_json(value)


def test_keys_are_sorted_by_code_point_and_nothing_is_spaced() -> None:
    value: Json = {"b": [1, 2.0, True, None], "a": {"é": "ñ\n", "Z": ""}, "\U0001f600": 0}
    assert canonical_json(value) == (
        '{"a":{"Z":"","é":"ñ\\n"},"b":[1,2.0,true,null],"\U0001f600":0}'.encode()
    )


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (math.nan, "metadata"),
        ({"a": [0, math.inf]}, "metadata.a[1]"),
        ({"a": {"b": -math.inf}}, "metadata.a.b"),
        ({"speed": 10**400}, "metadata.speed"),
        ({"speed": -(10**5000)}, "metadata.speed"),
        ({1: "a"}, "metadata"),
        ({None: "a"}, "metadata"),
        ({"a": b"bytes"}, "metadata.a"),
        ({"a": datetime(2025, 1, 1)}, "metadata.a"),
        ({"a": {1, 2}}, "metadata.a"),
        ({"a": np.float32(1)}, "metadata.a"),
        ({"a": np.zeros(3)}, "metadata.a"),
        ({"a": "\ud800"}, "metadata.a"),
        ({"\udfff": 1}, "metadata"),
    ],
)
def test_what_json_cannot_carry_is_named_by_its_place(value: object, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        canonical_json(value)  # type: ignore[arg-type]
    (problem,) = caught.value.problems
    assert problem.field == field
    assert problem.message
    assert problem.remedy


def test_a_hostile_key_does_not_reach_a_log_as_it_is() -> None:
    with pytest.raises(InvalidInput) as caught:
        canonical_json({"line\nbreak\u202e" + "x" * 1000: math.nan})
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


def test_as_deep_as_allowed_and_no_deeper() -> None:
    assert canonical_json(nested(MAX_JSON_DEPTH)).startswith(b"[[[[")
    for levels in (MAX_JSON_DEPTH + 1, 100_000):
        with pytest.raises(InvalidInput, match="more than 64 levels"):
            canonical_json(nested(levels))
    ring: list[object] = []
    ring.append(ring)
    with pytest.raises(InvalidInput, match="more than 64 levels"):
        canonical_json(ring)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "{'a': 1}",
        "[1,]",
        "NaN",
        '{"a": Infinity}',
        "-Infinity",
        '{"a": 1, "a": 1}',
        '{"a": {"b": 1, "b": 2}}',
        '"\\ud800"',
        "1e999",
        "1" + "0" * 400,
        "9" * 5000,
        "[" * 66 + "]" * 66,
        "[" * 100_000,
        '{"a":' * 100_000,
        "\ufeff{}",
        b"\xff\xfe",
        b"\xed\xa0\x80",
        b'"\xed\xa0\x80"',
        "{} {}",
        "01",
    ],
)
def test_what_is_no_strict_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_json(text, "vehicle_bbox")
    (problem,) = caught.value.problems
    assert problem.field.startswith("vehicle_bbox")
    assert problem.remedy


@given(st.text() | st.binary() | st.text('[]{}",:0123456789.eE-+truefalsn\\u ') | VALUES.map(repr))
@example("-0")
@example("1E400")
def test_any_text_is_read_or_refused(text: str | bytes) -> None:
    try:
        value = parse_json(text, "metadata")
    except InvalidInput:
        return
    assert parse_json(canonical_json(value), "metadata") == value


@pytest.mark.parametrize("text", ["[]", "1", '"a"', "null", "true"])
def test_what_must_be_an_object_is_one(text: str) -> None:
    assert parse_json_object('{"b": 1, "a": {}}', "camera_info") == {"b": 1, "a": {}}
    with pytest.raises(InvalidInput, match="camera_info: is not a JSON object"):
        parse_json_object(text, "camera_info")


def test_subclasses_of_what_json_has_are_written_like_it() -> None:
    value: dict[str, Json] = OrderedDict(b=np.float64(0.5), a=True)
    assert canonical_json(value) == b'{"a":true,"b":0.5}'


@pytest.mark.parametrize("number", [np.float32(0.5), np.int64(7), np.uint8(1), Fraction(1, 2)])
def test_a_number_of_another_library_is_refused_with_how_to_convert_it(number: Any) -> None:
    with pytest.raises(InvalidInput, match=r"metadata\.a\[0\]: .*float\(x\) or int\(x\)"):
        canonical_json({"a": [number]})


@given(kit.json_values())
def test_a_copy_is_equal_and_nobody_elses(value: Any) -> None:
    text = canonical_json(value)
    copy: Any = json_copy(value)
    assert canonical_json(copy) == text
    assert copy is not value or not isinstance(value, dict | list)


def test_a_copy_has_numbers_of_its_own() -> None:
    copy: Any = json_copy({"a": (np.float32(0.5), np.int64(7), np.float64(1))})
    assert copy == {"a": [0.5, 7, 1.0]}
    assert [type(number) for number in copy["a"]] == [float, int, float]
    assert json_copy(Fraction(10**400)) == Fraction(10**400), "for canonical_json to refuse"


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("{}", 1),
        ('{"a": 1, "b": [2, 3, []]}', 6),
        ('["a,[{", "b\\\\", "c\\",["]', 3),
        ("[" * 60 + "]" * 60, 60),
        ('{"a": {"b": {}}}', 3),
        ('[" , , , , [ [ { ", 1]', 2),
    ],
)
def test_the_values_of_a_text_are_limited(text: str, values: int) -> None:
    for spelt in (text, text.encode()):
        assert parse_json(spelt, "field", values) == json.loads(text)
        with pytest.raises(InvalidInput, match=f"has more than {values - 1} values"):
            parse_json(spelt, "field", values - 1)


def test_a_text_with_too_many_values_is_not_parsed() -> None:
    with pytest.raises(InvalidInput, match="has more than 1000 values"):
        parse_json_object('{"a": [' + "[" * 100_000, "field", 1000)


@pytest.mark.timeout(60)
def test_values_are_counted_in_a_time_that_grows_with_the_text() -> None:
    # Of a text that is not closed, each escape could be the begin of another try.
    not_closed = "{" + 2000 * "," + '"' + 1_000_000 * '\\"'
    with pytest.raises(InvalidInput, match="has more than 1000 values"):
        parse_json(not_closed, "field", 1000)


def test_commas_in_a_long_text_are_no_values() -> None:
    text = json.dumps({"table": 100_000 * 'a,"b"\\,'})
    assert parse_json(text, "field", 1000) == json.loads(text)
