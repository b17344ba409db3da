"""The quality of videos, judged from what the container states and the frames that were read."""

from collections.abc import Sequence

import numpy as np
import pytest

from traffic_storage.domain.media import ContainerInfo, ContentType
from traffic_storage.domain.quality.assessment import assess
from traffic_storage.domain.quality.video import (
    VIDEO_CHECKS,
    FrameSurvey,
    SampledFrame,
    VideoMetrics,
    video_metrics,
)

INFO = ContainerInfo(ContentType.MP4, 10.0, 1920, 1080, "avc1")


def survey(
    frames: int = 250, rate: float | None = 25.0, moving: bool = True, level: int = 90
) -> FrameSurvey:
    """What is read of a video of `frames` frames with B frames, whose picture moves or not."""
    times = np.arange(frames) / 25
    shown = times.reshape(-1, 2)[:, ::-1].reshape(-1) if frames % 2 == 0 else times
    scene = np.random.default_rng(1).integers(level - 9, level + 9, (20, 90), dtype=np.uint8)
    pictures = [scene[:, 2 * place * moving : 2 * place * moving + 50] for place in range(8)]
    samples = tuple(SampledFrame(float(at), one) for at, one in enumerate(pictures))
    return FrameSurvey("h264", rate, times, shown, samples if frames else ())


def found(metrics: VideoMetrics) -> list[str]:
    return [finding.kind for finding in assess(metrics, VIDEO_CHECKS).findings]


def test_a_good_video_has_the_full_score() -> None:
    metrics = video_metrics(INFO, 10**6, survey())
    assert (metrics.frames, metrics.out_of_order, metrics.frozen_frames) == (250, 0, 0)
    assert metrics.longest_gap_seconds == pytest.approx(0.04)
    assert assess(metrics, VIDEO_CHECKS).score == 1
    assert next(iter(assess(metrics, VIDEO_CHECKS).parts)) == "length"


def test_the_container_alone_is_judged_if_no_frame_was_read() -> None:
    metrics = video_metrics(INFO, 10**6)
    assert (metrics.codec, metrics.frames, metrics.sampled_frames) == ("avc1", None, None)
    assert assess(metrics, VIDEO_CHECKS).score == 1


def jumbled(times: Sequence[float]) -> FrameSurvey:
    array = np.array(times)
    return FrameSurvey("h264", 25.0, array, array)


@pytest.mark.parametrize(
    ("metrics", "kinds"),
    [
        (video_metrics(ContainerInfo(ContentType.MP4), 9, survey()), ["no_duration"]),
        (video_metrics(ContainerInfo(ContentType.MP4, 0.5), 9), ["short"]),
        (video_metrics(INFO, 9, survey(0)), ["no_frames"]),
        (video_metrics(ContainerInfo(ContentType.MP4, 9.0, 60, 40), 9), ["small"]),
        (video_metrics(INFO, 9, survey(rate=2.0)), ["slow"]),
        (video_metrics(INFO, 9, survey(moving=False)), ["frozen"]),
        (video_metrics(INFO, 9, survey(level=10)), ["black"]),
        (video_metrics(INFO, 9, jumbled([0.0, 0.04, 0.02, 0.06])), ["out_of_order"]),
        (video_metrics(INFO, 9, jumbled([0.0, 0.04, 0.04, 0.08])), ["out_of_order"]),
        (video_metrics(INFO, 9, jumbled([0.0, 0.04, 3.0, 3.04])), ["gap"]),
        (video_metrics(INFO, 9, jumbled([0.0])), []),
        (video_metrics(INFO, 9, survey(rate=None)), []),
    ],
)
def test_what_is_wrong_is_named(metrics: VideoMetrics, kinds: list[str]) -> None:
    assert found(metrics) == kinds
    assert (assess(metrics, VIDEO_CHECKS).score < 1) == bool(kinds)


def test_few_black_or_frozen_frames_only_lower_the_score() -> None:
    metrics = VideoMetrics("video/mp4", 9, sampled_frames=9, black_frames=2, frozen_frames=2)
    parts = assess(metrics, VIDEO_CHECKS).parts
    assert parts["frozen"] == 0.75
    assert parts["black"] == pytest.approx(7 / 9)
    assert found(metrics) == ["no_duration"]
