"""Redis goes away and comes back under load: no wrong answer, no restart."""

from pathlib import Path

from tests.load.redis_away import measure


async def test_no_answer_is_wrong_and_the_cache_is_picked_up_again(tmp_path: Path) -> None:
    report = await measure(rate=50, window_seconds=1.5, folder=tmp_path)

    assert report.wrong == 0
    assert report.degraded_was_seen
    assert report.recovered_after_seconds is not None
    assert report.windows[0].cache_hits
    assert report.windows[-1].cache_hits
