"""Errors: each says what is wrong, where, and what to do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traffic_storage.domain import errors
from traffic_storage.domain.errors import (
    Conflict,
    FieldProblem,
    InvalidInput,
    NotFound,
    StorageUnavailable,
    TrafficStorageError,
    WrongFields,
    shown,
)
from traffic_storage.ports.errors import CatalogueUnavailable, OutcomeUnknown

ALL = [
    error
    for error in vars(errors).values()
    if isinstance(error, type) and issubclass(error, TrafficStorageError)
]


def test_a_message_names_the_cause_and_the_remedy() -> None:
    error = StorageUnavailable("the bucket is away", remedy="bring it back")
    assert str(error) == "the bucket is away (bring it back)"
    assert (error.message, error.remedy) == ("the bucket is away", "bring it back")
    assert error.retry_after_seconds == 5
    assert str(TrafficStorageError("it failed")) == "it failed"


def test_several_wrong_fields_are_one_error() -> None:
    problems = [FieldProblem("a", "is empty", "fill it"), FieldProblem("b", "is blue")]
    error = InvalidInput(iter(problems))
    assert error.problems == tuple(problems)
    assert str(error) == "a: is empty (fill it); b: is blue"
    assert (error.message, error.remedy) == ("a: is empty; b: is blue", "fill it")


def test_a_remedy_of_several_fields_is_said_once() -> None:
    error = InvalidInput(FieldProblem(name, "is missing", "send it") for name in "abc")
    assert error.remedy == "send it"


@pytest.mark.parametrize("kind", [kind for kind in ALL if issubclass(kind, WrongFields)])
def test_one_wrong_field_is_named(kind: type[WrongFields]) -> None:
    error = kind.of("image", "is too large", "send a smaller one")
    assert type(error) is kind
    assert error.problems == (FieldProblem("image", "is too large", "send a smaller one"),)
    assert isinstance(error, ValueError)


def test_builtin_parents_fit() -> None:
    assert issubclass(errors.NotFound, LookupError)
    assert issubclass(errors.AccessDenied, PermissionError)
    assert issubclass(errors.Unavailable, ConnectionError)
    for kind in (errors.DigestMismatch, errors.UndecodableMedia, errors.UnsupportedMedia):
        assert issubclass(kind, InvalidInput)


def test_conflict_and_absence_name_the_id() -> None:
    conflict = Conflict("file", "a\n", "its pixels differ")
    assert str(conflict).startswith(r"file 'a\n' exists already with other content: its pixels")
    assert (conflict.what, conflict.identifier) == ("file", "a\n")
    assert conflict.difference == "its pixels differ"
    assert conflict.remedy
    absent = NotFound("file", "b")
    assert (
        str(absent)
        == "there is no file 'b' (check the id for typing errors; a file that was refused is not stored)"
    )
    assert (absent.what, absent.identifier) == ("file", "b")


def deep() -> object:
    value: list[object] = []
    for _ in range(100_000):
        value = [value]
    return value


@given(st.text() | st.binary() | st.integers() | st.floats() | st.lists(st.text()))
def test_a_quoted_value_is_short_and_printable(value: object) -> None:
    assert len(shown(value)) <= 80
    assert shown(value).isprintable()


@pytest.mark.parametrize("value", [10**5000, deep(), "\n" * 10**6], ids=["huge", "deep", "long"])
def test_any_value_can_be_quoted(value: object) -> None:
    assert len(shown(value)) <= 80


def test_a_quote_may_be_as_long_as_it_is_asked_for() -> None:
    assert shown("abc", 3) == "'ab"


def test_a_store_and_the_catalogue_are_away_by_errors_of_their_own() -> None:
    """No `except` for one of them catches the other, in whatever order they are written."""
    assert issubclass(errors.StorageUnavailable, errors.Unavailable)
    assert issubclass(CatalogueUnavailable, errors.Unavailable)
    assert issubclass(OutcomeUnknown, CatalogueUnavailable)
    assert not issubclass(CatalogueUnavailable, errors.StorageUnavailable)
    assert not issubclass(errors.StorageUnavailable, CatalogueUnavailable)
