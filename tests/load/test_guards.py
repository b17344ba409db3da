"""The command that takes guards out tells whether the test fails without them."""

import pytest

from tests.load.guards import GUARDS, Checkout, Edit, Guard, check


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return Checkout(tmp_path_factory.mktemp("guards"))


def test_a_test_that_fails_without_its_guard_is_right(
    checkout: Checkout, capsys: pytest.CaptureFixture[str]
) -> None:
    (guard,) = [one for one in GUARDS if one.accident == 5]
    assert check([guard], checkout) == 0
    assert "without it the test fails: AssertionError" in capsys.readouterr().out


def test_a_test_that_passes_without_its_guard_is_told(
    checkout: Checkout, capsys: pytest.CaptureFixture[str]
) -> None:
    said = Edit("domain/reconcile.py", "the listing may be incomplete, or", "so it is, or")
    unsaid = Edit("domain/reconcile.py", 'it may be "', 'it may well be "')
    assert check([Guard(6, "nothing", (unsaid,))], checkout) == 1
    assert "WRONG: without it the test passes" in capsys.readouterr().out
    with checkout.without(Guard(5, "what it says", (said,))):
        assert check([Guard(5, "nothing", (unsaid,))], checkout) == 1
    assert "WRONG: with the guard the test does not pass" in capsys.readouterr().out
