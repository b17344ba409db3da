"""Identifiers: which texts may be one, and ids that are derived from what was given."""

import string
from datetime import UTC, datetime, timedelta
from typing import TypedDict
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traffic_storage.domain.canonical import Json
from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.identifiers import (
    MAX_FILE_ID,
    MAX_TEXT,
    MAX_VIOLATION_ID,
    derived_file_id,
    evidence_file_id,
    id_problem,
    keyed_file_id,
    known_file_id,
    new_file_id,
    text_problem,
    violation_id,
)

ALLOWED = string.ascii_letters + string.digits + "._-:@+="
GOOD_IDS = st.text(ALLOWED, min_size=1, max_size=MAX_VIOLATION_ID).filter(lambda t: t.strip("."))
HOSTILE = [
    "",
    ".",
    "..",
    "...",
    "a~b",
    "V001~image",
    "~",
    "a/b",
    "../etc/passwd",
    "a\\b",
    "a b",
    " a",
    "a\n",
    "a\x00b",
    "a\r\nSet-Cookie: x",
    "ä",
    "\u0430",
    "a\u202eb",
    "a\u200fb",
    "a\ufeff",
    "\u0661",
    "\ud800",
    "a%2Fb",
    "a?b",
    "a#b",
    "a*b",
    "a'b",
    'a"b',
    "a;b",
    "<a>",
    "a" * 10_000,
]
NO_TEXT: list[object] = [None, 1, 1.5, True, b"V001", ["V001"], {}]


@given(GOOD_IDS)
def test_every_text_of_the_allowed_characters_is_an_id(text: str) -> None:
    assert {new_file_id(text), known_file_id(text), str(violation_id(text))} == {text}


@given(st.text(max_size=250))
def test_an_id_is_accepted_exactly_by_the_rules(text: str) -> None:
    good = 1 <= len(text) <= MAX_FILE_ID and set(text) <= set(ALLOWED) and set(text) != {"."}
    assert (id_problem("file_id", text, MAX_FILE_ID) is None) == good


@pytest.mark.parametrize("text", [*HOSTILE, *NO_TEXT])
def test_a_hostile_id_is_refused_by_name_with_a_remedy(text: str) -> None:
    for make, field in ((new_file_id, "file_id"), (violation_id, "violation_id")):
        with pytest.raises(InvalidInput) as caught:
            make(text)
        (problem,) = caught.value.problems
        assert problem.field == field
        assert problem.remedy
        assert str(caught.value).isascii()
        assert str(InvalidInput([problem])).isprintable()
        assert len(str(caught.value)) < 3000


def test_ids_have_a_length() -> None:
    assert new_file_id("a" * MAX_FILE_ID)
    assert violation_id("a" * MAX_VIOLATION_ID)
    with pytest.raises(InvalidInput, match="at most 200"):
        new_file_id("a" * (MAX_FILE_ID + 1))
    with pytest.raises(InvalidInput, match="at most 180"):
        violation_id("a" * (MAX_VIOLATION_ID + 1))


@given(GOOD_IDS, st.sampled_from(["image", "video", "metadata"]))
def test_a_file_of_evidence_is_looked_up_but_never_stored_by_its_name(
    violation: str, kind: str
) -> None:
    name = evidence_file_id(violation_id(violation), kind)
    assert name == f"{violation}~{kind}"
    assert known_file_id(name) == name
    with pytest.raises(InvalidInput, match="reserved to evidence"):
        new_file_id(name)


