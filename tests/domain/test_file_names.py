"""Original file names: the name alone, printable, bounded."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traffic_storage.domain.file_names import MAX_FILE_NAME, file_name_of, file_name_problem


@pytest.mark.parametrize("name", ["a.jpg", "Straße 7 é.mp4", ".hidden", "a" * MAX_FILE_NAME, "…"])
def test_a_name_is_kept_as_it_is(name: str) -> None:
    assert file_name_problem("filename", name) is None
    assert file_name_of(name) == name


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("a/b", "path"),
        ("C:\\x.jpg", "path"),
        ("..", "path"),
        (".", "path"),
        ("a\0b", "unprintable"),
        ("a\u202eb", "unprintable"),
        ("\udcff", "unprintable"),
        ("a" * (MAX_FILE_NAME + 1), "characters"),
        (7, "text"),
    ],
)
def test_what_is_no_name_is_refused_with_the_reason(name: Any, said: str) -> None:
    problem = file_name_problem("filename", name)
    assert problem is not None
    assert problem.field == "filename"
    assert said in problem.message
    assert problem.remedy


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/srv/in/a.jpg", "a.jpg"),
        ("C:\\in\\a.jpg", "a.jpg"),
        ("in/a\nb\u202e.jpg", "a_b_.jpg"),
        ("\udcff.jpg", "_.jpg"),
        (f"{'x' * 300}.jpeg", "x" * (MAX_FILE_NAME - 5) + ".jpeg"),
        ("/srv/in/", None),
        ("..", None),
        ("", None),
    ],
)
def test_a_path_gives_the_name_that_it_ends_with(path: str, name: str | None) -> None:
    assert file_name_of(path) == name


@given(st.text(st.characters(exclude_categories=())))
def test_any_path_gives_a_name_that_fits_or_none(path: str) -> None:
    name = file_name_of(path)
    assert name is None or file_name_problem("filename", name) is None
