"""The quality of a video: what its container states, its time stamps, and sampled frames.

The container is always judged. Time stamps and frames are judged if the frames can be read, which
needs the extra `video`.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from traffic_storage.domain.media import ContainerInfo
from traffic_storage.domain.pixels import Pixels
from traffic_storage.domain.quality.assessment import Check, Part, error, ramp, warning

SAMPLED_FRAMES = 16
"""How many frames of a video are decoded and judged, at most."""
_BLACK_LEVEL, _BLACK_SPREAD = 24.0, 6.0
_FROZEN_LEVELS = 0.1


@frozen
class SampledFrame:
    """A decoded frame: its time from the start, and its luma, scaled down, `uint8` `(h, w)`."""

    at_seconds: float
    luma: Pixels = field(repr=False)


@frozen
class FrameSurvey:
    """What a decoder found in the first video stream of a file.

    Attributes:
        frame_rate: the average rate that the container states, in frames a second, if it does.
        decode_seconds: the decoding times of all packets, in the order of the file; float64. A
            packet without one is left out.
        show_seconds: the presentation times of all packets, in the order of the file; float64.
        samples: frames spread over the video, in the order of their times.
    """

    codec: str
    frame_rate: float | None
    decode_seconds: NDArray[np.float64] = field(repr=False)
    show_seconds: NDArray[np.float64] = field(repr=False)
    samples: Sequence[SampledFrame] = ()


@frozen
class VideoMetrics:
    """The metrics of one video; None where the container does not tell and no frame was read.

    Attributes:
        container: the content type, such as `video/mp4`.
        codec: the container's name of the codec, such as `avc1`; in Matroska `V_VP9`.
        duration_seconds: as the container states it.
        frame_rate: frames a second, of the container's index.
        frames: the number of frames.
        out_of_order: the packets whose decoding time is before that of their predecessor, and the
            frames that have a presentation time in common with another one.
        longest_gap_seconds: the longest time between two frames.
        sampled_frames: how many frames were decoded and judged.
        black_frames: how many of them are black: mean luma below 24 levels, deviation below 6.
        frozen_frames: how many of them equal their predecessor: the mean difference of the luma,
            scaled down, is below 0.1 levels.
    """

    container: str
    size_bytes: int
    codec: str | None = None
    width: int | None = None
    height: int | None = None
    duration_seconds: float | None = None
    frame_rate: float | None = None
    frames: int | None = None
    out_of_order: int | None = None
    longest_gap_seconds: float | None = None
    sampled_frames: int | None = None
    black_frames: int | None = None
    frozen_frames: int | None = None


def video_metrics(
    info: ContainerInfo, size_bytes: int, survey: FrameSurvey | None = None
) -> VideoMetrics:
    """Return the metrics of a video from what its container states and its frames, if they were read."""
    stated = {
        "container": str(info.container),
        "size_bytes": size_bytes,
        "codec": info.video_codec or (survey and survey.codec),
        "width": info.width,
        "height": info.height,
        "duration_seconds": info.duration_seconds,
    }
    if survey is None:
        return VideoMetrics(**stated)  # type: ignore[arg-type]
    shown = np.sort(survey.show_seconds)
    gaps = np.diff(shown)
    backwards = int((np.diff(survey.decode_seconds) < 0).sum())
    return VideoMetrics(
        **stated,  # type: ignore[arg-type]
        frame_rate=survey.frame_rate,
        frames=len(shown),
        out_of_order=backwards + int((gaps <= 0).sum()),
        longest_gap_seconds=float(gaps.max()) if len(gaps) else 0.0,
        sampled_frames=len(survey.samples),
        black_frames=sum(_is_black(sample.luma) for sample in survey.samples),
        frozen_frames=_frozen(survey.samples),
    )


def length(metrics: VideoMetrics) -> Part:
    """Judge the duration: 0 s is an error, an unknown one and less than 1 s a warning."""
    seconds, path = metrics.duration_seconds, "metrics.duration_seconds"
    if metrics.frames == 0:
        return Part(
            "length", 0.0, (error("no_frames", "video", "has no frames", "record it again"),)
        )
    if seconds is None:
        found = warning("no_duration", path, "is not stated by the container", "finalise the file")
        return Part("length", 0.9, (found,))
    if seconds < 1:
        found = warning("short", path, f"is {seconds:.3g}, below 1", "record the whole violation")
        return Part("length", ramp(seconds, 0, 1), (found,))
    return Part("length")


def picture(metrics: VideoMetrics) -> Part:
    """Judge the shorter side: 1 from 240 pixels on, 0 at 16; below 64 an error, below 240 a warning."""
    if metrics.width is None or metrics.height is None:
        return Part("picture")
    side = min(metrics.width, metrics.height)
    message = f"has {metrics.width} × {metrics.height} pixels"
    make = error if side < 64 else warning
    found = make("small", "video", message, "send the stream as the camera captured it")
    return Part("picture", ramp(side, 16, 240), (found,) if side < 240 else ())


def rate(metrics: VideoMetrics) -> Part:
    """Judge the frame rate: 1 from 5 frames a second on, 0.5 at 0; below 5 a warning."""
    if metrics.frame_rate is None or metrics.frame_rate >= 5:
        return Part("rate")
    message = f"is {metrics.frame_rate:.3g} frames a second, below 5"
    found = warning("slow", "metrics.frame_rate", message, "raise the frame rate")
    return Part("rate", 0.5 + metrics.frame_rate / 10, (found,))


def timing(metrics: VideoMetrics) -> Part:
    """Judge the time stamps.

    A time stamp that goes back or occurs twice is an error: the order and the speed of what is seen
    are in doubt. A gap of more than a second, and of more than 5 frames, is a warning.
    """
    findings = []
    if metrics.out_of_order:
        message = f"{metrics.out_of_order} time stamps go back or occur twice"
        remedy = "check the recorder; do not compute speeds from it"
        findings.append(error("out_of_order", "metrics.out_of_order", message, remedy))
    gap = metrics.longest_gap_seconds or 0.0
    if gap > max(1.0, 5 / (metrics.frame_rate or 5)):
        message = f"{gap:.3g} seconds have no frame"
        findings.append(
            warning("gap", "metrics.longest_gap_seconds", message, "check the recorder's network")
        )
    return Part("timing", 0.5 ** len(findings), tuple(findings))


def black(metrics: VideoMetrics) -> Part:
    """Judge the share of black frames in the sample: all are an error, half a warning."""
    return _sampled("black", metrics, metrics.black_frames, "black", "check the lens and the light")


def frozen_picture(metrics: VideoMetrics) -> Part:
    """Judge the share of frames that equal their predecessor: all are an error, half a warning.

    The share is that of pairs of successive frames of the sample.
    """
    return _sampled(
        "frozen", metrics, metrics.frozen_frames, "frozen", "restart the camera", less=1
    )


VIDEO_CHECKS: tuple[Check[VideoMetrics], ...] = (
    length,
    picture,
    rate,
    timing,
    black,
    frozen_picture,
)
"""The checks of a video that are applied if no others are given."""


def _sampled(
    name: str, metrics: VideoMetrics, count: int | None, kind: str, remedy: str, less: int = 0
) -> Part:
    most = (metrics.sampled_frames or 0) - less
    if not count or most <= 0:
        return Part(name)
    share = count / most
    if share < 0.5:
        return Part(name, 1 - share)
    make = error if share == 1 else warning
    message = f"{count} of {most} sampled frames"
    return Part(name, 1 - share, (make(kind, f"metrics.{kind}_frames", message, remedy),))


def _is_black(luma: Pixels) -> bool:
    return bool(luma.mean() < _BLACK_LEVEL and luma.std() < _BLACK_SPREAD)


def _frozen(samples: Iterable[SampledFrame]) -> int:
    return sum(
        float(np.abs(before.luma.astype(np.int16) - after.luma).mean()) < _FROZEN_LEVELS
        for before, after in pairwise(samples)
    )
