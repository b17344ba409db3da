"""A few power cuts; `python -m tests.crash.power_cut` does more of them."""

import pytest

from tests.crash.careless import CARELESS
from tests.crash.power_cut import CONTROLS, cut
from tests.crash.service_cut import cut_service

pytestmark = pytest.mark.privileged


@pytest.mark.parametrize("disk", ["ours", "ours, poor"])
@pytest.mark.parametrize("paced", [False, True], ids=["busy", "paced"])
def test_nothing_that_was_acknowledged_is_lost(disk: str, paced: bool) -> None:
    results = list(cut(disk, cuts=2, paced=paced))
    assert [result.lost for result in results] == [(), ()]
    assert all(result.acknowledged for result in results)
    assert results[-1].deleted


@pytest.mark.parametrize("disk", sorted(CONTROLS))
def test_a_writer_that_flushes_nothing_loses(disk: str) -> None:
    # A slow machine may have written all by itself before a cut; the first loss ends this.
    assert any(result.lost for result in cut(disk, cuts=20, paced=False))


def test_nothing_is_lost_or_broken_when_the_current_of_a_whole_service_is_cut() -> None:
    results = list(cut_service(cuts=2))
    assert [result.lost for result in results] == [(), ()]
    assert results[-1].acknowledged


@pytest.mark.parametrize("part", CARELESS)
def test_a_service_with_a_part_that_acknowledges_without_a_flush_loses(part: str) -> None:
    assert any(result.lost for result in cut_service(cuts=20, careless=part))
