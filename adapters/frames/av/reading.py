"""Reading of time stamps and frames with PyAV."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from traffic_storage.domain.errors import InvalidInput, UndecodableMedia
from traffic_storage.domain.quality.video import FrameSurvey, SampledFrame
from traffic_storage.ports.spool import FileBody, MemoryBody

if TYPE_CHECKING:
    from av.container import InputContainer

    from traffic_storage.ports.spool import Body

_SIDE = 160
_FEW_FRAMES = 400
"""Up to so many frames are decoded one after the other, to pick samples that keyframes can't give."""


def survey(source: "Body | Path", samples: int) -> FrameSurvey:
    """Read a video, as `Frames.survey` describes it. Blocks; ffmpeg decodes with one thread."""
    with _opened(source) as (container, stream):
        decoded, shown = _times(container, stream)
        codec, rate = stream.codec_context.name, stream.average_rate
    # Opened again: in MPEG-TS, a seek does not lead back to the first frame.
    with _opened(source) as (container, stream):
        sampled = tuple(_samples(container, stream, shown, samples))
    return FrameSurvey(codec, float(rate) if rate else None, decoded, shown, sampled)


@contextmanager
def _opened(source: "Body | Path") -> Iterator[tuple["InputContainer", VideoStream]]:
    """Open a video; errors of ffmpeg in the block become `UndecodableMedia`."""
    try:
        with av.open(_readable(source), "r") as container:
            if not container.streams.video:
                raise _undecodable("has no video stream")
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            yield container, stream
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise InvalidInput.of(
            "video", f"can't be read: {error.strerror}", "give the path of a readable file"
        ) from error
    except (FFmpegError, ValueError) as error:
        raise _undecodable(f"can't be decoded: {error}") from error


def _readable(source: "Body | Path") -> str | io.BytesIO:
    match source:
        case MemoryBody(data=data):
            return io.BytesIO(data)
        case FileBody(fd=fd):
            # A new open file, because the position of the descriptor is shared.
            return f"/proc/self/fd/{fd}"
        case Path():
            # A name of ours: ffmpeg would take one such as `http:x` for an address.
            return f"file:{source.absolute()}"


def _times(
    container: "InputContainer", stream: VideoStream
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the decoding and the presentation times of all packets, in seconds from the first."""
    decoded, shown = [], []
    for packet in container.demux(stream):
        if packet.size == 0:
            continue
        if packet.dts is not None:
            decoded.append(packet.dts)
        if packet.pts is not None:
            shown.append(packet.pts)
    tick = float(stream.time_base or Fraction(1))
    first = min(shown, default=0)
    return (np.array(decoded, np.float64) - first) * tick, (
        np.array(shown, np.float64) - first
    ) * tick


def _samples(
    container: "InputContainer",
    stream: VideoStream,
    shown: NDArray[np.float64],
    count: int,
) -> Iterator[SampledFrame]:
    """Yield frames spread over the video: each one of a short video, keyframes of a long one."""
    if len(shown) == 0:
        return
    last = float(shown.max())
    if len(shown) <= _FEW_FRAMES:
        wanted = np.linspace(0, last, min(count, len(shown)))
        yield from _in_order(container, stream, wanted)
        return
    seen: set[float] = set()
    for moment in np.linspace(0, last, count):
        _seek(container, stream, float(moment))
        frame = next(container.decode(stream), None)
        if frame is not None and (sample := _sample(frame)).at_seconds not in seen:
            seen.add(sample.at_seconds)
            yield sample


def _in_order(
    container: "InputContainer", stream: VideoStream, wanted: NDArray[np.float64]
) -> Iterator[SampledFrame]:
    """Yield the first frame at or after each of the wanted times, which are in seconds from the start."""
    place, first = 0, None
    for frame in container.decode(stream):
        at = frame.time or 0.0
        first = at if first is None else first
        if place < len(wanted) and at - first >= wanted[place] - 1e-6:
            place += 1
            yield _sample(frame)


def _seek(container: "InputContainer", stream: VideoStream, seconds: float) -> None:
    """Go to the last keyframe before a time from the start."""
    tick = stream.time_base or Fraction(1)
    container.seek(int(seconds / tick) + (stream.start_time or 0), stream=stream)


def _sample(frame: VideoFrame) -> SampledFrame:
    share = min(1.0, _SIDE / max(frame.width, frame.height))
    width, height = (max(2, int(side * share)) for side in (frame.width, frame.height))
    small = frame.reformat(width=width, height=height, format="gray")
    return SampledFrame(frame.time or 0.0, small.to_ndarray().astype(np.uint8, copy=False))


def _undecodable(message: str) -> UndecodableMedia:
    return UndecodableMedia.of(
        "video", message, "send the complete file, as finalised by the recorder"
    )