@pytest.mark.parametrize(
    "text", ["V001~", "~image", "V001~images", "V~1~image", "V001~image\n", "V001~IMAGE", *NO_TEXT]
)
def test_what_looks_like_a_file_of_evidence_is_none(text: str) -> None:
    with pytest.raises(InvalidInput):
        known_file_id(text)


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=MAX_TEXT))
def test_a_device_may_have_any_printable_name(text: str) -> None:
    if text.isprintable():
        assert text_problem("device_id", text) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\t",
        "cam\n1",
        "cam\x00",
        "\u202ecam",
        "cam\u2066",
        "\u200f",
        "\ud800",
        "\x1b[31m",
        "\u00a0",
        "\u2028",
        "c" * (MAX_TEXT + 1),
        "c" * 10_000,
        *NO_TEXT,
    ],
)
def test_a_name_that_does_not_print_is_refused(text: str) -> None:
    problem = text_problem("device_id", text)
    assert problem
    assert problem.field == "device_id"
    assert problem.remedy
    assert str(InvalidInput([problem])).isprintable()


def test_a_name_may_be_as_long_as_it_is_asked_for() -> None:
    assert text_problem("vehicle_class", "c" * 200, 200) is None
    assert text_problem("vehicle_class", "c" * 201, 200) is not None


class Given(TypedDict):
    kind: str
    content_sha256: str
    device: str | None
    violation: str | None
    captured_at: datetime | None
    metadata: dict[str, Json] | None


TEXTS = st.none() | st.text("ab", max_size=2)
GIVEN: st.SearchStrategy[Given] = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["image", "video"]),
        "content_sha256": st.sampled_from(["0" * 64, "1" * 64]),
        "device": TEXTS,
        "violation": TEXTS,
        "captured_at": st.none() | st.datetimes(timezones=st.just(UTC)),
        "metadata": st.none() | st.dictionaries(st.text("ab", max_size=1), TEXTS, max_size=2),
    }
)  # type: ignore[assignment]


@given(GIVEN, GIVEN)
def test_the_same_gives_the_same_id_and_any_difference_another(one: Given, other: Given) -> None:
    assert derived_file_id(**one) == derived_file_id(**one)
    assert (derived_file_id(**one) == derived_file_id(**other)) == (one == other)


@given(GIVEN)
def test_a_derived_id_is_a_uuid_that_may_be_stored(one: Given) -> None:
    derived = derived_file_id(**one)
    assert UUID(derived).version == 5
    assert new_file_id(derived) == derived


def test_nothing_and_an_empty_thing_are_not_the_same() -> None:
    nothing = Given(
        kind="image",
        content_sha256="0" * 64,
        device=None,
        violation=None,
        captured_at=None,
        metadata=None,
    )
    at = datetime(2026, 3, 14, tzinfo=UTC)
    variants = [
        nothing,
        Given(**(nothing | {"metadata": {}})),
        Given(**(nothing | {"metadata": {"a": None}})),
        Given(**(nothing | {"device": "a"})),
        Given(**(nothing | {"violation": "a"})),
        Given(**(nothing | {"metadata": {"device_id": "a"}})),
        Given(**(nothing | {"captured_at": at})),
        Given(**(nothing | {"captured_at": at + timedelta.resolution})),
    ]
    assert len({derived_file_id(**variant) for variant in variants}) == len(variants)


def test_derived_ids_never_change() -> None:
    """They are kept by callers and found by retries of later versions."""
    derived = derived_file_id(
        kind="image",
        content_sha256="0" * 64,
        device="cam-1",
        violation="V001",
        captured_at=datetime(2026, 3, 14, 12, tzinfo=UTC),
        metadata={"lane": 2},
    )
    assert derived == "cd6a50ea-e021-57d9-a422-f6e5c9a6094e"
    assert (
        keyed_file_id(principal="p", key="k", role="image")
        == "de0b3dba-f544-5f47-8373-480b62b8615b"
    )


@given(st.tuples(*[st.text("a:|", max_size=3)] * 3), st.tuples(*[st.text("a:|", max_size=3)] * 3))
def test_a_key_stands_for_one_id_of_its_principal_and_endpoint(
    one: tuple[str, str, str], other: tuple[str, str, str]
) -> None:
    def keyed(parts: tuple[str, str, str]) -> str:
        principal, key, role = parts
        return keyed_file_id(principal=principal, key=key, role=role)

    assert (keyed(one) == keyed(other)) == (one == other)
    assert new_file_id(keyed(one))
