"""Principals and the lines that register API keys."""

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traffic_storage.domain.errors import InvalidInput
from traffic_storage.domain.principal import (
    ALL_SCOPES,
    DEFAULT_SCOPES,
    ApiKey,
    Principal,
    Scope,
    duplicate_problems,
    parse_api_key,
)

DIGEST = "0123456789abcdef" * 4


def test_a_line_of_name_and_digest_may_read_and_write_evidence() -> None:
    key = parse_api_key(f"camera-7:{DIGEST}")
    assert key == ApiKey(DIGEST, Principal("camera-7"))
    assert key.principal.scopes == {Scope.EVIDENCE_READ, Scope.EVIDENCE_WRITE}
    assert key.to_line() == f"camera-7:{DIGEST}"


def test_parameters_restrict_a_key() -> None:
    line = f"office:{DIGEST}?scope=hold&scope=evidence:read&device=cam%201*&expires=2027-01-31"
    key = parse_api_key(line)
    assert key.principal.scopes == {Scope.HOLD, Scope.EVIDENCE_READ}
    assert key.principal.devices == ("cam 1*",)
    assert key.expires == date(2027, 1, 31)


@given(
    st.frozensets(st.sampled_from(Scope), min_size=1),
    st.lists(st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=20)),
    st.none() | st.dates(),
)
def test_a_line_gives_back_its_key(
    scopes: frozenset[Scope], devices: list[str], expires: date | None
) -> None:
    key = ApiKey(DIGEST, Principal("n", scopes, tuple(devices)), expires)
    line = key.to_line()
    assert parse_api_key(line) == key
    # Lists of keys in environment variables are separated by commas, lines of a file by newlines.
    assert not {",", " ", "\n"} & set(line)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "a name, a colon and a SHA-256"),
        (DIGEST, "a name, a colon and a SHA-256"),
        (f"two words:{DIGEST}", "a name, a colon and a SHA-256"),
        (f"n:{DIGEST[:-1]}", "a name, a colon and a SHA-256"),
        (f"n:{DIGEST.upper()}", "a name, a colon and a SHA-256"),
        (f"n:{DIGEST}?scope", "malformed"),
        (f"n:{DIGEST}?scope=evidence", "unknown scope 'evidence'"),
        (f"n:{DIGEST}?scope=", "unknown scope"),
        (f"n:{DIGEST}?device=", "device pattern that is empty"),
        (f"n:{DIGEST}?expires=tomorrow", "not a date"),
        (f"n:{DIGEST}?expires=2027-02-30", "not a date"),
        (f"n:{DIGEST}?expires=2027-02-01&expires=2027-02-02", "more than one expires"),
        (f"n:{DIGEST}?scopes=hold", "unknown parameter 'scopes'"),
    ],
)
def test_a_malformed_line_is_refused_with_a_remedy(line: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_api_key(line, "api_keys")
    assert words in str(caught.value)
    assert all(problem.field == "api_keys" and problem.remedy for problem in caught.value.problems)


def test_all_wrong_parameters_are_named_at_once() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_api_key(f"n:{DIGEST}?scope=x&expires=x&other=x")
    assert len(caught.value.problems) == 3


def test_a_key_is_valid_to_the_end_of_its_last_day() -> None:
    key = ApiKey(DIGEST, Principal("n"), date(2027, 1, 31))
    assert not key.is_expired(datetime(2027, 1, 31, 23, 59, 59, tzinfo=UTC))
    assert key.is_expired(datetime(2027, 2, 1, tzinfo=UTC))
    assert not ApiKey(DIGEST, Principal("n")).is_expired(datetime(9999, 1, 1, tzinfo=UTC))


def test_admin_has_every_scope() -> None:
    admin = Principal("root", frozenset({Scope.ADMIN}))
    assert all(admin.has_scope(scope) for scope in ALL_SCOPES)
    usual = Principal("camera")
    assert {scope for scope in Scope if usual.has_scope(scope)} == DEFAULT_SCOPES


def test_a_principal_that_is_bound_to_devices_has_access_to_no_other() -> None:
    bound = Principal("camera", devices=("cam_0*", "gate"))
    assert bound.may_access("cam_07")
    assert bound.may_access("gate")
    assert not bound.may_access("cam_17")
    assert not bound.may_access("CAM_07")
    assert not bound.may_access(None)
    assert Principal("office").may_access(None)
    assert Principal("office").may_access("cam_17")


@pytest.mark.parametrize(
    ("devices", "expected"),
    [(("gate",), "gate"), (("cam*",), None), (("a", "b"), None), ((), None), (("g[a]te",), None)],
)
def test_the_only_device_of_a_principal_is_known(
    devices: tuple[str, ...], expected: str | None
) -> None:
    assert Principal("n", devices=devices).only_device == expected


def test_names_and_digests_are_unique() -> None:
    one, other = ApiKey(DIGEST, Principal("a")), ApiKey("f" * 64, Principal("b"))
    assert duplicate_problems([one, other], "api_keys") == []
    same_name = ApiKey("f" * 64, Principal("a"))
    assert "same name" in duplicate_problems([one, same_name], "api_keys")[0].message
    same_digest = ApiKey(DIGEST, Principal("b"))
    assert "same digest" in duplicate_problems([one, same_digest], "api_keys")[0].message
