"""A few power cuts; `python -m tests.crash.power_cut` does more of them."""

import pytest

from tests.crash.power_cut import CONTROLS, cut

pytestmark = pytest.mark.privileged


@pytest.mark.parametrize("disk", ["ours", "ours, poor"])
@pytest.mark.parametrize("paced", [False, True], ids=["busy", "paced"])
def test_nothing_that_was_acknowledged_is_lost(disk: str, paced: bool) -> None:
    results = list(cut(disk, cuts=3, paced=paced))
    assert [result.lost for result in results] == [(), (), ()]
    assert all(result.acknowledged for result in results)


@pytest.mark.parametrize("disk", sorted(CONTROLS))
def test_a_writer_that_flushes_nothing_loses(disk: str) -> None:
    assert any(result.lost for result in cut(disk, cuts=2, paced=False))
