"""Each accident that happened to other systems has one test that carries its number, and its guards.

The numbers are those of the list of accidents that this system is built against. The name of the
test of A7 begins with `test_a07_`; other tests may concern the same accident.
"""

from collections import defaultdict
from collections.abc import Mapping

import pytest

from tests.house.tree import ROOT
from tests.load.guards import GUARDS
from tests.support.accidents import ACCIDENTS, named_tests


@pytest.fixture(scope="module")
def named() -> Mapping[int, list[str]]:
    found = defaultdict(list)
    for number, path, name in named_tests(ROOT):
        found[number].append(f"{path}::{name}")
    return found


@pytest.mark.parametrize("number", ACCIDENTS, ids=lambda number: f"A{number}")
def test_an_accident_has_exactly_one_named_test(
    number: int, named: Mapping[int, list[str]]
) -> None:
    assert len(named.get(number, ())) == 1, (ACCIDENTS[number], named.get(number))


def test_no_test_carries_the_number_of_an_unknown_accident(
    named: Mapping[int, list[str]],
) -> None:
    assert named.keys() <= ACCIDENTS.keys()


def test_each_accident_has_a_guard_that_can_be_taken_out() -> None:
    """`python -m tests.load.guards` takes each out and runs the test, which must fail."""
    assert {guard.accident for guard in GUARDS} == ACCIDENTS.keys()
    for guard in GUARDS:
        for edit in guard.edits:
            text = (ROOT / edit.path).read_text(encoding="utf-8")
            assert text.count(edit.old) == 1, (guard.accident, edit.path, edit.old)
